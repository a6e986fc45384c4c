"""The tokens of a text: words, numbers, variables, names and signs, each with its place.

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from verl_stepgrpo.judging.memo import Memo
from verl_stepgrpo.judging.reading.lexicon import NEGATIONS
from verl_stepgrpo.judging.reading.units import SYMBOLS

SENTENCE_ENDS = frozenset(".!?")
FUNCTIONS = frozenset(
    {"sin", "cos", "tan", "log", "ln", "exp", "gcd", "lcm", "max", "min", "mod", "sec", "cot"}
)
OPERATORS = frozenset("+-*/^")
RELATIONS = frozenset("=<>≤≥≠≈")
UNITS = frozenset(symbol if len(symbol) == 1 else symbol.casefold() for symbol in SYMBOLS)
"""Symbols of units as tokens have them."""
_EXACT_WORDS = (
    NEGATIONS
    | FUNCTIONS
    | frozenset("dozen half twice double triple hundred thousand million billion".split())
)


class Token(NamedTuple):
    """A word, a number or a symbol in its normalised spelling, with its place in the text.

    Attributes:
        text: The normalised spelling.
        start: Offset of the original spelling.
        end: Offset behind it.
        opens_line: Whether nothing but white space stands before it on its line.
        mark: The comma, colon, line feed (``lines.settled``) or the like that stands before it, or "".
        attached: Whether it follows the token before it without a space, or multiplies it.
    """

    text: str
    start: int
    end: int
    opens_line: bool = False
    mark: str = ""
    attached: bool = False

    @property
    def exact(self) -> bool:
        """Whether the token has to agree exactly: all but words of two letters and more.

        Negations count as exact too: "is not 3" differs from "is 3" in one word only. So do names in
        capitals ("AB", "ABC"), which keep their case, functions, and words that multiply ("2 dozen").
        """
        return EXACT[self.text]

    @property
    def number(self) -> bool:
        """Whether the token is a number."""
        return self.text[0].isdigit()

    @property
    def operand(self) -> bool:
        """Whether the token is a number, a variable or a name."""
        return OPERAND[self.text]


new_token: Callable[[type[Token], tuple], Token] = tuple.__new__
"""Make a token of all its fields, without the cost of the arguments' names: ``new_token(Token, (...))``."""


def _is_exact(text: str) -> bool:
    is_word = len(text) > 1 and text.isalpha() and not text.isupper()
    return not is_word or text in _EXACT_WORDS


def _is_operand(text: str) -> bool:
    return text[0].isdigit() or (_is_exact(text) and text[-1].isalpha() and text not in _EXACT_WORDS)


EXACT: Memo[str, bool] = Memo(_is_exact)
"""Whether a token with this text has to agree exactly."""
OPERAND: Memo[str, bool] = Memo(_is_operand)
"""Whether it is a number, a variable or a name."""


def text_at(tokens: Sequence[Token], i: int) -> str:
    """Return the text of the token at ``i``, "" behind the last."""
    return tokens[i].text if i < len(tokens) else ""


def is_variable(token: Token) -> bool:
    return len(token.text) == 1 and token.text.isalpha()


def without_end(tokens: Sequence[Token]) -> list[Token]:
    """Return ``tokens`` without full stops at their end."""
    end = len(tokens)
    while (
        end
        and tokens[end - 1].text in SENTENCE_ENDS
        and not (tokens[end - 1].text == "!" and tokens[end - 1].attached)
    ):
        end -= 1
    return list(tokens[:end])
