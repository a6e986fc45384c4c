"""Hold mined key steps against those that the digits example gives, and the model after RL against the one before.

python recipes/own_answers/compare.py --data DATA --mined FILE --trace TRACE --out RESULTS.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pyarrow.parquet as pq

from verl_stepgrpo import parse_key_steps
from verl_stepgrpo.data.key_steps.rules import as_step
from verl_stepgrpo.evaluation.summary import changes
from verl_stepgrpo.judging.key_steps.match import shown
from verl_stepgrpo.judging.key_steps.reference import KeyStep
from verl_stepgrpo.settings import RewardSettings
from verl_stepgrpo.traces.files import read_trace, trace_files

MEASURES = ("acc", "key_step_match", "step_rvr", "extra_brief")


def same(one: KeyStep, others: tuple[KeyStep, ...]) -> bool:
    """Return whether a wording of ``one`` says what one of ``others`` says."""
    threshold = RewardSettings.match_threshold
    return any(any(shown(as_step(text), others, threshold=threshold)) for text in one)


def agreement(mined_file: Path, given_file: Path) -> dict[str, float]:
    """Return how many rows have mined key steps, which share of these is given, and of the given ones mined."""
    given = json.loads(given_file.read_text())
    rows = n_mined = right = n_given = found = 0
    for row in pq.read_table(mined_file, columns=["extra_info"]).to_pylist():
        mined = parse_key_steps(row["extra_info"]["key_steps"])
        own = parse_key_steps(given[row["extra_info"]["index"]])
        rows += bool(mined)
        if mined:
            n_mined, right = n_mined + len(mined), right + sum(same(one, own) for one in mined)
            n_given, found = n_given + len(own), found + sum(same(one, mined) for one in own)
    return {
        "rows with mined key steps": rows,
        "mined": n_mined,
        "precision": right / max(1, n_mined),
        "recall": found / max(1, n_given),
    }


def difference(trace: Path) -> dict[str, dict[str, float]]:
    """Return the means before and after RL, on the questions of both validations."""
    first, *_, last = trace_files(trace / "val")
    before, after = ({row.index: [row.defined] for row in read_trace(path)} for path in (first, last))
    found = changes(before, after)
    return {
        key: {"before": found[key].before.mean, "after": found[key].after.mean}
        | dict(zip(("low", "high"), found[key].difference.interval or (0.0, 0.0), strict=True))
        for key in MEASURES
        if key in found
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="what build_questions.py wrote")
    parser.add_argument("--mined", type=Path, required=True, help="verl's parquet with mined key steps")
    parser.add_argument("--trace", type=Path, required=True, help="trace_dir of the run")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    results = {"key_steps": agreement(args.mined, args.data / "given.json"), "rl": difference(args.trace)}
    args.out.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
