"""What a model's responses say of the key steps of a dataset: which to add, and which of those it has teach nothing.

Responses are rows of traces, as ``eval --samples 16`` and training leave them, or samples of one's own, which are
judged here. Where they stand is kept, and their texts are read question by question. Writes no file but a temporary
one.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from verl_stepgrpo.counts import counted
from verl_stepgrpo.data.key_steps.mining import (
    MARGIN,
    MIN_SUPPORT,
    Mined,
    Response,
    Support,
    as_written,
    mine,
    sampled,
    support_of,
)
from verl_stepgrpo.data.prompts.text import IMAGE_MARK
from verl_stepgrpo.data.rows.solutions import sections_of_solution
from verl_stepgrpo.data.sources.items import Item
from verl_stepgrpo.errors import DataError
from verl_stepgrpo.files import SetAside, json_line, read_lines
from verl_stepgrpo.judging.answers.verdict import require_judged
from verl_stepgrpo.judging.key_steps.reference import KeyStep
from verl_stepgrpo.rewards import score_response, sections_of
from verl_stepgrpo.settings import RewardSettings
from verl_stepgrpo.traces.files import no_rows, trace_files
from verl_stepgrpo.traces.rows import Judgement, TraceRow, parse_row

MIN_RESPONSES = 8
"""Responses from which on "found in all" and "found in none" say something."""


NO_RESPONSES = "no responses"
"""Why a question has no mined key steps to which nothing was answered."""


ANOTHER_ANSWER = "their reference answer is not that of the row"
ANOTHER_QUESTION = "their prompt does not have the question of the row"
"""Why responses are left out that go by the name of a row."""


@dataclass(frozen=True)
class Sampled:
    """A response as it lies in a file; can be sent to another process.

    Attributes:
        name: The ``id`` of its row, or else its index, as text.
        text: What the model wrote.
        format: How it was read; None where nobody read it.
        is_right: Whether its answer is right; None where nobody judged it.
        ground_truth: The reference answer that it was judged by.
        prompt: What was asked.
    """

    name: str
    text: str
    format: str | None = None
    is_right: bool | None = None
    ground_truth: str | None = None
    prompt: str | None = None


class Responses:
    """The responses to the questions of a dataset, of which only the places are in memory.

    Args:
        source: Traces, as ``trace_files`` takes them, of a ``trace_dir`` those of training; or JSONL of objects with
            ``id`` (or ``index``) and ``response``, and maybe ``ground_truth`` and ``prompt``, which nobody has judged.

    Attributes:
        n: How many there are.
        set_aside: Lines that are no response.
        rejected: Those that go by the name of a row and are to another question, by why.

    Raises:
        DataError: There are none.
    """

    def __init__(self, source: Path) -> None:
        # Traces are compressed, and cannot be read from a place in them.
        self._lines = tempfile.TemporaryFile()  # noqa: SIM115 (it is closed with this object)
        self._places: dict[str, list[int]] = {}
        self.n = 0
        self.set_aside: list[SetAside] = []
        self.rejected: Counter[str] = Counter()
        for path in _files_of(source):
            for one, line in read_lines(path, _with_line, set_aside=self.set_aside.append):
                self._places.setdefault(one.name, []).append(self._lines.tell())
                self._lines.write(line.rstrip(b"\n") + b"\n")
                self.n += 1
        if not self.n:
            raise no_responses(source, self.set_aside)

    def of(self, item: Item) -> list[Sampled]:
        """Return the responses to a row of the dataset; those to another question of the same name are left out."""
        name = str(item.number) if item.id is None else item.id
        found = []
        for one in map(self._at, self._places.get(name, ())):
            why = _why_not_to(item, one)
            if why is None:
                found.append(one)
            else:
                self.rejected[why] += 1
        return found

    def _at(self, place: int) -> Sampled:
        self._lines.seek(place)
        return _read(self._lines.readline())


def no_responses(source: Path, set_aside: Sequence[SetAside]) -> DataError:
    """Return the error for a ``source`` that has no response, with the reason of its first line."""
    reason = f"; {set_aside[0]}" if set_aside else ""
    return DataError(
        f"no line of {source} ({len(set_aside)} in all) is a response: a row of a trace, or an object with id and "
        f"response{reason}"
    )


def _files_of(source: Path) -> list[Path]:
    return trace_files(source / "train" if (source / "train").is_dir() else source)


def _with_line(line: bytes) -> tuple[Sampled, bytes]:
    return _read(line), line


def _read(line: bytes) -> Sampled:
    """Return the response that a line holds.

    Raises:
        ValueError: It holds none.
    """
    facts = json_line(line)
    if isinstance(facts, dict) and "schema" in facts:
        row = _row(line)
        return Sampled(
            _name_of(row), row.response or "", row.format, _is_right(row), row.ground_truth, row.prompt
        )
    if not isinstance(facts, dict) or not isinstance(facts.get("response"), str):
        raise ValueError(
            "neither a row of a trace (it has no schema) nor a sample: it has no response that is text"
        )
    name = facts.get("id", facts.get("index"))
    if not isinstance(name, (str, int)):
        raise ValueError("it has neither id nor index, by which its row is told")
    truth, prompt = facts.get("ground_truth"), facts.get("prompt")
    return Sampled(
        str(name),
        facts["response"],
        ground_truth=None if truth is None else str(truth),
        prompt=prompt if isinstance(prompt, str) else None,
    )


def _row(line: bytes) -> TraceRow:
    row = parse_row(line)
    if row.response is None or row.ground_truth is None:
        raise ValueError("it has no response, or no reference answer")
    return row


def _name_of(row: Judgement) -> str:
    return row.id if row.id is not None else str(row.index)


def _why_not_to(item: Item, one: Sampled) -> str | None:
    """Return why a response is not to this question, None where it is: names of rows are unique in their file alone."""
    if (
        None not in (item.answer, one.ground_truth)
        and str(item.answer).strip() != str(one.ground_truth).strip()
    ):
        return ANOTHER_ANSWER
    if one.prompt is not None and _plain(item.question) not in _plain(one.prompt):
        return ANOTHER_QUESTION
    return None


def _plain(text: str) -> str:
    return "".join(text.replace(IMAGE_MARK, "").split())


@dataclass(frozen=True)
class Task:
    """A question with what was answered; can be sent to another process.

    Attributes:
        question: Its text.
        key_steps: Those that it has.
        rows: The responses to it.
        ground_truth: Its reference answer.
        choices: The text of each of its choices by its letter.
        margin: As ``mine`` takes it.
        prunes: Whether key steps that it has are to be left out where ``fault_of`` finds one.
    """

    question: str
    key_steps: Sequence[KeyStep]
    rows: Sequence[Sampled]
    ground_truth: str
    choices: Mapping[str, str] = field(default_factory=dict)
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
    responses = sampled([_response(row, task) for row in task.rows])
    supports = support_of(task.key_steps, responses)
    known = [Mined(*pair) for pair in zip(task.key_steps, supports, strict=True)]
    faults = [fault_of(one.support, task.margin) if task.prunes else None for one in known]
    kept = [one for one, fault in zip(known, faults, strict=True) if fault is None]
    pruned = [(one, fault) for one, fault in zip(known, faults, strict=True) if fault is not None]
    if kept:
        return Found(kept, pruned)
    mined = mine(task.question, task.ground_truth, responses, margin=task.margin)
    return Found(mined, pruned, "" if mined else _why_none(responses))


def _why_none(responses: Sequence[Response]) -> str:
    if not responses:
        return NO_RESPONSES
    n_right = sum(one.is_right for one in responses)
    if n_right < MIN_SUPPORT:
        return f"fewer than {MIN_SUPPORT} right responses"
    return "nothing that right responses share tells them from wrong ones"


def _response(row: Sampled, task: Task) -> Response:
    settings = RewardSettings(format=row.format or RewardSettings.format)
    sections = sections_of_solution(row.text, sections_of(row.text, settings))
    is_right = row.is_right
    if is_right is None:
        judged = score_response(row.text, task.ground_truth, settings=settings, choices=task.choices)
        is_right = require_judged(judged.last_answer).correct
    return Response(row.text, sections, is_right)


def _is_right(row: TraceRow) -> bool:
    """Return whether the answer is right in any format: a model that has yet to learn one answers as it likes."""
    return row.components.get("acc_flexible", row.components["acc"]) > 0


def fault_of(support: Support, margin: float = MARGIN) -> str | None:
    """Return why a key step that a dataset has teaches nothing, or harms; None where responses do not say so."""
    found, n = support.right + support.wrong, support.of_right + support.of_wrong
    if n >= MIN_RESPONSES and found in (0, n):
        return f"{'all' if found else 'none'} of {counted(n, 'response')} show it: it tells none from another"
    if min(support.of_right, support.of_wrong) >= MIN_SUPPORT and support.difference <= -as_written(margin):
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
        source: Traces, as ``trace_files`` takes them; of a ``trace_dir`` those of training.

    Attributes:
        set_aside: Lines that are no row of a trace.

    Raises:
        DataError: There is no row.
    """

    def __init__(self, source: Path) -> None:
        self._counts: dict[tuple[str, str], _Counts] = {}
        self.set_aside: list[SetAside] = []
        for path in _files_of(source):
            for row in read_lines(path, _row, set_aside=self.set_aside.append):
                self._add(self._counts.setdefault((_name_of(row), str(row.ground_truth)), _Counts()), row)
        if not self._counts:
            raise no_rows(source, self.set_aside)

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
