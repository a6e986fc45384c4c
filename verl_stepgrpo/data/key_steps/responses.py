"""What a model's responses say of the key steps of a dataset: which to add, and which of those it has teach nothing.

Responses are rows of traces, as ``eval --samples 16`` and training leave them. Where they stand is kept, and their
texts are read question by question. Writes no file but a temporary one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from verl_stepgrpo.counts import counted
from verl_stepgrpo.data.key_steps.mining import (
    MARGIN,
    MIN_SUPPORT,
    Mined,
    Response,
    Support,
    mine,
    sampled,
    support_of,
)
from verl_stepgrpo.data.prompts.text import IMAGE_MARK
from verl_stepgrpo.data.rows.solutions import sections_of_solution
from verl_stepgrpo.data.sources.items import Item
from verl_stepgrpo.files import SetAside, read_lines
from verl_stepgrpo.judging.key_steps.reference import KeyStep
from verl_stepgrpo.rewards import sections_of
from verl_stepgrpo.settings import RewardSettings
from verl_stepgrpo.traces.files import trace_files
from verl_stepgrpo.traces.rows import Judgement, TraceRow, parse_row

MIN_RESPONSES = 8
"""Responses from which on "found in all" and "found in none" say something."""


NO_RESPONSES = "no responses"
"""Why a question has no mined key steps to which nothing was answered."""


class Responses:
    """The responses to the questions of a dataset, of which only the places are in memory.

    Args:
        source: Traces, as ``trace_files`` takes them; of a ``trace_dir`` those of training.
        set_aside: Called with each line that is no row with its texts.

    Raises:
        DataError: There are no traces.
    """

    def __init__(self, source: Path, set_aside: Callable[[SetAside], None] = lambda line: None) -> None:
        # Traces are compressed, and cannot be read from a place in them.
        self._lines = tempfile.TemporaryFile()  # noqa: SIM115 (it is closed with this object)
        self._places: dict[str, list[int]] = {}
        for path in _files_of(source):
            for row, line in read_lines(path, _with_line, set_aside=set_aside):
                self._places.setdefault(_name_of(row), []).append(self._lines.tell())
                self._lines.write(line.rstrip(b"\n") + b"\n")

    def of(self, item: Item) -> list[TraceRow]:
        """Return the responses to a row of the dataset; those to another question of the same name are left out."""
        name = str(item.number) if item.id is None else item.id
        rows = map(self._at, self._places.get(name, ()))
        return [row for row in rows if _is_to(item, row)]

    def _at(self, place: int) -> TraceRow:
        self._lines.seek(place)
        return parse_row(self._lines.readline())


def _files_of(source: Path) -> list[Path]:
    return trace_files(source / "train" if (source / "train").is_dir() else source)


def _with_line(line: bytes) -> tuple[TraceRow, bytes]:
    row = parse_row(line)
    if row.response is None or row.ground_truth is None:
        raise ValueError("it has no response, or no reference answer")
    return row, line


def _name_of(row: Judgement) -> str:
    return row.id if row.id is not None else str(row.index)


def _is_to(item: Item, row: TraceRow) -> bool:
    """Return whether a response is to this question: names of rows are unique in their file alone."""
    is_answer = item.answer is None or item.answer.strip() == (row.ground_truth or "").strip()
    return is_answer and (row.prompt is None or _plain(item.question) in _plain(row.prompt))


def _plain(text: str) -> str:
    return "".join(text.replace(IMAGE_MARK, "").split())


@dataclass(frozen=True)
class Task:
    """A question with what was answered; can be sent to another process.

    Attributes:
        question: Its text.
        key_steps: Those that it has.
        rows: The responses to it.
        margin: As ``mine`` takes it.
        prunes: Whether key steps that it has are to be left out where ``fault_of`` finds one.
    """

    question: str
    key_steps: Sequence[KeyStep]
    rows: Sequence[TraceRow]
    margin: float = MARGIN
    prunes: bool = False


@dataclass(frozen=True)
class Found:
    """The key steps of a question by its responses.

    Attributes:
        key_steps: Those that it is to have, with their support.
        pruned: Those that were left out, each with why.
        why_none: Why none were mined, where it has none.
    """

    key_steps: Sequence[Mined]
    pruned: Sequence[tuple[Mined, str]] = ()
    why_none: str = ""


def find(task: Task) -> Found:
    """Return the key steps that a question has, those left out that teach nothing, or else those that are mined."""
    responses = sampled([_response(row) for row in task.rows])
    supports = support_of(task.key_steps, responses)
    known = [Mined(*pair) for pair in zip(task.key_steps, supports, strict=True)]
    faults = [fault_of(one.support, task.margin) if task.prunes else None for one in known]
    kept = [one for one, fault in zip(known, faults, strict=True) if fault is None]
    pruned = [(one, fault) for one, fault in zip(known, faults, strict=True) if fault is not None]
    if kept:
        return Found(kept, pruned)
    truth = task.rows[0].ground_truth if task.rows else None
    mined = mine(task.question, truth or "", responses, margin=task.margin)
    return Found(mined, pruned, "" if mined else _why_none(responses))


def _why_none(responses: Sequence[Response]) -> str:
    if not responses:
        return NO_RESPONSES
    n_right = sum(one.is_right for one in responses)
    if n_right < MIN_SUPPORT:
        return f"fewer than {MIN_SUPPORT} right responses"
    return "nothing that right responses share tells them from wrong ones"


def _response(row: TraceRow) -> Response:
    text = row.response or ""
    paid = sections_of(text, RewardSettings(format=row.format))
    return Response(text, sections_of_solution(text, paid), _is_right(row))


def _is_right(row: TraceRow) -> bool:
    """Return whether the answer is right in any format: a model that has yet to learn one answers as it likes."""
    return row.components.get("acc_flexible", row.components["acc"]) > 0


def fault_of(support: Support, margin: float = MARGIN) -> str | None:
    """Return why a key step that a dataset has teaches nothing, or harms; None where responses do not say so."""
    found, n = support.right + support.wrong, support.of_right + support.of_wrong
    if n >= MIN_RESPONSES and found in (0, n):
        return f"{'all' if found else 'none'} of {counted(n, 'response')} show it: it tells none from another"
    if min(support.of_right, support.of_wrong) >= MIN_SUPPORT and support.difference <= -margin:
        return (
            f"{support.wrong} of {support.of_wrong} wrong responses show it, and {support.right} of "
            f"{support.of_right} right ones"
        )
    return None


@dataclass
class _Counts:
    texts: set[int] = field(default_factory=set)
    right: int = 0
    wrong: int = 0
    found: dict[KeyStep, list[int]] = field(default_factory=dict)


class Shown:
    """How often the key steps of each question were found in its responses, as the traces say it.

    Args:
        source: As of ``Responses``.

    Raises:
        DataError: There are no traces.
    """

    def __init__(self, source: Path) -> None:
        self._counts: dict[tuple[str, str], _Counts] = {}
        for path in _files_of(source):
            for row, _ in read_lines(path, _with_line, set_aside=lambda line: None):
                self._add(self._counts.setdefault((_name_of(row), str(row.ground_truth)), _Counts()), row)

    @staticmethod
    def _add(counts: _Counts, row: TraceRow) -> None:
        counts.texts.add(hash((row.response or "").strip()))
        is_right = _is_right(row)
        counts.right += is_right
        counts.wrong += not is_right
        for match in row.key_steps:
            counts.found.setdefault(match.wordings, [0, 0])[not is_right] += match.matched

    def faults(
        self, name: str, ground_truth: str, key_steps: Sequence[KeyStep]
    ) -> Iterator[tuple[KeyStep, str]]:
        """Yield the key steps of a row that ``fault_of`` finds one in, each with that.

        Args:
            name: The row's ``id``, or else its index, as text.
            ground_truth: Its reference answer.
            key_steps: Its key steps.
        """
        counts = self._counts.get((name, ground_truth))
        if counts is None or len(counts.texts) < 2:
            return
        for key_step in key_steps:
            if key_step in counts.found:
                right, wrong = counts.found[key_step]
                fault = fault_of(Support(right, counts.right, wrong, counts.wrong))
                if fault is not None:
                    yield key_step, fault
