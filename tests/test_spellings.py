"""One table of spellings: every reader takes all spellings of a sign for that sign."""

from __future__ import annotations

import pytest

from verl_stepgrpo.judging.answers.judge import judge_answer
from verl_stepgrpo.judging.reading.reader import tokenize
from verl_stepgrpo.judging.reading.spellings import SIGNS, SILENT_COMMANDS, Sign, visible

PAIRS = [(sign, spelling) for sign in SIGNS for spelling in sign.others]
UNREAD_IN_ANSWERS = {"sqrt", "~", "=>", "|", "√", "°", "**", "ℓ", ":="}
"""Spellings with another meaning in an answer: a blank, a root without its argument, a letter; a program's sign."""


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


SAME = [
    (r"x\,=\,5", "x = 5"),
    (r"x\;=\;5", "x = 5"),
    (r"x\ =\ 5", "x = 5"),
    ("x~=~5", "x = 5"),
    (r"x = 5~\text{cm}", "x = 5 cm"),
    (r"x = 5 \tag{1}", "x = 5"),
    (r"x = 5 \tag*{1}", "x = 5"),
    (r"x = 5 \label{eq1}", "x = 5"),
    (r"x = 5 \hspace{1cm}", "x = 5"),
    (r"\vspace{1cm} x = 5", "x = 5"),
    (r"\phantom{3} x = 5", "x = 5"),
    (r"\hphantom{3} x = 5", "x = 5"),
    (r"\vphantom{3} x = 5", "x = 5"),
    (r"\color{red}{x = 5}", "x = 5"),
    (r"x = \textcolor{red}{5}", "x = 5"),
    (r"x = 5 \ref{a}", "x = 5"),
    (r"x = 5 \eqref{a}", "x = 5"),
    (r"x = 5 \cite{a}", "x = 5"),
    (r"x = 5 \quad (1)", "x = 5"),
    (r"x = 5 \qquad \text{(1)}", "x = 5"),
    ("(1) x = 5", "x = 5"),
    ("(iv) x = 5", "x = 5"),
    ("From (1) x = 5", "From x = 5"),
    ("y = 3, using (2) x = 5", "y = 3, x = 5"),
    ("Equation (2) x = 5", "x = 5"),
    ("3 + 5 = <b>8</b>", "3 + 5 = 8"),
    (r"{42 \over 6} = 7", r"\frac{42}{6} = 7"),
    (r"{3 + 5 \over 2} = 4", r"\frac{3 + 5}{2} = 4"),
    ("3_{red} + 5_{green} = 8", "3 + 5 = 8"),
    (r"3_{\text{red}} = 3", "3 = 3"),
]
OTHER = [
    (r"1\,000 = x", "1 000 = x"),
    ("△ABC ~ △DEF", "△ABC △DEF"),
    ("(x) + 3 = 5", "+ 3 = 5"),
    ("f (2) = 5", "f = 5"),
    ("5 (2) = 10", "5 = 10"),
    ("divide by (2) = 5", "divide by = 5"),
    ("101_{2} = 5", "101 = 5"),
    ("x_{max} = 5", "x = 5"),
    ("a <b and c> d", "a and d"),
]


def texts(text: str) -> list[str]:
    return [token.text for token in tokenize(text) if token.text not in ("From", "from", "using", "equation")]


@pytest.mark.parametrize(("text", "plain"), SAME)
def test_what_says_nothing_is_left_aside(text: str, plain: str) -> None:
    assert texts(text) == texts(plain)


@pytest.mark.parametrize(("text", "other"), OTHER)
def test_what_says_something_is_not(text: str, other: str) -> None:
    assert texts(text) != texts(other)


@pytest.mark.parametrize("tag", "b i u em strong br p span mark center".split())
def test_a_tag_of_html_is_silent(tag: str) -> None:
    assert texts(f"x = <{tag}>5</{tag}>") == texts("x = 5")


@pytest.mark.parametrize("command", sorted(SILENT_COMMANDS))
def test_a_command_that_changes_looks_alone_is_silent(command: str) -> None:
    assert texts(f"x = {command}{{5}}") == texts("x = 5")


@pytest.mark.parametrize("invisible", ["\u00ad", "\u200b", "\u200d", "\u2060", "\ufeff"])
def test_a_character_that_is_not_seen_ends_no_number(invisible: str) -> None:
    assert visible(f"1{invisible}6 apples") == "16  apples"
    assert visible(f"so 8{invisible}") == "so 8 "
