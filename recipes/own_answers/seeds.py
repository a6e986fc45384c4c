"""Hold runs on mined key steps against those on given ones and on none, over seeds, in a table.

    python recipes/own_answers/seeds.py

The others are runs of the study without the engine (recipes/ablation_digits/results/loop/dense), and what a run comes
to, its intervals and its differences are as there (analyse.py), but of the last evaluation alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ablation_digits"))

import analyse
from compare import agreement

HERE = Path(__file__).resolve().parent
STUDY = HERE.parent / "ablation_digits"
RESULTS = HERE / "results"
AGREEMENT = RESULTS / "agreement.json"
LAST = 1
"""Evaluations at the end that are taken together: the runs on mined key steps have no other."""
ARMS = {"grpo": "none (plain GRPO)", "answer_first_step": "given", "mined": "mined"}
HEAD = (
    "key steps",
    "seeds",
    "accuracy, % (95% interval)",
    "points against none (paired)",
    "points against given (paired)",
    "valid",
    "right and valid",
    "right, every given key step found",
    "given key steps found",
)


def load() -> analyse.Runs:
    """Return the results of the seeds that have mined key steps, by arm and seed."""
    results = (json.loads(path.read_text()) for path in sorted(RESULTS.glob("mined-seed-*.json")))
    mined = {one["seed"]: one for one in results}
    study = analyse.load(STUDY / "results" / "loop" / "dense")
    others = {arm: {seed: study[arm][seed] for seed in mined} for arm in ARMS if arm != "mined"}
    return {**others, "mined": mined}


def row(runs: analyse.Runs, arm: str) -> str:
    results = list(runs[arm].values())
    accuracy, *others = analyse.MEASURES.values()
    cells = [
        ARMS[arm],
        str(len(results)),
        analyse.with_interval([analyse.came_to(result, accuracy, LAST) for result in results], ".1f"),
        *(analyse.difference(runs, arm, other, LAST, accuracy) for other in ("grpo", "answer_first_step")),
        *(analyse.share(results, measure, LAST) for measure in others),
    ]
    return "| " + " | ".join(cells) + " |"


def table(runs: analyse.Runs) -> str:
    head = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    return "\n".join([*head, *(row(runs, arm) for arm in ARMS)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--agreement",
        type=Path,
        nargs=2,
        metavar=("MINED", "GIVEN"),
        help="verl's parquet with mined key steps, and the JSON file of the given ones: note how they agree",
    )
    args = parser.parse_args()
    if args.agreement:
        AGREEMENT.write_text(json.dumps(agreement(*args.agreement), indent=1) + "\n")
    print(table(load()))


if __name__ == "__main__":
    main()
