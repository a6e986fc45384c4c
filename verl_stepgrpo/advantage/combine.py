"""From what a response was paid for to one advantage: the paper's sum, each component by itself, or answer first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from verl_stepgrpo.advantage.groups import Scale, all_wrong, centred, divisor, lowest
from verl_stepgrpo.earned import COMPONENTS
from verl_stepgrpo.settings import RunSettings

WHITENING_EPSILON = 1e-8
"""Added to the standard deviation of the batch, as GDPO does (arXiv 2601.05242, equation 6)."""


@dataclass(frozen=True)
class Scores:
    """What each response was paid, component by component; each (B,).

    Attributes:
        correct_B: Whether its answer is right, which is paid 1; bool.
        key_steps_B: What its key steps were paid, in [0, alpha].
        validity_B: What its validity was paid, 0 or ``rvr_weight``.
        real_B: Whether it is a response, not a row that only fills the batch; bool.
        parts_BE: What each other part was paid, (B, E) in the order of ``extra_weights``; None where there are none.
    """

    correct_B: torch.Tensor
    key_steps_B: torch.Tensor
    validity_B: torch.Tensor
    real_B: torch.Tensor
    parts_BE: torch.Tensor | None = None


@dataclass(frozen=True)
class Combined:
    """The advantage of each response, (B,) of float64, and what it is made of.

    Attributes:
        total_B: The advantage.
        parts: What each of ``COMPONENTS`` adds to it, (B,); None where they are not known.
        per_answer_B: What one unit of the answer's centred reward adds; credit by value spreads that over the steps.
        per_key_step_B: The same of what key steps are paid, for credit by step.
        compared_B: Group within which key steps are compared, (B,) of int64: with ``answer_first``, among the right
            answers of a prompt.
    """

    total_B: torch.Tensor
    parts: Mapping[str, torch.Tensor] | None
    per_answer_B: torch.Tensor
    per_key_step_B: torch.Tensor
    compared_B: torch.Tensor


def combined(
    rewards_B: torch.Tensor,
    groups_B: torch.Tensor,
    settings: RunSettings,
    scale: Scale,
    scores: Scores | None = None,
) -> Combined:
    """Return the advantage of each response, by ``settings.advantage.combine``.

    ``outcome_gate`` is in it: it multiplies the advantages of groups without a right answer.

    Args:
        rewards_B: The whole reward of each response, (B,), finite; ``combine=component`` goes by ``scores`` alone.
        groups_B: Group of each response, (B,) of int64.
        settings: Those of the run.
        scale: What centred rewards are divided by.
        scores: What the rewards are made of; may be None for ``combine=sum`` with ``outcome_gate=1``.

    Raises:
        ValueError: The settings need ``scores``, and they are not given.
    """
    own = settings.advantage
    if scores is None:
        if own.needs_components:
            raise ValueError(f"combine={own.combine}, outcome_gate={own.outcome_gate} need scores")
        return _sum(rewards_B, groups_B, scale, None)
    if own.combine == "sum":
        found = _sum(rewards_B, groups_B, scale, scores)
    elif own.combine == "component":
        found = _by_component(groups_B, settings, scale, scores)
    else:
        found = _answer_first(rewards_B, groups_B, settings, scale, scores)
    if own.outcome_gate < 1:
        found = _scaled(found, 1 - (1 - own.outcome_gate) * all_wrong(scores.correct_B, groups_B).double())
    return _whitened(found, scores.real_B) if own.combine == "component" else found


def shares(parts: Mapping[str, torch.Tensor], real_B: torch.Tensor) -> dict[str, float]:
    """Return the share of what advantages differ by that each component makes; nothing where none differ.

    An advantage is the sum of its parts, each with mean 0 in its group, so that its sum of squares is the sum over the
    parts of their products with it: shares sum to 1. A part that works against the rest has one below 0.
    """
    kept = {name: part_B[real_B] for name, part_B in parts.items()}
    whole_B = torch.stack(list(kept.values())).sum(dim=0)
    squares = float(whole_B.square().sum())
    return (
        {name: float((part_B * whole_B).sum()) / squares for name, part_B in kept.items()} if squares else {}
    )


def _sum(rewards_B: torch.Tensor, groups_B: torch.Tensor, scale: Scale, scores: Scores | None) -> Combined:
    """The paper's: the rewards are added up, and the sum is held against the group's (section 3.3)."""
    centred_B = centred(rewards_B, groups_B)
    divisor_B = divisor(rewards_B, centred_B, groups_B, scale)
    per_unit_B = divisor_B.reciprocal()
    parts = None
    if scores is not None:
        paid = (scores.correct_B, scores.key_steps_B, _rest(scores))
        parts = _named(centred(paid_B, groups_B) * per_unit_B for paid_B in paid)
    return Combined(centred_B / divisor_B, parts, per_unit_B, per_unit_B, groups_B)


def _by_component(groups_B: torch.Tensor, settings: RunSettings, scale: Scale, scores: Scores) -> Combined:
    """GDPO's: each component held against the group's own, weighted and summed (arXiv 2601.05242, equations 4 and 5).

    A weight is applied after the division, which would undo it before: what is divided is one unit of each, the share
    of key steps found, 1 for validity, the number that a part of one's own has. So a weight means the same for all of
    them, by the std or without it, and so does what ``scale`` adds to a std or asks of it.
    """
    reward = settings.reward
    answer_B, per_answer_B = _relative(scores.correct_B, groups_B, scale)
    key_steps_B, per_key_step_B = _weighed(scores.key_steps_B, reward.alpha, groups_B, scale)
    rest_B, _ = _weighed(scores.validity_B, reward.rvr_weight, groups_B, scale)
    if scores.parts_BE is not None:
        for e, weight in enumerate(reward.extra_weights.values()):
            rest_B = rest_B + _weighed(scores.parts_BE[:, e], weight, groups_B, scale)[0]
    parts = _named((answer_B, key_steps_B, rest_B))
    return Combined(_total(parts), parts, per_answer_B, per_key_step_B, groups_B)


def _weighed(
    paid_B: torch.Tensor, weight: float, groups_B: torch.Tensor, scale: Scale
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``_relative`` of what is paid at ``weight``, taken of one unit of it and then times ``weight``.

    So one unit of what is *paid* makes what one unit of it does by itself: the two weights cancel.
    """
    relative_B, per_unit_B = _relative(paid_B / (weight or 1.0), groups_B, scale)
    return weight * relative_B, per_unit_B


