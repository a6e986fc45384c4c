"""Judge expressions and equations: evaluated modulo a prime where that is enough, else by math-verify."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from verl_stepgrpo.judging.answers import algebra
from verl_stepgrpo.judging.answers.doubts import DENIALS
from verl_stepgrpo.judging.answers.numbers import NAME, by_decimal, compare_quantities
from verl_stepgrpo.judging.answers.verdict import (
    Answer,
    Judge,
    Verdict,
    decided,
    shown,
)
from verl_stepgrpo.judging.reading.numbers import joined
from verl_stepgrpo.judging.reading.quantities import parse_quantity
from verl_stepgrpo.judging.reading.units import split_unit

MAX_SYMBOLIC_CHARS = 160
"""Longest expression that math-verify is given."""
MAX_EXPONENT = 64
"""Largest literal exponent that math-verify is given; sympy evaluates powers of numbers in full."""
MAX_BRACKETS = 24
MAX_DIGITS = 24
"""Most brackets, and most digits of one number, in an expression that math-verify is given."""
_PRODUCT = re.compile(r"[a-z](?: ?[a-z]){0,3}")
RELATION = re.compile(r"<|>|\\le(?![a-z])|\\ge(?![a-z])|\\ne(?![a-z])|\\in(?![a-z])")
_READ_COMMANDS = frozenset(
    "frac sqrt pi infty le ge ne sin cos tan cot sec csc log ln exp arcsin arccos arctan binom theta alpha beta gamma "
    "delta lambda mu phi omega rho sigma tau epsilon eta kappa nu xi psi chi zeta hbar ell begin end".split()
)
"""TeX commands that math-verify reads as what they are; of a text with another one it may read a part only."""
_NO_EXPRESSION = re.compile(
    r"[-+*/^=]$|\S \| \S|\d-\d+-\d|\d \d|(?<![\\a-zA-Z])[a-zA-Z] \d|\d_|\.\.|\.(?!\d)|\) ?\d|%.|°.|->|\d ?/ ?\d+ ?/ ?\d"
    r"|(?:^|[\d,({]) ?\{[^{}]*,|\}, ?\{"
    r"|[^\w\s+\-*/^\\{}()\[\].,|<>=!%°&]|(?<![\w.])0(?:[xX][\da-fA-F]+|[bB][01]+)(?!\w)"
)
"""What no expression has: an operator at its end, a bar between blanks, dates, numbers side by side, sentences, a
list's number "(1) 20", arrows, sets in sets, numbers to another base ("0x1F" is not 0 times something)."""

_FORMULA = re.compile(r"(?:[-+ ]|\d*(?:[A-Z][a-z]?(?:_?\{?\d+\}?)?|\((?:[A-Z][a-z]?\d*)+\)_?\{?\d*\}?){2,})+")
"""A chemical formula; math-verify would multiply its letters."""

_FUNCTIONS = frozenset("sqrt exp arcsin arccos arctan".split())
"""Those that have no backslash in a normalised text."""


def by_symbols(given: Answer, wanted: Answer, judge: Judge) -> Verdict | None:
    if _FORMULA.fullmatch(wanted.core) and re.search(r"\d", wanted.core):
        return None
    gold, gold_unit = split_unit(wanted.core)
    if not is_symbolic(gold.casefold()):
        return None
    ours, unit = split_unit(re.sub(r" (?:square |cubic )?units?$", "", given.core))
    other_kind = _of_another_kind(ours, unit, gold, gold_unit)
    if other_kind:
        return decided(False, "symbolic", other_kind)
    if not case_matters(gold):
        ours, gold = ours.casefold(), gold.casefold()
    sides = _sides(_spelled_out(ours), _spelled_out(gold))
    if isinstance(sides, Verdict):
        return sides
    # "r i" alone may be words; behind "v =" it is a product.
    product = "=" in gold
    if not all(is_symbolic(side) or (product and _PRODUCT.fullmatch(side)) for side in sides):
        return replace(
            decided(False, "symbolic", f"the answer is no expression: {shown(given.core)}"), unparseable=True
        )
    if not all(is_finite_work(side) for side in sides):
        return replace(decided(False, "symbolic", "too much work to evaluate"), unparseable=True)
    near = by_decimal(*sides, judge.tolerance)
    if near is not None:
        return near
    exact = _by_algebra(*sides)
    if exact is not None:
        return decided(
            exact,
            "symbolic",
            f"{'equal' if exact else 'different'} by algebra: {shown(sides[0])}, {shown(sides[1])}",
        )
    return judge.by_math_verify(*sides)


