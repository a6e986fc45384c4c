"""Write the key steps that the digits example gives into a prepared file, in place of mined ones, to compare with."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pyarrow.parquet as pq

from verl_stepgrpo import parse_key_steps
from verl_stepgrpo.data.key_steps.columns import write_key_steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="what build_questions.py wrote")
    parser.add_argument("--rows", type=Path, required=True, help="verl's parquet of some of its questions")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    given = json.loads((args.data / "given.json").read_text())
    indices = [
        row["extra_info"]["index"] for row in pq.read_table(args.rows, columns=["extra_info"]).to_pylist()
    ]
    found = {place: parse_key_steps(given[index]) for place, index in enumerate(indices)}
    with args.out.open("wb") as file:
        write_key_steps([args.rows], found, file)


if __name__ == "__main__":
    main()
