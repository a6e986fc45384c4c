"""Speed and memory of ``verl-stepgrpo replay`` as the run grows.

    python benchmarks/replay.py                  # 10,000 and 100,000 rollouts, 12 settings; about 10 minutes on 2 cores
    python benchmarks/replay.py --sizes 1000

Rows are those of a run of the digits example repeated with other uids, so that groups, lengths and answers are a run's;
memory is the peak of the resident set of the command and of all its processes, read 5 times a second.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path

from memory import peak_of

from verl_stepgrpo.trace import read_trace, trace_files

SETTINGS = ["alpha=0,0.1,0.5", "match_threshold=0.8,1", "credit=trajectory,step"]


def write_run(traces: Path, folder: Path, rollouts: int) -> int:
    """Write the training steps of ``traces`` over and over until there are ``rollouts``; return how many there are."""
    steps = [read_trace(path) for path in trace_files(traces / "train")]
    written = 0
    for step, rows in enumerate(itertools.cycle(steps), start=1):
        with (folder / f"step-{step:06d}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row | {"step": step}, ensure_ascii=False) + "\n" for row in rows)
        written += len(rows)
        if written >= rollouts:
            return written
    raise SystemExit(f"{traces} has no training step")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--traces", type=Path, default=Path("examples/digits/out/seed-1/trace"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--num-proc", type=int, default=2)
    args = parser.parse_args()

    print(
        "| rollouts | settings | minutes | MiB, first process | MiB, all processes |\n|---|---|---|---|---|"
    )
    for size in args.sizes:
        with tempfile.TemporaryDirectory() as name:
            rollouts = write_run(args.traces, Path(name), size)
            command = [
                sys.executable,
                "-m",
                "verl_stepgrpo",
                "replay",
                name,
                "--num-proc",
                str(args.num_proc),
            ]
            command += [word for text in SETTINGS for word in ("--set", text)]
            began = time.monotonic()
            first, everything = peak_of([*command, "--out", f"{name}/out"])
            minutes = (time.monotonic() - began) / 60
            summaries = json.loads(Path(name, "out", "replay.json").read_text())
        if any(one["responses"] != rollouts for one in summaries):
            raise SystemExit(f"{rollouts} rollouts were expected; the replay says {summaries}")
        print(f"| {rollouts:,} | {len(summaries) - 1} | {minutes:.1f} | {first} | {everything} |", flush=True)


if __name__ == "__main__":
    main()
