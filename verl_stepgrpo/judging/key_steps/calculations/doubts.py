"""Whether an equation whose sides differ may be true in a way that is not read here, or is not stated at all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from verl_stepgrpo.judging.key_steps.calculations.links import (
    OPERATIONS,
    extent_of,
    number_of,
    sign_of,
    written,
)
from verl_stepgrpo.judging.key_steps.calculations.rounding import rounds
from verl_stepgrpo.judging.key_steps.calculations.values import value_of
from verl_stepgrpo.judging.key_steps.chains import Chain
from verl_stepgrpo.judging.key_steps.expressions import Item
from verl_stepgrpo.judging.key_steps.sentences import Sentence
from verl_stepgrpo.judging.reading.lexicon import FUNCTION_WORDS
from verl_stepgrpo.judging.reading.tokens import Token

MAX_LEAD = 4
"""Words between an operator and its number that are looked over."""

_SUPPOSED = frozenset("if whether suppose supposing assume assuming check verify try unless".split())
"""Words before an equation with which it is a condition or a trial, and no statement."""

_PLAIN = frozenset("of per each the".split())
"""Function words that may stand within the name of what is counted."""

_NO_NAMES = (
    FUNCTION_WORDS
    | frozenset(
        "because since if when while after before than more less who where only other another".split()
    )
    | frozenset(
        "january february march april june july august september october november december monday tuesday wednesday "
        "thursday friday saturday sunday".split()
    )
) - _PLAIN
"""Words that are not within the name of what is counted: the equation may begin, or mean, something else."""

_SCALES = frozenset(
    "half halves third thirds quarter quarters fifths dozen mod r remainder am pm times".split()
)
"""Words right behind a number with which it is another one."""

_MULTIPLIERS = frozenset("twice double triple thrice half third quarter negative".split())
"""Words right before a number with which it is another one."""

_MEASURES = tuple(
    frozenset(words.split())
    for words in (
        "second s minute min hour hr h day week month year decade",
        "cent penny pennies nickel dime quarter dollar pence pound",
        "inch in inche foot feet ft yard yd mile mi mm cm m km",
        "mg g kg ounce oz lb pound ton",
        "ml l liter litre gallon gal quart pint cup tablespoon teaspoon ounce oz",
        "pair dozen box pack case set",
        "° π",
    )
)
"""Units and names of measures of one kind: with two of them an equation may convert one into the other."""

_CONVERSIONS = frozenset((7, 12, 16, 24, 36, 52, 60, 100, 144, 365, 1000, 1440, 1760, 2000, 3600))
"""How many of one unit another one may be."""

_SIGNS = frozenset("+-*/x@")

_CUT_BEFORE = re.compile(r"\d[,:.]\Z|(?<=.)[-–−] ?\Z|#\Z|\d%?(?: \w+){1,2} of [$€£]?\Z")

_CUT_BEHIND = re.compile(r"[,:]\d|\.\.|…|-\w|\s*\(?\s*mod\b")


def may_be_true(link: Chain, sentence: Sentence, a: Fraction, b: Fraction) -> bool:
    """Whether a link whose sides are worth ``a`` and ``b`` may be true, or is not stated."""
    tokens = sentence.tokens
    first, other = link.sides
    if _is_cut(sentence, link) or _is_carried(a, other, sentence) or _names_its_value(link):
        return True
    if _is_supposed(tokens, link.first) or sentence.text.rstrip().endswith("?"):
        return True
    if (a < 0 < b and _is_range(first, tokens)) or _divides_doubtfully(link):
        return True
    named = link.last + 1 < len(tokens) and tokens[link.last + 1].text[0].isalpha()
    has_words = named or link.words or link.units or "%" in sentence.text or "percent" in sentence.text
    if a and b and has_words and (a / b in _CONVERSIONS or b / a in _CONVERSIONS):
        return True
    sign = sign_of(link, tokens)
    within = {tokens[i].text.casefold() for i in range(link.first, link.last + 1) if i != sign}
    names = {token.text.casefold().removesuffix("s") for token in tokens[link.first : link.last + 3]}
    return not within.isdisjoint(_NO_NAMES) or any(len(names & measures) > 1 for measures in _MEASURES)


def _is_cut(sentence: Sentence, link: Chain) -> bool:
    """Whether the numbers at the ends of a link may be parts of others, as in "3,5", "10 000", "9:30", "twice 5"."""
    tokens, text = sentence.tokens, sentence.text
    start, end = extent_of(tokens, link)
    if _CUT_BEFORE.search(text, max(0, start - 40), start) or _CUT_BEHIND.match(text, end):
        return True
    behind = tokens[link.last + 1] if link.last + 1 < len(tokens) else None
    if behind is not None and not behind.mark and (behind.number or behind.text in _SCALES):
        return True
    if not link.first or tokens[link.first].mark:
        return False
    before = tokens[link.first - 1]
    return before.number or before.text in _MULTIPLIERS or _begins_earlier(tokens, link.first)


def _begins_earlier(tokens: Sequence[Token], first: int) -> bool:
    """Whether an operator stands before token ``first``, with nothing but words between: "8 + RJ's [1 gun + 5"."""
    for i in range(first - 1, max(-1, first - MAX_LEAD - 1), -1):
        if tokens[i].text in _SIGNS:
            return not tokens[i].opens_line
        if tokens[i].mark or tokens[i].number:
            return False
    return False


def _is_supposed(tokens: Sequence[Token], first: int) -> bool:
    """Whether what begins at token ``first`` is a condition or a trial: "if 3 + 5 = 9", but not "if so, 3 + 5 = 9"."""
    for i in range(first, -1, -1):
        if tokens[i].text in _SUPPOSED:
            return True
        if tokens[i].mark or tokens[i].text in ("then", "so"):
            return False
    return False


def _is_carried(value: Fraction, side: Sequence[Item], sentence: Sentence) -> bool:
    """Whether a side begins with the value of the side before and goes on: "5 + 3 = 8 * 2"."""
    if len(side) < 2 or side[0].kind != "n":
        return False
    carried = value_of(side[:1])
    return carried is not None and (
        carried == value or rounds(value, carried, written(number_of(side[:1]), sentence), "=")
    )


def _names_its_value(link: Chain) -> bool:
    """Whether a first side is a number alone and may be a name: "2 dogs = 60/2", "Week 1 = 7 * 2"."""
    first, last = ({item.kind for item in side} & OPERATIONS for side in link.sides)
    return not first and bool(last)


def _divides_doubtfully(link: Chain) -> bool:
    """Whether a side with units divides twice: "100 pages / 2 pages/1.5 minutes"."""
    return bool(link.words or link.units) and any(
        sum(item.kind == "/" for item in side) > 1 for side in link.sides
    )


def _is_range(side: Sequence[Item], tokens: Sequence[Token]) -> bool:
    """Whether a side may be from one number to another: "5-10"."""
    return [item.kind for item in side] == ["n", "-", "n"] and tokens[side[1].first].attached
