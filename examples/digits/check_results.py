"""Check the committed results of the main job: on every seed RL helped, beyond chance. Prints a table."""

from __future__ import annotations

import json
import sys
from pathlib import Path

MIN_SEEDS = 3
MIN_IMAGES = 1000


def main(folder: Path) -> None:
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("seed-*.json"))]
    if len(results) < MIN_SEEDS:
        raise SystemExit(f"{folder} has {len(results)} seeds; at least {MIN_SEEDS} are wanted")
    print("| seed | accuracy before | after | points (95% interval) | n | minutes |")
    print("|---|---|---|---|---|---|")
    for r in results:
        low, high = r["difference_ci95"]
        print(
            f"| {r['seed']} | {r['before']['accuracy']:.1%} | {r['after']['accuracy']:.1%} "
            f"| {100 * r['difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}) | {r['after']['n']} "
            f"| {r['minutes']:.1f} |"
        )
        if low <= 0 or r["after"]["n"] < MIN_IMAGES:
            raise SystemExit(
                f"seed {r['seed']}: the interval does not lie above 0, or there are too few images"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
