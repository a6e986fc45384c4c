"""Show what matters of a log that comes in on standard input: one line for each training step."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable

STEP = re.compile(r"step:(\d+) - ")
# What to show of a step, by its name in verl's console log.
SHOWN = {
    "loss": re.compile(r"train/loss:([\d.e-]+)"),
    "reward": re.compile(r"critic/score/mean:([\d.e-]+)"),
    "held-out accuracy": re.compile(r"val-core/[^:]*acc/mean@1:(?:np\.float64\()?([\d.e-]+)"),
    "seconds": re.compile(r"timing_s/step:([\d.e-]+)"),
}
EVERY_SFT_STEPS = 20
WARM_UP = re.compile(r"^warm-up: (.*)")
"""What warm_up.py says."""


def describe(line: str) -> str | None:
    """Return one short line for a step's line in verl's console log or one of warm_up.py's, or None for any other."""
    if said := WARM_UP.search(line):
        return said.group(1)
    step = STEP.search(line)
    if not step:
        return None
    parts = [f"{name} {float(m.group(1)):.3g}" for name, p in SHOWN.items() if (m := p.search(line))]
    is_sft = "train/loss" in line
    if not parts or (is_sft and int(step.group(1)) % EVERY_SFT_STEPS):
        return None
    return f"step {step.group(1)}: {', '.join(parts)}"


def main(lines: Iterable[str], name: str) -> None:
    for line in lines:
        shown = describe(line)
        if shown:
            print(f"[{name}] {shown}", flush=True)


if __name__ == "__main__":
    main(sys.stdin, sys.argv[1])
