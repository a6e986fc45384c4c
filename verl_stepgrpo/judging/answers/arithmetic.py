"""Read and evaluate the arithmetic in a sentence: "50 friends + 70 friends" is 120.

Pure: no I/O. Not covered: functions, and anything with a variable; they have no value here.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from verl_stepgrpo.judging.reading.numbers import NUMERAL
from verl_stepgrpo.judging.reading.units import CURRENCY_SIGNS

MAX_CHARS = 160
"""Longer expressions have no value here."""

MAX_NESTED = 4
"""Fractions and roots in each other."""

MAX_WORDS = 4
"""Words behind a number that may name what is counted, as in "75 years old"."""

_TOKEN = re.compile(rf"(?:{NUMERAL})%?|[-+*/()]|[^\W\d_]+|\S")
_OPERATORS = frozenset("+-*/")


def ending(text: str) -> str:
    """Return the expression that ``text`` ends with, without the words between its numbers; "" for none."""
    tokens = _TOKEN.findall(text)
    found: list[str] = []
    words, needs_operator = 0, False
    for i in range(len(tokens) - 1, -1, -1):
        token = tokens[i]
        if token in CURRENCY_SIGNS:
            continue
        if token == "x" and needs_operator and i and _is_number(tokens[i - 1]):
            token = "*"
        if token in _OPERATORS and needs_operator:
            found.append(token)
            words, needs_operator = 0, False
        elif token in "()":
            found.append(token)
        elif _is_number(token) and not needs_operator:
            found.append(token)
            needs_operator = True
        elif token.isalpha() and not needs_operator and words < MAX_WORDS:
            words += 1
        elif token != "/" or needs_operator:  # of "miles/hour"
            break
    while found and found[-1] in ("+", "*", "/", ")"):
        found.pop()
    return _balanced("".join(reversed(found)))


def _is_number(token: str) -> bool:
    return token[0].isdigit() or (token[0] == "." and len(token) > 1)


def _balanced(expression: str) -> str:
    """Remove brackets that nothing opens or closes, as those of "(if 3 + 4"."""
    if expression.count("(") != expression.count(")"):
        return re.sub(r"[()]", "", expression)
    return expression


def value(expression: str) -> Fraction | None:
    """Return the value of an expression of plain numbers, or None."""
    text = re.sub(r"([\d.]+)%", r"(\1/100)", expression.replace(",", ""))
    text = re.sub(r"(?<![\d.])0+(?=\d)", "", text.strip())
    if (
        not text
        or len(text) > MAX_CHARS
        or not re.fullmatch(r"[\d.+*/() -]+", text)
        or re.search(r"\*\s*\*|//", text)
    ):
        return None
    try:
        return _evaluated(ast.parse(text, mode="eval").body)
    except (SyntaxError, ZeroDivisionError, ValueError, RecursionError, MemoryError):
        return None


def _evaluated(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as number):
            return Fraction(repr(number))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluated(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return Fraction(_OPERATIONS[type(op)](_evaluated(left), _evaluated(right)))
    raise ValueError("no arithmetic of plain numbers")


_OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def approximately(tex: str) -> float | None:
    r"""Return about what a TeX expression of numbers, ``\pi`` and square roots is worth, or None."""
    if len(tex) > MAX_CHARS:
        return None
    text = re.sub(r"\^ ?\{ ?(-?\d{1,2}) ?\}|\^ ?(\d)", r"**(\1\2)", re.sub(r"\\pi ?", f"({math.pi!r})", tex))
    for _ in range(MAX_NESTED):
        text = re.sub(r"\\frac ?\{([^{}]*)\} ?\{([^{}]*)\}", r"((\1)/(\2))", text)
        text = re.sub(r"\\sqrt ?\{([^{}]*)\}", r"((\1)**(0.5))", text)
    text = re.sub(r"(?<=[\d)]) ?(?=\()|(?<=\)) ?(?=\d)", "*", text).strip()
    if not re.fullmatch(r"[\d.+*/() -]+", text):
        return None
    try:
        found = _about(ast.parse(text, mode="eval").body)
    except (SyntaxError, ArithmeticError, ValueError, RecursionError, MemoryError):
        return None
    return found if math.isfinite(found) else None


def _about(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_about(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            base, power = _about(left), _about(right)
            if base < 0 and not power.is_integer():
                raise ValueError("no real value")
            return math.pow(base, power)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return float(_OPERATIONS[type(op)](_about(left), _about(right)))
    raise ValueError("no arithmetic of plain numbers")


def agree(exact: Fraction, stated: Fraction, spelling: str) -> bool:
    """Return whether a value may stand for an exact one: it is less than one unit of its last digit away.

    "20 / 3 = 6.67" agrees, and so does "= 7"; either sign of percent counts.
    """
    digits = re.search(r"\.(\d+)", spelling)
    unit = Fraction(1, 10 ** min(12, len(digits[1]))) if digits else Fraction(1)
    near = abs(exact - stated) < unit if exact.denominator > 1 else exact == stated
    return near or ("%" in spelling and (exact * 100 == stated or exact == stated * 100))
