"""Read raw datasets, one item at a time: R1-VL-10K, Mulberry-260k, layouts of the hub, verl's own, or any questions.

Streams: a file of any size is read in constant memory. Nothing here opens an image. What a row has and is not read is
named (``Item.unread``), where it looks like something that was meant to be.

Sources of the layouts: R1-VL-10K as its training code reads it (GitHub jingyi0000/R1-VL, open_r1/grpo.py),
Mulberry-260k as its README gives it to LLaMA-Factory (GitHub HJYao00/Mulberry: ``messages`` and ``images``), LLaVA's
``conversations``; and the columns of datasets of the hub, as hiyouga/geometry3k, FanqingM/MMK12, TIGER-Lab/ViRL39K and
lmms-lab/multimodal-open-r1-8k-verified have them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from verl_stepgrpo.data.prompts.text import IMAGE_MARK
from verl_stepgrpo.data.sources.choices import Choices, answer_among, choices_of_row, listing
from verl_stepgrpo.data.sources.images import images_of_row, in_place
from verl_stepgrpo.data.sources.layouts import (
    TURNS,
    Turns,
    answer_and_solution,
    is_verl_row,
    said_shortly,
    turns_of,
)
from verl_stepgrpo.data.sources.names import (
    ANSWERS,
    CONTEXT,
    QUESTIONS,
    RATIONALES,
    TEXTS,
    first_of,
    named,
    read_beside_questions,
    said_of,
    said_of_others,
    text_of,
)
from verl_stepgrpo.data.sources.raw_rows import columns_of, files_of, raw_rows
from verl_stepgrpo.errors import DataError
from verl_stepgrpo.files import check_characters
from verl_stepgrpo.judging.key_steps.reference import KeyStep, parse_key_steps, parse_visual_key_steps

OWN_INFO = ("index", "id", "key_steps", "visual_key_steps", "solution", "choices")
"""What ``extra_info`` holds of this package's; the index of a row that is prepared anew becomes its ``id``."""

_LEADING_MARKS = re.compile(rf"^(?:\s*{IMAGE_MARK}\s*)+")
_REFLECTION = re.compile(
    r"\bprevious (?:reasoning )?steps? (?:is|are|was|were|seems?) (?:wrong|incorrect|mistaken)\b"
    r"|\bI(?: think I)?(?:[’']ve| have| had)? (?:just )?(?:made|make) (?:a|an|some) (?:\w+ )?(?:mistake|error)s?\b"
    r"|\blet(?:[’']?s| us| me) (?:re-?think|reconsider|re-?evaluate|start over|try again)\b",
    re.IGNORECASE,
)
"""How reflective solutions say that they turn back: in Mulberry's paper (arXiv 2412.18319, equation 8: "The previous
reasoning step is wrong and let's rethink it again"), in the code that made them (GitHub HJYao00/Mulberry,
comcts/code/data_construction.py: "I think I have made a mistake. Let me rethink it."), and in words near these."""


class RowError(DataError):
    """A row is no item; ``id``, ``unread`` and ``others`` are as in one."""

    def __init__(
        self,
        message: str,
        id: str | None = None,
        unread: tuple[tuple[str, str], ...] = (),
        others: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.id = id
        self.unread = unread
        self.others = others


@dataclass(frozen=True)
class Item:
    """One question of a raw dataset.

    Attributes:
        number: Its place in the file, counted from 0.
        question: The question. Marks for images that only lead it are left out; others stay where they are.
        images: Paths, or URLs, as the dataset has them; data URLs of those whose bytes it has.
        n_marks: How many marks for images the question and its choices had; None where they had none and need none.
        solution: How it is solved, in whichever format, or None.
        answer: The reference answer where the dataset has it apart from the solution, or None.
        key_steps: In any form that ``parse_key_steps`` takes, or None.
        visual_key_steps: The same of the image description; None where ``key_steps`` may have them by section.
        id: What the dataset calls it, or None.
        unread: What the row has beside and is not read, with what is read in its place.
        others: Further keys that are not read and that nothing is known of, as metadata are.
        system: The system message before the question, or None.
        data_source: verl's name of the dataset where the row is one of verl's, or None.
        extra_info: What a row of verl's has in its ``extra_info`` beside ``OWN_INFO``, which is kept.
        choices: The text of each choice of the question by its letter, where the row has them in a column.
    """

    number: int
    question: str
    images: tuple[str, ...] = ()
    n_marks: int | None = None
    solution: str | None = None
    answer: str | None = None
    key_steps: Any = None
    visual_key_steps: Any = None
    id: str | None = None
    unread: tuple[tuple[str, str], ...] = ()
    others: tuple[str, ...] = ()
    system: str | None = None
    data_source: str | None = None
    extra_info: Mapping[str, Any] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)

    @property
    def asked(self) -> str:
        """The question, and behind it its choices, where it does not list them itself."""
        return self.question + self.listing

    @property
    def listing(self) -> str:
        """What lists the choices behind the question, or nothing."""
        return listing(self.choices, self.question)

    @property
    def marked_question(self) -> str:
        """The question with its marks, as the dataset had it."""
        marks = 0 if IMAGE_MARK in self.asked else self.n_marks or 0
        return IMAGE_MARK * marks + self.question

    @property
    def is_reflective(self) -> bool:
        """Whether the solution takes one of its steps back and tries again."""
        return self.solution is not None and _REFLECTION.search(self.solution) is not None


