"""Whether the equations that steps state are true: ``3 + 5 = 8`` is, ``3 + 5 = 9`` is not.

Read with the key steps' own reader, so that units, currencies and the nouns of counted things are left aside, a chain
is its links, and what a sentence denies, doubts or takes back is not stated. Only what can be evaluated is checked:
numbers with at least one operation and no letters. What may be true in a way that is not read here (a conversion of
units, a clock, a condition) is not checked, since a true equation that counts as false costs more than a false one
that is missed.

Pure: no I/O. Nothing here raises on text, and the work is bounded by the number of tokens.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from verl_stepgrpo.judging.key_steps.calculations.links import OPERATIONS, Stated, extent_of
from verl_stepgrpo.judging.key_steps.calculations.plain import plainly_true
from verl_stepgrpo.judging.key_steps.calculations.rounding import is_true_of_exact
from verl_stepgrpo.judging.key_steps.calculations.said import said_by
from verl_stepgrpo.judging.key_steps.calculations.values import MAX_DIGITS
from verl_stepgrpo.judging.key_steps.chains import Chain
from verl_stepgrpo.judging.key_steps.expressions import Item
from verl_stepgrpo.judging.key_steps.sentences import Segment, Sentence, SentenceIndex, sentence_of
from verl_stepgrpo.judging.key_steps.stretches import fault_of_relation
from verl_stepgrpo.judging.reading.tokens import Token
from verl_stepgrpo.judging.sections import Section

MAX_ITEMS = 64
"""Parts of an equation that is evaluated."""

_SIGN = re.compile(r"[+*/×÷−]|\b(?:plus|minus|times|divided|multiplied)\b")

_VERB = re.compile(r"\b(?:is|are|gives|makes|leaves)\b")

_READABLE = frozenset("n+-*/^·!f()~%")


@dataclass(frozen=True)
class Equation:
    """An equation of numbers that a step states.

    Attributes:
        key: The same for the same equation, in whatever order of its terms and factors.
        is_true: Whether both sides are the same number, rounded to the digits that are shown.
        values: What its sides are worth, as they would be written; empty where it is true.
        step: Index of the reasoning step, counted from 0.
        start: Its offset in the response, in characters.
        end: The offset behind it.
    """

    key: str
    is_true: bool
    values: tuple[str, ...]
    step: int
    start: int
    end: int


def false_steps(equations: Iterable[Equation]) -> frozenset[int]:
    """Return the steps, counted from 0, that state a false equation."""
    return frozenset(equation.step for equation in equations if not equation.is_true)


def equations_of(sections: Sequence[Section]) -> tuple[Equation, ...]:
    """Return the equations of a response's steps that can be checked, in the order they stand."""
    index = SentenceIndex.of_steps(sections, 1.0)
    if not _may_state(index.text):
        return ()
    rounded: set[str] = set()
    return tuple(
        equation
        for segment in index.segments()
        if _may_state(segment.sentence.text)
        for equation in _of_sentence(segment, rounded)
    )


def _may_state(text: str) -> bool:
    """Whether a text may state an equation with an operation; most sentences cannot."""
    if "=" in text or "≈" in text or "equal" in text or "approx" in text:
        return True
    return bool(_SIGN.search(text) and _VERB.search(text))


@functools.lru_cache(maxsize=4096)
def _stated(text: str) -> tuple[Stated, ...]:
    """Return the equations that a sentence states, as far as they can be checked."""
    plain = plainly_true(text)
    return _read(text) if plain is None else plain


def _read(text: str) -> tuple[Stated, ...]:
    sentence, seen, found = sentence_of(text), set(), []
    for chain in sentence.chains:
        for link in chain.links():
            # A chain with a percent sign is read in two ways.
            if (link.first, link.last) in seen or not _is_checkable(chain, link, sentence):
                continue
            seen.add((link.first, link.last))
            says = said_by(link, sentence)
            if says is not None:
                found.append(
                    Stated("=".join(sorted(link.forms)), says, *extent_of(sentence.tokens, link), link)
                )
    return tuple(found)


def _of_sentence(segment: Segment, rounded: set[str]) -> Iterator[Equation]:
    """Yield the equations of a sentence; the numbers that they round are added to ``rounded``."""
    for key, says, start, end, link in _stated(segment.sentence.text):
        if (
            link is not None
            and not says.is_true
            and rounded
            and is_true_of_exact(link, segment.sentence, rounded)
        ):
            continue
        rounded |= says.rounds
        yield Equation(
            key, says.is_true, says.values, segment.step, segment.offset + start, segment.offset + end
        )


def _is_checkable(chain: Chain, link: Chain, sentence: Sentence) -> bool:
    """Whether a link is an equation of numbers with an operation, which the sentence states as it stands here."""
    items = [item for side in link.sides for item in side]
    kinds = {item.kind for item in items}
    if (
        link.signs[0] not in "=≈"
        or not kinds & OPERATIONS
        or not kinds <= _READABLE
        or len(items) > MAX_ITEMS
    ):
        return False
    if any(len(item.text) > MAX_DIGITS for item in items):
        return False
    return (
        not any(_multiplies_doubtfully(side, sentence.tokens) for side in link.sides)
        and fault_of_relation(chain, sentence.tokens, link.first, link.last) is None
    )


def _multiplies_doubtfully(side: Sequence[Item], tokens: Sequence[Token]) -> bool:
    """Whether a product without a sign may be none, "12 (4 * 3)", or bind in two ways, "8 / 2(2 + 2)"."""
    products = [i for i, item in enumerate(side) if item.kind == "·"]
    return any(not tokens[side[i].first].attached or side[i - 2].kind == "/" for i in products)
