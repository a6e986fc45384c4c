"""Say whether the smoke run did what it should, from its log and traces; status 1 if not."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from verl_stepgrpo.bridge.hooks.rollout_gap import CORRELATION, LEAST
from verl_stepgrpo.traces.files import read_trace, steps_of

MAX_DIFFERENCE = 0.002
"""Largest mean difference between vLLM's probabilities and the actor's: 0.0001 in bfloat16 on a GPU; most tokens of the
format are certain, so that a vLLM that saw noise for its images had 0.02 at most."""


def findings(out: Path, rl_steps: int) -> Iterator[tuple[bool, str]]:
    log = (out / "logs" / "rl.log").read_text()
    yield "'adv_estimator': 'stepgrpo'" in log, "the estimator is stepgrpo"
    curves = len(re.findall(r"stepgrpo/step_rar/mean:", log))
    yield curves == rl_steps, f"curves in {curves} of {rl_steps} steps"
    differences = [float(d) for d in re.findall(r"rollout_probs_diff_mean:([\d.e-]+)", log)]
    worst = max(differences, default=float("inf"))
    yield worst < MAX_DIFFERENCE, f"vLLM and actor differ by {worst:.1e} in their probabilities at most"
    correlations = [float(c) for c in re.findall(rf"{CORRELATION}:([\d.e-]+)", log)]
    lowest = min(correlations, default=0.0)
    yield lowest >= LEAST, f"their probabilities correlate by {lowest:.4f} at least"
    paths = steps_of(out / "trace", "train")
    steps = [read_trace(path) for path in paths]
    n_rows = {len(rows) for rows in steps}
    yield (
        len(steps) == rl_steps and n_rows == {32 * 8},
        f"traces of {len(steps)} steps, {n_rows} responses each",
    )
    logged = [float(v) for v in re.findall(r"critic/score/mean:([\d.e-]+)", log)]
    traced = [fmean(row.total for row in rows) for rows in steps]
    same = len(logged) == len(traced) and all(abs(a - b) < 1e-3 for a, b in zip(logged, traced, strict=True))
    yield same, "verl's own logged reward is that of the traces"
    validations = steps_of(out / "trace", "val")
    right = [fmean(row.components["acc"] for row in read_trace(path)) for path in validations]
    yield len(right) == 2, "held-out accuracy " + " to ".join(f"{share:.1%}" for share in right)
    yield (out / "model-rl" / "config.json").exists(), "the checkpoint was merged"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rl-steps", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    args = parser.parse_args()

    found = list(findings(args.out, args.rl_steps))
    for is_well, what in found:
        print(f"{'ok  ' if is_well else 'FAIL'} {what}")
    print(f"{args.seconds / 60:.1f} minutes")
    sys.exit(not all(is_well for is_well, _ in found))


if __name__ == "__main__":
    main()
