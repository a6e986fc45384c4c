"""Every spelling of one expression gives the same tokens, and other expressions give others."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_stepgrpo.judging.reading.reader import tokenize

SAME = {
    "fraction": [
        r"\frac{6}{3} = 2",
        r"$\dfrac{6}{3}=2$",
        "6/3 = 2",
        "6 ÷ 3 = 2",
        "6 divided by 3 equals 2",
        r"\frac63 = 2",
    ],
    "product": ["12 × 4 = 48", "12*4=48", r"\(12 \times 4 = 48\)", "12 x 4 = 48", "twelve times four is 48"],
    "power": ["x^2 = 9", "x² = 9", "x^{2} = 9", "x squared equals 9", "**x² = 9**"],
    "root": ["√16 = 4", r"\sqrt{16} = 4", "sqrt(16) = 4", "the square root of 16 is 4"],
    "angle": ["∠ABC = 30°", r"\angle ABC = 30^\circ", "angle ABC is 30 degrees", r"$\angle ABC=30^{\circ}$"],
    "implicit product": ["2*x + 1", "2x + 1", r"2 \cdot x + 1"],
    "fraction of a sum": [r"\frac{x+1}{2}", "(x+1)/2", "(x + 1) / 2"],
    "subscript": ["x_1 = 4", "x_{1} = 4", "x₁ = 4"],
    "percent": ["50%", r"50\%", "50 percent", "fifty per cent"],
    "decimal": ["0.5", ".5", "0.50"],
    "thousands": ["1,234", "1234", r"1\,234", "1{,}234", "1\u202f234"],
    "number word": ["twenty-five apples", "25 apples"],
    "unit": ["60 km/h", "60 kilometers per hour", r"60\ \text{km/h}"],
    "square unit": ["20 m^2", "20 m²"],
    "comparison": [r"x \geq 0", "x ≥ 0", "x >= 0", "x is greater than or equal to 0"],
    "minus": ["k = -2", "k = −2", "k = negative 2"],
    "hyphen": ["right-angled triangle", "right angled triangle"],
    "letters": ["F = ma", r"F = m \cdot a", "F = m a"],
    "relation of lines": [
        *(
            "AB ∥ CD",
            r"AB \parallel CD",
            "AB is parallel to CD",
            "line AB is parallel to line CD",
            "AB || CD",
        ),
        *("AB and CD are parallel", "lines AB and CD are parallel"),
    ],
    "relation of triangles": [
        *("△ABC ∼ △DEF", r"\triangle ABC \sim \triangle DEF", "triangle ABC is similar to triangle DEF"),
        *("triangles ABC and DEF are similar", "triangle ABC and triangle DEF are similar"),
    ],
    "relation of angles": ["∠A ≅ ∠B", "angle A is congruent to angle B", "angle A and angle B are congruent"],
}
DIFFERENT = [
    ("6/3 = 2", "3/6 = 2"),
    ("x^2", "x^{2n}"),
    (r"\sqrt{x+3}", r"\sqrt{x} + 3"),
    ("(x+1)/2", "x+1/2"),
    ("x = 3", "X = 3"),
    ("f'(x)", "f''(x)"),
    ("5 cm", "5 m"),
    ("2/3", "12/3"),
    ("x - 1", "x-axis 1"),
    ("30", "0.30"),
]


def texts(text: str) -> list[str]:
    return [token.text for token in tokenize(text)]


@pytest.mark.parametrize("name", SAME)
def test_the_spellings_of_one_expression_are_the_same(name: str) -> None:
    assert {tuple(texts(spelling)) for spelling in SAME[name]} == {tuple(texts(SAME[name][0]))}


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_expressions_stay_different(one: str, other: str) -> None:
    assert texts(one) != texts(other)


@given(st.text(max_size=300))
def test_tokens_stand_where_they_say_in_any_text(text: str) -> None:
    tokens = tokenize(text)
    assert all(0 <= token.start < token.end <= len(text) + 1 and token.text for token in tokens)


def test_no_character_is_too_odd() -> None:
    for character in map(chr, range(0x20, 0x3400)):
        assert all(token.text for token in tokenize(f"x {character} 2{character}")), ascii(character)


@given(st.integers(0, 10**15), st.integers(0, 999))
def test_every_number_is_one_token_however_it_is_written(whole: int, decimals: int) -> None:
    plain = f"{whole}.{decimals:03d}"
    assert texts(plain) == texts(f"{whole:,}.{decimals:03d}") == texts(plain + "0")
    assert len(texts(plain)) == 1


@given(st.lists(st.sampled_from([name for names in SAME.values() for name in names]), min_size=2, max_size=4))
def test_sentences_do_not_change_each_others_tokens(sentences: list[str]) -> None:
    together = texts(". ".join(sentences))
    alone = list(itertools.chain.from_iterable([*texts(sentence), "."] for sentence in sentences))[:-1]
    assert together == alone
