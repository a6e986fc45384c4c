"""A training run of the digits example as its traces have it, with written responses in place of sampled ones.

Everything behind the response is the project's: the rewards, the advantages, the rows and the writer.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from helpers import parquet
from sklearn.datasets import load_digits

from verl_stepgrpo.bridge.estimator import compute_stepgrpo_advantage
from verl_stepgrpo.bridge.hooks.trainer_hooks import TokenAdvantages, training_line, validation_lines
from verl_stepgrpo.bridge.judged import Judged, provided
from verl_stepgrpo.rewards import score_response
from verl_stepgrpo.settings import AdvantageSettings, RewardSettings, RunSettings
from verl_stepgrpo.traces.files import TraceWriter
from verl_stepgrpo.traces.header import Start
from verl_stepgrpo.traces.packed import packed
from verl_stepgrpo.traces.rows import TraceRow, judgement_of, parse_row

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "digits"))
import build_data

DIGITS = load_digits()


def data(n: int, seed: int) -> list[dict[str, Any]]:
    """Return rows of verl's data with real images."""
    drawn = build_data.draw(np.random.default_rng(seed), 0, build_data.N_TRAIN_DIGITS, n, 2)
    return build_data.rl_rows(DIGITS, drawn)


def respond(row: dict[str, Any], rng: np.random.Generator, skill: float) -> str:
    """Return a response: right with a chance of ``skill``, else with a digit misread, and flawed less and less."""
    key_steps = row["extra_info"]["key_steps"]
    values = [int(key_step[0].split()[-1]) for key_step in key_steps[:2]]
    if rng.random() > skill:
        values[rng.integers(2)] = int(rng.integers(10))
    text = build_data.solution(
        values, rationales=rng.random() < 0.5 + skill / 2, numbered=rng.random() < 0.6 + skill / 2
    )
    # What stands before a key step and takes two UTF-16 units a character.
    return text.replace("side by side", "side by side 🙂🙂") if rng.random() < 0.3 else text


def judged(row: dict[str, Any], response: str, name: str) -> Judged:
    """Return what the reward manager and the trainer make of a response; a token is a character."""
    result = score_response(response, row["reward_model"]["ground_truth"], row["extra_info"].get("key_steps"))
    judgement = judgement_of(
        result,
        RewardSettings(),
        step_token_ends=[step.end for step in result.steps],
        index=row["extra_info"]["index"],
        data_source=row["data_source"],
        ground_truth=row["reward_model"]["ground_truth"],
        prompt=row["prompt"][0]["content"],
        response=response,
    )
    return Judged(name, result.components(), judgement, packed=packed(judgement))


def training_rows(
    rows: Sequence[dict[str, Any]], responses: Sequence[Sequence[str]], step: int, credit: str = "step"
) -> list[TraceRow]:
    """Return the trace rows of a training step: ``responses`` has those to each row."""
    own = [
        judged(row, text, f"prompt-{step}-{i}_{session}_0")
        for i, (row, texts) in enumerate(zip(rows, responses, strict=True))
        for session, text in enumerate(texts)
    ]
    lengths = [len(one.judgement.response) for one in own]
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)).long()
    rewards = torch.zeros(mask.shape, dtype=torch.float64)
    rewards[:, 0] = torch.tensor([one.components["score"] for one in own])
    with provided(own):
        advantages, _ = compute_stepgrpo_advantage(
            rewards, mask, np.array([one.uid for one in own]), {"stepgrpo": {"credit": credit}}
        )
    return [
        parse_row(gzip.decompress(training_line(one, TokenAdvantages(*pair), step)))
        for one, *pair in zip(own, advantages.numpy(), mask.numpy(), strict=True)
    ]


def write_run(
    folder: Path, *, steps: int = 6, prompts: int = 8, n: int = 4, questions: int = 24, credit: str = "step"
) -> None:
    """Write a run that learns: its traces, its data, and verl's log of it as the logger ``file`` has it."""
    rng = np.random.default_rng(0)
    settings = RunSettings(advantage=AdvantageSettings(credit=credit))
    Start(0, settings.to_mapping(), "python -m verl.trainer.main_ppo ...", "model").write(folder / "trace")
    writer = TraceWriter(folder / "trace")
    train, heldout = data(steps * prompts, 1), data(questions, 2)
    folder.mkdir(parents=True, exist_ok=True)
    parquet(folder / "train.parquet", train)
    parquet(folder / "heldout.parquet", heldout)
    for step in range(steps + 1):
        skill = 0.35 + 0.5 * step / steps
        if step in (0, steps // 2, steps):
            given = [judged(row, respond(row, rng, skill), "u_0_0").packed for row in heldout]
            uids = [f"question-{step}-{i}" for i in range(len(given))]
            writer.write("val", step, validation_lines(uids, given, step))
        if step:
            own = train[(step - 1) * prompts : step * prompts]
            responses = [[respond(row, rng, skill) for _ in range(n)] for row in own]
            writer.write("train", step, training_rows(own, responses, step, credit))
    log = "".join(json.dumps({"step": step, "data": logged(step)}) + "\n" for step in range(1, steps + 1))
    (folder / "verl.jsonl").write_text(log)


def logged(step: int) -> dict[str, float]:
    """Return some of the metrics that verl logs of a step, by their names in verl 0.9.1."""
    return {
        "actor/lr": 1e-6,
        "actor/entropy": 0.9 / step,
        "actor/kl_loss": 0.001 * step,
        "actor/ppo_kl": 0.0005,
        "perf/time_per_step": 12.5,
        "stepgrpo/answer_share/mean": 0.5 - 0.01 * step,
        "stepgrpo/key_steps_share/mean": 0.1,
        "stepgrpo/validity_share/mean": 0.4 + 0.01 * step,
        "stepgrpo/decoy_match/mean": 0.02 * step,
        "stepgrpo/missing_sessions/mean": 0.0,
    }
