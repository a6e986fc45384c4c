"""Sample responses to prepared questions without vLLM, on one thread, as ``verl-stepgrpo eval --samples`` leaves them.

The sampler is that of the study's loop (recipes/ablation_digits/loop.py), which has to be on the path, as
mined_or_given.sh has it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import loop
import pyarrow.parquet as pq
import torch
from hydra import compose, initialize_config_module

from verl_stepgrpo import RunSettings
from verl_stepgrpo.evaluation.responses import RESPONSES
from verl_stepgrpo.traces.files import write_rows
from verl_stepgrpo.traces.rows import TraceRow, judgement_of

SAMPLED_TOGETHER = 512
"""Responses."""


def shown(n_rows: int, runs: list[int], n_shown: int) -> list[int]:
    """Return the places of the rows that some of the loop's runs, named by their seeds, show in training."""
    return sorted({int(place) for seed in runs for place in loop.order_of(seed, n_rows)[:n_shown]})


def sampled(
    policy: loop.Policy, asked: dict[int, tuple[dict[str, Any], loop.Prompt]], n: int, settings: RunSettings
) -> Iterator[TraceRow]:
    """Yield ``n`` responses to each question, which are rows of the data and prompts by their places."""
    rollouts = policy.sample([prompt for _, prompt in asked.values() for _ in range(n)], settings)
    written = iter(zip(rollouts.written, rollouts.scored, strict=True))
    for place, (row, prompt) in asked.items():
        for session in range(n):
            response, scored = next(written)
            judgement = judgement_of(
                scored,
                settings.reward,
                index=row["extra_info"]["index"],
                ground_truth=prompt.ground_truth,
                prompt=row["prompt"][-1]["content"],
                response=response.text,
            )
            yield TraceRow.of(judgement, step=0, uid=str(place), session=session)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="model folder")
    parser.add_argument("--rows", type=Path, required=True, help="verl's parquet")
    parser.add_argument("--samples", type=int, default=16, help="responses to each question")
    parser.add_argument("--seed", type=int, default=1, help="of the sampling")
    parser.add_argument(
        "--runs", type=int, nargs="+", required=True, help="seeds of the runs to be mined for"
    )
    parser.add_argument("--shown", type=int, required=True, help="prompts that each of them shows")
    parser.add_argument("--out", type=Path, required=True, help="folder for responses.jsonl")
    args = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", overrides=["+stepgrpo=digits_cpu", "data.max_response_length=160"])
    settings = RunSettings.from_mapping(config.algorithm.stepgrpo)
    policy = loop.Policy(args.checkpoint, config)
    rows = pq.read_table(args.rows, columns=["prompt", "extra_info"]).to_pylist()
    prompts = policy.prompts(args.rows)
    places = shown(len(rows), args.runs, args.shown)
    args.out.mkdir(parents=True, exist_ok=True)
    at_once = max(1, SAMPLED_TOGETHER // args.samples)
    with (args.out / RESPONSES).open("w") as file:
        for first in range(0, len(places), at_once):
            asked = {place: (rows[place], prompts[place]) for place in places[first : first + at_once]}
            write_rows(file, list(sampled(policy, asked, args.samples, settings)))
            print(f"{min(first + at_once, len(places))} of {len(places)} questions", flush=True)


if __name__ == "__main__":
    main()
