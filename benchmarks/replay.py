"""Speed and memory of ``verl-stepgrpo replay`` as the run grows.

    python benchmarks/replay.py                  # 10,000 and 100,000 rollouts, 12 settings; about 5 minutes on 2 cores
    python benchmarks/replay.py --sizes 1000

The rollouts are those of ``benchmarks/rewards.py``, each another text: the paper's format, 4 key steps, answers of all
kinds; a training step has 64 groups of 8. Memory is the peak of the resident set of the command and of all its
processes, read 5 times a second.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from memory import peak_of
from rewards import GROUP, KINDS, samples

from verl_stepgrpo.advantage import group_relative
from verl_stepgrpo.rewards import score_response
from verl_stepgrpo.settings import RewardSettings
from verl_stepgrpo.traces.files import TraceWriter
from verl_stepgrpo.traces.rows import TRAIN, Credit, TraceRow, judgement_of

STEP = 64 * GROUP
SETTINGS = ["alpha=0,0.1,0.5", "match_threshold=0.8,1", "credit=trajectory,step"]


def write_run(folder: Path, rollouts: int) -> None:
    """Write training steps of ``rollouts`` rollouts in all, as training traces them."""
    drawn = samples(rollouts, KINDS, seed=0)
    writer = TraceWriter(folder)
    for step in itertools.count(1):
        batch = list(itertools.islice(drawn, STEP))
        if not batch:
            return
        scored = [score_response(one.response, one.gold, one.key_steps) for one in batch]
        rewards_B = torch.tensor([one.total for one in scored], dtype=torch.float64)
        advantages = group_relative(rewards_B, torch.arange(len(batch)) // GROUP).tolist()
        rows = (
            TraceRow.of(
                judgement_of(
                    result,
                    RewardSettings(),
                    index=i // GROUP,
                    data_source=one.kind,
                    ground_truth=one.gold,
                    prompt="",
                    response=one.response,
                ),
                step=step,
                uid=f"{step}-{i // GROUP}",
                session=i % GROUP,
                credit=Credit(advantage, (advantage,), abs(advantage)),
            )
            for i, (one, result, advantage) in enumerate(zip(batch, scored, advantages, strict=True))
        )
        writer.write(TRAIN, step, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--num-proc", type=int, default=2)
    args = parser.parse_args()

    print(
        "| rollouts | settings | minutes | MiB, first process | MiB, all processes |\n|---|---|---|---|---|"
    )
    for size in args.sizes:
        with tempfile.TemporaryDirectory() as name:
            write_run(Path(name), size)
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
        if any(one["responses"] != size for one in summaries):
            raise SystemExit(f"{size} rollouts were expected; the replay says {summaries}")
        print(f"| {size:,} | {len(summaries) - 1} | {minutes:.1f} | {first} | {everything} |", flush=True)


if __name__ == "__main__":
    main()
