"""Read quantities exactly: how many (``numbers``), and of which unit (``units``).

Spellings covered: integers, decimals, thousands separators, fractions and mixed numbers (plain and TeX),
scientific notation, percent, repeating decimals, English number words and scale words, a currency sign, units
with their names and symbols.

Pure: no I/O. Not covered: conversion between units ("500 cm" and "5 m" have different units).
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from fractions import Fraction

from verl_stepgrpo.judging.reading.numbers import (
    MAGNITUDE,
    PARTS,
    SCALE,
    SCALES,
    SMALL_NUMBERS,
    TENS,
    magnitude,
    number_words,
)
from verl_stepgrpo.judging.reading.units import (
    CANONICAL,
    CURRENCIES,
    CURRENCY_SIGNS,
    KNOWN_UNITS,
    SYMBOLS,
    parse_unit,
)

MAX_CHARS = 120
"""Longer texts are not one quantity."""
_SIGN = r"(?P<sign>[-+]|minus |negative )?"
_CURRENCY = rf"(?P<currency>[{CURRENCY_SIGNS}]|(?:US|USD|EUR|GBP)(?=[ $]) ?\$?)?"
_WORDS = "|".join((*SMALL_NUMBERS, *TENS, *SCALES, *PARTS, *(part + "s" for part in PARTS), "and", "a"))
_QUANTITY = re.compile(
    rf"{_SIGN} ?{_CURRENCY} ?(?P<second_sign>-)?"
    rf"(?:(?P<magnitude>{MAGNITUDE})(?: ?(?P<scale>{SCALE})(?!\w))?"
    rf"|(?P<words>(?:{_WORDS})(?:[ -](?:{_WORDS}))*)(?![\w-]))"
    r" ?(?P<percent>\\?%|(?:percent|per cent|pct|percentage)\b)?(?P<unit>.*)",
    re.DOTALL,
)
_DECADE = re.compile(r"(?:1[5-9]|20)\d0s")
"""The years from 1990 on; 1990 seconds are written with a blank."""
_LOOKS_LIKE_A_VARIABLE = re.compile(r"[A-Za-z]")


@dataclass(frozen=True)
class Quantity:
    """An exact value with its unit.

    Attributes:
        value: The number in front of the unit; of ``50%`` it is 50.
        percent: Whether a percent sign stands behind it.
        unit: The unit's canonical name, such as "cm", "m s^-1" or "apple"; "" where there is none.
    """

    value: Fraction
    percent: bool = False
    unit: str = ""

    @property
    def plain(self) -> Fraction:
        """The value as a plain number: of ``50%`` it is 1/2."""
        return self.value / 100 if self.percent else self.value

    def same_value(self, gold: Quantity) -> bool:
        """Return whether both stand for one number, ``gold`` being the reference.

        The percent sign is tolerated where only one of them has it: a reference "25%" is met by "25", and a
        reference "25" (not one below 1, which is a share) by "25%".
        """
        if self.percent == gold.percent:
            return self.value == gold.value
        if self.plain == gold.plain:
            return True
        return self.value == gold.value and (gold.percent or abs(gold.value) > 1)

    def same_unit(self, gold: Quantity) -> bool:
        """Return whether the units agree; one that only one of them has is tolerated."""
        if self.percent != gold.percent and (self.unit or gold.unit):
            return False
        if not self.unit or not gold.unit or self.unit == gold.unit:
            return True
        if "pound" in (self.unit, gold.unit) and {self.unit, gold.unit} & {"lb", "gbp"}:
            return True
        ours, theirs = set(self.unit.split()), set(gold.unit.split())
        known = {factor.split("^")[0] for factor in ours | theirs} & CANONICAL
        # "8 red apples" are "8 apples"; "5 m" is not "5 m s^-1".
        return not known and (ours <= theirs or theirs <= ours)


@functools.lru_cache(maxsize=4096)
def parse_quantity(text: str) -> Quantity | None:
    """Return the quantity that ``text`` is, whole; None where it is anything else.

    "8", "-1/2", "3 * 10^8 m/s", "$5", "25%", "twelve", "2.5 million", "8 red apples". ``text`` is normalised as
    by ``judging.answers.normalise``, its letter case kept (mW and MW differ). None for two numbers, an operator, a
    negation, or a letter behind the number that may be a variable ("8x").
    """
    if len(text) > MAX_CHARS:
        return None
    match = _QUANTITY.fullmatch(text) or _QUANTITY.fullmatch(text.casefold())
    if not match:
        return None
    value = magnitude(match["magnitude"]) if match["magnitude"] else number_words(match["words"])
    unit = parse_unit(match["unit"]) if match["unit"].strip() else ""
    if value is None or unit is None or _is_variable(match) or _has_variables(match["unit"].strip()):
        return None
    if match["scale"]:
        value *= SCALES[match["scale"]]
    if (match["sign"] or "+") != "+":
        value = -value
    if match["second_sign"]:
        value = -value
    if match["currency"]:
        currency = CURRENCIES[match["currency"].strip(" $").casefold() or "$"]
        if unit and unit != currency:
            return None
        unit = currency
    return Quantity(value, bool(match["percent"]), unit)


def _is_variable(match: re.Match[str]) -> bool:
    """Whether one letter glued to the number, or standing behind it, is rather a variable: "8x", "3 n"."""
    letters = match["unit"].strip()
    if match["words"] or letters in CURRENCIES:
        return False
    if match.string[match.start("unit") - 1] == " ":
        return len(letters) == 1 and letters not in SYMBOLS and _is_cased(letters)
    return bool(letters) and bool(
        (len(letters) == 1 and letters not in "mgslhNJWVKLC°" and letters.isascii())
        or _DECADE.fullmatch(match.string)
        or (
            len(letters) > 1
            and _LOOKS_LIKE_A_VARIABLE.match(letters) is not None
            and parse_unit(letters) not in KNOWN_UNITS
        )
    )


def _is_cased(letter: str) -> bool:
    """Whether a letter is of a script that variables are written in; "个" and "元" count things and money."""
    return letter.upper() != letter.lower()


def _has_variables(unit: str) -> bool:
    """Whether single letters behind a number are rather factors: "3 a b", "4 x^{2}", "60 - k", "2/x"; not "5 N m"."""
    letters = [one for one in re.findall(r"(?<![^\W\d_])[^\W\d_](?![^\W\d_])", unit) if _is_cased(one)]
    if not letters:
        return False
    if re.match(r"[-/] ?[^\W\d_](?![^\W\d_])", unit) or any(
        letter not in SYMBOLS and letter not in "a°" for letter in letters
    ):
        return True
    if "a" in letters and not re.search(r"\ba [^\W\d_]{2}", unit):
        return True
    alone = re.fullmatch(r"[^\W\d_](?:[ *]+[^\W\d_])+", unit)
    return bool(alone) and not re.fullmatch(r"[NJWVACKH] ?\*? ?[mshAVC]", unit)
