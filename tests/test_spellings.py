"""One table of spellings: every reader takes all spellings of a sign for that sign."""

from __future__ import annotations

import pytest

from verl_stepgrpo.judging.answers.judge import judge_answer
from verl_stepgrpo.judging.reading.reader import tokenize
from verl_stepgrpo.judging.reading.spellings import SIGNS, Sign

PAIRS = [(sign, spelling) for sign in SIGNS for spelling in sign.others]
UNREAD_IN_ANSWERS = {"sqrt", "~", "=>", "|", "√", "°", "**", "ℓ"}
"""Spellings with another meaning in an answer: a blank, a root without its argument, a letter."""


def written(spelling: str) -> str:
    return f"x {spelling} y" if not spelling.isalpha() or not spelling.isascii() else f"x {spelling}(y)"


@pytest.mark.parametrize(("sign", "spelling"), PAIRS, ids=lambda value: getattr(value, "text", value))
def test_key_steps_read_a_sign_in_each_spelling(sign: Sign, spelling: str) -> None:
    texts = [[token.text for token in tokenize(written(s))] for s in (sign.tex, spelling)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(("sign", "spelling"), PAIRS, ids=lambda value: getattr(value, "text", value))
def test_answers_read_a_sign_in_each_spelling(sign: Sign, spelling: str) -> None:
    if {sign.text, spelling} & UNREAD_IN_ANSWERS:
        return
    assert judge_answer(written(spelling), written(sign.tex)).correct


def test_no_spelling_is_of_two_signs() -> None:
    spellings = [
        spelling for sign in SIGNS for spelling in dict.fromkeys((sign.text, sign.tex, *sign.others))
    ]
    assert len(spellings) == len(set(spellings))
