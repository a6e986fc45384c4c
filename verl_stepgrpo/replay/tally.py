"""Sum up, step by step, what the responses of a run get under one setting. Needs torch; no I/O."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from verl_stepgrpo.advantage import Advantages, advantages, as_tensors, group_ids
from verl_stepgrpo.curves import NO_ADVANTAGE, SHARE_CURVES, Outcome, curve_name, curves
from verl_stepgrpo.parts import component_of
from verl_stepgrpo.replay.rescoring import Rescored, Score, Spans
from verl_stepgrpo.replay.variants import Variant
from verl_stepgrpo.rewards import SCORE_KEYS, UNDEFINED_WITHOUT_KEY_STEPS
from verl_stepgrpo.settings import RunSettings


@dataclass(frozen=True)
class Summary:
    """What a run's responses get under one setting.

    Attributes:
        label: The setting; ``as logged`` for what the run itself paid and credited.
        settings: What it sets.
        responses: Responses that are summed up here.
        left_out: Responses that are not, since they are left over when their group is split into groups of M.
        components: Mean of each of ``SCORE_KEYS``, and of each part, over the responses that have it.
        with_key_steps: Responses whose prompt has key steps, over which ``key_step_match`` is a mean.
        shares: What each component makes of the advantages, by name of its curve; means over training steps.
        groups: ``groups_without_variance``, ``groups_all_wrong``, ``groups_all_wrong_moving`` and
            ``advantage_from_all_wrong``, means over training steps, as the run's curves are; the last two only where
            there are advantages, and none where each response is alone in its group.
        rank_correlation: Spearman's, of the totals with the logged ones, in [-1, 1]; None where either is constant.
        flipped: Responses of which this setting lowers a part (a step, or what follows the steps) that the run raised,
            or raises one that it lowered; None where the run computed no advantages.
    """

    label: str
    settings: dict[str, Any]
    responses: int
    left_out: int
    components: dict[str, float]
    with_key_steps: int
    shares: dict[str, float]
    groups: dict[str, float]
    rank_correlation: float | None
    flipped: int | None


@dataclass(frozen=True)
class Credited:
    """A response in its group, with what it is paid and the advantage of each of its spans."""

    row: Rescored
    group: str
    score: Score
    spans: Spans

    @property
    def is_flipped(self) -> bool:
        """Whether the run pushed a part of it the other way."""
        pairs = list(zip(self.row.advantages, self.spans, strict=False))
        if len(self.row.advantages) != len(self.spans):
            pairs = pairs[:1]  # steps are told apart otherwise than when the run was logged
        return any(_sign(logged) * _sign(own) < 0 for logged, own in pairs)


@dataclass(frozen=True)
class Step:
    """The responses of a training step under one setting, and what each component makes of their advantages."""

    responses: Sequence[Credited] = ()
    shares: Mapping[str, float] = field(default_factory=dict)


def as_logged(rows: Sequence[Rescored], run: RunSettings) -> Step:
    """Return the responses of a step as the run itself, which had the settings ``run``, paid and credited them."""
    responses = [Credited(row, row.uid, row.logged, row.advantages) for row in rows]
    return Step(responses, _advantages([row.logged for row in rows], [row.uid for row in rows], run).shares)


def replayed(rows: Sequence[Rescored], variant: Variant, run: RunSettings, index: int) -> Step:
    """Return the responses of a step as ``variant`` pays and credits them.

    Args:
        rows: All responses of one training step.
        variant: The setting.
        run: The settings that the run had in this step.
        index: Which of each row's ``scores`` is the variant's.
    """
    placed = list(split(rows, variant.group_size))
    if not placed:
        return Step()
    own = [row.scores[index] for _, row in placed]
    found = _advantages(own, [group for group, _ in placed], variant.settings(run))
    credited = [
        Credited(row, group, score, _spans(values, len(score.step_shares)))
        for (group, row), score, values in zip(placed, own, found.values.tolist(), strict=True)
    ]
    return Step(credited, found.shares)


def _advantages(scores: Sequence[Score], groups: Sequence[str], settings: RunSettings) -> Advantages:
    paid, steps = as_tensors([score.earned(settings.reward.extra_weights) for score in scores])
    totals_B = torch.tensor([score.total for score in scores], dtype=torch.float64)
    return advantages(totals_B, group_ids(groups), settings, scores=paid, steps=steps)


def split(rows: Sequence[Rescored], size: int | None) -> Iterator[tuple[str, Rescored]]:
    """Yield the responses of a step with the name of their group, each group split into as many of ``size`` as it has.

    Which responses come together is random and the same every time; those left over are in none.
    """
    groups: dict[str, list[Rescored]] = {}
    for row in rows:
        groups.setdefault(row.uid, []).append(row)
    for uid, own in groups.items():
        if size is None:
            yield from ((uid, row) for row in own)
            continue
        drawn = random.Random(f"{own[0].step}/{uid}").sample(own, len(own) // size * size)
        yield from ((f"{uid}/{i // size}", row) for i, row in enumerate(drawn))


class Tally:
    """Sums over the steps of a run under one setting."""

    def __init__(self, label: str, settings: dict[str, Any]) -> None:
        self.label = label
        self.settings = settings
        self.responses = self._left_out = self._flipped = 0
        self._sums, self._counts = np.zeros(len(SCORE_KEYS)), np.zeros(len(SCORE_KEYS), dtype=int)
        self._parts: dict[str, tuple[float, int]] = {}
        self._groups: dict[str, list[float]] = {}
        self._shares: dict[str, list[float]] = {}
        # Few totals are possible, so that counting pairs takes no more memory for more responses.
        self._totals: Counter[tuple[float, float]] = Counter()
        self._has_advantages = True

    def add(self, added: Step, *, of: int) -> None:
        """Add the responses of a training step, which had ``of`` responses."""
        step = added.responses
        self._left_out += of - len(step)
        if not step:
            return
        for component, share in added.shares.items():
            self._shares.setdefault(SHARE_CURVES[component], []).append(share)
        self.responses += len(step)
        components = np.array([one.score.components for one in step])
        self._sums += np.nansum(components, axis=0)
        self._counts += (~np.isnan(components)).sum(axis=0)
        self._add_parts(step)
        self._totals.update((one.row.logged.total, one.score.total) for one in step)
        self._flipped += sum(one.is_flipped for one in step)
        self._has_advantages &= all(one.row.advantages for one in step)
        for name, value in _group_curves(step).items():
            self._groups.setdefault(name, []).append(value)

    def summary(self) -> Summary:
        return Summary(
            self.label,
            self.settings,
            self.responses,
            self._left_out,
            self._means(),
            int(self._counts[SCORE_KEYS.index(UNDEFINED_WITHOUT_KEY_STEPS)]),
            {name: float(np.mean(values)) for name, values in self._shares.items()},
            {name: float(np.mean(values)) for name, values in self._groups.items()},
            self._rank_correlation(),
            self._flipped if self._has_advantages else None,
        )

    def _add_parts(self, step: Sequence[Credited]) -> None:
        for one in step:
            for name, value in one.score.parts:
                total, count = self._parts.get(name, (0.0, 0))
                self._parts[name] = (total + value, count + 1)

    def _means(self) -> dict[str, float]:
        named = zip(SCORE_KEYS, self._sums.tolist(), self._counts.tolist(), strict=True)
        means = {name: total / count for name, total, count in named if count}
        return means | {component_of(name): total / n for name, (total, n) in self._parts.items()}

    def _rank_correlation(self) -> float | None:
        if not self._totals:
            return None
        counts = list(self._totals.values())
        logged, own = (np.repeat(values, counts) for values in zip(*self._totals, strict=True))
        if len(set(logged)) < 2 or len(set(own)) < 2:
            return None
        return float(spearmanr(logged, own).statistic)


def _group_curves(step: Sequence[Credited]) -> dict[str, float]:
    if len({one.group for one in step}) == len(step):
        return {}
    outcomes = [Outcome(one.group, one.score.known, _weight(one)) for one in step]
    names = ["groups_without_variance", "groups_all_wrong"]
    if all(one.row.advantages for one in step):
        names += ["groups_all_wrong_moving", "advantage_from_all_wrong"]
    drawn = curves(outcomes)
    return {name: drawn[curve_name(name)] for name in names}


def _weight(one: Credited) -> float:
    """Return the mean absolute advantage of a response's characters."""
    known = [(abs(a), w) for a, w in zip(one.spans, one.row.weights, strict=False) if a is not None]
    whole = sum(weight for _, weight in known)
    return sum(size * weight for size, weight in known) / whole if whole else 0.0


def _spans(values: list[float], n_steps: int) -> Spans:
    """Return the advantages of a response's own spans, of the columns that ``credited`` gives."""
    if len(values) == 1 or n_steps == 0:
        return (values[0],) * (n_steps + 1)
    return (*values[:n_steps], values[-1])


def _sign(advantage: float | None) -> int:
    if advantage is None or abs(advantage) < NO_ADVANTAGE:
        return 0
    return 1 if advantage > 0 else -1
