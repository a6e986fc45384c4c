"""The study without the engine: what one process samples, and what it comes to."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / part) for part in ("examples/bars", "examples/digits", "recipes/ablation_digits")]

import build_bars  # noqa: E402
import loop  # noqa: E402

from verl_stepgrpo import RunSettings  # noqa: E402


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data of the bars, with questions of several lengths, and an untrained model."""
    folder = tmp_path_factory.mktemp("bars")
    with pytest.MonkeyPatch.context() as patch:
        sizes = ["--sft", "1", "--train", "16", "--heldout", "8", "--model", str(folder / "huggingface")]
        patch.setattr(sys, "argv", ["build_bars.py", "--out", str(folder), *sizes])
        short = build_bars.KINDS["range"]._replace(question="How much higher?")
        patch.setitem(build_bars.KINDS, "range", short)
        build_bars.main()
    return folder


def configured(*overrides: str) -> Any:
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose(
            "ppo_trainer", overrides=["+stepgrpo=digits_cpu", "data.max_response_length=24", *overrides]
        )


def test_a_prompt_that_is_padded_is_answered_as_it_is_alone(task: Path) -> None:
    torch.manual_seed(0)
    config = configured()
    policy = loop.Policy(task / "huggingface", config)
    prompts = policy.prompts(task / "train.parquet")
    assert len({len(prompt.ids_L) for prompt in prompts}) > 1
    settings = RunSettings.from_mapping(config.algorithm.stepgrpo)
    rollouts = policy.sample(prompts, settings)
    together = policy.log_probs(policy.model, rollouts, slice(0, len(prompts)))
    for i in range(len(prompts)):
        alone = policy.log_probs(policy.model, rollouts, slice(i, i + 1))[0]
        own = rollouts.mask_BT[i].bool()
        torch.testing.assert_close(together[i][own], alone[own], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("credit", ["trajectory", "step", "value"])
def test_a_run_comes_to_a_curve_and_to_evaluations(task: Path, tmp_path: Path, credit: str) -> None:
    config = configured(
        "data.train_batch_size=2", "actor_rollout_ref.rollout.n=4", f"algorithm.stepgrpo.credit={credit}"
    )
    args = argparse.Namespace(checkpoint=task, data=task, seed=1, steps=2, every=1, judge_first=True)
    result = loop.train(argparse.Namespace(**vars(args), responses=tmp_path), config)
    assert [one["step"] for one in result["evaluations"]] == [0, 1, 2]
    assert [len(one.get("by_steps", "")) for one in result["evaluations"]] == [0, 8, 8]
    assert [one["rollouts"] for one in result["curve"]] == [8, 8]
    assert len((tmp_path / "step-000002.jsonl").read_text().splitlines()) == 8
