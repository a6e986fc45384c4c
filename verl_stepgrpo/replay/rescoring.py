"""Score the lines of a trace again, under several settings at once. Runs in the processes of a pool; no torch."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path

from verl_stepgrpo.earned import Earned, parts_paid, steps_found, with_visual
from verl_stepgrpo.errors import DataError
from verl_stepgrpo.files import BrokenOffError, SetAside, lines_of
from verl_stepgrpo.judging.answers.verdict import require_judged
from verl_stepgrpo.judging.key_steps.match import KeyStepMatch
from verl_stepgrpo.parts import VISUAL, component_of, parts_in
from verl_stepgrpo.replay.variants import Variant
from verl_stepgrpo.rewards import SCORE_KEYS, ScoredResponse, defined, paid, score_response
from verl_stepgrpo.settings import RewardSettings, RunSettings
from verl_stepgrpo.traces.header import SettingsByStep
from verl_stepgrpo.traces.rows import TraceRow, parse_row

CHUNK = 128
"""Lines that one process scores at a time: about a tenth of a second for each setting."""


Spans = tuple[float | None, ...]
"""Advantage of each step of a response and, last, of what follows the steps; None for one without tokens."""


@dataclass(frozen=True)
class Plan:
    """What the rows of a run are scored under: by variant, and where a resume changed the run's settings, by step.

    Args:
        by_step: The run's own settings.
        variants: What is compared.
    """

    by_step: SettingsByStep
    variants: Sequence[Variant]

    def at(self, step: int) -> list[RunSettings]:
        """Return the settings of each variant for the rows of ``step``."""
        return [variant.settings(self.by_step.at(step)) for variant in self.variants]


@dataclass(frozen=True)
class Chunk:
    """Consecutive lines of one file.

    Attributes:
        path: The file.
        first: Number of the first line, from 1.
        lines: The lines as they stand there.
        plan: What each is scored under, by its step.
    """

    path: Path
    first: int
    lines: Sequence[bytes]
    plan: Plan


@dataclass(frozen=True)
class Score:
    """What a response is paid.

    Attributes:
        components: The values of ``SCORE_KEYS``, in their order; NaN for one that is not known or means nothing, as
            the key-step match of a prompt without key steps.
        step_shares: The part of it that each step's key steps are paid, as ``ScoredResponse.step_shares``.
        found: The step that each key step was found in, as ``Earned.found``.
        parts: Names and numbers of the parts that are paid beside.
    """

    components: tuple[float, ...]
    step_shares: tuple[float, ...]
    found: tuple[int | None, ...]
    parts: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(
        cls, components: Mapping[str, float], step_shares: Iterable[float], matches: Iterable[KeyStepMatch]
    ) -> Score:
        """Return a score with the ``components`` that are known and mean something."""
        values = tuple(components.get(key, math.nan) for key in SCORE_KEYS)
        parts = tuple(parts_in(components).items())
        return cls(values, tuple(step_shares), steps_found(matches), parts)

    @property
    def known(self) -> dict[str, float]:
        """The components that are known and mean something, by name."""
        named = zip(SCORE_KEYS, self.components, strict=True)
        own = {key: value for key, value in named if not math.isnan(value)}
        return own | {component_of(name): value for name, value in self.parts}

    @property
    def total(self) -> float:
        return self.components[SCORE_KEYS.index("score")]

    def earned(self, extra_weights: Mapping[str, float]) -> Earned:
        """Return what it was paid, and for which of its steps; other parts by ``extra_weights``."""
        known, parts = self.known, dict(self.parts)
        visual = extra_weights.get(VISUAL, 0.0) * parts.get(VISUAL, 0.0)
        return Earned(
            known["acc"] > 0,
            # A response without steps was paid for no key step.
            sum(self.step_shares),
            known["step_rvr"],
            with_visual(self.step_shares, visual),
            self.found,
            parts=parts_paid(parts, extra_weights),
        )


@dataclass(frozen=True)
class Rescored:
    """One response, as it was logged and under each setting.

    Attributes:
        path, line: Where it stands.
        step, uid, session: verl's names of its place in the run.
        logged: What it was paid in the run.
        advantages: What the run credited; empty where it computed none, as in a validation.
        weights: Share of the response's characters in each of these spans.
        scores: One for each variant.
    """

    path: Path
    line: int
    step: int
    uid: str
    session: int
    logged: Score
    advantages: Spans
    weights: tuple[float, ...]
    scores: tuple[Score, ...]


def chunks(paths: Iterable[Path], plan: Plan) -> Iterator[Chunk]:
    """Yield the lines of ``paths`` in chunks, none of which spans two files."""
    for path in paths:
        file, first = _lines(path), 1
        while lines := list(islice(file, CHUNK)):
            yield Chunk(path, first, lines, plan)
            first += len(lines)


def _lines(path: Path) -> Iterator[bytes]:
    """Yield a file's lines; where it breaks off, one that is no row and says why."""
    try:
        yield from lines_of(path)
    except BrokenOffError as error:
        yield str(error).encode()


