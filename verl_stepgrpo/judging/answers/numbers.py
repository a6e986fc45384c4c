"""Judge numbers and quantities.

Pure: no I/O. Not covered: conversion between units, rounding (``0.33`` is not ``1/3``).
"""

from __future__ import annotations

import re

from verl_stepgrpo.judging.answers.prose import find_quantity, stated_quantity
from verl_stepgrpo.judging.answers.statement import clause
from verl_stepgrpo.judging.answers.verdict import Answer, Judge, Verdict, decided
from verl_stepgrpo.judging.reading.quantities import Quantity, parse_quantity

NAME = re.compile(
    r"(?:\\?[a-z]+(?:_\{?\w+\}?)?(?:')?(?: ?\([^()=]{1,40}\))?|m? ?\\angle ?[a-z]+|\([a-z](?:, ?[a-z]){1,3}\)"
    r"|[a-z]+(?: [a-z]+){0,4})"
)


def by_number(given: Answer, wanted: Answer, judge: Judge) -> Verdict | None:
    gold = parse_quantity(wanted.core)
    if gold is None:
        return None
    quantity = _quantity_of(given.core) or quantity_in_prose(given.full)
    return None if quantity is None else compare_quantities(quantity, gold, given.core, wanted.core)


def quantity_in_prose(text: str) -> Quantity | None:
    """Return the quantity that a normalised text states in a sentence, or None."""
    said = clause(text)
    # An explanation that calculates is where the value stands: "5 less than 9, which is 9 - 5 = 4".
    return stated_quantity(said) or (stated_quantity(text) if "=" in text and "=" not in said else None)


def compare_quantities(quantity: Quantity, gold: Quantity, given: str, wanted: str) -> Verdict:
    """Return the verdict on two quantities; ``given`` and ``wanted`` are their spellings."""
    if not quantity.same_unit(gold):
        return decided(False, "number", f"another unit: {quantity.unit} against {gold.unit}")
    same = quantity.same_value(gold)
    return decided(same, "number", f"{given} {'equals' if same else 'does not equal'} {wanted}")


def _quantity_of(text: str) -> Quantity | None:
    """Return the quantity that an answer states: alone, behind a name and "=", or as the only one in prose."""
    name, equals, value = text.rpartition("=")
    if equals and NAME.fullmatch(name.strip().casefold()):
        text = value.strip()
    text = re.sub(r"^(?:about|approximately|approx\.?|roughly|around|exactly|\\approx|~) ?", "", text)
    if text[:1] == "(" and text[-1:] == ")":
        text = text[1:-1]
    restated = re.fullmatch(r"(.*\S) ?\(([^()]*)\)", text)
    if restated:
        first, second = parse_quantity(restated[1]), parse_quantity(restated[2])
        if first is not None and second is not None:
            return first if first.plain == second.plain else None
    quantity = parse_quantity(text)
    return find_quantity(text) if quantity is None and "=" not in text else quantity
