"""The choices of a raw row's question, from the column that has them, and the answer that is a place among them. Pure.

ScienceQA has ``choices`` as a list, with the place of the right one, from 0 on, as its ``answer``; MathVista a list
with the text of the right one; MMMU ``options``, a list as Python writes it in a text, with the right letter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verl_stepgrpo.errors import DataError
from verl_stepgrpo.judging.answers.options import choices_in, parse_choices

CHOICES = ("choices", "options")
"""The keys that hold them, in the order they are looked for."""

UNREADABLE = 'it is not read; choices are a list of texts, or an object such as {"A": "blue", "B": "red"}'
"""What is said of a key that holds something else."""

_PLACES = ("lecture", "hint")
"""Keys of ScienceQA, whose answers are places."""


def choices_of_row(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the text of each choice by its letter; nothing where the row has none that can be read."""
    return next((found for key in CHOICES if (found := choices_at(row, key))), {})


def choices_at(row: Mapping[str, Any], key: str) -> dict[str, str] | None:
    """Return the choices that a key of a row holds; None where it holds something else."""
    try:
        return parse_choices(row.get(key))
    except DataError:
        return None


def answer_among(answer: Any, choices: Mapping[str, str], row: Mapping[str, Any]) -> Any:
    """Return the letter of the choice whose place, counted from 0, an answer is; any other answer as it is.

    Args:
        answer: What the row has as its answer.
        choices: The texts of its choices by their letters.
        row: The row, whose other keys tell what its answers are.

    Raises:
        DataError: It is a place and the text of another choice as well.
    """
    is_number = isinstance(answer, int) and not isinstance(answer, bool)
    if not is_number or not 0 <= answer < len(choices) or _are_numbers(row):
        return answer
    letter = list(choices)[answer]
    is_text = str(answer) in choices.values() and choices[letter] != str(answer)
    if is_text and not any(key in row for key in _PLACES):
        raise DataError(
            f"answer is {answer}, which is the text of one choice and, counted from 0, the place of another "
            f"({', '.join(choices.values())}): write the letter of the right one, or its text in quotes"
        )
    return letter


def _are_numbers(row: Mapping[str, Any]) -> bool:
    """Return whether the choices themselves are numbers, among which one is what it says."""
    listed = next((row[key] for key in CHOICES if row.get(key)), None)
    return isinstance(listed, list) and not any(isinstance(one, str) for one in listed)


def listing(choices: Mapping[str, str], question: str) -> str:
    """Return what lists the choices behind a question; nothing where it lists some itself, or has none."""
    if not choices or choices_in(question):
        return ""
    return "\nChoices:\n" + "\n".join(f"({letter}) {text}" for letter, text in choices.items())
