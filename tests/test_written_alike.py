r"""One expression in any spelling, plain, TeX or in words, is read as one form; and one form has one value. An equation
is found however its line is set.

Expressions are made at random: ``8 / (1 + 1) * (x + 2)``, ``\frac{8}{1 + 1} \cdot (x + 2)``, and "8 divided by
(1 plus 1) times (x plus 2)" are one.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

import pytest

from verl_stepgrpo.judging.key_steps.match import match_key_steps
from verl_stepgrpo.judging.key_steps.relations import as_chain
from verl_stepgrpo.judging.reading.reader import tokenize
from verl_stepgrpo.judging.reading.tokens import without_end
from verl_stepgrpo.judging.sections import parse_sections

Tree = tuple
"""("n", "3"), ("v", "x"), ("√", tree), ("~", number) for a negative one, or an operator with its two operands."""

VALUES = {"x": Fraction(7), "y": Fraction(11), "n": Fraction(13)}
BINDS = {"+": 1, "-": 1, "*": 2, "/": 2, "~": 3, "^": 3, "√": 4, "n": 9, "v": 9}
"""How tightly each holds its operands together."""
TIMES = (r" \times ", r" \cdot ", " × ", "*", " · ")
OVER = (" ÷ ", r" \div ", "/", " / ")
FRACTION = (r"\frac", r"\dfrac", r"\tfrac")
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


class Style(NamedTuple):
    """How negatives, roots, powers and operators are spelled."""

    negative: str
    root: str
    powers: Mapping[str, str]
    signs: Mapping[str, str]


SIGNS = Style("-", "√", {"2": "^2", "3": "^3"}, {sign: f" {sign} " for sign in "+-*/"})
WORDING = Style(
    "negative ",
    "the square root of ",
    {"2": " squared", "3": " cubed"},
    {"+": " plus ", "-": " minus ", "*": " times ", "/": " divided by "},
)


def plain(tree: Tree, style: Style = SIGNS) -> str:
    kind = tree[0]
    if kind in "nv":
        return tree[1]
    if kind == "~":
        return style.negative + tree[1][1]
    if kind == "√":
        return f"{style.root}({plain(tree[1], style)})"
    first, second = operands(tree, (plain(tree[1], style), plain(tree[2], style)))
    return first + (style.powers[second] if kind == "^" else style.signs[kind] + second)


def in_words(tree: Tree) -> str:
    return plain(tree, WORDING)


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


PLAIN = (
    *(
        "{} = 77",
        "{}=77",
        "- {} = 77",
        "* {} = 77",
        "1. {} = 77",
        "(1) {} = 77",
        "Step 1) {} = 77",
        "x = {} = 77",
    ),
    *(
        "**{} = 77**",
        "{} = **77**",
        "- **Total:** {} = 77",
        "`{} = 77`",
        "({} = 77)",
        "[{} = 77]",
        "<b>{} = 77</b>",
    ),
    *(
        "Total cost: {} = 77 dollars",
        "{} = $77",
        "{} = 77 cm²",
        "{} = 77 square meters",
        "{} = 77 ✓",
        "{}\n= 77",
    ),
    *("Hence ({}) = 77", "Using {} = 77, we go on", "First, {} = 77; second, 5 + 5 = 10.", "77 = {}"),
)
TEX = (
    *(
        "So ${} = 77$.",
        r"\[{} = 77\]",
        "$$ {} = 77 $$",
        r"Then \({} = 77\), so we are done.",
        "${}$ = $77$",
        "${}$ is 77",
    ),
    *(
        r"${} = \boxed{{77}}$",
        r"$\boxed{{{} = 77}}$",
        r"${} = 77 \text{{ apples}}$",
        r"${} = 77\,\text{{cm}}$",
    ),
    *(
        r"${} = \$77$",
        r"\begin{{aligned}}{} &= 77\end{{aligned}}",
        "$$\\begin{{align*}}\n&{} \\\\\n&= 77\n\\end{{align*}}$$",
    ),
)
WORDS = ("Thus, {} equals 77.", "The result is {} = 77.", "The sum: {} gives 77 km.", "*{} is 77*")
"""How a line with an equation is set."""


def is_found(wording: str, step: str) -> bool:
    sections = parse_sections(f"### Step 1:\n{step}\n### The final answer is: 0")
    return match_key_steps(sections, [(wording,)], threshold=0.8)[0].matched


@pytest.mark.parametrize("seed", range(2))
def test_an_equation_is_found_however_its_line_is_set(seed: int) -> None:
    rng = random.Random(seed)
    trees = [tree for tree in (expression(rng, rng.randint(1, 2)) for _ in range(60)) if tree[0] not in "nv~"]
    for tree in trees:
        wording = f"{plain(tree)} = 77"
        spelled, said = in_tex(tree, rng), in_words(tree)
        for frames, text in ((PLAIN, plain(tree)), (TEX, spelled), (WORDS, said)):
            for frame in frames:
                assert is_found(wording, frame.format(text)), frame.format(text)
