r"""Judge numbers and quantities, and the pairs of numbers that are no calculation: ranges, ratios, dimensions.

Conventions, where only one can decide:

- ``10-20`` as a reference is a range, and not a difference; its ends are compared.
- ``3:2`` is the ratio 3/2, and equals ``6:4``, ``3/2`` and ``1.5``.
- ``24 cm * 16 cm`` against another product of as many bare numbers are dimensions: the same numbers, in any order.
- A decimal of at least ``PRINTED_DIGITS`` digits is what a program prints of the value, and equals it.
- Nothing is rounded, unless a tolerance is set: ``0.33`` is not ``1/3``.

Pure: no I/O. Not covered: conversion between units.
"""

from __future__ import annotations

import re
from fractions import Fraction

from verl_stepgrpo.judging.answers import arithmetic
from verl_stepgrpo.judging.answers.prose import stated_quantity
from verl_stepgrpo.judging.answers.statement import clause
from verl_stepgrpo.judging.answers.verdict import Answer, Judge, Verdict, decided, shown
from verl_stepgrpo.judging.reading.lexicon import one_of
from verl_stepgrpo.judging.reading.quantities import Quantity, parse_quantity

PRINTED_DIGITS = 14
"""Decimals of a number as Python and most programs print one that does not end; nobody rounds to as many."""

NAME = re.compile(
    r"(?:(?:\\delta )?\\?[a-z]+(?:_\{?\w+\}?)?(?:')?(?: ?\([^()=]{1,40}\))?|m? ?\\angle ?[a-z]+"
    r"|\([a-z](?:_?\{?\d\}?)?(?:, ?[a-z](?:_?\{?\d\}?)?){1,3}\)|\|[a-z]{1,3}\||\\overline ?\{[a-z]{2}\}"
    r"|\\frac\{[a-z]{1,2}\}\{[a-z]{1,2}\}|[a-z] ?/ ?[a-z]|[a-z](?:_\{?\w\}?)? ?: ?[a-z](?:_\{?\w\}?)?"
    r"|[a-z]+(?: [a-z]+){0,4})"
)
"""What an equation names on its left: "x", "|AB|", "a:b", "the area of it"."""

_APPROXIMATELY = re.compile(rf"^(?:{one_of('APPROXIMATION')}|approx\.?|\\approx|~) ?")
_RANGE = re.compile(r"(?:from )?(?P<low>[$€£]?[\d.][^-]{0,30}?)(?: ?- ?| to )(?P<high>[^-]{1,40})")
_BETWEEN = re.compile(r"between (?P<low>[^-]{1,30}?) and (?P<high>[^-]{1,40})")
_INTERVAL = re.compile(r"[\[(](?P<low>[^,\[\]()]{1,30}),(?P<high>[^,\[\]()]{1,30})[\])]")
_RATIO = re.compile(r"\d[\d.]*(?: ?: ?(?!0\d)\d[\d.]*){1,4}")
_BETWEEN_FACTORS = re.compile(r"(?<=[\w.°}]) ?(?:\*|\bx\b|\bby\b) ?(?=\d)")


def by_number(given: Answer, wanted: Answer, judge: Judge) -> Verdict | None:
    """A number or a quantity is met by an equal one; ranges, ratios and dimensions by the same numbers."""
    gold = parse_quantity(wanted.core)
    if gold is None or ":" in given.core:
        pair = _by_ratio(given.core, wanted.core) or _by_range(given, wanted) or _by_dimensions(given, wanted)
        if pair is not None or gold is None:
            return pair
    quantity = quantity_of(given.core)
    if quantity is not None:
        return compare_quantities(quantity, gold, given.core, wanted.core, judge.tolerance)
    quantity = quantity_in_prose(given.full)
    if quantity is not None:
        return compare_quantities(quantity, gold, _spelling(quantity), wanted.core, judge.tolerance)
    return None


def compare_quantities(
    quantity: Quantity, gold: Quantity, given: str, wanted: str, tolerance: float = 0.0
) -> Verdict:
    """Return the verdict on two quantities; ``given`` and ``wanted`` are their spellings."""
    if not quantity.same_unit(gold):
        return decided(False, "number", f"the units differ: {_unit(quantity)}, {_unit(gold)}")
    said, right = shown(given), shown(wanted)
    if quantity.same_value(gold):
        return decided(True, "number", f"{said} equals {right}")
    if _is_printed(given) and _is_near(quantity.plain, gold.plain, 1e-12):
        return decided(True, "number", f"{said} equals {right} to all its digits")
    if tolerance and ("." in given or "." in wanted) and _is_near(quantity.plain, gold.plain, tolerance):
        return decided(True, "number", f"{said} equals {right} but for {tolerance:g} of it")
    return decided(False, "number", f"{said} does not equal {right}")


def _unit(quantity: Quantity) -> str:
    return " ".join(filter(None, ("%" * quantity.percent, quantity.unit))) or "none"


def _spelling(quantity: Quantity) -> str:
    """Return a quantity that a sentence states as a reason shows it."""
    number = quantity.value
    spelled = str(number) if 1000 % number.denominator else f"{float(number):.12g}"
    return " ".join(filter(None, (spelled + "%" * quantity.percent, quantity.unit)))


