"""Expressions compared in a finite field, held against sympy."""

from __future__ import annotations

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_stepgrpo.judging.answers import algebra

EQUAL = [
    ("x^{2}-9", "(x-3)(x+3)"),
    (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}"),
    (r"\sqrt{2}\sqrt{3}", r"\sqrt{6}"),
    (r"4-2\sqrt{3}", r"(\sqrt{3}-1)^2"),
    (r"\frac{n(n+1)}{2}", "(n^2+n)/2"),
    ("x_1+x_{2}", "x_2+x_{1}"),
    (r"2\pi r", r"\pi*2*r"),
    ("0.5x", r"\frac{x}{2}"),
    ("x^{-2}", r"\frac{1}{x^2}"),
]
DIFFERENT = [
    ("x^2-9", "(x-3)^2"),
    (r"\sqrt{5}", r"\sqrt{7}"),
    ("2x+1", "2x-1"),
    (r"\frac{\pi}{3}", r"\frac{\pi}{6}"),
    ("ab", "a+b"),
    ("(2x)^2", "2x^2"),
    ("0.1", "0.10000000000000000001"),
]
NOT_COVERED = [
    "\\sin x",
    "x^n",
    "\\sqrt{x}",
    "2 3",
    "2\\frac{1}{2}",
    "f(x)",
    "1/2x",
    "x^{99}",
    "|x|",
    "(" * 30,
    "i",
    "",
    "x+",
    "1/0",
    "x<3",
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_expressions_are_equal(one: str, other: str) -> None:
    assert algebra.equal(one, other) is True


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_expressions_are_different(one: str, other: str) -> None:
    assert algebra.equal(one, other) is False


@pytest.mark.parametrize("text", NOT_COVERED)
def test_what_it_does_not_cover_is_left_to_others(text: str) -> None:
    assert algebra.equal(text, "x") is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("y", "2x+1"), ("2x-y+1", "0"), True),
        (("3x+4y", "12"), ("y", "-\\frac{3}{4}x+3"), True),
        (("y", "2x+1"), ("y", "2x+2"), False),
        (("x", "3"), ("y", "3"), False),
        (("y", "\\frac{1}{x}"), ("xy", "1"), None),
        (("0", "0"), ("x", "x"), None),
    ],
)
def test_equations_are_the_same_if_one_is_a_multiple_of_the_other(
    one: tuple[str, str], other: tuple[str, str], same: bool | None
) -> None:
    assert algebra.same_equation(one, other) is same


def test_the_prime_is_one_with_the_roots_that_are_needed() -> None:
    assert sympy.isprime(algebra.PRIME)
    assert algebra.PRIME % 8 == 7
    for n in sympy.primerange(100):
        assert pow(algebra._root(n), 2, algebra.PRIME) == n


expressions = st.recursive(
    st.sampled_from(["x", "y", "1", "2", "3", "7", "\\pi", "\\sqrt{2}", "\\sqrt{12}"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]}{t[1]}{t[2]})"),
        inner.map(lambda e: f"({e})^2"),
    ),
    max_leaves=6,
)


def by_sympy(text: str) -> sympy.Expr:
    for tex, plain in (("\\pi", "pi"), ("\\sqrt{2}", "sqrt(2)"), ("\\sqrt{12}", "sqrt(12)"), ("^", "**")):
        text = text.replace(tex, plain)
    return sympy.sympify(text)


@settings(max_examples=200)
@given(expressions, expressions)
def test_it_agrees_with_sympy(one: str, other: str) -> None:
    assert algebra.equal(one, one) is True
    assert algebra.equal(one, other) is (sympy.expand(by_sympy(one) - by_sympy(other)) == 0)
