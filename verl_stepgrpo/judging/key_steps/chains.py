"""A chain of relations, as it stands in a text: its sides, and what it says.

Pure: no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from verl_stepgrpo.judging.key_steps.expressions import Item, form
from verl_stepgrpo.judging.key_steps.rules import COMPUTATION, RELATION

FLIPPED = {"=": "=", "<": ">", ">": "<", "≤": "≥", "≥": "≤", "≠": "≠", "≈": "≈"}
"""The relations, and what each is when its sides change places."""

MAX_CONVERTED = 4
"""Different numbers that one chain with units or words may be: "1 day = 24 hours = 1440 minutes = 86400 seconds"."""
_PLAIN = re.compile(r"-?\d{1,24}(?:\.\d{1,24})?(?: \d{1,9}/\d{1,9})?")

Reading = tuple[tuple[str, ...], tuple[str, ...]]
"""The forms of a chain's sides, and the relations between them."""


class Chain(NamedTuple):
    """Expressions with relations between them, as they stand in a text.

    Attributes:
        sides: The items of each expression.
        forms: The form of each expression.
        signs: The relation between each two neighbours.
        units: The units that stand at numbers, as (number, unit).
        words: Whether other words were left aside.
    """

    sides: tuple[tuple[Item, ...], ...]
    forms: tuple[str, ...]
    signs: tuple[str, ...]
    units: frozenset[tuple[str, str]]
    words: bool

    @property
    def first(self) -> int:
        """Index of its first token."""
        return self.sides[0][0].first

    @property
    def last(self) -> int:
        """Index of its last token, units left out."""
        return self.sides[-1][-1].last

    @property
    def kind(self) -> str:
        """``rules.COMPUTATION`` where it states the result of an operation with numbers, else ``rules.RELATION``."""
        kinds = {item.kind for side in self.sides for item in side}
        return RELATION if kinds & {"v", "f"} or not kinds & {"+", "-", "*", "/", "^", "·"} else COMPUTATION

    def numbers(self) -> list[str]:
        """Return its numbers, in the order they stand."""
        return [item.text for side in self.sides for item in side if item.kind == "n"]

    @property
    def contradicts_itself(self) -> bool:
        """Whether sides that are plain numbers differ, rounding aside: "x = 4 = 5", "48 / 2 = 23 = 24".

        A number before an operation may be a name: "Week 1 = 7 * 2 = 14".
        """
        numbers = set()
        named = len(self.sides[0]) == 1 and len(self.sides[1]) > 1
        for k, side in enumerate(self.sides[named:], start=named):
            is_equal = "=" in (*self.signs[max(0, k - 1) : k], *self.signs[k : k + 1])
            if is_equal and [item.kind for item in side] in (["n"], ["~", "n"]):
                numbers.add("".join(item.text for item in side))
        if len(numbers) < 2 or (len(numbers) <= MAX_CONVERTED and (self.units or self.words)):
            return False
        exact = max(numbers, key=_decimals)
        return not all(_may_be_rounded(number, exact) for number in numbers)

    def shape(self) -> tuple[str | None, ...]:
        """Return its forms with ``#`` for each number."""
        return tuple(form(side, number=lambda _: "#") for side in self.sides)

    def links(self) -> Iterator[Chain]:
        """Yield each two neighbouring sides."""
        for k, sign in enumerate(self.signs):
            yield Chain(self.sides[k : k + 2], self.forms[k : k + 2], (sign,), self.units, self.words)

    def readings(self) -> tuple[Reading, ...]:
        """Return its forms and signs as they stand, and with the sides swapped, where that is another order."""
        flipped = tuple(FLIPPED[sign] for sign in reversed(self.signs))
        return tuple(dict.fromkeys(((self.forms, self.signs), (self.forms[::-1], flipped))))

    def occurrences(
        self, readings: Sequence[Reading], units: frozenset[tuple[str, str]]
    ) -> Iterator[tuple[int, int]]:
        """Yield the first and the last token of each stretch that says what a chain says.

        Between equal signs further sides may stand.

        Args:
            readings: Those of the chain.
            units: Its units; each must stand at that number here, too.
        """
        if not units <= self.units:
            return
        for forms, signs in readings:
            if forms[0] not in self.forms:
                continue
            for start, form_ in enumerate(self.forms):
                end = self._follow(start, forms, signs) if form_ == forms[0] else None
                if end is not None:
                    yield self.sides[start][0].first, self.sides[end][-1].last

    def _follow(self, start: int, forms: Sequence[str], signs: Sequence[str]) -> int | None:
        """Return the side at which ``forms`` end if they begin at side ``start``."""
        at = start
        for wanted, sign in zip(forms[1:], signs, strict=True):
            for k in range(at + 1, len(self.forms)):
                between = self.signs[at:k]
                if any(s != sign for s in between) or (len(between) > 1 and sign != "="):
                    return None
                if self.forms[k] == wanted:
                    at = k
                    break
            else:
                return None
        return at


def _may_be_rounded(a: str, b: str) -> bool:
    """Whether two numbers may be the same, one of them rounded: "0.667" and "0.67", but not "8" and "9"."""
    if not (_PLAIN.fullmatch(a) and _PLAIN.fullmatch(b)):
        return True
    difference = abs(_value(a) - _value(b)) * 10 ** min(_decimals(a), _decimals(b))
    return difference < 1 if "." in a + b else difference == 0


def _decimals(number: str) -> int:
    return len(number.partition(".")[2])


def _value(number: str) -> Fraction:
    """Return the value of a number as tokens have it: "8", "-8", "1 1/2"."""
    sign = -1 if number[0] == "-" else 1
    return sign * sum(map(Fraction, number.lstrip("-").split()), start=Fraction(0))
