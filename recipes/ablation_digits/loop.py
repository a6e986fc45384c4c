"""One run of the study without Ray, vLLM and FSDP: the same data, model, configuration and losses in one process.

Rewards, advantages and the places of steps among tokens are the package's, the numbers those that verl's configuration
comes to with the arm's settings. It takes a fraction of the engine's time, so that all arms can have all seeds; the
engine then runs the arms that matter. ``LOOP=1`` in run.sh chooses it. Sampled by transformers, on one thread.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import io
import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import verl  # noqa: F401 (loads the plugin, whose groups the configuration has)
from hydra import compose, initialize_config_module
from PIL import Image
from provenance import provenance
from summarise import evaluation, fingerprint, kept, training
from torch.optim.lr_scheduler import LambdaLR
from transformers import AutoProcessor, Qwen2VLForConditionalGeneration

from verl_stepgrpo import RunSettings, ScoredResponse, advantage, parse_key_steps, score_response
from verl_stepgrpo.bridge.token_ends import Decoding, Written
from verl_stepgrpo.earned import COMPONENTS, Earned
from verl_stepgrpo.judging.key_steps.reference import KeyStep

EVALUATED_TOGETHER = 512


@dataclasses.dataclass(frozen=True)
class Prompt:
    """One row: what the model is shown, and what its answer is held against."""

    ids_L: torch.Tensor
    pixels: torch.Tensor
    grid: torch.Tensor
    ground_truth: str
    key_steps: tuple[KeyStep, ...]


@dataclasses.dataclass(frozen=True)
class Rollouts:
    """Sampled responses, with the prompts that they are to; (B, T) behind the prompt."""

    prompts: list[Prompt]
    ids_BT: torch.Tensor
    mask_BT: torch.Tensor
    written: list[Written]
    scored: list[ScoredResponse]


class Policy:
    """The model that is trained, and the one that it began as."""

    def __init__(self, checkpoint: Path, config: Any) -> None:
        self.processor = AutoProcessor.from_pretrained(checkpoint)
        self.tokenizer = self.processor.tokenizer
        self.decoding = Decoding.of(self.tokenizer)
        self.model = Qwen2VLForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
        self.reference = copy.deepcopy(self.model)
        self.temperature = config.actor_rollout_ref.rollout.temperature
        self.max_new_tokens = config.data.max_response_length
        self.eos = self.tokenizer.eos_token_id
        # A response with the marks of an image in it has no image to go with.
        self.not_sampled = [self.model.config.image_token_id, self.model.config.video_token_id]

    def prompts(self, path: Path) -> list[Prompt]:
        return [self._prompt(row) for row in pq.read_table(path).to_pylist()]

    def _prompt(self, row: dict[str, Any]) -> Prompt:
        text = row["prompt"][0]["content"].replace("<image>", "")
        content = [{"type": "image"}, {"type": "text", "text": text}]
        chat = [{"role": "user", "content": content}]
        asked = self.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        image = Image.open(io.BytesIO(row["images"][0]["bytes"])).convert("RGB")
        made = self.processor(text=[asked], images=[image], return_tensors="pt")
        key_steps = parse_key_steps(row["extra_info"]["key_steps"])
        truth = row["reward_model"]["ground_truth"]
        return Prompt(made["input_ids"][0], made["pixel_values"], made["image_grid_thw"], truth, key_steps)

    def _side_by_side(self, prompts: Sequence[Prompt]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tokens of prompts, (b, L), the shorter ones padded in front, and which are theirs."""
        width = max(len(prompt.ids_L) for prompt in prompts)
        ids_bL = torch.full((len(prompts), width), self.tokenizer.pad_token_id)
        for row, prompt in zip(ids_bL, prompts, strict=True):
            row[width - len(prompt.ids_L) :] = prompt.ids_L
        own = torch.tensor([[width - len(prompt.ids_L)] for prompt in prompts])
        return ids_bL, (torch.arange(width) >= own).long()

    def _inputs(self, prompts: Sequence[Prompt], ids: torch.Tensor) -> dict[str, torch.Tensor]:
        return {
            "input_ids": ids,
            "mm_token_type_ids": (ids == self.model.config.image_token_id).int(),
            "pixel_values": torch.cat([prompt.pixels for prompt in prompts]),
            "image_grid_thw": torch.cat([prompt.grid for prompt in prompts]),
        }

    @torch.no_grad()
    def sample(self, prompts: list[Prompt], settings: RunSettings) -> Rollouts:
        """Return one response to each prompt."""
        ids_BL, own_BL = self._side_by_side(prompts)
        made = self.model.generate(
            **self._inputs(prompts, ids_BL),
            attention_mask=own_BL,
            do_sample=True,
            temperature=self.temperature,
            top_k=0,
            top_p=1.0,
            max_new_tokens=self.max_new_tokens,
            eos_token_id=self.eos,
            pad_token_id=self.tokenizer.pad_token_id,
            suppress_tokens=self.not_sampled,
        )
        ids_BT = made[:, ids_BL.shape[1] :]
        # The end of a response is written too; what follows it is padding.
        ended_BT = (ids_BT == self.eos).long()
        mask_BT = (ended_BT.cumsum(1) - ended_BT == 0).long()
        own = [ids[: int(mask.sum())].tolist() for ids, mask in zip(ids_BT, mask_BT, strict=True)]
        written = [Written.of(self.decoding, ids, [[0, len(ids)]]) for ids in own]
        scored = [
            score_response(one.text, prompt.ground_truth, prompt.key_steps, settings.reward)
            for one, prompt in zip(written, prompts, strict=True)
        ]
        return Rollouts(prompts, ids_BT, mask_BT, written, scored)

    def log_probs(self, model: Any, rollouts: Rollouts, rows: slice) -> torch.Tensor:
        """Return the log-probability of each token of some responses, (b, T)."""
        prompts, ids_bT, mask_bT = rollouts.prompts[rows], rollouts.ids_BT[rows], rollouts.mask_BT[rows]
        prompt_bL, own_bL = self._side_by_side(prompts)
        seen = torch.cat([own_bL, mask_bT], dim=1)
        ids = torch.cat([prompt_bL, ids_bT], dim=1)
        logits = model(**self._inputs(prompts, ids), attention_mask=seen).logits
        logits = logits[:, prompt_bL.shape[1] - 1 : -1] / self.temperature
        return logits.log_softmax(-1).gather(-1, ids_bT.unsqueeze(-1)).squeeze(-1)


