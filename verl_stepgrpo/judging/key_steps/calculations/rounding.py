"""Whether a number is another one, rounded to the digits that are shown."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection
from fractions import Fraction

from verl_stepgrpo.judging.key_steps.calculations.links import is_number, number_of, written
from verl_stepgrpo.judging.key_steps.calculations.values import value_of
from verl_stepgrpo.judging.key_steps.chains import Chain
from verl_stepgrpo.judging.key_steps.sentences import Sentence

PRINTED_DECIMALS = 10
"""With so many decimals a number is what a program prints of a value."""

MAX_ROUNDED = 3
"""Operands of an equation that a response may have rounded before."""


def rounds(exact: Fraction, stated: Fraction, spelling: str, sign: str) -> bool:
    """Whether a number as it is spelled is ``exact`` rounded, or cut off, at the last digit that it shows.

    With ``≈`` zeros at its end show nothing, and it may be one off at the last digit. Behind so many decimals as a
    program prints all are.
    """
    decimals = re.search(r"\.(\d+)", spelling)
    unit = Fraction(1, 10 ** len(decimals[1])) if decimals else Fraction(1)
    if decimals and len(decimals[1]) >= PRINTED_DECIMALS:
        return abs(exact - stated) <= abs(exact) / 10**PRINTED_DECIMALS
    if sign == "≈":
        zeros = re.search(r"\d([0,]*)\Z", spelling) if not decimals else None
        unit *= 10 ** (zeros[1].count("0") if zeros else 0)
        return abs(exact - stated) <= unit
    if exact % unit == 0:
        return False
    return abs(exact - stated) <= unit / 2 or 0 < abs(exact) - abs(stated) < unit


def is_true_of_exact(link: Chain, sentence: Sentence, rounded: Collection[str]) -> bool:
    """Whether an equation would be true of the numbers that the response rounded before: "66.67 * 3 = 200"."""
    used = [
        i.text for side in link.sides for i in side if i.kind == "n" and i.text in rounded and "." in i.text
    ]
    used = list(dict.fromkeys(used))[:MAX_ROUNDED]
    halves = [Fraction(1, 2 * 10 ** len(text.partition(".")[2])) for text in used]
    differences = []
    for signs in itertools.product((-1, 1), repeat=len(used)):
        at = {t: Fraction(t) + sign * half for t, sign, half in zip(used, signs, halves, strict=True)}
        a, b = (value_of(side, at) for side in link.sides)
        if a is None or b is None:
            return True
        differences.append(a - b)
    return min(differences) <= _last_digit(link, sentence) and max(differences) >= -_last_digit(
        link, sentence
    )


def _last_digit(link: Chain, sentence: Sentence) -> Fraction:
    """Return half a unit of the last digit that a side which is a number shows; 0 where none is."""
    stated = [side for side in link.sides if is_number(side)]
    decimals = [len(written(number_of(side), sentence).partition(".")[2]) for side in stated]
    return max((Fraction(1, 2 * 10**n) for n in decimals), default=Fraction(0))
