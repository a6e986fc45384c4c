"""Patterns of tokens around a stretch of text, compiled: what items stand outside of it, and at its ends within.

The language is told where its patterns are written, in ``key_steps.rules``. Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from verl_stepgrpo.judging.reading.lexicon import LEXICON
from verl_stepgrpo.judging.reading.tokens import FUNCTIONS, OPERATORS, UNITS, Token

KINDS: dict[str, Callable[[Token], bool]] = {
    "OPERAND": lambda token: token.operand,
    "NUMBER": lambda token: token.number,
    "SCALE": lambda token: token.text in ("100", "1000", "1000000", "1000000000"),
    "VALUE": lambda token: token.operand or token.text in "(√∛",
    "ENDS": lambda token: token.operand or token.text in ")°%′",
    "EXACT": lambda token: token.exact,
    "WORD": lambda token: not token.exact,
    "INFIX": lambda token: token.text in OPERATORS and not token.opens_line,
    "JOINS": lambda token: token.text in "+*/^" and not token.opens_line,
    "UNIT": lambda token: token.text in UNITS,
    "FUNCTION": lambda token: token.text in FUNCTIONS,
    "SPOKEN_MINUS": lambda token: token.text == "-" and token.end - token.start > 1,
    "CONTRACTED": lambda token: token.text == "not" and token.end - token.start > len("not"),
}
"""Kinds of tokens by name."""


class Item(NamedTuple):
    """One item of a pattern, compiled.

    Attributes:
        words: Spellings that it takes.
        kinds: Kinds of tokens that it takes.
        attached: True or False where the token must or must not be attached.
        negated: Whether it takes all others.
        gap: How many tokens of any kind; 0 for an item.
    """

    words: frozenset[str]
    kinds: tuple[Callable[[Token], bool], ...]
    attached: bool | None = None
    negated: bool = False
    gap: int = 0

    def takes(self, token: Token, own: Collection[str] = ()) -> bool:
        if self.attached is not None and token.attached != self.attached:
            return False
        found = token.text in self.words and token.text not in own
        return (found or any(kind(token) for kind in self.kinds)) != self.negated


class Pattern(NamedTuple):
    """A pattern, compiled: its items from the stretch outwards, and those at the stretch's end, from there inwards."""

    outside: tuple[Item, ...]
    inside: tuple[Item, ...]
    side: str


def _item(text: str) -> Item:
    if text.startswith(".."):
        return Item(frozenset(), (), gap=int(text[2:]))
    mark = text[0] if text[0] in "·~!" and len(text) > 1 else ""
    names = text.removeprefix(mark).split("|")
    words = frozenset().union(*(LEXICON[n].words if n in LEXICON else {n} for n in names if n not in KINDS))
    kinds = tuple(KINDS[name] for name in names if name in KINDS)
    return Item(words, kinds, {"·": True, "~": False}.get(mark), mark == "!")


def pattern(text: str) -> Pattern:
    if text.startswith("[*"):
        return Pattern((), (_item(text.strip("[]* ")),), "within")
    if "[" in text:
        outside, _, inside = text.partition("[")
        return Pattern(_items(outside)[::-1], _items(inside), "before")
    if "]" in text:
        inside, _, outside = text.partition("]")
        return Pattern(_items(outside), _items(inside)[::-1], "behind")
    return Pattern(_items(text), (), "")


def _items(text: str) -> tuple[Item, ...]:
    return tuple(_item(part) for part in text.split())