def token_advantages(
    rollouts: Rollouts, n: int, settings: RunSettings
) -> tuple[torch.Tensor, dict[str, float]]:
    """Return the advantage of each token, (B, T), and the components' shares, of groups of ``n`` in a row."""
    scores, steps = advantage.as_tensors([Earned.by(one) for one in rollouts.scored])
    rewards_B = torch.tensor([one.step_rar + one.step_rvr for one in rollouts.scored], dtype=torch.float64)
    groups_B = torch.arange(len(rewards_B)) // n
    found = advantage.advantages(rewards_B, groups_B, settings, scores=scores, steps=steps)
    mask_BT = rollouts.mask_BT
    if settings.advantage.credit == "trajectory":
        return advantage.to_tokens(found.values.squeeze(1), mask_BT).float(), found.shares
    ends = [
        written.token_ends([step.end for step in one.steps])
        for written, one in zip(rollouts.written, rollouts.scored, strict=True)
    ]
    return advantage.steps_to_tokens(found.values, ends, mask_BT).float(), found.shares


def update(
    policy: Policy, optimizer: torch.optim.Optimizer, rollouts: Rollouts, a_BT: torch.Tensor, actor: Any
) -> None:
    """Take one step of the policy gradient, on-policy, with the k3 penalty; means over tokens, then over responses."""
    n_rows, width = len(rollouts.scored), actor.ppo_micro_batch_size_per_gpu
    optimizer.zero_grad()
    for first in range(0, n_rows, width):
        rows = slice(first, first + width)
        now = policy.log_probs(policy.model, rollouts, rows)
        with torch.no_grad():
            before = policy.log_probs(policy.reference, rollouts, rows)
        mask = rollouts.mask_BT[rows]
        k3 = (before - now).exp() - (before - now) - 1
        loss = -(now - now.detach()).exp() * a_BT[rows] + actor.kl_loss_coef * k3
        (((loss * mask).sum(1) / mask.sum(1)).sum() / n_rows).backward()
    torch.nn.utils.clip_grad_norm_(policy.model.parameters(), actor.optim.clip_grad)
    optimizer.step()


