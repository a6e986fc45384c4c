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
import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from verl_stepgrpo.judging.key_steps.chains import Chain
from verl_stepgrpo.judging.key_steps.expressions import Item, form
from verl_stepgrpo.judging.key_steps.runs import SAYS_EQUAL
from verl_stepgrpo.judging.key_steps.sentences import (
    Segment,
    Sentence,
    SentenceIndex,
    sentence_of,
)
from verl_stepgrpo.judging.key_steps.stretches import fault_of_relation
from verl_stepgrpo.judging.key_steps.values import MAX_DIGITS, shown, value_of
from verl_stepgrpo.judging.reading.lexicon import FUNCTION_WORDS, LEXICON
from verl_stepgrpo.judging.reading.numbers import canonical
from verl_stepgrpo.judging.reading.tokens import Token
from verl_stepgrpo.judging.sections import Section

MAX_ITEMS = 64
"""Parts of an equation that is evaluated."""

MAX_PLAIN_CHARS = 400
"""Longer sentences are read token by token."""

MAX_LEAD = 4
"""Words between an operator and its number that are looked over."""

PRINTED_DECIMALS = 10
"""With so many decimals a number is what a program prints of a value."""

MAX_ROUNDED = 3
"""Operands of an equation that a response may have rounded before."""

_SIGN = re.compile(r"[+*/×÷−]|\b(?:plus|minus|times|divided|multiplied)\b")
_VERB = re.compile(r"\b(?:is|are|gives|makes|leaves)\b")
_SUPPOSED = frozenset("if whether suppose supposing assume assuming check verify try unless".split())
"""Words before an equation with which it is a condition or a trial, and no statement."""

_SAYS_EQUAL = ("=", "≈", "equal", "equals", "approx")
"""How an equation says that its sides are equal, in the beginning of its spelling; else it is said in prose."""

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
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d{1,24})?|\d{1,24}(?:\.\d{1,24})?|\.\d{1,24})(?![\d,.]*\d)"
_NAMES = r"(?:[ /-]?[a-zA-Z]{2,}(?:[ /-][a-zA-Z]{2,}){0,5})?"
_PLAIN_EQUATION = re.compile(
    rf"(?<![\w.,:$])\$?({_NUMBER}(?:{_NAMES} ?(?:[-+*/]|\bx\b) ?\$?{_NUMBER}){{1,8}}){_NAMES}"
    rf" ?= ?\$?({_NUMBER})(?![%:])"
)
"""An equation of numbers with names behind them, as "3 red apples + 5 pears = 8"."""
_PLAIN_PART = re.compile(rf"{_NUMBER}|[-+*/](?![a-zA-Z])|(?<![a-zA-Z])x(?![a-zA-Z])")
_WORDS_BEFORE = re.compile(r"(?:(\w+)[^\w\n]+)?(\w+)[^\w\n]*\Z")
_WORD_BEHIND = re.compile(r" ?([a-zA-Z]+)")
_GOES_ON = frozenset("+-*/^=<>()%!_~#'@[]{}|")
_ODD = frozenset("?\\~^_`{}<>")
_SAID = re.compile(r"[-+*/x] ?\$?\d[\d.,]*[%)]*(?: [A-Za-z]+){0,4} (?:is|are|gives|makes|leaves)\b|equal")
_NO_LETTERS = str.maketrans({chr(i): " " for i in range(128) if not chr(i).isalpha()})
_IN_ASCII = str.maketrans("’‘“”–−×÷\u00a0", "''\"\"--*/ ")


def _words_of(*names: str) -> frozenset[str]:
    return frozenset().union(*(LEXICON[name].words for name in names))


_DENIES = _words_of("NEGATION", "DENIAL", "HEDGE", "RETRACTION", "CORRECTION") | {"t", "guess"}
"""Words with which a sentence is read token by token."""
_PARTS = _words_of("PART")
_CHANGES_BEHIND = _PARTS | _words_of("NEARLY") | frozenset("minus plus times over by non to".split())
"""Words right before an equation with which it is read so."""
_CHANGES_BEFORE = _words_of("MULTIPLE") | frozenset(
    "percent hundred thousand million billion squared cubed plus minus over divided quarter times x e".split()
)
"""Words right behind it."""

