"""The choices of a raw row's question, and the answer that is one of them by its letter, label, place or text. Pure.

They lie in one key (``choices``, ``options``; We-Math's ``option`` is one text) or a column each (``A``, ``B`` of
MMBench, ``choice_a`` of SEED-Bench). Letters name them, from A on, whatever the dataset calls them: ARC's labels are
letters in some rows and 1 to 4 in others. A right one that is a number is a label where labels are numbers, and else a
place, from 0 on, as of ScienceQA, A-OKVQA and, as a text, AI2D.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from verl_stepgrpo.errors import DataError
from verl_stepgrpo.judging.answers.judge import judge_answer
from verl_stepgrpo.judging.answers.options import LETTERS, choices_in, parse_choices

CHOICES = ("choices", "options", "option")
"""The keys that hold them, in the order they are looked for."""

_COLUMNS = ("", "choice_", "option_")
"""What stands before the letter in keys that hold one choice each."""

UNREADABLE = 'it is not read; choices are a list of texts, or an object such as {"A": "blue", "B": "red"}'
"""What is said of a key that holds something else."""

_PLACES = ("lecture", "hint")
"""Keys of ScienceQA, whose answers are places."""


@dataclass(frozen=True)
class Choices:
    """The choices of a question.

    Attributes:
        texts: By their letters.
        letters: The letter by the label of the dataset, where its labels are numbers.
        are_numbers: Whether they are numbers themselves, among which a number is what it says.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    letters: Mapping[str, str] = field(default_factory=dict)
    are_numbers: bool = False


def choices_of_row(row: Mapping[str, Any]) -> Choices:
    """Return the choices of a row; none where it has none that can be read."""
    for key in CHOICES:
        if found := choices_at(row, key):
            listed = row[key]
            are_numbers = isinstance(listed, list) and not any(isinstance(one, str) for one in listed)
            return Choices(found, _letters_of(listed), are_numbers)
    texts = {letter: str(row[key]).strip() for letter, key in lettered_keys(row).items()}
    return Choices(texts)


def choices_at(row: Mapping[str, Any], key: str) -> dict[str, str] | None:
    """Return the choices that a key of a row holds; None where it holds something else."""
    value = row.get(key)
    if isinstance(value, Mapping) and (letters := _letters_of(value)):
        texts = _labelled(value)[1]
        if len(texts) != len(letters):
            return None
        value = dict(zip(letters.values(), texts, strict=True))
    try:
        return parse_choices(value)
    except DataError:
        return None


def lettered_keys(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the keys that hold one choice each, by their letters; none where those of A and B are not both filled."""
    for before in _COLUMNS:
        keys = {letter: _lettered(row, before, letter) for letter in LETTERS}
        found = {letter: key for letter, key in keys.items() if key is not None}
        if {"A", "B"} <= set(found):
            return found
    return {}


def answer_among(answer: Any, choices: Choices, row: Mapping[str, Any]) -> Any:
    """Return the letter of the choice whose label or place an answer is; any other answer as it is.

    Args:
        answer: What the row has as its answer.
        choices: Its choices.
        row: The row, whose other keys tell what its answers are.

    Raises:
        DataError: It is a number, and it is a place and the text of another choice as well, or it is neither.
    """
    number = _whole(answer)
    if number is None or not choices.texts or choices.are_numbers:
        return answer
    if choices.letters:
        return choices.letters.get(str(number), answer)
    place = list(choices.texts)[number] if 0 <= number < len(choices.texts) else None
    said = [letter for letter, text in choices.texts.items() if judge_answer(str(number), text).correct]
    is_place = not isinstance(answer, str) and any(key in row for key in _PLACES)
    if place is None and not said:
        raise DataError(
            f"answer is {number}, which is neither the place, counted from 0, nor the text of a choice "
            f"({_shown(choices)}): write the letter of the right one"
        )
    if place is None or (said and isinstance(answer, str)):
        return answer
    if said and said != [place] and not is_place:
        raise DataError(
            f"answer is {number}, which is the text of one choice and, counted from 0, the place of another "
            f"({_shown(choices)}): write the letter of the right one, or its text in quotes"
        )
    return place


def listing(choices: Mapping[str, str], question: str) -> str:
    """Return what lists the choices behind a question; nothing where it lists some itself, or has none."""
    if not choices or choices_in(question):
        return ""
    return "\nChoices:\n" + "\n".join(f"({letter}) {text}" for letter, text in choices.items())


def _labelled(value: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """Return the labels of choices and their texts; a table has all keys in each row, some without a text."""
    if set(value) == {"label", "text"}:
        labels, texts = (one if isinstance(one, list) else [] for one in (value["label"], value["text"]))
        return labels, texts
    named = {label: text for label, text in value.items() if text is not None}
    return list(named), list(named.values())


def _letters_of(value: Any) -> dict[str, str]:
    """Return the letters of choices whose labels are numbers, by label; none where these are something else."""
    labels = _labelled(value)[0] if isinstance(value, Mapping) else []
    plain = [str(label).strip("(). ") for label in labels]
    if not 1 < len(plain) <= len(LETTERS) or not all(one.isdecimal() for one in plain):
        return {}
    return dict(zip(plain, LETTERS, strict=False))


def _lettered(row: Mapping[str, Any], before: str, letter: str) -> str | None:
    """Return the key that holds the choice of a letter; the files of MMBench write ``nan`` where there is none."""
    keys = (f"{before}{letter}", *([f"{before}{letter.lower()}"] if before else []))
    return next((key for key in keys if str(row.get(key, "")).strip() not in ("", "None", "nan")), None)


def _whole(answer: Any) -> int | None:
    """Return the whole number that an answer is, also as a text; None where it is none."""
    if isinstance(answer, str) and answer.strip().isdecimal():
        return int(answer)
    return answer if isinstance(answer, int) and not isinstance(answer, bool) else None


def _shown(choices: Choices) -> str:
    return ", ".join(choices.texts.values())