def judged(
    policy: Policy, prompts: list[Prompt], settings: RunSettings, step: int, folder: Path
) -> dict[str, Any]:
    """Return the evaluation of one response to each prompt, and keep the responses in a file of ``folder``."""
    parts = []
    with (folder / f"step-{step:06d}.jsonl").open("w") as file:
        for first in range(0, len(prompts), EVALUATED_TOGETHER):
            sampled = policy.sample(prompts[first : first + EVALUATED_TOGETHER], settings)
            for prompt, written, one in zip(sampled.prompts, sampled.written, sampled.scored, strict=True):
                parts.append(one.components())
                row = {"ground_truth": prompt.ground_truth, "response": written.text, **parts[-1]}
                file.write(json.dumps(row) + "\n")
    return evaluation(step, parts)


def order_of(seed: int, n_rows: int) -> np.ndarray:
    """Return the places of the rows of the data in the order in which a run shows them, (n_rows,)."""
    return np.random.default_rng(seed).permutation(n_rows)


def train(args: argparse.Namespace, config: Any) -> dict[str, Any]:
    """Return the curve, the evaluations and the mean shares of a run."""
    torch.manual_seed(args.seed)
    settings = RunSettings.from_mapping(config.algorithm.stepgrpo)
    actor, n = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout.n
    policy = Policy(args.checkpoint / "huggingface", config)
    shown, heldout = (policy.prompts(args.data / f"{name}.parquet") for name in ("train", "heldout"))
    optim = actor.optim
    optimizer = torch.optim.AdamW(
        policy.model.parameters(), lr=optim.lr, betas=tuple(optim.betas), weight_decay=optim.weight_decay
    )
    # As verl's: the first step has a rate of 0.
    schedule = LambdaLR(optimizer, lambda done: min(1.0, done / max(1, optim.lr_warmup_steps)))
    order = order_of(args.seed, len(shown))
    per_step = config.data.train_batch_size
    curve, shares = [], []
    args.responses.mkdir(parents=True, exist_ok=True)
    evaluations = [judged(policy, heldout, settings, 0, args.responses)] if args.judge_first else []
    for step in range(1, args.steps + 1):
        chosen = order[(step - 1) * per_step : step * per_step]
        rollouts = policy.sample([shown[i] for i in chosen for _ in range(n)], settings)
        a_BT, parts = token_advantages(rollouts, n, settings)
        update(policy, optimizer, rollouts, a_BT, actor)
        schedule.step()
        curve.append(training(step, [one.components() for one in rollouts.scored], a_BT[:, 0].tolist()))
        shares.append(parts)
        if step % args.every == 0:
            evaluations.append(judged(policy, heldout, settings, step, args.responses))
            print(f"step {step}: {evaluations[-1]['accuracy']:.1%} right", flush=True)
    # A step in which no advantages differ has none.
    known = [one for one in shares if one]
    mean = {f"{name}_share": float(np.mean([one[name] for one in known])) for name in COMPONENTS if known}
    return {"evaluations": kept(evaluations), "curve": curve, "shares": mean}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="warmed-up checkpoint")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with train.parquet and heldout.parquet"
    )
    parser.add_argument("--arm", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--overrides", required=True, help="what the arm adds to the common command")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--every", type=int, required=True, help="steps between evaluations")
    parser.add_argument("--judge-first", action="store_true", help="judge the warmed-up model too")
    parser.add_argument(
        "--responses", type=Path, required=True, help="folder for each evaluation's responses"
    )
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    torch.set_num_threads(1)
    began = time.monotonic()
    with initialize_config_module("verl.trainer.config", version_base=None):
        words = ["+stepgrpo=digits_cpu", "data.max_response_length=160", *shlex.split(args.overrides)]
        config = compose("ppo_trainer", overrides=words)
    result = {
        "arm": args.arm,
        "seed": args.seed,
        "overrides": args.overrides,
        "warm_up": fingerprint(args.checkpoint),
        **train(args, config),
        "minutes": round((time.monotonic() - began) / 60, 2),
        **provenance(),
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{args.arm}, seed {args.seed}: accuracy {result['evaluations'][-1]['accuracy']:.1%}, {args.out}")


if __name__ == "__main__":
    main()