def is_verls(source: Path) -> bool:
    """Return whether a source is verl's parquet for RL. Raises DataError where it cannot be read."""
    return all(is_verl_row(columns_of(path)) for path in files_of(source))


def read_items(source: Path, columns: Sequence[str] | None = None) -> Iterator[tuple[int, Item | RowError]]:
    """Yield the number of each row of ``source`` and its item, or the error that says why it is none.

    Args:
        source: As ``raw_rows.files_of`` takes it. The rows of several files are numbered through.
        columns: Those of a table that are read; None for all.

    Raises:
        DataError: The source cannot be read, breaks off, is laid out as a file of its name is not, has no rows, or is a
            table without a column that is read as the question.
    """
    _check_columns(source)
    number = -1
    for number, row in enumerate(raw_rows(source, columns)):
        try:
            yield number, item_of(number, row)
        except DataError as error:
            yield number, RowError(str(error), *(named(flat(row)) if isinstance(row, Mapping) else ()))
    if number < 0:
        raise DataError(f"{source} has no rows")


def flat(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row of verl's with its parts under the names that other layouts have; any other row as it is."""
    if not is_verl_row(row):
        return row
    reference, extra_info = _mapping(row, "reward_model"), _mapping(row, "extra_info")
    answer, solution = reference.get("ground_truth"), extra_info.get("solution")
    # verl's own examples keep the solution of GSM8K as extra_info.answer, and an answer of one word there as well.
    if (
        solution is None
        and isinstance(other := extra_info.get("answer"), str)
        and other.strip() != str(answer).strip()
    ):
        solution = other
    return {
        "messages": row["prompt"],
        "images": row.get("images"),
        "answer": answer,
        "solution": solution,
        "key_steps": extra_info.get("key_steps"),
        "visual_key_steps": extra_info.get("visual_key_steps"),
        "choices": extra_info.get("choices"),
        "id": next((extra_info[key] for key in ("id", "index") if extra_info.get(key) is not None), None),
        "data_source": row.get("data_source"),
    }


def item_of(number: int, row: Any) -> Item:
    """Return the item that a row of any of the layouts holds.

    Raises:
        DataError: The row has no question, or a value is of a wrong type.
    """
    if isinstance(row, DataError):
        raise row
    if not isinstance(row, Mapping):
        raise DataError(f"the row is {type(row).__name__}, not an object")
    of_verl = is_verl_row(row)
    kept = _mapping(row, "extra_info") if of_verl else {}
    extra_info = {key: value for key, value in kept.items() if key not in OWN_INFO}
    row = flat(row)
    row_id, unread, others = named(row)
    turns = _turns(row)
    if not turns.question:
        raise DataError(
            f"it has no question: none of {', '.join(QUESTIONS)}{said_of(unread)}{said_of_others(others)}"
        )
    choices = choices_of_row(row)
    answer, solution = _answer_and_solution(row, turns, choices, of_verl=of_verl)
    question, texts, images = _with_marks(
        _in_context(turns.question, row, choices), choices.texts, images_of_row(row)
    )
    item = Item(
        number,
        question,
        images,
        (question + listing(texts, question)).count(IMAGE_MARK) or None,
        solution,
        answer,
        row.get("key_steps"),
        row.get("visual_key_steps"),
        row_id,
        unread,
        () if of_verl else others,
        turns.system,
        _optional(row, "data_source") if of_verl else None,
        extra_info,
        texts,
    )
    item = replace(item, question=_without_leading_marks(item))
    _check_characters(item)
    return item


def _in_context(question: str, row: Mapping[str, Any], choices: Choices) -> str:
    """Return a question behind what a row with choices says that it is about."""
    context = text_of(row, CONTEXT) if choices.texts else None
    if context is None:
        return question
    marks = _LEADING_MARKS.match(question)
    lead = marks[0] if marks else ""
    return f"{lead}{context.strip()}\n{question[len(lead) :]}"


def _with_marks(
    question: str, choices: Mapping[str, str], images: Mapping[int, str]
) -> tuple[str, Mapping[str, str], tuple[str, ...]]:
    """Return a question and its choices with marks where they name images by number, and the images in that order."""
    listed = choices if listing(choices, question) else {}
    (question, *texts), paths = in_place([question, *listed.values()], images)
    return question, {**choices, **dict(zip(listed, texts, strict=True))}, paths


def _without_leading_marks(item: Item) -> str:
    """Return the question without marks that only lead it: they are put there again with the images."""
    rest = _LEADING_MARKS.sub("", item.question)
    return item.question if IMAGE_MARK in rest + item.listing else rest.strip()


def _check_columns(source: Path) -> None:
    """Raise DataError where a source is a table that has no column of a question."""
    for path in files_of(source):
        columns = columns_of(path)
        if columns and not is_verl_row(columns) and not any(name in columns for name in QUESTIONS):
            raise DataError(
                f"{path} has the columns {', '.join(columns)}, and none that is read as a question "
                f"({', '.join(QUESTIONS)}; or verl's prompt beside reward_model). Read beside it are "
                f"{read_beside_questions()}: name the columns so."
            )


def _turns(row: Mapping[str, Any]) -> Turns:
    """Return the question of a row, with its solution and its system message."""
    system, solution = (
        _optional(row, "system") or None,
        _optional(row, "solution") or text_of(row, RATIONALES),
    )
    key = next((key for key in TURNS if row.get(key) is not None), None)
    if key is None:
        return Turns(_text(row, *TEXTS), solution, system)
    turns = turns_of(row[key], key)
    return Turns(
        turns.question, solution if turns.solution is None else turns.solution, turns.system or system
    )


def _answer_and_solution(
    row: Mapping[str, Any], turns: Turns, choices: Choices, *, of_verl: bool
) -> tuple[str | None, str | None]:
    """Return the answer and the solution of a row; an assistant's turn may be either."""
    given = first_of(row, ANSWERS)
    given = _optional({"answer": given if of_verl else answer_among(given, choices, row)}, "answer")
    answer, solution = answer_and_solution(given, turns.solution)
    if answer is None and solution is not None and any(row.get(key) is not None for key in TURNS):
        answer = said_shortly(solution)
        solution = solution if answer is None else None
    return answer, solution


def _mapping(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = row.get(key) or {}
    if not isinstance(value, Mapping):
        raise DataError(f"{key} is {value!r:.60} ({type(value).__name__}); expected an object")
    return value


def key_steps_of(item: Item) -> tuple[tuple[KeyStep, ...], tuple[KeyStep, ...]]:
    """Return the key steps of an item, and those of its image description.

    Raises:
        DataError: They cannot be read, or hold half of a character: an escape in a text of JSON may hide one.
    """
    both = parse_key_steps(item.key_steps), parse_visual_key_steps(item.visual_key_steps, item.key_steps)
    for wording in (wording for key_steps in both for wordings in key_steps for wording in wordings):
        check_characters("a key step", wording)
    return both


def _check_characters(item: Item) -> None:
    for name in (
        "question",
        "system",
        "images",
        "solution",
        "answer",
        "key_steps",
        "visual_key_steps",
        "choices",
    ):
        value = getattr(item, name)
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        check_characters(name, text)


def _text(row: Mapping[str, Any], *keys: str) -> str:
    return next((value for key in keys if (value := _optional(row, key))), "")


def _optional(row: Mapping[str, Any], key: str) -> str | None:
    value = row.get(key)
    if isinstance(value, float) and not math.isfinite(value):  # pandas writes NaN for a missing one
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, (str, type(None))):
        raise DataError(f"{key} is {value!r:.60} ({type(value).__name__}); expected text")
    return value