def by_decimal(given: str, wanted: str, tolerance: float) -> Verdict | None:
    """Return the verdict on a decimal and an irrational number; None where they are not near enough to be one."""
    decimal, other = (given, wanted) if re.fullmatch(r"-?\d*\.\d+", given) else (wanted, given)
    near = tolerance if tolerance and re.fullmatch(r"-?\d*\.\d+", decimal) else 1e-12 * _is_printed(decimal)
    if not near or re.search(r"[a-zA-Z]", re.sub(r"\\(?:frac|sqrt|pi)(?![a-zA-Z])", "", decimal + other)):
        return None
    one, two = arithmetic.approximately(given), arithmetic.approximately(wanted)
    if one is None or two is None or abs(one - two) > near * abs(two):
        return None
    return decided(True, "number", f"{shown(given)} is about {shown(wanted)}")


def _is_printed(text: str) -> bool:
    return re.search(rf"\.\d{{{PRINTED_DIGITS}}}", text) is not None


def _is_near(one: Fraction, other: Fraction, tolerance: float) -> bool:
    return abs(one - other) <= Fraction(tolerance) * abs(other)


def quantity_of(text: str) -> Quantity | None:
    """Return the quantity that an answer is: alone, behind a name and "=", or said twice: "1/2 (0.5)", "1/2 or 0.5"."""
    name, equals, value = text.rpartition("=")
    if equals and NAME.fullmatch(name.strip().casefold()):
        text = value.strip()
    text = _APPROXIMATELY.sub("", text)
    if text[:1] == "(" and text[-1:] == ")":
        text = text[1:-1]
    restated = re.fullmatch(r"(.*\S) ?\((?:or |= ?)?([^()]*)\)|(.+) or (.+)", text)
    if restated:
        first, second = (parse_quantity(part) for part in restated.groups() if part is not None)
        if first is not None and second is not None:
            same = first.plain == second.plain and first.same_unit(second)
            return (first if first.unit else second) if same else None
    return parse_quantity(text)


def quantity_in_prose(text: str) -> Quantity | None:
    """Return the quantity that a normalised text states in a sentence, or None."""
    said = clause(text)
    # An explanation that calculates is where the value stands: "5 less than 9, which is 9 - 5 = 4".
    return stated_quantity(said) or (stated_quantity(text) if "=" in text and "=" not in said else None)


def _by_range(given: Answer, wanted: Answer) -> Verdict | None:
    gold = _ends(_RANGE, wanted.core)
    if gold is None:
        return None
    if gold[0].value > gold[1].value and " - " in wanted.core:  # "3/4 - 1/2" is a difference, "3-2" a score
        return None
    ours = _ends(_RANGE, given.core) or _ends(_INTERVAL, given.core) or _ends(_BETWEEN, given.core)
    if ours is None:
        return decided(False, "number", "the reference is a range, the answer none")
    units = {quantity.unit for quantity in (*ours, *gold) if quantity.unit}
    same = all(one.value == other.value for one, other in zip(ours, gold, strict=True)) and len(units) < 2
    return decided(
        same,
        "number",
        f"the ranges {'agree' if same else 'differ'}: {shown(given.core)}, {shown(wanted.core)}",
    )


def _ends(form: re.Pattern[str], text: str) -> tuple[Quantity, Quantity] | None:
    match = form.fullmatch(text)
    if not match:
        return None
    low, high = parse_quantity(match["low"].strip()), parse_quantity(match["high"].strip())
    return None if low is None or high is None else (low, high)


def _by_ratio(given: str, wanted: str) -> Verdict | None:
    if ":" not in given + wanted:
        return None
    gold, ours = _terms(wanted), _terms(given)
    if not gold or not ours or (len(gold) == len(ours) == 1) or not all(gold + ours):
        return None
    if len(gold) == 1 or len(ours) == 1:
        gold, ours = (*gold, Fraction(1))[:2], (*ours, Fraction(1))[:2]
    same = len(gold) == len(ours) and len({one / other for one, other in zip(ours, gold, strict=True)}) == 1
    return decided(
        same, "number", f"the ratios {'agree' if same else 'differ'}: {shown(given)}, {shown(wanted)}"
    )


def _terms(text: str) -> tuple[Fraction, ...]:
    """Return the terms of a ratio; of a plain number itself, and of anything else none."""
    if _RATIO.fullmatch(text):
        terms = [parse_quantity(term.strip()) for term in text.split(":")]
        return tuple(term.value for term in terms if term is not None) if all(terms) else ()
    quantity = quantity_of(text)
    return () if quantity is None or quantity.unit or quantity.percent else (quantity.value,)


def _by_dimensions(given: Answer, wanted: Answer) -> Verdict | None:
    gold, ours = _factors(wanted.core), _factors(given.core)
    if not gold or len(gold) != len(ours):
        return None
    units = {quantity.unit for quantity in (*ours, *gold) if quantity.unit}
    same = sorted(q.value for q in ours) == sorted(q.value for q in gold) and len(units) < 2
    return decided(
        same, "number", f"the factors {'agree' if same else 'differ'}: {given.core}, {wanted.core}"
    )


def _factors(text: str) -> list[Quantity]:
    """Return the numbers of a product of bare numbers, "12 * 18 * 11"; of anything else none."""
    parts = _BETWEEN_FACTORS.split(text)
    quantities = [parse_quantity(part.strip(" .")) for part in parts] if len(parts) > 1 else []
    return [q for q in quantities if q is not None] if all(quantities) else []
