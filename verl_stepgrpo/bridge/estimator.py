"""The advantage estimator ``stepgrpo``, with the signature verl 0.9.1 calls estimators with."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch

from verl_stepgrpo import advantage, reference
from verl_stepgrpo.settings import NAME, RunSettings


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
    """Return advantages and returns, both (B, T): every token of a response has the response's advantage.

    Args:
        token_level_rewards: (B, T); a response's reward is the sum over its tokens.
        response_mask: (B, T), 1 for tokens that the model generated.
        index: (B,) uid of each response's prompt, of any type, in any order.
        config: verl's ``algorithm`` node; ``norm_adv_by_std_in_grpo`` and ``stepgrpo.mode`` are read.

    Source: arXiv 2503.12937, section 3.3; trajectory-level, as in the paper.
    """
    node = config or {}
    settings = RunSettings.from_mapping(node.get(NAME))
    with torch.no_grad():
        groups_B = advantage.group_ids(index).to(token_level_rewards.device)
        advantage_B = advantage.group_relative(
            token_level_rewards.sum(dim=-1),
            groups_B,
            divide_by_std=bool(node.get("norm_adv_by_std_in_grpo", True)),
            epsilon=reference.STD_EPSILON if settings.reward.mode == "reference" else 0.0,
        )
        advantage_BT = advantage.to_tokens(advantage_B, response_mask)
    return advantage_BT, advantage_BT
