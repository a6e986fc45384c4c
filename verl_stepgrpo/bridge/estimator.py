"""The advantage estimator ``stepgrpo``, with the signature verl 0.9.1 calls estimators with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from verl_stepgrpo import advantage
from verl_stepgrpo.bridge import judged
from verl_stepgrpo.errors import ConfigError
from verl_stepgrpo.settings import NAME, NODE, RunSettings


def register(core_algos: ModuleType) -> None:
    """Register the estimator in verl's ``core_algos``, once that is imported."""
    core_algos.register_adv_est(NAME)(compute_stepgrpo_advantage)


def compute_stepgrpo_advantage(
    token_level_rewards: torch.Tensor,
    response_mask: torch.Tensor,
    index: np.ndarray,
    config: Mapping[str, Any] | None = None,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return advantages and returns, both (B, T).

    Every token of a response has the response's advantage, or, with ``credit=step``, that of its step.

    Args:
        token_level_rewards: (B, T); a response's reward is the sum over its tokens.
        response_mask: (B, T), 1 for tokens that the model generated.
        index: (B,) uid of each response's prompt, of any type, in any order.
        config: verl's ``algorithm`` node; ``norm_adv_by_std_in_grpo`` and ``stepgrpo`` are read.

    Raises:
        ConfigError: A setting needs the components of the rewards, and they are not known.

    Source: arXiv 2503.12937, section 3.3. Not in the paper: ``credit=step``, ``outcome_gate``, ``std_floor``.
    """
    node = config or {}
    settings = RunSettings.from_mapping(node.get(NAME))
    by_step = settings.advantage.credit == "step"
    rows = _rows(len(token_level_rewards)) if settings.advantage.needs_components else []
    device = token_level_rewards.device
    with torch.no_grad():
        advantage_BS = advantage.credited(
            token_level_rewards.sum(dim=-1),
            advantage.group_ids(index).to(device),
            advantage.Scale.of(settings, by_std=bool(node.get("norm_adv_by_std_in_grpo", True))),
            shares_BS=_shares(rows).to(device) if by_step else None,
            correct_B=torch.tensor([row.components.get("acc", 0.0) > 0 for row in rows], device=device),
            outcome_gate=settings.advantage.outcome_gate,
        )
        if by_step:
            ends = [row.step_ends for row in rows]
            advantage_BT = advantage.steps_to_tokens(advantage_BS, ends, response_mask)
        else:
            advantage_BT = advantage.to_tokens(advantage_BS.squeeze(1), response_mask)
    judged.keep(advantage_BT, response_mask)
    return advantage_BT, advantage_BT


def _rows(n: int) -> Sequence[judged.Judged]:
    rows = judged.current()
    if rows is None or len(rows) != n or any(row.judgement is None for row in rows if not row.is_padding):
        raise ConfigError(
            f"{NODE}.credit=step and {NODE}.outcome_gate below 1 need the components of each reward, and they did "
            "not reach the estimator: they come with reward.reward_manager.name=stepgrpo and verl's v1 trainer "
            "(trainer.use_v1=True)."
        )
    return rows


def _shares(rows: Sequence[judged.Judged]) -> torch.Tensor:
    """Return the part of each reward that was paid in each step, (B, S), with zeros where there is no step."""
    shares = [torch.tensor(row.step_shares, dtype=torch.float64) for row in rows]
    return pad_sequence(shares, batch_first=True)
