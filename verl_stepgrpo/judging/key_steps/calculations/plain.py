"""The equations of most sentences, without reading them token by token: bare numbers with names, all of them true."""

from __future__ import annotations

import re
from collections.abc import Sequence

from verl_stepgrpo.judging.key_steps.calculations.links import Says, Stated
from verl_stepgrpo.judging.key_steps.calculations.rounding import rounds
from verl_stepgrpo.judging.key_steps.calculations.values import value_of
from verl_stepgrpo.judging.key_steps.expressions import Item, form
from verl_stepgrpo.judging.reading.lexicon import LEXICON
from verl_stepgrpo.judging.reading.numbers import canonical

MAX_PLAIN_CHARS = 400
"""Longer sentences are read token by token."""

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


def plainly_true(text: str) -> tuple[Stated, ...] | None:
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


def _plain_equation(match: re.Match[str], text: str) -> Stated | None:
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
        if not (is_exact or rounds(left, stated, match[2], "=")):
            return None
    says = Says(True) if is_exact else Says(True, rounds=frozenset({right}))
    return Stated("=".join(sorted((str(written), right))), says, match.start(1), match.end(2))


def _is_exact(parts: Sequence[str], right: str) -> bool:
    """Whether an operation with two whole numbers gives a third, which most do; False also where it is another."""
    if len(parts) != 3 or not (parts[0].isdecimal() and parts[2].isdecimal() and right.isdecimal()):
        return False
    a, b, c = int(parts[0]), int(parts[2]), int(right)
    return {"+": a + b == c, "-": a - b == c, "*": a * b == c, "/": b != 0 and b * c == a}[parts[1]]


def _changes(earlier: str, before: str) -> bool:
    """Whether the words before an equation may change it: "half of", "40% of", "minus"."""
    return before in _CHANGES_BEHIND or (before == "of" and (earlier in _PARTS or earlier.isdecimal()))
