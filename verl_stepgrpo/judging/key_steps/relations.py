"""Read the equations and inequalities of a text: "1000 trees + 240 trees = 1240 trees" is ``1000 + 240 = 1240``.

Units, currencies and the nouns of counted things are left aside where they stand at numbers; a chain such as
``2 * 3 + 1 = 6 + 1 = 7`` is read as its sides. Each side has one form, whatever the order of its terms and factors
(``expressions``).

Pure: no I/O. Nothing here raises on text, and the work is bounded by the number of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

from verl_stepgrpo.judging.key_steps.chains import FLIPPED, Chain
from verl_stepgrpo.judging.key_steps.runs import SAYS_EQUAL, Run
from verl_stepgrpo.judging.memo import Memo
from verl_stepgrpo.judging.reading.tokens import EXACT, FUNCTIONS, OPERAND, UNITS, Token

_PREFIXES = FUNCTIONS | frozenset("√∛∠△")


def _kind(text: str) -> str:
    """Return what a token may be in an expression: a kind of ``Item``, w(ord), or "" for none of them."""
    if text[0].isdigit():
        return "n"
    if text in FLIPPED:
        return "="
    if text in "+-*/^()_%!′":
        return text
    if text in _PREFIXES:
        return "f"
    if not EXACT[text]:
        return "w"
    return "v" if OPERAND[text] else ""


_KIND = Memo(_kind)


def chains(tokens: Sequence[Token]) -> list[Chain]:
    """Return the chains of relations of a sentence, in the order they stand."""
    kinds = [_KIND[token.text] for token in tokens]
    behind = len(tokens)
    while behind and kinds[behind - 1] != "=" and tokens[behind - 1].text not in SAYS_EQUAL:
        behind -= 1
    begins = [i for i, kind in enumerate(kinds[:behind]) if kind in _BEGINS]
    kinds += _BEHIND
    found: list[Chain] = []
    end = 0
    for i in begins:
        if i >= end and not _is_minutes(tokens, i):
            run = Run(tokens, kinds, i)
            found += run.chains()
            end = run.end
    return found


_BEGINS = frozenset("nvf(-")
_BEHIND = [""] * 4
"""Kinds of tokens behind the last."""


def _is_minutes(tokens: Sequence[Token], i: int) -> bool:
    """Whether a number goes on with a time or a ratio: "3:02"."""
    token, before = tokens[i], tokens[i - 1] if i else None
    if before is None or not (token.number and before.number):
        return False
    return token.mark == ":" and token.start == before.end + 1


def as_chain(tokens: Sequence[Token]) -> Chain | None:
    """Return the chain that ``tokens`` are, all of them, with no words but units; None where they are none."""
    found = chains(tokens)
    if not found or found[0].last != found[-1].last or found[0].first != found[-1].first:
        return None
    chain = found[0]  # with a percent sign it is read in two ways
    unit_end = chain.last + 1
    while unit_end < len(tokens) and (
        tokens[unit_end].text in UNITS or tokens[unit_end].text in "°/^2 3".split()
    ):
        unit_end += 1
    whole = chain.first == 0 and unit_end == len(tokens)
    return chain if whole and not chain.words else None
