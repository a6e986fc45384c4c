"""The advantage estimator ``stepgrpo``, with the signature verl 0.9.1 calls estimators with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch

from verl_stepgrpo import advantage
from verl_stepgrpo.bridge import judged
from verl_stepgrpo.errors import ConfigError
from verl_stepgrpo.settings import NAME, NODE, AdvantageSettings, RunSettings


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

    Every token of a response has the response's advantage, or, with ``credit`` other than ``trajectory``, that of its
    step.

    Args:
        token_level_rewards: (B, T); a response's reward is the sum over its tokens.
        response_mask: (B, T), 1 for tokens that the model generated.
        index: (B,) uid of each response's prompt, of any type, in any order.
        config: verl's ``algorithm`` node; ``norm_adv_by_std_in_grpo`` and ``stepgrpo`` are read.

    Raises:
        ConfigError: A setting needs the components of the rewards, and they are not known.

    Source: arXiv 2503.12937, section 3.3. Not in the paper: ``combine``, ``credit``, ``outcome_gate``, ``std_floor``.
    """
    node = config or {}
    settings = RunSettings.from_mapping(node.get(NAME))
    rows = _rows(len(token_level_rewards), settings.advantage)
    device = token_level_rewards.device
    with torch.no_grad():
        earned = [row.earned(settings.reward.extra_weights) for row in rows]
        scores, steps = advantage.as_tensors(earned, device) if rows else (None, None)
        found = advantage.advantages(
            token_level_rewards.sum(dim=-1),
            advantage.group_ids(index).to(device),
            settings,
            by_std=bool(node.get("norm_adv_by_std_in_grpo", True)),
            scores=scores,
            steps=steps,
        )
        if settings.advantage.credit == "trajectory":
            advantage_BT = advantage.to_tokens(found.values.squeeze(1), response_mask)
        else:
            ends = [row.step_ends for row in rows]
            advantage_BT = advantage.steps_to_tokens(found.values, ends, response_mask)
    judged.keep(advantage_BT, response_mask, found.shares)
    return advantage_BT, advantage_BT


def _rows(n: int, settings: AdvantageSettings) -> Sequence[judged.Judged]:
    """Return the batch's rows with their judgements; none where they are not known and the settings need none.

    Raises:
        ConfigError: The settings need them.
    """
    rows = judged.current() or ()
    if len(rows) == n and all(row.judgement is not None for row in rows if not row.is_padding):
        return rows
    if not settings.needs_components:
        return ()
    raise ConfigError(
        f"{NODE}.combine={settings.combine}, credit={settings.credit}, outcome_gate={settings.outcome_gate}: all but "
        "sum, trajectory and 1 need the components of each reward, and they did not reach the estimator: they come "
        "with reward.reward_manager.name=stepgrpo and verl's v1 trainer (trainer.use_v1=True)."
    )
