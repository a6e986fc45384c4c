"""What an expression of numbers is worth, exactly: ``3 * (1/2 + 4)`` is 27/2.

Pure: no I/O. What has no value, or one too large to be worth the work, gives None.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from verl_stepgrpo.judging.key_steps.expressions import Item, Node, read

MAX_DIGITS = 24
"""Characters of a number that is read."""

MAX_EXPONENT = 64
MAX_FACTORIAL = 20
MAX_BITS = 4096
"""Largest exponent, largest factorial, and the length of the largest numerator or denominator on the way."""

ROOT_DIGITS = 30
"""Decimals of a root that is no fraction."""


class _NoValueError(Exception):
    pass


def value_of(items: Sequence[Item], at: Mapping[str, Fraction] | None = None) -> Fraction | None:
    """Return the value of the expression that ``items`` are; None where it has none that is read here.

    Args:
        items: The parts of the expression.
        at: Values to take for numbers, by their spelling.
    """
    if len(items) == 1 and items[0].kind == "n" and not at:  # what is most frequent
        return _plain(items[0].text)
    node = read(items)
    if node is None:
        return None
    try:
        return _value(node, at or {})
    except (_NoValueError, ValueError, ZeroDivisionError):
        return None


def shown(value: Fraction) -> str:
    """Return a value as one writes it, with at most four decimals: "8", "0.5", "about 0.3333"."""
    if value.denominator == 1 and abs(value) < 10**MAX_DIGITS:
        return str(value)
    if abs(value) >= 10**MAX_DIGITS:
        return "a long number"
    text = f"{float(value):.4f}".rstrip("0").rstrip(".")
    return text if Fraction(text) == value else f"about {text}"


def _value(node: Node, at: Mapping[str, Fraction]) -> Fraction:
    if isinstance(node, str):
        return at[node] if node in at else _number(node)
    if node[0] not in _OPERATIONS:
        raise _NoValueError
    found = _OPERATIONS[node[0]](node, at)
    if max(found.numerator.bit_length(), found.denominator.bit_length()) > MAX_BITS:
        raise _NoValueError
    return found


def _plain(text: str) -> Fraction | None:
    try:
        return _number(text)
    except (ValueError, ZeroDivisionError):
        return None


@functools.lru_cache(maxsize=8192)
def _number(text: str) -> Fraction:
    whole, _, part = text.rpartition(" ")  # "1 1/2"
    return Fraction(part) + (Fraction(whole) if whole else 0)


def _sum(node: tuple, at: Mapping[str, Fraction]) -> Fraction:
    return sum((sign * _value(term, at) for sign, term in node[1]), Fraction(0))


def _product(node: tuple, at: Mapping[str, Fraction]) -> Fraction:
    value = Fraction(1)
    for power, factor in node[1]:
        value = _value(factor, at) * value if power > 0 else value / _value(factor, at)
    return value


def _power(node: tuple, at: Mapping[str, Fraction]) -> Fraction:
    base, exponent = _value(node[1], at), _value(node[2], at)
    if exponent.denominator > 1 or abs(exponent) > MAX_EXPONENT:
        raise _NoValueError
    return base ** int(exponent)


def _factorial(node: tuple, at: Mapping[str, Fraction]) -> Fraction:
    n = _value(node[1], at)
    if n.denominator > 1 or not 0 <= n <= MAX_FACTORIAL:
        raise _NoValueError
    return Fraction(math.factorial(int(n)))


def _root(node: tuple, at: Mapping[str, Fraction]) -> Fraction:
    radicand = _value(node[2], at)
    if node[1] != "√" or radicand < 0:
        raise _NoValueError
    exact = Fraction(math.isqrt(radicand.numerator), math.isqrt(radicand.denominator))
    scale = 10**ROOT_DIGITS
    return exact if exact**2 == radicand else Fraction(math.isqrt(math.floor(radicand * scale**2)), scale)


_OPERATIONS: dict[str, Callable[[tuple, Mapping[str, Fraction]], Fraction]] = {
    "+": _sum,
    "*": _product,
    "^": _power,
    "!": _factorial,
    "of": _root,
}
