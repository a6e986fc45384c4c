"""From one advantage a response to one a step: credit by the key steps that steps show, or by what the answer's
chances were before and after them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from verl_stepgrpo.advantage.combine import Combined, Scores, combined, shares
from verl_stepgrpo.advantage.groups import Scale, centred
from verl_stepgrpo.settings import RunSettings

_WORD = 31
"""Key steps whose being found or not is kept in one number."""


@dataclass(frozen=True)
class Steps:
    """What the steps of each response show.

    Attributes:
        shares_BS: The part of the reward that was paid for the key steps matched in each step, (B, S); 0 for steps that
            a response does not have.
        found_BK: The step, from 0, in which each key step of the response's question was found, (B, K) of int64; -1
            where it was not, or where the question has fewer.
        count_B: How many steps the response has, (B,) of int64.
    """

    shares_BS: torch.Tensor
    found_BK: torch.Tensor
    count_B: torch.Tensor


@dataclass(frozen=True)
class Advantages:
    """What a batch is trained on.

    Attributes:
        values: Of each step and, last, of what follows the steps, (B, S + 1); or of each whole response, (B, 1).
        shares: As ``combine.shares``; nothing where components are not known.
    """

    values: torch.Tensor
    shares: dict[str, float]


def advantages(
    rewards_B: torch.Tensor,
    groups_B: torch.Tensor,
    settings: RunSettings,
    *,
    by_std: bool = True,
    scores: Scores | None = None,
    steps: Steps | None = None,
) -> Advantages:
    """Return the advantages of a batch under the settings of a run, in the dtype of ``rewards_B``.

    Args:
        rewards_B: The whole reward of each response, (B,), finite.
        groups_B: Group of each response, (B,) of int64, as ``group_ids`` gives it.
        settings: Those of the run.
        by_std: Whether what is centred is divided by its standard deviation.
        scores: What the rewards are made of; may be None where ``settings.advantage.needs_components`` is False.
        steps: What the steps show; may be None for ``credit=trajectory``.

    Raises:
        ValueError: The settings need ``scores`` or ``steps``, and they are not given.
    """
    found = combined(rewards_B, groups_B, settings, Scale.of(settings, by_std=by_std), scores)
    parts = shares(found.parts, scores.real_B) if found.parts and scores is not None else {}
    credit = settings.advantage.credit
    if credit == "trajectory":
        return Advantages(found.total_B.unsqueeze(1).to(rewards_B.dtype), parts)
    if steps is None or scores is None:
        raise ValueError(f"credit={credit} needs scores and steps")
    if credit == "step":
        values_BS = by_step(found, steps)
    else:
        values_BS = by_value(found, scores.correct_B, groups_B, steps, settings.advantage.value_lambda)
    return Advantages(values_BS.to(rewards_B.dtype), parts)


def by_step(found: Combined, steps: Steps) -> torch.Tensor:
    """Return the advantage of each step, and of what follows the steps, (B, S + 1), for ``credit=step``.

    With K(s) for what is paid in step s and later, a step's advantage is that of the response, less what the key steps
    before it make of it: with ``combine=sum``

        A(s) = [(o - mean o) + (K(s) - mean K(s))] / std(r),    and without K after the steps,

    where o is the reward without its key-step share. So the first step has what ``credit=trajectory`` gives the whole
    response, exactly. A response with fewer steps than s counts in the mean with K(s) = 0.
    """
    shares_BS = steps.shares_BS.double()
    spent_BS = torch.cat([shares_BS.new_zeros(len(shares_BS), 1), shares_BS.cumsum(1)], dim=1)
    spent_BS = centred(spent_BS, found.compared_B)
    return found.total_B.unsqueeze(1) - spent_BS * found.per_key_step_B.unsqueeze(1)


def by_value(
    found: Combined, correct_B: torch.Tensor, groups_B: torch.Tensor, steps: Steps, value_lambda: float
) -> torch.Tensor:
    """Return the advantage of each step, and of what follows the steps, (B, S + 1), for ``credit=value``.

    The answer's part of the response's advantage is spread over its steps, by ``outcome_to_go``; the other parts stay
    the same in all of them.
    """
    to_go_BS = outcome_to_go(correct_B, groups_B, steps, value_lambda)
    moved_BS = to_go_BS - centred(correct_B, groups_B).unsqueeze(1)
    return found.total_B.unsqueeze(1) + moved_BS * found.per_answer_B.unsqueeze(1)


def outcome_to_go(
    correct_B: torch.Tensor, groups_B: torch.Tensor, steps: Steps, value_lambda: float = 1.0
) -> torch.Tensor:
    """Return how much better the answer came out than was to be expected before each step, (B, S + 1) of float64.

    The state after s steps is s and the set of key steps found in them. A response that has fewer steps stays in its
    last state: it counts for later s, too, with all that it found. A state is worth what the answers of the *other*
    responses of the group that are in it come to in the mean, V. One that no other is in keeps what the one before it
    was worth; all begin in the same, which is worth the mean of the group.

    This is the estimate of generalised advantages (Schulman et al., arXiv 1506.02438) with that V and no discount:
    ``value_lambda`` 1 gives a - V(before step s), and 0 gives V(after) - V(before), with a - V after the last step.
    Everything is times (n - 1) / n for a group of n, by which leaving oneself out widens a difference from the mean: so
    where no response finds a key step, 1 gives a - mean(a), the trajectory's, however many steps each has. Not
    published elsewhere in this form; states that recur in a group are GiGPO's idea (arXiv 2505.10978).

    Args:
        correct_B: Which responses are right, (B,) of bool; a is 1 or 0.
        groups_B: Group of each response, (B,) of int64.
        steps: What the steps show; ``shares_BS`` says how many there may be.
        value_lambda: In [0, 1].
    """
    others_BS, right_BS = _others(groups_B, correct_B, steps)
    answer_B, size_B = correct_B.double(), torch.bincount(groups_B)[groups_B].double()
    ahead_BS = answer_B.unsqueeze(1) - right_BS / others_BS.clamp(min=1)
    ahead_BS *= ((size_B - 1) / size_B).unsqueeze(1)
    ahead_BS[:, 0] = centred(answer_B, groups_B)
    done_S = torch.arange(others_BS.shape[1], device=groups_B.device)
    # What the others do once a response has ended is no matter of its own: its answer keeps its last step's state.
    is_known_BS = (others_BS > 0) & (done_S <= steps.count_B.unsqueeze(1)) | (done_S == 0)
    ahead_BS = ahead_BS.gather(1, (is_known_BS * done_S).cummax(dim=1).values)
    return ahead_BS if value_lambda == 1 else _decayed(ahead_BS, steps.count_B, value_lambda)


def _others(
    groups_B: torch.Tensor, correct_B: torch.Tensor, steps: Steps
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how many other responses are in each state of a response, and how many of them are right; (B, S + 1) each.

    Behind its last step a response is in the state that it ended in; see ``outcome_to_go``.
    """
    n_responses, columns = len(groups_B), steps.shares_BS.shape[1] + 1
    state_BS = groups_B.unsqueeze(1) * columns + torch.arange(columns, device=groups_B.device)
    for first in range(0, steps.found_BK.shape[1], _WORD):
        found_BW = steps.found_BK[:, first : first + _WORD]
        # A key step counts from the state after its step on; the column after the last takes what was not found.
        counts_from_BW = torch.where(found_BW < 0, columns, found_BW + 1).clamp(max=columns)
        bits_BW = (2 ** torch.arange(found_BW.shape[1], device=groups_B.device)).expand_as(found_BW)
        word_BS = groups_B.new_zeros(n_responses, columns + 1).scatter_add_(1, counts_from_BW, bits_BW)
        state_BS = torch.unique(state_BS * 2**_WORD + word_BS[:, :-1].cumsum(1), return_inverse=True)[1]
    answer_BS = correct_B.double().unsqueeze(1).expand_as(state_BS)
    count = torch.bincount(state_BS.flatten()).double()
    right = torch.bincount(state_BS.flatten(), weights=answer_BS.flatten())
    return count[state_BS] - 1, right[state_BS] - answer_BS


def _decayed(ahead_BS: torch.Tensor, count_B: torch.Tensor, value_lambda: float) -> torch.Tensor:
    """Return the sums of the steps' own gains, each step back times ``value_lambda``; see ``outcome_to_go``."""
    out_BS = ahead_BS.clone()
    for s in range(ahead_BS.shape[1] - 2, -1, -1):
        gained_B = ahead_BS[:, s] - ahead_BS[:, s + 1]
        # A step that the response does not have is no step back.
        decayed_B = gained_B + value_lambda * out_BS[:, s + 1]
        out_BS[:, s] = torch.where(s < count_B, decayed_B, out_BS[:, s + 1])
    return out_BS
