"""Check the committed results of the main job and print them as a table.

On every seed the warm-up ended at about half of RL's images, and RL helped on the held-out ones, beyond chance.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MIN_SEEDS = 5
MIN_IMAGES = 1000
WARMED_UP = (0.5, 0.7)
"""Accuracy on some of RL's images at which a warm-up may end: it is asked every 10 steps, and rises steeply there."""


def main(folder: Path) -> None:
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("seed-*.json"))]
    if len(results) < MIN_SEEDS:
        raise SystemExit(f"{folder} has {len(results)} seeds; at least {MIN_SEEDS} are wanted")
    print("| seed | steps of warm-up | accuracy before | after | points (95% interval) | n | minutes |")
    print("|---|---|---|---|---|---|---|")
    for result in results:
        print(row(result))
    problems = [f"seed {result['seed']}: {problem}" for result in results for problem in wrong(result)]
    if problems:
        raise SystemExit("\n".join(problems))


def row(result: dict[str, Any]) -> str:
    low, high = result["difference_ci95"]
    return (
        f"| {result['seed']} | {result['warmup']['step']} "
        f"| {result['before']['accuracy']:.1%} | {result['after']['accuracy']:.1%} "
        f"| {100 * result['difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}) | {result['after']['n']} "
        f"| {result['minutes']:.1f} |"
    )


def wrong(result: dict[str, Any]) -> Iterator[str]:
    """Yield what a result lacks to count as one of this example."""
    if result["difference_ci95"][0] <= 0:
        yield "the interval does not lie above 0"
    if result["after"]["n"] < MIN_IMAGES:
        yield f"{result['after']['n']} held-out images; at least {MIN_IMAGES} are wanted"
    lowest, highest = WARMED_UP
    if not lowest <= result["warmup"]["accuracy"] <= highest:
        yield f"the warm-up ended at {result['warmup']['accuracy']:.0%}, not at {lowest:.0%} to {highest:.0%}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
