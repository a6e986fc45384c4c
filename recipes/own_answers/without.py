"""Take the key steps off verl's parquet, as if nobody had given any, and keep them beside, to compare with."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pyarrow.parquet as pq

from verl_stepgrpo.data.key_steps.columns import write_key_steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=Path, required=True, help="verl's parquet")
    parser.add_argument("--out", type=Path, required=True, help="the same rows without key steps")
    parser.add_argument("--given", type=Path, required=True, help="JSON file for what was taken, by index")
    args = parser.parse_args()

    infos = [row["extra_info"] for row in pq.read_table(args.rows, columns=["extra_info"]).to_pylist()]
    given = {info["index"]: info["key_steps"] for info in infos}
    args.given.write_text(json.dumps([given[index] for index in range(len(given))]) + "\n")
    with args.out.open("wb") as file:
        write_key_steps([args.rows], {}, file)


if __name__ == "__main__":
    main()
