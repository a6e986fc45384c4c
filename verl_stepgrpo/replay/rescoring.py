"""Score the lines of a trace again, under several settings at once. Runs in the processes of a pool; no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from verl_stepgrpo.errors import DataError
from verl_stepgrpo.rewards import SCORE_KEYS, ScoredResponse, paid, score_response
from verl_stepgrpo.settings import RewardSettings
from verl_stepgrpo.trace import SetAside, parse_row

CHUNK = 128
"""Lines that one process scores at a time: about a tenth of a second for each setting."""


Spans = tuple[float | None, ...]
"""Advantage of each step of a response and, last, of what follows the steps; None for one without tokens."""


@dataclass(frozen=True)
class Chunk:
    """Consecutive lines of one file.

    Attributes:
        path: The file.
        first: Number of the first line, from 1.
        lines: The lines as they stand there.
        settings: What each is scored under.
    """

    path: Path
    first: int
    lines: Sequence[bytes]
    settings: Sequence[RewardSettings]


@dataclass(frozen=True)
class Score:
    """What a response is paid.

    Attributes:
        components: The values of ``SCORE_KEYS``, in their order.
        step_shares: The part of it that each step's key steps are paid, as ``ScoredResponse.step_shares``.
    """

    components: tuple[float, ...]
    step_shares: tuple[float, ...]

    @property
    def total(self) -> float:
        return self.components[SCORE_KEYS.index("score")]

    @property
    def correct(self) -> bool:
        return self.components[SCORE_KEYS.index("acc")] > 0


@dataclass(frozen=True)
class Rescored:
    """One response, as it was logged and under each setting.

    Attributes:
        path, line: Where it stands.
        step, uid, session: verl's names of its place in the run.
        logged: What it was paid in the run.
        advantages: What the run credited; empty where it computed none, as in a validation.
        weights: Share of the response's characters in each of these spans.
        scores: One for each setting.
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


def chunks(paths: Iterable[Path], settings: Sequence[RewardSettings]) -> Iterator[Chunk]:
    """Yield the lines of ``paths`` in chunks, none of which spans two files."""
    for path in paths:
        with path.open("rb") as file:
            first = 1
            while lines := list(islice(file, CHUNK)):
                yield Chunk(path, first, lines, settings)
                first += len(lines)


def rescore(chunk: Chunk) -> list[Rescored | SetAside]:
    """Return what each line of ``chunk`` holds, scored anew, or why it is set aside."""
    return [_rescored(chunk, number, line) for number, line in enumerate(chunk.lines, start=chunk.first)]


def _rescored(chunk: Chunk, number: int, line: bytes) -> Rescored | SetAside:
    try:
        row = parse_row(line)
    except ValueError as error:
        return SetAside(chunk.path, number, str(error))
    try:
        response, gold = row["response"], row["ground_truth"]
        key_steps = [key_step["wordings"] for key_step in row["key_steps"]]
        logged = Score(
            tuple(float(row["components"].get(key, 0.0)) for key in SCORE_KEYS),
            tuple(float(step["key_step_share"]) for step in row["steps"]),
        )
        place = (chunk.path, number, int(row["step"]), str(row["uid"]), int(row["session"]))
        advantages = _advantages(row)
        scored = list(_scored(response, gold, key_steps, chunk.settings))
    except KeyError as error:
        return SetAside(chunk.path, number, f"it lacks {error.args[0]}")
    # A row that says it is of this schema and holds something else: whoever wrote it, the rest can be read.
    except (DataError, ValueError, TypeError, AttributeError) as error:
        return SetAside(chunk.path, number, f"not a row of a trace: {error}")
    scores = tuple(Score(tuple(one.components().values()), one.step_shares) for one in scored)
    return Rescored(*place, logged, advantages, _weights(response, scored[0]), scores)


def _advantages(row: dict[str, Any]) -> Spans:
    if row.get("advantage") is None:
        return ()
    spans = row.get("step_advantages") or [row["advantage"]]
    return tuple(None if value is None else float(value) for value in spans)


def _scored(
    response: str, gold: str, key_steps: Sequence[Sequence[str]], settings: Iterable[RewardSettings]
) -> Iterator[ScoredResponse]:
    """Yield the response's score under each of ``settings``; what differs in weights alone is judged once."""
    judged: dict[tuple[object, ...], ScoredResponse] = {}
    for one in settings:
        rules = (one.mode, one.match_threshold, one.image_description)
        if rules not in judged:
            judged[rules] = score_response(response, gold, key_steps, one)
        yield paid(judged[rules], one)


def _weights(response: str, scored: ScoredResponse) -> tuple[float, ...]:
    """Return the share of the response's characters in each step, what stands before counted in, and behind."""
    ends = [0, *(step.end for step in scored.steps), len(response)]
    return tuple((end - start) / max(1, len(response)) for start, end in pairwise(ends))
