r"""Judge an answer that says its value twice, exactly and rounded: ``\sqrt{2} \approx 1.41``.

Either side is the answer where both are one value, up to the rounding that the digits of the last side show; else the
answer says two values, and is none. An exact side that nothing here evaluates, as ``\ln 2``, is the answer by itself.

Pure: no I/O.
"""

from __future__ import annotations

import re
from fractions import Fraction

from verl_stepgrpo.judging.answers import arithmetic
from verl_stepgrpo.judging.answers.doubts import DENIALS
from verl_stepgrpo.judging.answers.equations import is_symbolic
from verl_stepgrpo.judging.answers.numbers import NAME, quantity_of
from verl_stepgrpo.judging.answers.verdict import Answer, Judge, Verdict, decided, shown
from verl_stepgrpo.judging.reading.lexicon import one_of
from verl_stepgrpo.judging.reading.quantities import Quantity
from verl_stepgrpo.judging.reading.units import split_unit

APPROXIMATELY = "\\approx"
"""The sign between the two, in a normalised text."""

FLOAT_ERROR = Fraction(1, 10**12)
"""How far a root or a multiple of pi is off as a float, as a share of it."""

_NUMERAL = re.compile(r"\d[\d,]*(?:\.(?P<decimals>\d+))?|\.(?P<few>\d+)")
_DECIMAL_BEHIND = re.compile(
    rf"(?P<exact>[^()]*\S) \((?:(?:{one_of('APPROXIMATION')}|approx\.?|\\approx|~|=) ?)*"
    r"(?P<decimal>-?[\d,]*\.\d[^()]*)\)"
)
_VARIABLE = re.compile(r"(?<![\\a-zA-Z])[a-df-zA-Z](?![a-zA-Z])")
_LIST = re.compile(r", |;|\b(?:and|or)\b")


def by_approximation(given: Answer, wanted: Answer, judge: Judge) -> Verdict | None:
    """An exact value with a rounded one behind it is met by either, and meets either; None without such a sign."""
    if APPROXIMATELY in wanted.core:
        return _by_approximated_reference(given, wanted, judge)
    core = _with_sign(given.core)
    if APPROXIMATELY not in core:
        return None
    parts = [part.strip() for part in core.split(APPROXIMATELY)]
    if not parts[0]:
        return None
    if _describes(parts[0]):
        parts = parts[1:]
        if not re.search(r"[\d\\]", parts[-1]):
            return decided(False, "form", f"no number: {shown(given.core)}")
    sides = [side for part in parts for side in _sides(part)]
    if len(parts) > 1 and (_LIST.search(given.core) or _VARIABLE.search(split_unit(sides[-2])[0])):
        return None  # each part of a list is judged by itself, and "x + 1" has no decimal
    if len(parts) == 2 == len(sides) and _is_unread(sides[0]):
        parts = parts[:1]
    elif len(parts) > 1 and not _are_one_value(sides):
        return decided(False, "form", f"not one value up to rounding: {shown(given.core)}")
    verdicts = [judge.compare(Answer(part, part), wanted) for part in parts]
    return next((verdict for verdict in verdicts if verdict.correct), verdicts[-1])


def _with_sign(text: str) -> str:
    """Return an exact value with its decimal behind it with the sign between them: "1/3 (about 0.333)"."""
    said = _DECIMAL_BEHIND.fullmatch(text) if "." in text and text[-1:] == ")" else None
    if said is None or not _are_one_value([said["exact"], said["decimal"]]):
        return text
    return f"{said['exact']} {APPROXIMATELY} {said['decimal']}"


def _by_approximated_reference(given: Answer, wanted: Answer, judge: Judge) -> Verdict | None:
    r"""A reference ``\sqrt{3} \approx 1.73`` says two values that it takes, ``x \approx 1.73`` one."""
    exact, _, decimal = (part.strip() for part in wanted.core.partition(APPROXIMATELY))
    if not exact or not decimal or APPROXIMATELY in decimal:
        return None
    values = [decimal] if NAME.fullmatch(exact.casefold()) else [exact, decimal]
    verdicts = [judge.compare(given, Answer(value, value)) for value in values]
    return next((verdict for verdict in verdicts if verdict.correct), verdicts[0])


def _sides(part: str) -> list[str]:
    """Return the sides of ``x = expression = value``, without what says only what they are of."""
    sides = [side.strip() for side in part.split("=")]
    return sides[1:] if len(sides) > 1 and _describes(sides[0]) else sides


def _describes(side: str) -> bool:
    """Whether a side only says of what the next one is the value: "AB", "the height of it"."""
    if DENIALS.search(side):
        return False
    return NAME.fullmatch(side.casefold()) is not None or not re.search(r"[\d\\]", side)


def _is_unread(side: str) -> bool:
    r"""Whether a side is an expression that has no value here: ``\ln 2``."""
    return "\\" in side and is_symbolic(side.casefold()) and _value(side) is None


def _are_one_value(sides: list[str]) -> bool:
    """Whether the last side is each of the others, rounded."""
    rounded, values = quantity_of(sides[-1]), [_value(side) for side in sides[:-1]]
    return rounded is not None and all(
        value is not None and _rounds_to(value, rounded, sides[-1]) for value in values
    )


def _value(side: str) -> Quantity | None:
    quantity = quantity_of(side)
    if quantity is not None:
        return quantity
    expression, unit = split_unit(side)
    about = arithmetic.approximately(expression)
    return None if about is None else Quantity(Fraction(about), unit=unit)


def _rounds_to(value: Quantity, rounded: Quantity, spelling: str) -> bool:
    """Whether ``rounded``, spelled so, is ``value`` but for at most half a unit of its last digit."""
    units = {quantity.unit for quantity in (value, rounded) if quantity.unit}
    numeral = _NUMERAL.search(spelling)
    if len(units) > 1 or numeral is None:
        return False
    if "/" in spelling or "frac" in spelling:
        return value.plain == rounded.plain
    decimals = len(numeral["decimals"] or numeral["few"] or "")
    digits = Fraction(int(re.sub(r"[.,]", "", numeral.group())), 10**decimals)
    # What a digit of "1.2 million" or of "55.6%" is worth.
    scale = abs(rounded.plain) / digits if digits else Fraction(1)
    half = Fraction(1, 2 * 10**decimals) * scale
    return abs(value.plain - rounded.plain) <= half + FLOAT_ERROR * abs(rounded.plain)
