r"""One expression in any spelling, plain, TeX or in words, is read as one form; and one form has one value.

Expressions are made at random: ``8 / (1 + 1) * (x + 2)``, ``\frac{8}{1 + 1} \cdot (x + 2)``, and "8 divided by
(1 plus 1) times (x plus 2)" are one.
"""

from __future__ import annotations

import operator
import random
from fractions import Fraction

import pytest

from verl_stepgrpo.judging.key_steps.relations import as_chain
from verl_stepgrpo.judging.reading.reader import tokenize
from verl_stepgrpo.judging.reading.tokens import without_end

Tree = tuple
"""("n", "3"), ("v", "x"), ("√", tree), ("~", number) for a negative one, or an operator with its two operands."""

VALUES = {"x": Fraction(7), "y": Fraction(11), "n": Fraction(13)}
BINDS = {"+": 1, "-": 1, "*": 2, "/": 2, "~": 3, "^": 3, "√": 4, "n": 9, "v": 9}
"""How tightly each holds its operands together."""
TIMES = (r" \times ", r" \cdot ", " × ", "*", " · ")
OVER = (" ÷ ", r" \div ", "/", " / ")
FRACTION = (r"\frac", r"\dfrac", r"\tfrac")
SAID = {"+": " plus ", "-": " minus ", "*": " times ", "/": " divided by "}
OPERATIONS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "^": operator.pow,
}
TREES = 2_000


def expression(rng: random.Random, depth: int) -> Tree:
    if depth == 0 or rng.random() < 0.25:
        kind = rng.choice("nnnnvv~")
        return {
            "n": ("n", str(rng.randint(1, 20))),
            "v": ("v", rng.choice("xyn")),
            "~": ("~", ("n", str(rng.randint(2, 9)))),
        }[kind]
    sign = rng.choice("++-**//^√")
    if sign == "√":
        return ("√", expression(rng, depth - 1))
    if sign == "^":
        return ("^", expression(rng, depth - 1), ("n", rng.choice("23")))
    return (sign, expression(rng, depth - 1), expression(rng, depth - 1))


def value(tree: Tree) -> Fraction:
    """Return what it is worth, where a root is worth a polynomial that no other expression is likely to be."""
    kind, *parts = tree
    if kind in "nv":
        return VALUES.get(parts[0]) or Fraction(parts[0])
    a, *rest = (value(part) for part in parts)
    if kind == "~":
        return -a
    if kind == "√":
        return (3 * a**3 + a + Fraction(5, 7)) / 11
    return OPERATIONS[kind](a, rest[0])


def operands(tree: Tree, written: tuple[str, str]) -> tuple[str, str]:
    """Return the operands with the parentheses that they need."""
    sign, left, right = tree
    first, second = written
    if BINDS[left[0]] < BINDS[sign] or (sign == "^" and left[0] not in "nv"):
        first = f"({first})"
    if BINDS[right[0]] < BINDS[sign] or right[0] == "~" or (BINDS[right[0]] == BINDS[sign] and sign != "+"):
        second = f"({second})"
    return first, second


def plain(tree: Tree) -> str:
    if tree[0] in "nv":
        return tree[1]
    if tree[0] == "~":
        return f"-{tree[1][1]}"
    if tree[0] == "√":
        return f"√({plain(tree[1])})"
    first, second = operands(tree, (plain(tree[1]), plain(tree[2])))
    return f"{first}^{second}" if tree[0] == "^" else f"{first} {tree[0]} {second}"


def in_tex(tree: Tree, rng: random.Random) -> str:
    if tree[0] in "nv":
        return tree[1]
    if tree[0] == "~":
        return rng.choice("-−") + tree[1][1]
    if tree[0] == "√":
        return rf"\sqrt{{{in_tex(tree[1], rng)}}}"
    written = in_tex(tree[1], rng), in_tex(tree[2], rng)
    if tree[0] == "/" and rng.random() < 0.6:
        return f"{rng.choice(FRACTION)}{{{written[0]}}}{{{written[1]}}}"
    first, second = operands(tree, written)
    if first[0] == "(" and rng.random() < 0.3 and first.endswith(")") and first != written[0]:
        first = rf"\left{first[:-1]}\right)"
    if tree[0] == "^":
        return f"{first}^{{{second}}}"
    is_silent = tree[1][0] == "n" and (second[0] == "(" or tree[2][0] == "v") and rng.random() < 0.4
    sign = {"*": "" if is_silent else rng.choice(TIMES), "/": rng.choice(OVER)}.get(tree[0], f" {tree[0]} ")
    return first + sign + second


def in_words(tree: Tree) -> str:
    if tree[0] in "nv":
        return tree[1]
    if tree[0] == "~":
        return f"negative {tree[1][1]}"
    if tree[0] == "√":
        return f"the square root of ({in_words(tree[1])})"
    first, second = operands(tree, (in_words(tree[1]), in_words(tree[2])))
    if tree[0] == "^":
        return f"{first} {'squared' if second == '2' else 'cubed'}"
    return first + SAID[tree[0]] + second


def form(text: str) -> str | None:
    chain = as_chain(without_end(tokenize(f"{text} = 77")))
    return None if chain is None else chain.forms[0]


@pytest.mark.parametrize("seed", range(3))
def test_an_expression_has_one_form_in_any_spelling_and_a_form_one_value(seed: int) -> None:
    rng = random.Random(seed)
    known: dict[str, tuple[Fraction, str]] = {}
    for _ in range(TREES):
        tree = expression(rng, rng.randint(1, 4))
        written = plain(tree)
        read = form(written)
        assert read is not None, written
        for spelled in (in_tex(tree, rng), in_words(tree)):
            assert form(spelled) == read, (written, spelled)
        try:
            worth = value(tree)
        except ZeroDivisionError:
            continue
        other = known.setdefault(read, (worth, written))
        assert other[0] == worth, (other[1], written)
