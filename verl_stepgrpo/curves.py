"""What a training step is summed up in: every component of the reward, the state of the groups, and decoys.

Names end in ``/mean``, since verl aggregates metrics by what their names contain. Pure: no I/O, no torch, no verl.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from verl_stepgrpo.earned import COMPONENTS
from verl_stepgrpo.judging.key_steps.match import match_key_steps
from verl_stepgrpo.judging.key_steps.reference import KeyStep
from verl_stepgrpo.parts import keys_with_parts
from verl_stepgrpo.rewards import SCORE_KEYS, sections_of
from verl_stepgrpo.settings import RewardSettings

GROUP_CURVES = (
    "groups_without_variance",
    "groups_all_wrong",
    "groups_all_wrong_moving",
    "advantage_from_all_wrong",
)
"""What ``curves`` says of groups."""

SHARE_CURVES = {component: f"{component}_share" for component in COMPONENTS}
"""Name of the curve that says how much of what advantages differ by is a component's doing, by component."""

WITH_KEY_STEPS = "with_key_steps"
"""Name of the share of responses whose prompt has key steps: of so many ``key_step_match`` is the mean."""

NO_ADVANTAGE = 1e-6
"""Advantages nearer to 0 than this have no sign and train nothing: the trainer has them in float32."""

MAX_DECOY_RESPONSES = 256
"""Responses of a step, evenly spread, in which decoys are looked for: about a third of a second."""


@dataclass(frozen=True)
class Outcome:
    """One response of a training step.

    Attributes:
        uid: Its prompt.
        components: The values of ``SCORE_KEYS`` and of parts, as far as they are known and mean something: without
            ``key_step_match`` where the prompt has no key steps.
        weight: Mean absolute advantage of its tokens: how much it moves the policy.
    """

    uid: str
    components: Mapping[str, float]
    weight: float


@dataclass(frozen=True)
class Reasoned:
    """A response in which decoys are looked for, with the key steps of its own prompt."""

    uid: str
    response: str
    key_steps: Sequence[KeyStep]


def curves(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Return the metrics of a training step, each under ``stepgrpo/<name>/mean``.

    Components (but ``score``, which verl draws itself) are means over the responses that have them, as far as the
    reward gave them: ``key_step_match`` over those whose prompt has key steps.

    - ``with_key_steps``: share of responses that those are;
    - ``groups_without_variance``: share of groups whose total rewards are equal, which train nothing;
    - ``groups_all_wrong``: share of groups without a right answer, which train nothing with ``outcome_gate=0``;
    - ``groups_all_wrong_moving``: share of groups without a right answer whose advantages are not 0;
    - ``advantage_from_all_wrong``: their share of the absolute advantage of all responses, in [0, 1].
    """
    metrics = {}
    for name in keys_with_parts(SCORE_KEYS, (o.components for o in outcomes)):
        values = [o.components[name] for o in outcomes if name in o.components]
        if values and name != "score":
            metrics[name] = statistics.fmean(values)
    judged = [o for o in outcomes if {"acc", "score"} <= o.components.keys()]
    if judged:
        metrics |= _group_curves(judged)
    step_wise = [o for o in outcomes if "step_rar" in o.components]
    if step_wise:
        metrics[WITH_KEY_STEPS] = statistics.fmean("key_step_match" in o.components for o in step_wise)
    return {curve_name(name): value for name, value in metrics.items()}


def share_curves(shares: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics for ``shares``, which are by component, as ``advantage.shares`` gives them."""
    return {curve_name(SHARE_CURVES[component]): share for component, share in shares.items()}


def curve_name(name: str) -> str:
    return f"stepgrpo/{name}/mean"


@dataclass(frozen=True)
class GroupState:
    """What the responses to one prompt have in common.

    Attributes:
        right: How many are right.
        size: How many there are.
        is_equal: Whether all have the same total reward.
        weight: The sum of their weights.
    """

    right: int
    size: int
    is_equal: bool
    weight: float

    @property
    def is_all_wrong(self) -> bool:
        return self.right == 0

    @property
    def is_moving_all_wrong(self) -> bool:
        """Whether it moves the policy without a right answer."""
        return self.is_all_wrong and self.weight > 0


def group_states(outcomes: Iterable[Outcome]) -> dict[str, GroupState]:
    """Return the state of each group by its uid; each outcome needs ``acc`` and ``score``."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.uid, []).append(outcome)
    return {
        uid: GroupState(
            right=sum(o.components["acc"] != 0 for o in group),
            size=len(group),
            is_equal=len({o.components["score"] for o in group}) == 1,
            weight=sum(o.weight for o in group),
        )
        for uid, group in groups.items()
    }


def _group_curves(outcomes: Iterable[Outcome]) -> dict[str, float]:
    states = group_states(outcomes).values()
    total = sum(state.weight for state in states)
    from_wrong = sum(state.weight for state in states if state.is_all_wrong)
    return {
        "groups_without_variance": statistics.fmean(state.is_equal for state in states),
        "groups_all_wrong": statistics.fmean(state.is_all_wrong for state in states),
        "groups_all_wrong_moving": statistics.fmean(state.is_moving_all_wrong for state in states),
        "advantage_from_all_wrong": from_wrong / total if total else 0.0,
    }


def decoy_rate(responses: Sequence[Reasoned], settings: RewardSettings) -> float | None:
    """Return the share of another prompt's key steps that responses have, in [0, 1].

    Each response is held against the key steps of the next prompt of the batch, those left out that its own prompt
    has too. The rate rises when a model pastes key words whatever the question is.

    Args:
        responses: Responses of one training step.
        settings: Those of the rewards, of which the format and ``match_threshold`` matter.

    Returns:
        None where there is nothing to look for: one prompt alone, or no key steps.
    """
    prompts = {r.uid: r.key_steps for r in responses}
    following = dict(zip(prompts, [*list(prompts)[1:], *list(prompts)[:1]], strict=True))
    found = looked_for = 0
    for r in responses:
        own = {wording for key_step in r.key_steps for wording in key_step}
        decoys = (
            [k for k in prompts[following[r.uid]] if own.isdisjoint(k)] if following[r.uid] != r.uid else []
        )
        matches = match_key_steps(
            sections_of(r.response, settings), decoys, threshold=settings.match_threshold
        )
        found += sum(match.matched for match in matches)
        looked_for += len(decoys)
    return found / looked_for if looked_for else None
