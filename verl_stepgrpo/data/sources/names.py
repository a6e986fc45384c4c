"""The keys, or columns, of raw rows that are read, and what of a row is not. Pure.

One table for all datasets: a key means the same wherever it stands. ``choices`` and ``images`` say which of them lie in
several columns.
"""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from verl_stepgrpo.data.sources.choices import CHOICES, UNREADABLE, choices_at, lettered_keys
from verl_stepgrpo.data.sources.images import IMAGES, image_keys, images_beside
from verl_stepgrpo.data.sources.layouts import TURNS

TEXTS = ("problem", "question", "question_stem")
"""A question: ``question_stem`` is OpenBookQA's."""

QUESTIONS = (*TEXTS, *TURNS)

CONTEXT = ("hint", "context")
"""What stands before a question that has choices in a column: of ScienceQA and MMBench the one, of M3CoT the other."""

RATIONALES = ("rationale",)
"""A solution where there is none under that name: M3CoT's."""

ANSWERS = ("answer", "answerKey", "correct_choice_idx")
"""The second is ARC's and CommonsenseQA's, the third A-OKVQA's."""

IDS = ("id", "qid", "question_id", "pid", "sample_index", "ID", "idx", "index")
"""``sample_index`` is MathVerse's, ``ID`` We-Math's, ``idx`` BLINK's, ``index`` MMBench's and MMStar's."""

_READ = {
    **dict.fromkeys(IMAGES, IMAGES),
    **dict.fromkeys(TEXTS, QUESTIONS),
    "solution": ("solution", *TURNS),
    **dict.fromkeys(ANSWERS, ANSWERS),
    "key_steps": ("key_steps",),
    "visual_key_steps": ("visual_key_steps",),
    "system": ("system",),
    **dict.fromkeys(CHOICES, CHOICES),
    **dict.fromkeys(TURNS, TURNS),
    **dict.fromkeys(IDS, IDS),
}
"""The keys that are read in every row, with those of which one is enough."""

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


def read_beside_questions() -> str:
    """Return the keys that are read beside those of a question, for a message."""
    names = [name for name in _READ if name not in QUESTIONS]
    return ", ".join([*names, "image_1 and so on", "A, B and so on", "choice_a and so on"])


def text_of(row: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    """Return the first of these keys' texts; None where none holds one, or ``nan``, as files of MMBench have it."""
    texts = (row.get(key) for key in keys)
    return next((one for one in texts if isinstance(one, str) and one.strip() not in ("", "nan")), None)


def first_of(row: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    """Return what the first of these keys holds that holds something; None where none does."""
    return next((row[key] for key in keys if row.get(key) not in (None, "")), None)


def named(row: Mapping[str, Any]) -> tuple[str | None, tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Return what a row is called, what of it is not read though it seems meant, and its other keys that are not."""
    unread = tuple(_unread(row))
    said = {name for name, _ in unread}
    return _id(row), unread, tuple(key for key, _ in _unknown(row) if key not in said)


def said_of(unread: tuple[tuple[str, str], ...]) -> str:
    """Return what a message on a row that lacks something says of what it has and is not read."""
    return "".join(f"; it has {name}: {hint}" for name, hint in unread)


def said_of_others(others: Iterable[str]) -> str:
    """Return what a message on rows that lack something says of their keys that nothing is known of."""
    names = ", ".join(others)
    return f"; not read: {names}; read: {', '.join(QUESTIONS)}, {read_beside_questions()}" if names else ""


def _unknown(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the keys that are not read, with what they hold, where that is something."""
    lettered = lettered_keys(row).values()
    has_choices = bool(lettered) or any(row.get(key) for key in CHOICES)
    texts = [key for key in (*RATIONALES, *(CONTEXT if has_choices else ())) if text_of(row, (key,))]
    here = {*lettered, *texts, *image_keys(row)}
    for key, value in row.items():
        if key not in _READ and key not in here and value is not None and value not in ("", [], {}):
            yield key, value


def _unread(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a row has and is not read, with what is, where that is missing or the row shows less without it."""
    yield from ((key, UNREADABLE) for key in CHOICES if choices_at(row, key) is None)
    for key, _ in _unknown(row):
        if (meant := _meant(key)) and not any(row.get(name) for name in _READ[meant]):
            yield key, f"it is not read; {meant} is"
    yield from ((key, f"it is not read beside {read}") for key, read in images_beside(row))


@functools.lru_cache(maxsize=1024)
def _meant(key: str) -> str | None:
    """Return the key that is read and that ``key`` was probably meant for."""
    near = difflib.get_close_matches(key.lower(), _READ, n=1, cutoff=_MEANT)
    return _OTHER_NAMES.get(key.lower()) or (near[0] if near else None)


def _id(row: Mapping[str, Any]) -> str | None:
    value = next((row[key] for key in IDS if row.get(key) is not None), None)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if not isinstance(value, (str, int, float)):
        return None
    return str(value).encode(errors="backslashreplace").decode()