def _rest(scores: Scores) -> torch.Tensor:
    """Return what validity and the other parts were paid, (B,)."""
    return scores.validity_B if scores.parts_BE is None else scores.validity_B + scores.parts_BE.sum(dim=1)


def _answer_first(
    rewards_B: torch.Tensor, groups_B: torch.Tensor, settings: RunSettings, scale: Scale, scores: Scores
) -> Combined:
    """The answer held against the group's; all else that is paid among the group's right answers alone.

    In a group without a right answer the key steps are held against each other's, at weight 1 (times ``outcome_gate``,
    in ``combined``): ``process_weight`` says how much stands beside an answer's part, and there is none. After PAPO
    (arXiv 2603.26535), which adds its process reward among right answers and has no such groups. Not there either:
    where the weight would push a right answer below a wrong one, the group's process part is made as much smaller as
    keeps it level with that; of whole responses, before credit moves anything between their tokens.
    """
    among_B = 2 * groups_B + scores.correct_B
    answer_B, per_answer_B = _relative(scores.correct_B, groups_B, scale)
    # What other parts are paid, and what a manager of the user's pays beside, counts with validity.
    process_B = rewards_B.double() - scores.correct_B.double()
    relative_B, per_process_B = _relative(process_B, among_B, scale)
    # Between a right and a wrong answer of one group lies one unit of the answer's reward.
    lowest_B = lowest(relative_B * scores.correct_B, groups_B)
    most_B = torch.where(lowest_B < 0, per_answer_B / -lowest_B, torch.inf)
    weight_B = most_B.clamp(max=settings.advantage.process_weight)
    # A group whose answers are all right has no wrong ones to fall below.
    is_equal_B = per_answer_B == 0
    weight_B = torch.where(is_equal_B, settings.advantage.process_weight, weight_B) * scores.correct_B
    sparse_B, per_sparse_B = _relative(scores.key_steps_B, groups_B, scale)
    hopeless_B = all_wrong(scores.correct_B, groups_B)
    key_steps_B = weight_B * centred(scores.key_steps_B, among_B) * per_process_B + hopeless_B * sparse_B
    validity_B = weight_B * centred(process_B - scores.key_steps_B, among_B) * per_process_B
    parts = _named((answer_B, key_steps_B, validity_B))
    per_key_step_B = weight_B * per_process_B + hopeless_B * per_sparse_B
    return Combined(_total(parts), parts, per_answer_B, per_key_step_B, among_B)


def _relative(
    values_B: torch.Tensor, groups_B: torch.Tensor, scale: Scale
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return values held against their group's, and what one unit of them makes: 0 where they do not differ."""
    values_B = values_B.double()
    centred_B = centred(values_B, groups_B)
    divisor_B = divisor(values_B, centred_B, groups_B, scale)
    return centred_B / divisor_B, divisor_B.reciprocal()


def _named(parts: Iterable[torch.Tensor]) -> dict[str, torch.Tensor]:
    return dict(zip(COMPONENTS, parts, strict=True))


def _total(parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(parts.values())).sum(dim=0)


def _scaled(found: Combined, factor_B: torch.Tensor) -> Combined:
    parts = found.parts and {name: part_B * factor_B for name, part_B in found.parts.items()}
    return Combined(
        found.total_B * factor_B,
        parts,
        found.per_answer_B * factor_B,
        found.per_key_step_B * factor_B,
        found.compared_B,
    )


def _whitened(found: Combined, real_B: torch.Tensor) -> Combined:
    """Take off the mean over the batch's responses and divide by their std (arXiv 2601.05242, equation 6).

    Over responses, not over tokens as verl's own does, so that long responses count no more than short ones.
    """
    kept_B = found.total_B[real_B]
    if len(kept_B) < 2:
        return found
    per_std = 1.0 / (kept_B.std() + WHITENING_EPSILON)
    scaled = _scaled(found, per_std.expand_as(found.total_B))
    total_B = (found.total_B - kept_B.mean()) * per_std
    return Combined(total_B, scaled.parts, scaled.per_answer_B, scaled.per_key_step_B, scaled.compared_B)