def _of_another_kind(ours: str, unit: str, gold: str, gold_unit: str) -> str:
    """Return, in words, what makes an answer another kind of thing than the reference; "" where nothing does."""
    if ("%" in ours) != ("%" in gold):
        return "a percent sign on one side"
    if bool(RELATION.search(ours)) != bool(RELATION.search(gold)) and not re.search(r"[\[(].*,", ours + gold):
        return "an inequality is not a value"
    if gold_unit and unit and gold_unit != unit:
        return f"the units differ: {unit}, {gold_unit}"
    return ""


def case_matters(text: str) -> bool:
    """Whether a letter stands in ``text`` in both cases, as in "R - r"."""
    letters = set(re.findall(r"(?<![\\a-zA-Z])[a-zA-Z](?![a-zA-Z])", text))
    return any(letter.swapcase() in letters for letter in letters)


def _spelled_out(text: str) -> str:
    """Return an expression with its thousands joined and its numbered variables marked: "25,000t", "v0"."""
    text = re.sub(r"(?<![\d.])\d{1,3}(?:,\d{3})+(?![\d,])", lambda m: joined(m[0]), text)
    return re.sub(r"(?<![\\a-zA-Z\d])([a-zA-Z])(\d{1,3})(?![\d.])", r"\1_{\2}", text)


def _by_algebra(given: str, wanted: str) -> bool | None:
    """Return whether two expressions or two equations are equal, or None where that is left to math-verify."""
    ours, gold = given.split("="), wanted.split("=")
    if len(ours) == len(gold) == 2:
        return algebra.same_equation((ours[0], ours[1]), (gold[0], gold[1]))
    return algebra.equal(given, wanted) if len(ours) == len(gold) == 1 else None


def _sides(given: str, wanted: str) -> tuple[str, str] | Verdict:
    """Return what math-verify has to compare, or a verdict where the equations alone decide.

    Of ``name = expression`` the expression counts, against an expression or another such equation; two
    equations of which one has another form are compared as equations. math-verify alone takes the right-hand
    side of any equation, so that ``3 = 2`` would be 2.
    """
    ours, gold = _equation(given), _equation(wanted)
    if gold is None and ours is None:
        return given, wanted
    if gold is None:
        assert ours is not None
        return _value_of_chain(ours, wanted)
    if ours is None:
        return (
            (given, gold[-1])
            if NAME.fullmatch(gold[0]) and len(gold) == 2
            else (
                decided(False, "symbolic", f"the reference is an equation, the answer none: {shown(given)}")
            )
        )
    if len(ours) > 2 or len(gold) > 2:
        if not _consistent(ours):
            return decided(False, "symbolic", "the sides of the equation differ")
        ours, gold = [ours[0], ours[-1]], [gold[0], gold[-1]]
    if ours[0] == gold[0]:
        return ours[-1], gold[-1]
    if not re.search("[a-zA-Z]", "".join(gold)):
        # "5 - 3 = 2" and "8 / 4 = 2" are true both; what is calculated counts.
        same = len(ours) == len(gold) and all(map(algebra.equal, ours, gold))
        return decided(same, "symbolic", f"the equations {'agree' if same else 'differ'} side by side")
    if _is_function(ours[0]) or _is_function(gold[0]):
        # f(x) = 2x and y = 2x name one function; f and g, or f and its derivative, do not.
        if not (ours[0] == "y" or gold[0] == "y"):
            return decided(False, "symbolic", f"the functions differ: {shown(ours[0])}, {shown(gold[0])}")
        return ours[-1], gold[-1]
    return "=".join(ours), "=".join(gold)


def _consistent(sides: list[str]) -> bool:
    """Whether no two sides of a chain are certainly different; the first may be a name."""
    first = 1 if NAME.fullmatch(sides[0]) else 0
    return all(algebra.equal(side, sides[-1]) is not False for side in sides[first:-1])


def _is_function(name: str) -> bool:
    return bool(re.fullmatch(r"[a-z]'{0,2} ?\([^()]*\)", name))