_OPERATIONS = frozenset("+-*/^·!f")
_READABLE = frozenset("n+-*/^·!f()~%")
_CUT_BEFORE = re.compile(r"\d[,:.]\Z|(?<!\n)[-–−] ?\Z|#\Z|\d%?(?: \w+){1,2} of [$€£]?\Z")
_CUT_BEHIND = re.compile(r"[,:]\d|\.\.|…|-\w|\s*\(?\s*mod\b")


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


class _Says(NamedTuple):
    """What a link of a chain says.

    Attributes:
        is_true: Whether it is true.
        values: What its sides are worth, where it is false.
        rounds: The numbers in it that are rounded.
    """

    is_true: bool
    values: tuple[str, ...] = ()
    rounds: frozenset[str] = frozenset()


class _Stated(NamedTuple):
    """An equation of a sentence: what it says, its place in the sentence, and the link that it is."""

    key: str
    says: _Says
    start: int
    end: int
    link: Chain | None = None


@functools.lru_cache(maxsize=4096)
def _stated(text: str) -> tuple[_Stated, ...]:
    """Return the equations that a sentence states, as far as they can be checked."""
    plain = _plainly_true(text)
    return _read(text) if plain is None else plain


def _plainly_true(text: str) -> tuple[_Stated, ...] | None:
    """Return the equations of a sentence without reading it token by token, as most can be; else None.

    All of its equations are of bare numbers and true, and it has no word that may deny, doubt or change one.
    """
    text = text.translate(_IN_ASCII)
    signs = text.count("=")
    if not signs or not text.isascii() or len(text) > MAX_PLAIN_CHARS or not _ODD.isdisjoint(text):
        return None
    if not _DENIES.isdisjoint(text.lower().translate(_NO_LETTERS).split()):
        return None
    if _SAID.search(text):
        return None
    found = [_plain_equation(match, text) for match in _PLAIN_EQUATION.finditer(text)]
    known = tuple(one for one in found if one is not None)
    return known if len(known) == signs else None


def _plain_equation(match: re.Match[str], text: str) -> _Stated | None:
    """Return what a match of ``_PLAIN_EQUATION`` states; None where it is false or may be a part of another."""
    start, end = match.start(), match.end()
    if text[:start].rstrip()[-1:] in _GOES_ON or text[end:].lstrip()[:1] in _GOES_ON:
        return None
    before, behind = _WORDS_BEFORE.search(text, max(0, start - 24), start), _WORD_BEHIND.match(text, end)
    if before and _changes(*(word.lower() for word in before.groups(""))):
        return None
    if behind and behind[1].lower() in _CHANGES_BEFORE:
        return None
    parts = [canonical(p) if p[-1].isdigit() else p.replace("x", "*") for p in _PLAIN_PART.findall(match[1])]
    right = canonical(match[2])
    items = [Item("n" if part[-1].isdigit() else part, part, i, i) for i, part in enumerate(parts)]
    written, is_exact = form(items), _is_exact(parts, right)
    if not is_exact:
        left, stated = value_of(items), value_of((Item("n", right, 0, 0),))
        if left is None or stated is None:
            return None
        is_exact = left == stated
        if not (is_exact or _rounds(left, stated, match[2], "=")):
            return None
    says = _Says(True) if is_exact else _Says(True, rounds=frozenset({right}))
    return _Stated("=".join(sorted((str(written), right))), says, match.start(1), match.end(2))


def _is_exact(parts: Sequence[str], right: str) -> bool:
    """Whether an operation with two whole numbers gives a third, which most do; False also where it is another."""
    if len(parts) != 3 or not (parts[0].isdecimal() and parts[2].isdecimal() and right.isdecimal()):
        return False
    a, b, c = int(parts[0]), int(parts[2]), int(right)
    return {"+": a + b == c, "-": a - b == c, "*": a * b == c, "/": b != 0 and b * c == a}[parts[1]]


def _changes(earlier: str, before: str) -> bool:
    """Whether the words before an equation may change it: "half of", "40% of", "minus"."""
    return before in _CHANGES_BEHIND or (before == "of" and (earlier in _PARTS or earlier.isdecimal()))


