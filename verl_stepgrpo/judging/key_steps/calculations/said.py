"""What an equation says: true, false with what its sides are worth, or nothing that can be checked."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

from verl_stepgrpo.judging.key_steps.calculations.doubts import may_be_true
from verl_stepgrpo.judging.key_steps.calculations.links import (
    OPERATIONS,
    Says,
    is_number,
    number_of,
    sign_of,
    written,
)
from verl_stepgrpo.judging.key_steps.calculations.rounding import rounds
from verl_stepgrpo.judging.key_steps.calculations.values import shown, value_of
from verl_stepgrpo.judging.key_steps.chains import Chain
from verl_stepgrpo.judging.key_steps.expressions import Item
from verl_stepgrpo.judging.key_steps.sentences import Sentence

_SAYS_EQUAL = ("=", "≈", "equal", "equals", "approx")
"""How an equation says that its sides are equal, in the beginning of its spelling; else it is said in prose."""


def said_by(link: Chain, sentence: Sentence) -> Says | None:
    """Return what a link says; None where it cannot be evaluated, or may be true in a way that is not read here."""
    if _is_said_of_a_name(link, sentence):
        return None
    first, last = (_readings(side) for side in link.sides)
    if not first or not last:
        return None
    for a, b in itertools.product(first, last):
        if a == b:
            return Says(True)
        for exact, stated, side in ((a, b, link.sides[1]), (b, a, link.sides[0])):
            if is_number(side) and rounds(exact, stated, written(number_of(side), sentence), link.signs[0]):
                return Says(True, rounds=frozenset({number_of(side).text}))
    if may_be_true(link, sentence, first[0], last[0]):
        return None
    return Says(False, (shown(first[0]), shown(last[0])))


def _is_said_of_a_name(link: Chain, sentence: Sentence) -> bool:
    """Whether a link is said in prose of what may be a name, "in 2010 is 20000 - 4200", "1/4 of the people is 15".

    So is all but an operation that gives a number: "3 apples + 5 pears is 8".
    """
    sign = sentence.tokens[sign_of(link, sentence.tokens)]
    if sentence.text[sign.start : sign.end].lstrip("\\").lower().startswith(_SAYS_EQUAL):
        return False
    first, last = link.sides
    operations = {item.kind for item in first} & OPERATIONS
    is_fraction = len(first) == 3 and written(first[1], sentence) == "/"
    return not operations or is_fraction or not is_number(last)


def _readings(side: Sequence[Item]) -> list[Fraction]:
    """Return what a side may be worth: percent are hundredths, and in "= 25%" may also be a unit."""
    readings = [value_of(side)]
    marks = [i for i, item in enumerate(side) if item.kind == "%"]
    whole = all(side[i - 1].text == "100" for i in marks)
    if marks and (whole or not any(item.kind in "*/·" for item in side)):
        readings.append(value_of([item for item in side if item.kind != "%"]))
    return [reading for reading in readings if reading is not None]
