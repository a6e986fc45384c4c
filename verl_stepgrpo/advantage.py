"""Group-relative advantages: how much better a response is than the others to the same prompt.

Axes in the names of tensors: B responses of the batch, T tokens of a response, G groups.
Needs torch alone: no verl. Source: Zhang et al., arXiv 2503.12937, section 3.3.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch


def group_ids(uids: Iterable[object]) -> torch.Tensor:
    """Return the group of each response, (B,) of int64 in [0, G), in order of first appearance.

    Args:
        uids: One hashable per response, the same for the responses to one prompt; of any type and order.
    """
    listed = uids.tolist() if isinstance(uids, (np.ndarray, torch.Tensor)) else list(uids)
    known = {uid: group for group, uid in enumerate(dict.fromkeys(listed))}
    return torch.from_numpy(np.fromiter(map(known.__getitem__, listed), dtype=np.int64, count=len(listed)))


def group_relative(
    rewards_B: torch.Tensor, groups_B: torch.Tensor, *, divide_by_std: bool = True, epsilon: float = 0.0
) -> torch.Tensor:
    """Return (r - mean) / std within each group, (B,) in the dtype of ``rewards_B``.

    A group of one and a group of equal rewards get 0. std is the sample standard deviation (n - 1).

    Args:
        rewards_B: One reward per response, (B,), finite.
        groups_B: Group of each response, (B,) of int64, as ``group_ids`` gives it.
        divide_by_std: False leaves the centred rewards as they are.
        epsilon: Added to std. The paper has none; the authors' code adds 1e-4.
    """
    if rewards_B.numel() == 0:
        return rewards_B.clone()
    # float64: a mean in float32 leaves residues that a small std would blow up.
    r_B = rewards_B.double()
    n_groups = int(groups_B.max()) + 1
    size_G = torch.bincount(groups_B, minlength=n_groups)
    mean_G = torch.bincount(groups_B, weights=r_B, minlength=n_groups) / size_G
    centred_B = r_B - mean_G[groups_B]
    # Equal rewards are told by their extremes, exactly; their computed std is not always 0.
    low_G = r_B.new_full((n_groups,), torch.inf).scatter_reduce_(0, groups_B, r_B, "amin")
    high_G = r_B.new_full((n_groups,), -torch.inf).scatter_reduce_(0, groups_B, r_B, "amax")
    varies_B = (high_G > low_G)[groups_B]
    if divide_by_std:
        square_G = torch.bincount(groups_B, weights=centred_B.square(), minlength=n_groups)
        std_G = (square_G / (size_G - 1).clamp(min=1)).sqrt()
        centred_B = centred_B / (std_G[groups_B] + epsilon)
    return torch.where(varies_B, centred_B, 0.0).to(rewards_B.dtype)


def to_tokens(advantage_B: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """Return the advantage of each token, (B, T): its response's, and 0 where the mask is 0."""
    # Converted first and multiplied in place: an integer mask times floats takes the slow mixed path.
    return mask_BT.to(advantage_B.dtype, copy=True).mul_(advantage_B.unsqueeze(-1))
