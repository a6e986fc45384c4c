"""Read raw datasets, one item at a time: R1-VL-10K's JSON, Mulberry-260k's JSON, or any JSON or JSONL of questions.

Streams: a file of any size is read in constant memory. Nothing here opens an image.

Sources of the layouts: R1-VL-10K as its training code reads it (GitHub jingyi0000/R1-VL, open_r1/grpo.py),
Mulberry-260k as its README gives it to LLaMA-Factory (GitHub HJYao00/Mulberry: ``messages`` and ``images``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import ijson

from verl_stepgrpo.data.prompts import IMAGE_MARK
from verl_stepgrpo.errors import DataError

_LEADING_MARKS = re.compile(rf"^(?:\s*{IMAGE_MARK}\s*)+")
_REFLECTION = re.compile(
    r"previous (?:reasoning )?steps? (?:is|are|was|were) (?:wrong|incorrect)|let[’']?s rethink\b",
    re.IGNORECASE,
)
"""How Mulberry's reflective items say that they turn back (arXiv 2412.18319, equation 8)."""


@dataclass(frozen=True)
class Item:
    """One question of a raw dataset.

    Attributes:
        number: Its place in the file, counted from 0.
        question: The question. Marks for images that only lead it are left out; others stay where they are.
        images: Paths, or URLs, as the dataset has them.
        n_marks: How many marks for images the question had; None where it had none and needs none.
        solution: A whole response in the StepGRPO format, or None.
        answer: The reference answer where the dataset has it apart from the solution, or None.
        key_steps: In any form that ``parse_key_steps`` takes, or None.
        id: What the dataset calls it, or None.
    """

    number: int
    question: str
    images: tuple[str, ...] = ()
    n_marks: int | None = None
    solution: str | None = None
    answer: str | None = None
    key_steps: Any = None
    id: str | None = None

    @property
    def marked_question(self) -> str:
        """The question with its marks, as the dataset had it."""
        marks = 0 if IMAGE_MARK in self.question else self.n_marks or 0
        return IMAGE_MARK * marks + self.question

    @property
    def is_reflective(self) -> bool:
        """Whether the solution takes one of its steps back and tries again."""
        return self.solution is not None and _REFLECTION.search(self.solution) is not None


def read_items(path: Path) -> Iterator[tuple[int, Item | DataError]]:
    """Yield the number of each row of ``path`` and its item, or the error that says why it is none.

    Raises:
        DataError: The file cannot be read, breaks off, is laid out as a file of its name is not, or has no rows.
    """
    is_empty = True
    for number, row in _rows(path):
        is_empty = False
        try:
            yield number, item_of(number, row)
        except DataError as error:
            yield number, error
    if is_empty:
        raise DataError(f"{path} has no rows")


def item_of(number: int, row: Any) -> Item:
    """Return the item that a row of any of the layouts holds.

    Raises:
        DataError: The row has no question, or a value is of a wrong type.
    """
    if isinstance(row, DataError):
        raise row
    if not isinstance(row, Mapping):
        raise DataError(f"the row is {type(row).__name__}, not an object")
    if "messages" in row:
        question, solution = _turns(row["messages"])
    else:
        question = _text(row, "problem", "question")
        solution = _optional(row, "solution")
    if not question:
        raise DataError("it has no question: none of problem, question and messages")
    images = _images(row)
    marks = question.count(IMAGE_MARK)
    return Item(
        number,
        question if IMAGE_MARK in (rest := _LEADING_MARKS.sub("", question)) else rest.strip(),
        images,
        marks or None,
        solution,
        _optional(row, "answer"),
        row.get("key_steps"),
        _id(row),
    )


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        with path.open("rb") as file:
            _check_layout(path, file)
            if path.suffix == ".jsonl":
                for number, line in enumerate(line for line in file if line.strip()):
                    yield number, _parsed(line)
            else:
                # Numbers stay floats, as json.loads has them.
                yield from enumerate(ijson.items(file, "item", use_float=True))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except ijson.JSONError as error:
        raise DataError(
            f"{path} is not a JSON list of objects: {str(error).splitlines()[0].strip()}. One object a line is read "
            "from a file named .jsonl."
        ) from error


def _check_layout(path: Path, file: BinaryIO) -> None:
    """Raise DataError where a list is named ``.jsonl``, or an object is not; leave ``file`` at its start."""
    is_lines = path.suffix == ".jsonl"
    first = next((line.strip() for line in iter(lambda: file.readline(1 << 16), b"") if line.strip()), b"")
    file.seek(0)
    if is_lines and first.startswith(b"["):
        raise DataError(f"{path} holds a JSON list; expected one object a line. A list is named .json.")
    if not is_lines and first.startswith(b"{"):
        raise DataError(
            f"{path} holds a JSON object; expected a list: take it out of the object, or, where each line is an "
            "object, name the file .jsonl."
        )


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        return DataError(f"the line is not JSON: {error}")


def _turns(messages: Any) -> tuple[str, str | None]:
    """Return the user's text and the assistant's, None where there is none."""
    if not isinstance(messages, list) or not all(isinstance(m, Mapping) for m in messages):
        raise DataError(f"messages is {messages!r:.60}; expected a list of objects with role and content")
    said = {m.get("role"): m.get("content") for m in reversed(messages)}
    question, solution = said.get("user"), said.get("assistant")
    if not isinstance(question, str) or not isinstance(solution, (str, type(None))):
        raise DataError("messages has no text of a user, or the assistant's is not text")
    return question, solution


def _images(row: Mapping[str, Any]) -> tuple[str, ...]:
    for key in ("image_path", "images", "image"):
        value = row.get(key)
        if value is None:
            continue
        paths = [value] if isinstance(value, str) else value
        if not isinstance(paths, list) or not all(isinstance(p, str) and p for p in paths):
            raise DataError(f"{key} is {value!r:.60}; expected a path or a list of paths")
        return tuple(paths)
    return ()


def _id(row: Mapping[str, Any]) -> str | None:
    value = row.get("id")
    return str(value) if isinstance(value, (str, int, float)) else None


def _text(row: Mapping[str, Any], *keys: str) -> str:
    return next((value for key in keys if (value := _optional(row, key))), "")


def _optional(row: Mapping[str, Any], key: str) -> str | None:
    value = row.get(key)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, (str, type(None))):
        raise DataError(f"{key} is {value!r:.60} ({type(value).__name__}); expected text")
    return value