def _value_of_chain(sides: list[str], wanted: str) -> tuple[str, str] | Verdict:
    """Return the last side of ``name = expression = value`` to compare; numbers among the sides must agree."""
    gold = parse_quantity(wanted)
    for i, side in enumerate(sides[:-1]):
        quantity = parse_quantity(side)
        if quantity is not None and gold is not None and not quantity.same_value(gold):
            return decided(False, "symbolic", "the sides of the equation differ")
        if (
            quantity is None
            and not (i == 0 and NAME.fullmatch(side))
            and (_free_letters(side) - _free_letters(wanted) or DENIALS.search(side))
        ):
            return decided(False, "symbolic", "an equation is not a value")
    if not _consistent(sides):
        return decided(False, "symbolic", "the sides of the equation differ")
    value = parse_quantity(sides[-1])
    if value is not None and gold is not None:
        return compare_quantities(value, gold, sides[-1], wanted)
    return sides[-1], wanted


def _free_letters(text: str) -> set[str]:
    return set(re.findall(r"(?<![\\a-z])[a-z](?![a-z])", text)) - {"e", "i"}


def _equation(text: str) -> list[str] | None:
    """Return the sides of an equation, or None where ``text`` is none."""
    if "=" not in text or RELATION.search(text):
        return None
    sides = [side.strip() for side in text.split("=")]
    return sides if all(sides) else None


def is_symbolic(text: str) -> bool:
    """Return whether ``text`` looks like one expression: digits or operators in it, and no run of words.

    Times and dates ("3:00 pm", "2024-01-02") and numbers side by side ("2 3") are none.
    """
    if not text.replace("°", "").isascii() or not _is_balanced(text):
        return False
    words = re.findall(
        r"(?<![\\a-z])[a-z]{2,}", re.sub(r"\\[a-z]+", " ", text.replace("begin{", "").replace("end{", ""))
    )
    if _NO_EXPRESSION.search(text) or (re.search(r"&|\\\\", text) and "\\begin" not in text):
        return False
    if text.count("|") % 2 and "\\{" not in text:
        return False
    if set(re.findall(r"\\([a-zA-Z]+)", text)) - _READ_COMMANDS:
        return False
    return bool(re.search(r"[\d^\\+*/<>=-]|^[a-zA-Z]$", text)) and all(
        w in _FUNCTIONS or len(w) == 2 for w in words
    )


def _is_balanced(text: str) -> bool:
    """Whether as many brackets open as close, of whatever kind; half-open intervals have one of each."""
    opened = sum(text.count(bracket) for bracket in "([{")
    return opened == sum(text.count(bracket) for bracket in ")]}")


def is_finite_work(text: str) -> bool:
    """Return whether sympy is likely to finish with ``text``: short, flat, no tall power, no large factorial.

    Cheaper than a time-out, and no more than that: what slips through is killed by the time limit.
    """
    if len(text) > MAX_SYMBOLIC_CHARS or text.count("{") + text.count("(") > MAX_BRACKETS:
        return False
    if any(word in text for word in ("\\int", "\\sum", "\\prod", "\\lim", "!!")):
        return False
    if re.search(r"(?:\d{3,}|[^\d\s])\s*!|\\binom ?\{[^{}]*(?:\d{3,}|[^\d{}])", text):
        return False
    if any(len(run) > MAX_DIGITS for run in re.findall(r"\d+", text)):
        return False
    if re.search(r"(?:\^|\*\*)\s*[{(]?\s*\d+\s*(?:\^|\*\*)", text):  # 10^{10^{10}}
        return False
    powers = re.findall(r"(?:\^|\*\*)\s*(\{[^{}]*\}|\([^()]*\)|-?\w+|\\?.)", text)
    if any("^" in power or "**" in power or "(" in power[1:] for power in powers):
        return False
    if re.search(r"\^ ?\{[^{}^]*\d ?\^", text):  # 10^{19 * 10^{19}}, but not e^{-x^{2}}
        return False
    exponents = [int(number) for power in powers for number in re.findall(r"\d+", power)]
    if any(exponent > MAX_EXPONENT for exponent in exponents):
        return False
    if re.search(r"(?:\^|\*\*)\s*(?:\{[^{}]*\}|\([^()]*\)|-?\w+)\s*(?:\^|\*\*)", text):  # a^b^c
        return False
    # A power of a power, (a^b)^c, multiplies its exponents.
    return not re.search(r"\^[^()]*\)\s*(?:\^|\*\*)", text) or math.prod(exponents) <= MAX_EXPONENT
