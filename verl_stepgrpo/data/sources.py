"""Read raw datasets, one item at a time: R1-VL-10K's JSON, Mulberry-260k's JSON, or any JSON or JSONL of questions.

Streams: a file of any size is read in constant memory. Nothing here opens an image. What a row has and is not read is
named (``Item.unread``), where it looks like something that was meant to be.

Sources of the layouts: R1-VL-10K as its training code reads it (GitHub jingyi0000/R1-VL, open_r1/grpo.py),
Mulberry-260k as its README gives it to LLaMA-Factory (GitHub HJYao00/Mulberry: ``messages`` and ``images``).
"""

from __future__ import annotations

import codecs
import difflib
import functools
import json
import math
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
    r"\bprevious (?:reasoning )?steps? (?:is|are|was|were|seems?) (?:wrong|incorrect|mistaken)\b"
    r"|\bI(?: think I)?(?:[’']ve| have| had)? (?:just )?(?:made|make) (?:a|an|some) (?:\w+ )?(?:mistake|error)s?\b"
    r"|\blet(?:[’']?s| us| me) (?:re-?think|reconsider|re-?evaluate|start over|try again)\b",
    re.IGNORECASE,
)
"""How reflective solutions say that they turn back: in Mulberry's paper (arXiv 2412.18319, equation 8: "The previous
reasoning step is wrong and let's rethink it again"), in the code that made them (GitHub HJYao00/Mulberry,
comcts/code/data_construction.py: "I think I have made a mistake. Let me rethink it."), and in words near these."""