def _read(text: str) -> tuple[_Stated, ...]:
    sentence, seen, found = sentence_of(text), set(), []
    for chain in sentence.chains:
        for link in chain.links():
            # A chain with a percent sign is read in two ways.
            if (link.first, link.last) in seen or not _is_checkable(chain, link, sentence):
                continue
            seen.add((link.first, link.last))
            says = _says(link, sentence)
            if says is not None:
                found.append(
                    _Stated("=".join(sorted(link.forms)), says, *_extent(sentence.tokens, link), link)
                )
    return tuple(found)


def _of_sentence(segment: Segment, rounded: set[str]) -> Iterator[Equation]:
    """Yield the equations of a sentence; the numbers that they round are added to ``rounded``."""
    for key, says, start, end, link in _stated(segment.sentence.text):
        if (
            link is not None
            and not says.is_true
            and rounded
            and _is_true_of_exact(link, segment.sentence, rounded)
        ):
            continue
        rounded |= says.rounds
        yield Equation(
            key, says.is_true, says.values, segment.step, segment.offset + start, segment.offset + end
        )


def _extent(tokens: Sequence[Token], link: Chain) -> tuple[int, int]:
    around = tokens[link.first : link.last + 1]
    return min(token.start for token in around), max(token.end for token in around)


def _is_checkable(chain: Chain, link: Chain, sentence: Sentence) -> bool:
    """Whether a link is an equation of numbers with an operation, which the sentence states as it stands here."""
    items = [item for side in link.sides for item in side]
    kinds = {item.kind for item in items}
    if (
        link.signs[0] not in "=≈"
        or not kinds & _OPERATIONS
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


def _is_cut(sentence: Sentence, link: Chain) -> bool:
    """Whether the numbers at the ends of a link may be parts of others, as in "3,5", "10 000", "9:30", "twice 5"."""
    tokens, text = sentence.tokens, sentence.text
    start, end = _extent(tokens, link)
    if _CUT_BEFORE.search(text, max(0, start - 40), start) or _CUT_BEHIND.match(text, end):
        return True
    behind = tokens[link.last + 1] if link.last + 1 < len(tokens) else None
    if behind is not None and not behind.mark and (behind.number or behind.text in _SCALES):
        return True
    if not link.first or tokens[link.first].mark or tokens[link.first].opens_line:
        return False
    before = tokens[link.first - 1]
    return before.number or before.text in _MULTIPLIERS or _begins_earlier(tokens, link.first)


def _begins_earlier(tokens: Sequence[Token], first: int) -> bool:
    """Whether an operator stands before token ``first``, with nothing but words between: "8 + RJ's [1 gun + 5"."""
    for i in range(first - 1, max(-1, first - MAX_LEAD - 1), -1):
        if tokens[i].text in _SIGNS:
            return not tokens[i].opens_line
        if tokens[i].mark or tokens[i].number or tokens[i].opens_line:
            return False
    return False


def _says(link: Chain, sentence: Sentence) -> _Says | None:
    """Return what a link says; None where it cannot be evaluated, or may be true in a way that is not read here."""
    if _is_said_of_a_name(link, sentence):
        return None
    first, last = (_readings(side) for side in link.sides)
    if not first or not last:
        return None
    for a, b in itertools.product(first, last):
        if a == b:
            return _Says(True)
        for exact, stated, side in ((a, b, link.sides[1]), (b, a, link.sides[0])):
            if _is_number(side) and _rounds(
                exact, stated, _written(_number_of(side), sentence), link.signs[0]
            ):
                return _Says(True, rounds=frozenset({_number_of(side).text}))
    if _may_be_true(link, sentence, first[0], last[0]):
        return None
    return _Says(False, (shown(first[0]), shown(last[0])))


def _readings(side: Sequence[Item]) -> list[Fraction]:
    """Return what a side may be worth: percent are hundredths, and in "= 25%" may also be a unit."""
    readings = [value_of(side)]
    marks = [i for i, item in enumerate(side) if item.kind == "%"]
    whole = all(side[i - 1].text == "100" for i in marks)
    if marks and (whole or not any(item.kind in "*/·" for item in side)):
        readings.append(value_of([item for item in side if item.kind != "%"]))
    return [reading for reading in readings if reading is not None]


def _is_number(side: Sequence[Item]) -> bool:
    return [item.kind for item in side if item.kind not in "~%"] == ["n"]


def _number_of(side: Sequence[Item]) -> Item:
    return next(item for item in side if item.kind == "n")


def _written(item: Item, sentence: Sentence) -> str:
    """Return an item as it is written."""
    return sentence.text[sentence.tokens[item.first].start : sentence.tokens[item.last].end]


def _rounds(exact: Fraction, stated: Fraction, spelling: str, sign: str) -> bool:
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


def _may_be_true(link: Chain, sentence: Sentence, a: Fraction, b: Fraction) -> bool:
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
    sign = _sign(link, tokens)
    within = {tokens[i].text.casefold() for i in range(link.first, link.last + 1) if i != sign}
    names = {token.text.casefold().removesuffix("s") for token in tokens[link.first : link.last + 3]}
    return not within.isdisjoint(_NO_NAMES) or any(len(names & measures) > 1 for measures in _MEASURES)


def _is_supposed(tokens: Sequence[Token], first: int) -> bool:
    """Whether what begins at token ``first`` is a condition or a trial: "if 3 + 5 = 9", but not "if so, 3 + 5 = 9"."""
    for i in range(first, -1, -1):
        if tokens[i].text in _SUPPOSED:
            return True
        if tokens[i].mark or tokens[i].text in ("then", "so"):
            return False
    return False


def _sign(link: Chain, tokens: Sequence[Token]) -> int:
    """Return the token that says "is equal" in a link."""
    between = range(link.sides[1][0].first - 1, link.sides[0][-1].last, -1)
    return next((i for i in between if tokens[i].text in SAYS_EQUAL or tokens[i].text in "=≈"), between.start)


def _is_carried(value: Fraction, side: Sequence[Item], sentence: Sentence) -> bool:
    """Whether a side begins with the value of the side before and goes on: "5 + 3 = 8 * 2"."""
    if len(side) < 2 or side[0].kind != "n":
        return False
    carried = value_of(side[:1])
    return carried is not None and (
        carried == value or _rounds(value, carried, _written(_number_of(side[:1]), sentence), "=")
    )


def _is_said_of_a_name(link: Chain, sentence: Sentence) -> bool:
    """Whether a link is said in prose of what may be a name, "in 2010 is 20000 - 4200", "1/4 of the people is 15".

    So is all but an operation that gives a number: "3 apples + 5 pears is 8".
    """
    sign = sentence.tokens[_sign(link, sentence.tokens)]
    if sentence.text[sign.start : sign.end].lstrip("\\").lower().startswith(_SAYS_EQUAL):
        return False
    first, last = link.sides
    operations = {item.kind for item in first} & _OPERATIONS
    is_fraction = len(first) == 3 and _written(first[1], sentence) == "/"
    return not operations or is_fraction or not _is_number(last)


def _names_its_value(link: Chain) -> bool:
    """Whether a first side is a number alone and may be a name: "2 dogs = 60/2", "Week 1 = 7 * 2"."""
    first, last = ({item.kind for item in side} & _OPERATIONS for side in link.sides)
    return not first and bool(last)


def _divides_doubtfully(link: Chain) -> bool:
    """Whether a side with units divides twice: "100 pages / 2 pages/1.5 minutes"."""
    return bool(link.words or link.units) and any(
        sum(item.kind == "/" for item in side) > 1 for side in link.sides
    )


def _is_range(side: Sequence[Item], tokens: Sequence[Token]) -> bool:
    """Whether a side may be from one number to another: "5-10"."""
    return [item.kind for item in side] == ["n", "-", "n"] and tokens[side[1].first].attached


def _is_true_of_exact(link: Chain, sentence: Sentence, rounded: Collection[str]) -> bool:
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
    stated = [side for side in link.sides if _is_number(side)]
    decimals = [len(_written(_number_of(side), sentence).partition(".")[2]) for side in stated]
    return max((Fraction(1, 2 * 10**n) for n in decimals), default=Fraction(0))
