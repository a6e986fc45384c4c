"""Group-relative advantages: how much better a response is than the others to the same prompt.

Axes in the names of tensors: B responses of the batch, T tokens of a response, G groups, S reasoning steps.
Needs torch, no verl. Source: Zhang et al., arXiv 2503.12937, section 3.3; credit by step is not in the paper.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    centred_B = _centred(rewards_B, groups_B)
    return (centred_B / _divisor(rewards_B, centred_B, groups_B, scale)).to(rewards_B.dtype)


def by_step(
    rewards_B: torch.Tensor,
    shares_BS: torch.Tensor,
    groups_B: torch.Tensor,
    scale: Scale | None = None,
) -> torch.Tensor:
    """Return the advantage of each step, and of what follows the steps, (B, S + 1).

    With the outcome o (the reward without its key-step share) and K(s), the share paid in step s and later:

        A(s) = [(o - mean o) + (K(s) - mean K(s))] / std(r),    and without K behind the steps.

    So the first step has what ``group_relative`` gives the whole response, exactly, and the answer what it gives
    the outcome, in units of the same std. A response with fewer steps than s counts in the mean with K(s) = 0.

    Args:
        rewards_B: One reward per response, (B,), finite.
        shares_BS: The part of it that was paid for key steps matched in each step, (B, S); 0 for steps that a
            response does not have.
        groups_B: Group of each response, (B,) of int64.
        scale: As in ``group_relative``.
    """
    to_go_BS = shares_BS.double().flip(1).cumsum(1).flip(1)
    # A last column of zeros: nothing is left to be paid for behind the steps.
    to_go_BS = torch.cat([to_go_BS, to_go_BS.new_zeros(len(to_go_BS), 1)], dim=1)
    spent_BS = _centred(to_go_BS[:, :1] - to_go_BS, groups_B)
    centred_B = _centred(rewards_B, groups_B)
    divisor_B = _divisor(rewards_B, centred_B, groups_B, scale)
    return ((centred_B.unsqueeze(1) - spent_BS) / divisor_B.unsqueeze(1)).to(rewards_B.dtype)


def credited(
    rewards_B: torch.Tensor,
    groups_B: torch.Tensor,
    scale: Scale | None = None,
    *,
    shares_BS: torch.Tensor | None = None,
    correct_B: torch.Tensor | None = None,
    outcome_gate: float = 1.0,
) -> torch.Tensor:
    """Return the advantage of each step and of what follows, (B, S + 1), or of each whole response, (B, 1).

    Args:
        rewards_B, groups_B, scale: As in ``group_relative``.
        shares_BS: As in ``by_step``, for ``credit=step``; None gives each response one advantage.
        correct_B: Which responses are right, (B,) of bool; needed where ``outcome_gate`` is below 1.
        outcome_gate: Factor in [0, 1] on the advantages of a group without a right answer.

    Raises:
        ValueError: ``outcome_gate`` is below 1, and which responses are right is not given.
    """
    if outcome_gate < 1 and correct_B is None:
        raise ValueError(f"outcome_gate={outcome_gate} needs correct_B: which responses are right")
    if shares_BS is None:
        advantage_BS = group_relative(rewards_B, groups_B, scale).unsqueeze(1)
    else:
        advantage_BS = by_step(rewards_B, shares_BS, groups_B, scale)
    if outcome_gate < 1 and correct_B is not None:
        advantage_BS[all_wrong(correct_B, groups_B)] *= outcome_gate
    return advantage_BS


def all_wrong(correct_B: torch.Tensor, groups_B: torch.Tensor) -> torch.Tensor:
    """Return whether no response of each response's group is right, (B,) of bool. ``correct_B``: (B,) of bool."""
    right_G = torch.bincount(groups_B, weights=correct_B.double())
    return (right_G == 0)[groups_B]


def to_tokens(advantage_B: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """Return the advantage of each token, (B, T): its response's, and 0 where the mask is 0."""
    # Converted first and multiplied in place: an integer mask times floats takes the slow mixed path.
    return mask_BT.to(advantage_B.dtype, copy=True).mul_(advantage_B.unsqueeze(-1))


def steps_to_tokens(
    advantage_BS: torch.Tensor, ends: Sequence[Sequence[int]], mask_BT: torch.Tensor
) -> torch.Tensor:
    """Return the advantage of each token, (B, T): its step's, and 0 where the mask is 0.

    What stands before a step belongs to it. A response without steps has the first step's advantage throughout,
    which is that of the whole response.

    Args:
        advantage_BS: As ``by_step`` gives it, (B, S + 1).
        ends: For each response the number of leading tokens up to the end of each of its steps, rising.
        mask_BT: (B, T), 1 for tokens that the model generated.
    """
    n_responses, n_columns = advantage_BS.shape
    width = mask_BT.shape[1]
    bounds_BS = np.zeros((n_responses, n_columns + 1), dtype=np.int64)
    for bounds, own in zip(bounds_BS, ends, strict=True):
        bounds[1 : len(own) + 1] = own
        bounds[len(own) + 1 :] = own[-1] if own else width
    bounds_BS = np.maximum.accumulate(bounds_BS.clip(max=width), axis=1)
    bounds_BS[:, -1] = width
    lengths_BS = torch.from_numpy(np.diff(bounds_BS, axis=1)).to(advantage_BS.device)
    per_token = advantage_BS.flatten().repeat_interleave(lengths_BS.flatten(), output_size=mask_BT.numel())
    return per_token.view(mask_BT.shape).mul_(mask_BT)


def _centred(values: torch.Tensor, groups_B: torch.Tensor) -> torch.Tensor:
    """Return ``values``, (B,) or (B, S), less the mean of each group, in float64.

    A mean in float32 would leave residues that a small std blows up.
    """
    values = values.double()
    size_G = torch.bincount(groups_B)
    if values.dim() == 1:
        return values - (torch.bincount(groups_B, weights=values) / size_G)[groups_B]
    sums_GS = values.new_zeros((len(size_G), values.shape[1])).index_add_(0, groups_B, values)
    return values - (sums_GS / size_G.unsqueeze(1))[groups_B]


def _divisor(
    rewards_B: torch.Tensor, centred_B: torch.Tensor, groups_B: torch.Tensor, scale: Scale | None
) -> torch.Tensor:
    """Return what the centred rewards are divided by, (B,) of float64: infinity where a group does not vary."""
    scale = scale or Scale()
    n_groups = int(groups_B.max()) + 1 if groups_B.numel() else 0
    # Equal rewards are told by their extremes, exactly; their computed std is not always 0.
    low_G = rewards_B.new_full((n_groups,), torch.inf).scatter_reduce_(0, groups_B, rewards_B, "amin")
    high_G = rewards_B.new_full((n_groups,), -torch.inf).scatter_reduce_(0, groups_B, rewards_B, "amax")
    divisor_G = torch.ones(n_groups, dtype=torch.float64, device=rewards_B.device)
    if scale.by_std:
        size_G = torch.bincount(groups_B, minlength=n_groups)
        square_G = torch.bincount(groups_B, weights=centred_B.square(), minlength=n_groups)
        divisor_G = (square_G / (size_G - 1).clamp(min=1)).sqrt().clamp(min=scale.std_floor) + scale.epsilon
    return torch.where(high_G > low_G, divisor_G, torch.inf)[groups_B]
