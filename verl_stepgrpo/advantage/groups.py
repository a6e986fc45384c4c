"""Rewards held against those of the same group: its mean taken off, divided by its standard deviation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from verl_stepgrpo.settings import STD_EPSILON, RunSettings


def group_ids(uids: Iterable[object]) -> torch.Tensor:
    """Return the group of each response, (B,) of int64 in [0, G), in order of first appearance.

    Args:
        uids: One hashable per response, the same for the responses to one prompt; of any type and order.
    """
    listed = uids.tolist() if isinstance(uids, (np.ndarray, torch.Tensor)) else list(uids)
    known = {uid: group for group, uid in enumerate(dict.fromkeys(listed))}
    return torch.from_numpy(np.fromiter(map(known.__getitem__, listed), dtype=np.int64, count=len(listed)))


@dataclass(frozen=True)
class Scale:
    """What the centred rewards of a group are divided by.

    Attributes:
        by_std: Whether it is their sample standard deviation (n - 1); else they are left as they are.
        epsilon: Added to it. The paper has none; the authors' code adds 1e-4.
        std_floor: The lowest that is divided by. The paper has none.
    """

    by_std: bool = True
    epsilon: float = 0.0
    std_floor: float = 0.0

    @classmethod
    def of(cls, settings: RunSettings, *, by_std: bool = True) -> Scale:
        """Return the scale of a run with ``settings``."""
        epsilon = STD_EPSILON if settings.reward.mode == "reference" else 0.0
        return cls(by_std, epsilon, settings.advantage.std_floor)


def group_relative(
    rewards_B: torch.Tensor, groups_B: torch.Tensor, scale: Scale | None = None
) -> torch.Tensor:
    """Return (r - mean) / std within each group, (B,) in the dtype of ``rewards_B``.

    A group of one and a group of equal rewards get 0.

    Args:
        rewards_B: One reward per response, (B,), finite.
        groups_B: Group of each response, (B,) of int64, as ``group_ids`` gives it.
        scale: Defaults to the paper's, the standard deviation.
    """
    centred_B = centred(rewards_B, groups_B)
    return (centred_B / divisor(rewards_B, centred_B, groups_B, scale)).to(rewards_B.dtype)


def all_wrong(correct_B: torch.Tensor, groups_B: torch.Tensor) -> torch.Tensor:
    """Return whether no response of each response's group is right, (B,) of bool. ``correct_B``: (B,) of bool."""
    right_G = torch.bincount(groups_B, weights=correct_B.double())
    return (right_G == 0)[groups_B]


def centred(values: torch.Tensor, groups_B: torch.Tensor) -> torch.Tensor:
    """Return ``values``, (B,) or (B, S), less the mean of each group, in float64.

    A mean in float32 would leave residues that a small std blows up.
    """
    values = values.double()
    size_G = torch.bincount(groups_B)
    if values.dim() == 1:
        return values - (torch.bincount(groups_B, weights=values) / size_G)[groups_B]
    sums_GS = values.new_zeros((len(size_G), values.shape[1])).index_add_(0, groups_B, values)
    return values - (sums_GS / size_G.unsqueeze(1))[groups_B]


def divisor(
    rewards_B: torch.Tensor, centred_B: torch.Tensor, groups_B: torch.Tensor, scale: Scale | None
) -> torch.Tensor:
    """Return what the centred rewards are divided by, (B,) of float64: infinity where a group does not vary."""
    scale = scale or Scale()
    n_groups = _count(groups_B)
    divisor_G = torch.ones(n_groups, dtype=torch.float64, device=rewards_B.device)
    if scale.by_std:
        size_G = torch.bincount(groups_B, minlength=n_groups)
        square_G = torch.bincount(groups_B, weights=centred_B.square(), minlength=n_groups)
        divisor_G = (square_G / (size_G - 1).clamp(min=1)).sqrt().clamp(min=scale.std_floor) + scale.epsilon
    # Equal rewards are told by their extremes, exactly; their computed std is not always 0.
    varies_B = -lowest(-rewards_B, groups_B) > lowest(rewards_B, groups_B)
    return torch.where(varies_B, divisor_G[groups_B], torch.inf)


def lowest(values_B: torch.Tensor, groups_B: torch.Tensor) -> torch.Tensor:
    """Return the lowest value of each response's group, (B,)."""
    low_G = values_B.new_full((_count(groups_B),), torch.inf)
    return low_G.scatter_reduce_(0, groups_B, values_B, "amin")[groups_B]


def _count(groups_B: torch.Tensor) -> int:
    return int(groups_B.max()) + 1 if groups_B.numel() else 0
