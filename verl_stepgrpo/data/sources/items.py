"""Read raw datasets, one item at a time: R1-VL-10K, Mulberry-260k, layouts of the hub, verl's own, or any questions.

Streams: a file of any size is read in constant memory. Nothing here opens an image. What a row has and is not read is
named (``Item.unread``), where it looks like something that was meant to be.

Sources of the layouts: R1-VL-10K as its training code reads it (GitHub jingyi0000/R1-VL, open_r1/grpo.py),
Mulberry-260k as its README gives it to LLaMA-Factory (GitHub HJYao00/Mulberry: ``messages`` and ``images``), LLaVA's
``conversations``; and the columns of datasets of the hub, as hiyouga/geometry3k, FanqingM/MMK12, TIGER-Lab/ViRL39K and
lmms-lab/multimodal-open-r1-8k-verified have them.
"""

from __future__ import annotations

import difflib
import functools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from verl_stepgrpo.data.prompts.text import IMAGE_MARK
from verl_stepgrpo.data.sources.choices import (
    CHOICES,
    UNREADABLE,
    answer_among,
    choices_at,
    choices_of_row,
    listing,
)
from verl_stepgrpo.data.sources.layouts import (
    TURNS,
    Turns,
    answer_and_solution,
    images_of,
    is_verl_row,
    turns_of,
)
from verl_stepgrpo.data.sources.raw_rows import columns_of, files_of, raw_rows
from verl_stepgrpo.errors import DataError

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

_IMAGES = ("image_path", "images", "image")
_IDS = ("id", "qid", "question_id", "pid")
_QUESTIONS = ("problem", "question", *TURNS)
_READ = dict.fromkeys(_IMAGES, _IMAGES) | {
    "problem": _QUESTIONS,
    "question": _QUESTIONS,
    "solution": ("solution", *TURNS),
    "answer": ("answer",),
    "key_steps": ("key_steps",),
    "visual_key_steps": ("visual_key_steps",),
    "system": ("system",),
    **dict.fromkeys(CHOICES, CHOICES),
    **dict.fromkeys(TURNS, TURNS),
    **dict.fromkeys(_IDS, _IDS),
}
"""The keys that are read, with those of which one is enough."""
_OTHER_NAMES = {
    "conversation": "messages",
    "prompt": "question",
    "query": "question",
    "instruction": "question",
    "response": "solution",
    "rationale": "solution",
    "reasoning": "solution",
    "ground_truth": "answer",
    "final_answer": "answer",
    "label": "answer",
    "file_name": "image",
    "img": "image",
    "img_path": "image_path",
    "image_url": "image",
    "keypoints": "key_steps",
}
"""Names that other datasets have for what is read."""
_MEANT = 0.8
"""How like (difflib's ratio) an unknown key is to one that is read before the one is taken for the other."""


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
        n_marks: How many marks for images the question had; None where it had none and needs none.
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
        marks = 0 if IMAGE_MARK in self.question else self.n_marks or 0
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
            yield number, RowError(str(error), *(_named(flat(row)) if isinstance(row, Mapping) else ()))
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
    row_id, unread, others = _named(row)
    turns = _turns(row)
    if not turns.question:
        raise DataError(f"it has no question: none of {', '.join(_QUESTIONS)}{said_of(unread)}")
    choices = choices_of_row(row)
    given = answer_among(row.get("answer"), choices, row)
    answer, solution = answer_and_solution(_optional({"answer": given}, "answer"), turns.solution)
    rest = _LEADING_MARKS.sub("", turns.question)
    item = Item(
        number,
        turns.question if IMAGE_MARK in rest else rest.strip(),
        _images(row),
        turns.question.count(IMAGE_MARK) or None,
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
        choices,
    )
    _check_characters(item)
    return item


def _check_columns(source: Path) -> None:
    """Raise DataError where a source is a table that has no column of a question."""
    for path in files_of(source):
        columns = columns_of(path)
        if columns and not is_verl_row(columns) and not any(name in columns for name in _QUESTIONS):
            raise DataError(
                f"{path} has the columns {', '.join(columns)}, and none that is read as a question "
                f"({', '.join(_QUESTIONS)}; or verl's prompt beside reward_model). Read beside it are "
                f"{', '.join(name for name in _READ if name not in _QUESTIONS)}: name the columns so."
            )


def _turns(row: Mapping[str, Any]) -> Turns:
    """Return the question of a row, with its solution and its system message."""
    system, solution = _optional(row, "system") or None, _optional(row, "solution")
    key = next((key for key in TURNS if row.get(key) is not None), None)
    if key is None:
        return Turns(_text(row, "problem", "question"), solution, system)
    turns = turns_of(row[key], key)
    return Turns(
        turns.question, solution if turns.solution is None else turns.solution, turns.system or system
    )


def _mapping(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = row.get(key) or {}
    if not isinstance(value, Mapping):
        raise DataError(f"{key} is {value!r:.60} ({type(value).__name__}); expected an object")
    return value


def said_of(unread: tuple[tuple[str, str], ...]) -> str:
    """Return what a message on a row that lacks something says of what it has and is not read."""
    return "".join(f"; it has {name}: {hint}" for name, hint in unread)


def _images(row: Mapping[str, Any]) -> tuple[str, ...]:
    key = next((key for key in _IMAGES if row.get(key)), None)
    return () if key is None else images_of(row[key], key)


def _named(row: Mapping[str, Any]) -> tuple[str | None, tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Return what a row is called, what of it is not read though it seems meant, and its other keys that are not."""
    unread = tuple(_unread(row))
    said = {name for name, _ in unread}
    return _id(row), unread, tuple(key for key, _ in _unknown(row) if key not in said)


def _unknown(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the keys that are not read, with what they hold, where that is something."""
    for key, value in row.items():
        if key not in _READ and value is not None and value not in ("", [], {}):
            yield key, value


def _unread(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a row has and is not read, with what is, where that is missing or the row shows less without it."""
    yield from ((key, UNREADABLE) for key in CHOICES if choices_at(row, key) is None)
    for key, _ in _unknown(row):
        if (meant := _meant(key)) and not any(row.get(name) for name in _READ[meant]):
            yield key, f"it is not read; {meant} is"
    images = [key for key in _IMAGES if row.get(key)]
    yield from ((key, f"it is not read beside {images[0]}") for key in images[1:])


@functools.lru_cache(maxsize=1024)
def _meant(key: str) -> str | None:
    """Return the key that is read and that ``key`` was probably meant for."""
    near = difflib.get_close_matches(key.lower(), _READ, n=1, cutoff=_MEANT)
    return _OTHER_NAMES.get(key.lower()) or (near[0] if near else None)


def _check_characters(item: Item) -> None:
    """Raise DataError where a text holds half of a character, as JSON can and no file in UTF-8."""
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
        try:
            (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)).encode()
        except UnicodeEncodeError as error:
            half = error.object[error.start]
            raise DataError(
                f"{name} holds {half!r}, half of a character (a lone surrogate), which no file can hold. Write the "
                "character whole, or leave it out."
            ) from None


def _id(row: Mapping[str, Any]) -> str | None:
    value = next((row[key] for key in _IDS if row.get(key) is not None), None)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if not isinstance(value, (str, int, float)):
        return None
    return str(value).encode(errors="backslashreplace").decode()


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