_IMAGES = ("image_path", "images", "image")
_READ = dict.fromkeys(_IMAGES, _IMAGES) | {
    "problem": ("problem", "question", "messages"),
    "question": ("problem", "question", "messages"),
    "solution": ("solution", "messages"),
    "answer": ("answer",),
    "key_steps": ("key_steps",),
    "messages": ("messages",),
    "id": ("id",),
}
"""The keys that are read, with those of which one is enough."""
_OTHER_NAMES = {
    "conversations": "messages",
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
_CHOICES = ("choices", "options")
"""Lists of choices, which belong into the question."""
_MEANT = 0.8
"""How like (difflib's ratio) an unknown key is to one that is read before the one is taken for the other."""
_OTHER_FILES = {
    b"PAR1": "parquet: prepare and key-steps read JSON",
    b"\x1f\x8b": "packed with gzip: unpack it",
    b"PK\x03\x04": "a ZIP archive: unpack it",
    codecs.BOM_UTF16_LE: "UTF-16: save it as UTF-8",
    codecs.BOM_UTF16_BE: "UTF-16: save it as UTF-8",
}
"""What a file is that begins so."""


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
        images: Paths, or URLs, as the dataset has them.
        n_marks: How many marks for images the question had; None where it had none and needs none.
        solution: A whole response in the StepGRPO format, or None.
        answer: The reference answer where the dataset has it apart from the solution, or None.
        key_steps: In any form that ``parse_key_steps`` takes, or None.
        id: What the dataset calls it, or None.
        unread: What the row has beside and is not read, with what is read in its place.
        others: Further keys that are not read and that nothing is known of, as metadata are.
    """

    number: int
    question: str
    images: tuple[str, ...] = ()
    n_marks: int | None = None
    solution: str | None = None
    answer: str | None = None
    key_steps: Any = None
    id: str | None = None
    unread: tuple[tuple[str, str], ...] = ()
    others: tuple[str, ...] = ()

    @property
    def marked_question(self) -> str:
        """The question with its marks, as the dataset had it."""
        marks = 0 if IMAGE_MARK in self.question else self.n_marks or 0
        return IMAGE_MARK * marks + self.question

    @property
    def is_reflective(self) -> bool:
        """Whether the solution takes one of its steps back and tries again."""
        return self.solution is not None and _REFLECTION.search(self.solution) is not None


def read_items(path: Path) -> Iterator[tuple[int, Item | RowError]]:
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
            yield number, RowError(str(error), *(_named(row) if isinstance(row, Mapping) else ()))
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
    row_id, unread, others = _named(row)
    if "messages" in row:
        question, solution = _turns(row["messages"])
    else:
        question = _text(row, "problem", "question")
        solution = _optional(row, "solution")
    if not question:
        raise DataError(f"it has no question: none of problem, question and messages{said_of(unread)}")
    images = _images(row)
    marks = question.count(IMAGE_MARK)
    item = Item(
        number,
        question if IMAGE_MARK in (rest := _LEADING_MARKS.sub("", question)) else rest.strip(),
        images,
        marks or None,
        solution,
        _optional(row, "answer"),
        row.get("key_steps"),
        row_id,
        unread,
        others,
    )
    _check_characters(item)
    return item


def said_of(unread: tuple[tuple[str, str], ...]) -> str:
    """Return what a message on a row that lacks something says of what it has and is not read."""
    return "".join(f"; it has {name}: {hint}" for name, hint in unread)


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    number = -1
    try:
        with path.open("rb") as file:
            _check_layout(path, file)
            if _is_lines(path):
                for number, line in enumerate(line for line in file if line.strip()):
                    yield number, _parsed(line)
            else:
                # Numbers stay floats, as json.loads has them.
                for number, row in enumerate(ijson.items(file, "item", use_float=True)):
                    yield number, row
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except ijson.JSONError as error:
        raise DataError(
            f"{path} is not a JSON list of objects: row {number + 1} (counted from 0) cannot be read{_place(error)}. "
            "NaN, Infinity and bytes that are no UTF-8 are not JSON. One object a line is read from a file named "
            ".jsonl, where one bad line costs no other."
        ) from error


def _place(error: ijson.JSONError) -> str:
    """Return the text around the place of an error of yajl's, which marks it with an arrow in the next line."""
    said = error.args[0] if error.args else ""
    lines = (said.decode("utf-8", "backslashreplace") if isinstance(said, bytes) else str(said)).splitlines()
    return f" near {lines[1].strip()!r}" if len(lines) > 1 and lines[1].strip() else f": {lines[0]}"


def _is_lines(path: Path) -> bool:
    return path.suffix.lower() == ".jsonl"


def _check_layout(path: Path, file: BinaryIO) -> None:
    """Raise DataError where a list is named ``.jsonl``, or an object is not, or it is no JSON; leave ``file`` at its
    start, behind the mark of UTF-8."""
    is_lines = _is_lines(path)
    head = file.read(4)
    for begin, what in _OTHER_FILES.items():
        if head.startswith(begin):
            raise DataError(f"{path} is {what}, a list of objects or one object a line.")
    start = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
    file.seek(start)
    first = next((line.strip() for line in iter(lambda: file.readline(1 << 16), b"") if line.strip()), b"")
    file.seek(start)
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
    for key in _IMAGES:
        value = row.get(key)
        if value is None or value == [] or value == "":
            continue
        paths = [value] if isinstance(value, str) else value
        if not isinstance(paths, list) or not all(isinstance(p, str) and p for p in paths):
            raise DataError(f"{key} is {value!r:.60}; expected a path or a list of paths")
        return tuple(paths)
    return ()


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
    for key, _ in _unknown(row):
        if key in _CHOICES:
            yield key, "it is not read; choices stand in the question"
        elif (meant := _meant(key)) and not any(row.get(name) for name in _READ[meant]):
            yield key, f"it is not read; {meant} is"
    images = [key for key in _IMAGES if row.get(key)]
    yield from ((key, f"it is not read beside {images[0]}") for key in images[1:])
    messages = row.get("messages")
    roles = [m.get("role") for m in messages if isinstance(m, Mapping)] if isinstance(messages, list) else []
    if "system" in roles:
        yield "a system message", "it is not read; put what it asks for into the question"
    if roles.count("user") > 1 or roles.count("assistant") > 1:
        yield "later turns", "the first question and the first answer are read alone"


@functools.lru_cache(maxsize=1024)
def _meant(key: str) -> str | None:
    """Return the key that is read and that ``key`` was probably meant for."""
    near = difflib.get_close_matches(key.lower(), _READ, n=1, cutoff=_MEANT)
    return _OTHER_NAMES.get(key.lower()) or (near[0] if near else None)


def _check_characters(item: Item) -> None:
    """Raise DataError where a text holds half of a character, as JSON can and no file in UTF-8."""
    for name in ("question", "images", "solution", "answer", "key_steps"):
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
    value = row.get("id")
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
