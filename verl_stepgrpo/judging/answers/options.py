"""What the choices of a question decide: whether a text is that of the letter, and a letter that of the text.

Without them a reference ``B`` is met by a letter alone, and a reference ``blue`` by a text alone. With them ``B`` is
met by "blue" too, where that is what stands behind (B) in the question, and ``blue`` by "B"; and a letter with the text
of another choice is neither.

Pure: no I/O. Not covered: choices that are pictures.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from verl_stepgrpo.errors import DataError
from verl_stepgrpo.judging.answers.choices import MARKED_CHOICE, read_choice
from verl_stepgrpo.judging.answers.claims import (
    beside,
    claimed_choice,
    is_other_text,
    same_text,
    texts_said,
    whose_text,
)
from verl_stepgrpo.judging.answers.normalise import normalise
from verl_stepgrpo.judging.answers.statement import statement
from verl_stepgrpo.judging.answers.verdict import Answer, Judge, Verdict, shown

LETTERS = "ABCDEFGHIJ"
"""Letters of choices, from the first on."""

MAX_CHARS = 200
"""Characters of a choice in a question; longer ones are paragraphs."""

MAX_QUESTION_CHARS = 20_000
"""Characters of a question, its last ones, in which choices are looked for."""

_EXPECTED = 'a list of texts, or an object such as {"A": "blue", "B": "red"}'
_MARKED = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"(?<![\w)])\(([A-J])\)[ \t]*",  # (A) blue (B) red
        r"^[ \t]*([A-J])(?:[.)][ \t]+|:[ \t]*)",  # A. blue, each on a line of its own; MathVerse has A:blue
        r"(?:^|(?<=[\s;]))([A-J])[.):][ \t]+",  # A. blue B. red; MMStar has A: blue, B: red
    )
)
"""How a question marks its choices; the first that finds any counts."""


def parse_choices(value: Any) -> dict[str, str]:
    """Return the text of each choice by its letter, as a row of data may hold them; none for none.

    Args:
        value: A list of texts in the order of the letters, with a letter before each or without, an object of letters
            and texts, one with a list ``label`` and a list ``text``, a text of any of them, as JSON or as Python
            writes it, or one that lists them as a question does (``A. red;B. blue``).

    Raises:
        DataError: It is something else.
    """
    if isinstance(value, str) and value.strip():
        value = _from_text(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        return {}
    if isinstance(value, Mapping) and set(value) == {"label", "text"}:  # as datasets have them
        labels, listed = _listed(value["label"]), _listed(value["text"])
        if not all(isinstance(one, (list, tuple)) for one in (labels, listed)):
            raise _wrong(value)
        value = dict(zip(labels, listed, strict=False))
    if isinstance(value, Mapping):
        # A parquet column of objects has every key in every row.
        texts = {
            str(letter).strip("(). ").upper(): text for letter, text in value.items() if text is not None
        }
        if not (set(texts) <= set(LETTERS) and all(map(_is_text, texts.values()))):
            raise _wrong(value)
        return {letter: str(text) for letter, text in sorted(texts.items())}
    value = _listed(value)
    if not isinstance(value, Sequence) or not all(map(_is_text, value)):
        raise _wrong(value)
    if len(value) > len(LETTERS):
        return {}
    return {letter: _without_letter(str(text), letter) for letter, text in zip(LETTERS, value, strict=False)}


def _from_text(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        with contextlib.suppress(
            ValueError, SyntaxError, MemoryError, RecursionError
        ):  # as deep brackets raise
            return read(text.strip())
    if listed := choices_in(text):
        return listed
    raise _wrong(text)


def _listed(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _wrong(value: Any) -> DataError:
    return DataError(f"extra_info.choices is {value!r:.80} ({type(value).__name__}); expected {_EXPECTED}")


def _is_text(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def _without_letter(text: str, letter: str) -> str:
    return re.sub(rf"^\s*(?:\({letter}\)|{letter}[.):])\s*", "", text)


@functools.lru_cache(maxsize=4096)
def choices_in(question: str) -> Mapping[str, str]:
    """Return the text of each choice that a question lists by its letter; nothing where it lists none.

    A list has at least two choices, from A on, without a gap. Of several lists the last counts: examples stand before.
    """
    text = question[-MAX_QUESTION_CHARS:]
    for pattern in _MARKED:
        marks = list(pattern.finditer(text))
        begin = max((i for i, mark in enumerate(marks) if mark[1] == "A"), default=len(marks))
        listed = marks[begin : begin + len(LETTERS)]
        known: dict[str, str] = {}
        for i, mark in enumerate(listed):
            if mark[1] != LETTERS[i]:
                break
            follows = listed[i + 1].start() if listed[i + 1 : i + 2] else len(text)
            line_end = text.find("\n", mark.end())
            end = follows if line_end < 0 else min(follows, line_end)
            known[mark[1]] = text[mark.end() : end].strip(" \t,;\r")
        if len(known) > 1 and all(0 < len(one) <= MAX_CHARS for one in known.values()):
            return known
    return {}


def choices_of(extra_info: Mapping[str, Any] | None, question: str | None = None) -> Mapping[str, str]:
    """Return the choices of a row: its ``choices``, else those that its ``question``, or the prompt, lists.

    Args:
        extra_info: The row's.
        question: The text of the prompt, where it is known.

    Raises:
        DataError: ``choices`` is neither a list of texts nor an object of letters and texts.
    """
    extra_info = extra_info or {}
    if known := parse_choices(extra_info.get("choices")):
        return known
    asked = extra_info.get("question")
    return choices_in(asked if isinstance(asked, str) and asked else question or "")


def by_options(verdict: Verdict, answer: str, gold: str, options: Mapping[str, str], judge: Judge) -> Verdict:
    """Return the verdict on an answer to a question with choices.

    Args:
        verdict: That without them.
        answer: The answer.
        gold: The reference answer.
        options: The text of each choice, by its letter.
        judge: Judges an answer against the text of a choice.
    """
    given, wanted = normalise(answer), normalise(gold)
    right = _right_letter(wanted, options)
    if right is None or verdict.failed:
        return verdict
    stated = Answer(given, statement(given) or given)
    choice = claimed_choice(stated)
    if choice is None or choice.letter not in options:
        return _by_text(verdict, stated, right, options, judge)
    letter, rest = choice.letter, beside(stated, choice.letter)
    texts = texts_said(rest, options, judge)
    if texts and letter not in texts:
        others = ", ".join(sorted(texts))
        reason = f"the letter of one choice, {letter}, with the text of another, {others}"
        return _decided(verdict, False, reason)
    if is_other_text(rest, options[letter], options, texts):
        return _decided(verdict, False, f"the letter of choice {letter} with another text: {shown(rest)}")
    if verdict.correct or letter != right or not (texts or not rest or not choice.text):
        return verdict
    if judge.verdict_on(stated.full, right).correct:
        return _decided(verdict, True, f"the letter of that choice: {right}")
    return verdict


def _by_text(
    verdict: Verdict, stated: Answer, right: str, options: Mapping[str, str], judge: Judge
) -> Verdict:
    """Return the verdict on an answer without a letter: it has to state the text of one choice, and of no other."""
    text = options[right]
    whole = whose_text(stated.full, options) or whose_text(stated.core, options)
    if whole == right and len(text) > 1:
        return verdict if verdict.correct else _decided(verdict, True, f"the text of choice {right}")
    if not verdict.correct and not judge.verdict_on(stated.full, text).correct:
        return verdict
    others = {letter: other for letter, other in options.items() if not same_text(other, text)}
    also = next(
        (letter for letter, other in others.items() if judge.verdict_on(stated.full, other).correct), None
    )
    if also is not None:
        return _decided(verdict, False, f"it may be the text of choice {right} or of {also}")
    if verdict.correct or len(others) < len(options) - 1:
        return verdict
    return _decided(verdict, True, f"the text of choice {right}")


def _decided(verdict: Verdict, correct: bool, reason: str) -> Verdict:
    return replace(verdict, correct=correct, layer="choice", reason=reason, unparseable=False, timeout=False)


def _right_letter(wanted: str, options: Mapping[str, str]) -> str | None:
    """Return the letter that a reference names, or whose text it is; None where it is neither, or that of several."""
    if MARKED_CHOICE.match(wanted):
        choice = read_choice(wanted)
        return choice.letter if choice is not None and choice.letter in options else None
    return whose_text(wanted, options)
