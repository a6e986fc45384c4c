"""A link of a chain of equations, as its two sides: where it stands, what is written, and what it is found to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from verl_stepgrpo.judging.key_steps.chains import Chain
from verl_stepgrpo.judging.key_steps.expressions import Item
from verl_stepgrpo.judging.key_steps.runs import SAYS_EQUAL
from verl_stepgrpo.judging.key_steps.sentences import Sentence
from verl_stepgrpo.judging.reading.tokens import Token


class Says(NamedTuple):
    """What a link of a chain says.

    Attributes:
        is_true: Whether it is true.
        values: What its sides are worth, where it is false.
        rounds: The numbers in it that are rounded.
    """

    is_true: bool
    values: tuple[str, ...] = ()
    rounds: frozenset[str] = frozenset()


class Stated(NamedTuple):
    """An equation of a sentence: what it says, its place in the sentence, and the link that it is."""

    key: str
    says: Says
    start: int
    end: int
    link: Chain | None = None


OPERATIONS = frozenset("+-*/^·!f")
"""Kinds of items with which a side is more than a number."""


def extent_of(tokens: Sequence[Token], link: Chain) -> tuple[int, int]:
    """Return where a link begins and ends in its sentence, in characters."""
    around = tokens[link.first : link.last + 1]
    return min(token.start for token in around), max(token.end for token in around)


def sign_of(link: Chain, tokens: Sequence[Token]) -> int:
    """Return the token that says "is equal" in a link."""
    between = range(link.sides[1][0].first - 1, link.sides[0][-1].last, -1)
    return next((i for i in between if tokens[i].text in SAYS_EQUAL or tokens[i].text in "=≈"), between.start)


def is_number(side: Sequence[Item]) -> bool:
    """Whether a side is a number alone, whatever unit or percent sign it has."""
    return [item.kind for item in side if item.kind not in "~%"] == ["n"]


def number_of(side: Sequence[Item]) -> Item:
    """Return the first number of a side that has one."""
    return next(item for item in side if item.kind == "n")


def written(item: Item, sentence: Sentence) -> str:
    """Return an item as it is written."""
    return sentence.text[sentence.tokens[item.first].start : sentence.tokens[item.last].end]