def rescore(chunk: Chunk) -> list[Rescored | SetAside]:
    """Return what each line of ``chunk`` holds, scored anew, or why it is set aside."""
    plan = functools.cache(chunk.plan.at)
    numbered = enumerate(chunk.lines, start=chunk.first)
    return [_rescored(chunk.path, number, line, plan) for number, line in numbered]


def _rescored(
    path: Path, number: int, line: bytes, plan: Callable[[int], list[RunSettings]]
) -> Rescored | SetAside:
    try:
        row = parse_row(line)
        scored = _scored(row, [settings.reward for settings in plan(row.step)])
    # A row without its texts, or with an empty reference, is of this schema and cannot be scored.
    except (DataError, ValueError) as error:
        return SetAside(path, number, str(error))
    logged = Score.of(row.defined, (step.key_step_share for step in row.steps), row.key_steps)
    made = {
        id(one): Score.of(
            defined(one.components(), has_key_steps=bool(one.key_steps), has_visual=bool(one.visual)),
            one.step_shares,
            one.key_steps,
        )
        for one in scored
    }
    scores = tuple(made[id(one)] for one in scored)
    advantages = () if row.credit is None else row.credit.spans
    weights = _weights(row.response or "", scored[0])
    return Rescored(path, number, row.step, row.uid, row.session, logged, advantages, weights, scores)


def _scored(row: TraceRow, settings: Sequence[RewardSettings]) -> list[ScoredResponse]:
    """Return the response's score under each of ``settings``; what differs in weights alone is judged once.

    Raises:
        ValueError: The row lacks its texts.
        VerifierFailedError: math-verify could not be asked; its settings would differ by that.
    """
    if row.response is None or row.ground_truth is None:
        raise ValueError(f"it lacks {'response' if row.response is None else 'ground_truth'}")
    judged: dict[RewardSettings, ScoredResponse] = {}
    scored: dict[RewardSettings, ScoredResponse] = {}
    for one in dict.fromkeys(settings):
        rules = _rules(one)
        if rules not in judged:
            judged[rules] = score_response(
                row.response,
                row.ground_truth,
                row.wordings,
                one,
                row.parts,
                choices=row.choices,
                visual_key_steps=row.visual_wordings,
            )
            require_judged(judged[rules].answer)
            require_judged(judged[rules].last_answer)
        scored[one] = paid(judged[rules], one)
    return [scored[one] for one in settings]


@functools.lru_cache
def _rules(settings: RewardSettings) -> RewardSettings:
    """Return ``settings`` without their weights: what a response is judged by."""
    return replace(
        settings, alpha=0.0, rvr_weight=0.0, extra_weights=dict.fromkeys(settings.extra_weights, 0.0)
    )


def _weights(response: str, scored: ScoredResponse) -> tuple[float, ...]:
    """Return the share of the response's characters in each step, what stands before counted in, and behind."""
    ends = [0, *(step.end for step in scored.steps), len(response)]
    return tuple((end - start) / max(1, len(response)) for start, end in pairwise(ends))
