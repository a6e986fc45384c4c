"""No text is right for two references that exclude each other: an answer that says both is none, however it says them.

Each text is made of a template and the two references. That a text is right for one of them is left to other tests.
"""

from __future__ import annotations

import pytest

from verl_stepgrpo.judging.answers.judge import judge_answer

COLOURS = dict(zip("ABCD", ("red", "blue", "green", "yellow"), strict=True))
NUMBERS = dict(zip("ABCD", ("10", "12", "14", "16"), strict=True))
LENGTHS = dict(zip("ABCD", ("10 cm", "12 cm", "12 m", "none of these"), strict=True))
PAIRS = (
    ("number", "12", "14", None),
    ("neighbours", "42", "43", None),
    ("decimal", "3.5", "7.25", None),
    ("fraction", r"\frac{1}{2}", r"\frac{1}{3}", None),
    ("root", r"\sqrt{2}", "17", None),
    ("sum", "3+4", "9", None),
    ("expression", "x+1", "x+2", None),
    ("percent", "20%", "30%", None),
    ("money", "$5", "$7", None),
    ("currency", "$5", "€5", None),
    ("unit", "5 cm", "5 m", None),
    ("mass", "5 kg", "5 g", None),
    ("length", "5 cm", "7 cm", None),
    ("year", "2014", "2015", None),
    ("date", "July 4", "July 5", None),
    ("time", "3:30 PM", "4:30 PM", None),
    ("compound", "2 h 30 min", "2 h 40 min", None),
    ("range", "10-20", "20-30", None),
    ("ratio", "3:4", "4:3", None),
    ("pair", "(1,2)", "(3,4)", None),
    ("set", "{1,2}", "{1,3}", None),
    ("vector", r"\begin{pmatrix}1\\2\end{pmatrix}", "(2,1)", None),
    ("complex", "1+i", "1-i", None),
    ("yes and no", "yes", "no", None),
    ("truth", "True", "False", None),
    ("word", "cat", "dog", None),
    ("name", "New York", "Los Angeles", None),
    ("letter", "A", "C", None),
    ("marked letter", "(A)", "(C)", None),
    ("letter of a choice", "A", "C", COLOURS),
    ("text of a choice", "red", "green", COLOURS),
    ("letter and text", "A", "blue", COLOURS),
    ("choice", "(A) red", "(C) green", COLOURS),
    ("letter and number", "A", "12", NUMBERS),
    ("number of a choice", "12", "14", NUMBERS),
    ("letters of lengths", "B", "C", LENGTHS),
)
JOINED = (
    *(
        "{x}, {y}",
        "{x} {y}",
        "{x}\n{y}",
        "{x}\n\n{y}",
        "{x}; {y}",
        "{x}/{y}",
        "{x} / {y}",
        "{x} | {y}",
        "{x}|{y}",
    ),
    *(
        "{x} & {y}",
        "{x} + {y}",
        "{x} = {y}",
        "{x} ≈ {y}",
        "{x} → {y}",
        "{x} => {y}",
        "{x} - {y}",
        "{x} — {y}",
    ),
    *("{x} ({y})", "{x} [{y}]", "{x}... {y}", "{x}? {y}", "{x}. {y}.", "{x}: {y}", "{x} ~ {y}", "{x}/{y}/"),
    *(
        "{x} or {y}",
        "{x} and {y}",
        "{x} and/or {y}",
        "{x} vs {y}",
        "{x} but {y}",
        "{x} then {y}",
        "{x} is {y}",
    ),
    *(
        "{x} to {y}",
        "{x} not {y}",
        "{x} in {y}",
        "{x} of {y}",
        "{x} out of {y}",
        "{x} at {y}",
        "{x} with {y}",
    ),
    *(
        "{x} (or {y})",
        "{x} (not {y})",
        "{x} (also {y})",
        "{x} (from {y})",
        "{x} (exactly {y})",
        "{x} (if {y} fails)",
    ),
    *("{x} which is {y}", "{x}, that is {y}", "{x}, i.e. {y}", "{x}, which equals {y}", "{x} equals {y}"),
    *("{x}, otherwise {y}", "{x}, else {y}", "{x}, also {y}", "{x}, alternatively {y}", "{x}, maybe {y}"),
    *("{x}, so {y}", "{x} because {y}", "{x}, since it is {y}", "{x} because ({y})!", "{x}, therefore {y}"),
    *("{x} rather than {y}", "{x} instead of {y}", "{x}, not {y}", "{x} and not {y}", "{x} unless {y}"),
)
MARKED_UP = (
    *(
        r"\boxed{{{x}}} \boxed{{{y}}}",
        r"\boxed{{{x}}}, \boxed{{{y}}}",
        r"\boxed{{{x}}} {y}",
        r"{x} \boxed{{{y}}}",
    ),
    *(
        "\\boxed{{{x}}}\n{y}",
        "{x}\n\\boxed{{{y}}}",
        r"\boxed{{{x} \text{{ or }} {y}}}",
        r"\boxed{{{x} \approx {y}}}",
    ),
    *(
        "**{x}** {y}",
        "{x} **{y}**",
        "**{x}**\n\n{y}",
        "~~{x}~~ {y}",
        "`{x}` {y}",
        '"{x}" "{y}"',
        "${x}$ ${y}$",
    ),
    *(r"{x} \\ {y}", r"{x} \quad {y}", r"{x} \lor {y}", r"{x} \to {y}", r"{x} \approx {y}", r"{x} \ne {y}"),
    *("{x} 或 {y}", "{x}、{y}", "{x}。{y}", "<answer>{x}</answer> {y}", "- {x}\n- {y}", "1. {x}\n2. {y}"),
)
NAMED = (
    *(
        "x = {x} or x = {y}",
        "either x = {x} or x = {y}",
        "x = {x}, x = {y}",
        "x = {x} but x = {y}",
        "{x} = x = {y}",
    ),
    *(
        "cost = {x} or cost = {y}",
        "x = {x} = {y}",
        "x = {x}, y = {y}",
        "x ≈ {x} ≈ {y}",
        "answer = {x} or answer = {y}",
    ),
    *("The answer is {x}. The answer is {y}.", "The answer is {x}\n{y}", "{x}\nThe answer is {y}"),
    *("Option {x}; option {y}", "Option {x}\n{y}", "Answer 1: {x}, answer 2: {y}", "It is {x}, it is {y}"),
    *(
        "Both {x} and {y}",
        "Either {x} or {y}",
        "Neither {x} nor {y}",
        "between {x} and {y}",
        "from {x} to {y}",
    ),
    *(
        "{x}\n\nThe picture shows {y}.",
        "{x}. The car is {y}",
        "It was {x} and it is now {y}",
        "{x} in 2010, {y} in 2011",
    ),
    *(
        "There are {x}. There are {y}.",
        "The first is {x} while the second is {y}.",
        "{x} is right, {y} is right",
    ),
)
TEMPLATES = (*JOINED, *MARKED_UP, *NAMED)


@pytest.mark.parametrize(("kind", "x", "y", "choices"), PAIRS, ids=[pair[0] for pair in PAIRS])
def test_no_text_is_right_for_both(kind: str, x: str, y: str, choices: dict[str, str] | None) -> None:
    right_for_both = [
        text
        for template in TEMPLATES
        for one, other in ((x, y), (y, x))
        if judge_answer(text := template.format(x=one, y=other), x, choices=choices).correct
        and judge_answer(text, y, choices=choices).correct
    ]
    assert right_for_both == []


@pytest.mark.parametrize(("kind", "x", "y", "choices"), PAIRS, ids=[pair[0] for pair in PAIRS])
def test_each_is_right_by_itself(kind: str, x: str, y: str, choices: dict[str, str] | None) -> None:
    for gold, other in ((x, y), (y, x)):
        assert judge_answer(gold, gold, choices=choices).correct
        assert not judge_answer(gold, other, choices=choices).correct
