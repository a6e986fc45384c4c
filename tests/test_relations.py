"""Equations and inequalities are read as relations: units aside, operands in any order, no other value."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_stepgrpo.judging.key_steps.match import match_key_steps
from verl_stepgrpo.judging.key_steps.relations import as_chain, chains
from verl_stepgrpo.judging.reading.reader import tokenize
from verl_stepgrpo.judging.reading.tokens import without_end
from verl_stepgrpo.judging.sections import parse_sections

SAME = [
    ("1000 + 240 = 1240", "1000 trees + 240 trees = 1240 trees"),
    ("9 * 5 = 45", "So 9 km/h * 5 hours = 45 km in all."),
    ("54 - 33 = 21", "Thus 54-33=21 more."),
    ("78 * 2 = 156", "It weighs 78*2 = 156kgs"),
    ("2000 * 75 / 100 = 1500", "That is $2000 x 75/100 = $1500 less"),
    ("5 * 2 = 10", "They cost 5 colors x $2/color = $10"),
    ("240 - 80 = 160", "The number of Asians who were not Japanese was 240 - 80 = 160."),
    ("2 * 3 = 6", "2 * 3 = 6, 6 + 1 = 7"),
    ("6 + 1 = 7", "2 * 3 = 6, 6 + 1 = 7"),
    ("6 + 1 = 7", "2*3+1 = 6+1 = 7"),
    ("(-2) + (-3) = -5", "2 * 3 = 6, (-2) + (-3) = -5"),
    ("2 * 3 = 6", "2 * 3 = 6, (-2) + (-3) = -5"),
    ("2 + 4 = 6", "3 + 5 = 8, (2) + 4 = 6"),
    ("3 + 5 = 8", "3 + 5 = 8 and -2 + 4 = 2"),
    ("-2 + 4 = 2", "3 + 5 = 8 and -2 + 4 = 2"),
    ("8 - 2 = 6", "8 - (2) = 6"),
    ("2 * 3 + 1 = 7", "2*3+1 = 6+1 = 7"),
    ("3 + 5 = 8", "5 + 3 = 8"),
    ("3 + 5 = 8", "8 = 5 + 3"),
    ("3 + 5 = 8", "three plus five is eight"),
    ("10 - 4 + 2 = 8", "10 + 2 - 4 = 8"),
    ("12 * 4 / 3 = 16", "4/3 * 12 = 16"),
    ("5 + 3 = 8", "5 apples + 3 apples is 8 apples"),
    ("3 * (12 + 5) = 51", "(5 + 12) * 3 = 51"),
    ("8 - (3 + 2) = 3", "8 - 3 - 2 = 3"),
    ("0.4 * 60 = 24", "40% of 60 = 24"),
    ("0.4 * 60 = 24", "60 * 40% = 24"),
    ("3 / 4 * 60 = 45", "3/4 of 60 = 45"),
    ("6 * 2 = 12", "They ride 6 times a day * 2 days = 12 times a week"),
    ("35 * 12 = 420", "35 times * 12 feet = 420 feet"),
    ("2 * 2 = 4", "a total of 2*2 = 4 two-hour classes"),
    ("150 * 2.5 = 375", "His speed is 150 WPM * 2.5 = 375 WPM"),
    ("15 * 2 = 30", "That is 15 years old * 2 = 30 years old."),
    ("15 * 20 = 300", "15 boxes * 20 fireworks/box = 300 fireworks"),
    ("3 * 5 = 15", "3 shirts @ $5 = $15"),
    ("9 * 5 = 45", "9 * 5 = a total of 45"),
    ("16 + 3 = 19", "Max bought 16 + 3 = 19 stamps."),
    ("80 - 54 = 26", "80 - 54 = 26 did not get any."),
    ("40 - 20 = 20", "So 40-20 = 20 pupils don't like blue."),
    ("5 + 9 = 14", "The number of those who have not alighted is 5+9 = 14"),
    ("42 - 33 = 9", "She must score at least 42 - 33 = 9 points."),
    ("8 + 10 = 18", "Tom's 8 pens + Nick's 10 pens = 18 pens"),
    ("24 - 9 = 15", "- shells: 24\n- broken: 9\n- **24 − 9 = 15** remain"),
    ("10 * 3 = 30", "10 ft. x 3 ft. = 30 sq. ft."),
    ("v = 3.5 m/s", "v = 3.5 m/s"),
    ("x + y = 3", "y + x = 3"),
    ("2x + 3 = 7", "3 + 2x = 7"),
    (r"\frac{x+1}{2} = 3", "(1 + x)/2 = 3"),
    ("a^2 + b^2 = c^2", "c² = b² + a²"),
    ("0 < x < 3", "3 > x > 0"),
    ("x = 5", "x = +5"),
    ("x = 5", "3x = 15 \\iff x = 5"),
    ("x = 5", "\\therefore x = 5"),
    ("x = 5", "x = 5 \\checkmark"),
    ("x = 5", "x := 5"),
    ("3 + 5 = 8", "3_{red} + 5_{green} = 8"),
    ("42 / 6 = 7", "{42 \\over 6} = 7"),
    ("2 / 3 = 0.67", "2 / 3 = 0.667 = 0.67"),
    ("x = 8", "x = 7.6 = 8"),
    ("x = 1.5", "x = 1 1/2 = 1.5"),
    ("x = 8", "x = 8 = 8.0"),
    ("1 / 2 = 0.5", "1 / 2 = 0.5 = 50%"),
    ("120 / 60 = 2", "120 / 60 = 2 hours = 120 minutes"),
    ("1440 * 60 = 86400", "1 day = 24 hours = 1440 minutes = 1440 * 60 = 86400 seconds"),
    ("20 / 4 = 5", "24 - 4 = 20 / 4 = 5"),
    ("7 * 2 = 14", "Week 1 = 7 * 2 = 14"),
    ("20 - 12 = 8", "The value minus 12 is 20 - 12 = 8"),
    ("3 < x < 5", "3 < x < 5"),
    ("3 + 5 = 8", "Adding 3 and 5 gives 8."),
    ("3 + 5 = 8", "Adding 3 to 5, we get 8."),
    ("3 + 5 = 8", "We add 3 and 5 to get 8."),
    ("3 + 5 = 8", "Add 3 and 5 to obtain 8."),
    ("3 + 5 = 8", "If we add 3 and 5 we obtain 8."),
    ("9 - 4 = 5", "Subtracting 4 from 9 gives 5."),
    ("7 * 6 = 42", "Multiplying 7 by 6 yields 42."),
    ("42 / 6 = 7", "Divide 42 by 6 to get 7."),
    ("3 + 5 = 8", "3 and 5 add up to 8."),
    ("3 + 5 = 8", "3 and 5 sum to 8."),
    ("3 + 5 = 8", "3 and 5 make 8."),
    ("3 + 5 = 8", "The total of 3 and 5 is 8."),
    ("3 + 5 = 8", "3 added to 5 is 8."),
    ("3 + 5 = 8", "3 increased by 5 is 8."),
    ("9 - 4 = 5", "9 decreased by 4 is 5."),
    ("9 - 4 = 5", "9 reduced by 4 is 5."),
    ("3 + 5 = 8", "3 + 5 comes to 8"),
    ("3 + 5 = 8", "3 + 5 results in 8"),
    ("3 + 5 = 8", "3 + 5 evaluates to 8"),
    ("24 / 2 = 12", "Half of 24 is 12."),
    ("24 / 2 = 12", "Half of 24 equals 12."),
    ("24 / 2 = 12", "Half of 24 = 12."),
    ("24 / 2 = 12", "Half of 24 gives 12."),
    ("24 / 2 = 12", "Half of 24 makes 12."),
    ("2 * 6 = 12", "Twice 6 is 12."),
    ("2 * 6 = 12", "Double 6 is 12."),
    ("3 * 6 = 18", "Triple 6 is 18."),
    ("2 * (-6) = -12", "Twice -6 is -12."),
    ("1/2 / 2 = 1/4", "Half of 1/2 is 1/4."),
    ("3 + (-2) = 1", "The sum of 3 and -2 is 1."),
    ("-3 * 4 = -12", "The product of negative 3 and 4 is -12."),
    ("3 - (-2) = 5", "The difference between 3 and -2 is 5."),
    ("3 * (-2) = -6", "Multiply 3 by -2 to get -6."),
    ("1/2 + 1/3 = 5/6", r"The sum of $\frac{1}{2}$ and $\frac{1}{3}$ is $\frac{5}{6}$."),
    ("3 / (1/2) = 6", "The quotient of 3 and 1/2 is 6."),
    ("2x + 3 = 7", "The sum of 2x and 3 is 7."),
    ("√16 + 3^2 = 13", r"The sum of $\sqrt{16}$ and 3^2 is 13."),
    ("3 + 4 + 5 = 12", "The sum of 3, 4 and 5 is 12."),
    ("3 * 4 * 5 = 60", "The product of 3, 4, and 5 is 60."),
    ("5 + 3 = 8", "The sum of 5 cm and 3 cm is 8 cm."),
    ("5 + 3 = 8", "The total of 5 apples and 3 pears is 8 fruits."),
    ("3 * (x + 1) = 6", "The product of 3 and (x + 1) is 6."),
    ("8 / (1/2) = 16", r"8 \div \frac{1}{2} = 16"),
    ("8 / (1/2) = 16", "8 ÷ ½ = 16"),
    ("8 / (1/2) = 16", r"8 divided by $\frac12$ is 16."),
    ("8 / (1/2) = 16", r"Dividing 8 by \frac{1}{2} gives 16."),
    ("8 / (1/2) = 16", "8 divided by one half is 16."),
    (r"\frac{3}{4} \div \frac{1}{2} = 1.5", "(3/4) / (1/2) = 1.5"),
    ("2^(1/2) = x", "2^½ = x"),
    ("2^(1/2) = x", r"2^\frac{1}{2} = x"),
    ("m∠C = 75°", r"\angle C = 75^\circ"),
    ("∠C = 75°", r"$m\angle C = 75^{\circ}$"),
    ("m∠ABC + m∠C = 90°", "∠ABC + ∠C = 90°"),
    ("m∠C = 75°", "So the measure of angle C is 75 degrees."),
    ("AB ∥ CD", "So CD is parallel to AB."),
    ("AB ⊥ CD", "Segments AB and CD are perpendicular."),
    ("△ABC ∼ △DEF", "Triangles DEF and ABC are similar."),
    ("∠A ≅ ∠B", "Here angle A and angle B are congruent."),
]
OTHER = [
    ("6 - 2 - 3 = -5", "2 * 3 = 6, (-2) + (-3) = -5"),
    ("8 - 2 + 4 = 2", "3 + 5 = 8 and -2 + 4 = 2"),
    ("3 + 5 = 8", "3 + 4 = 7, and 5 = 8 - 3"),
    ("3 + 5 = 8", "3 * 5 = 15 = 8 + 7"),
    ("3 + 5 = 8", "2 * 3 + 5 = 8"),
    ("3 + 5 = 8", "3 + 5 = 8 + 1"),
    ("3 + 5 = 8", "3 + 5 = 8.5"),
    ("3 + 5 = 8", "3 + 5 = 8 dozen"),
    ("3 + 5 = 8", "3 + 5 = 8 million"),
    ("3 + 5 = 8", "3 + 5 = 8 1/2"),
    ("3 + 5 = 8", "3 + 5 = 8%"),
    ("3 + 5 = 8", "3 dozen + 5 = 8"),
    ("3 + 5 = 8", "3 + 5 = 8 or 9"),
    ("3 + 5 = 8", "3 + 5 = nearly 8"),
    ("3 + 5 = 8", "3 + 5 = at least 8"),
    ("3 + 5 = 8", "Maybe 3 + 5 = 8"),
    ("3 + 5 = 8", "3 apples + 5 = 8 is wrong"),
    ("3 + 5 = 8", "3 apples + 5 apples = 8 apples does not hold"),
    ("3 + 5 = 8", "It is not true that 3 apples + 5 apples = 8 apples"),
    ("3 + 5 = 8", "A claim that is not true is 3 + 5 = 8"),
    ("5 - 3 = 2", "3 - 5 = 2"),
    ("6 / 3 = 2", "3 / 6 = 2"),
    ("8 - (3 + 2) = 3", "8 - 3 + 2 = 3"),
    ("3 * 12 + 5 = 41", "3 * (12 + 5) = 41"),
    ("6 / (2 * 3) = 1", "6 / 2 * 3 = 1"),
    ("0.4 * 60 = 24", "40 * 60 = 24"),
    ("x < 3", "3 < x"),
    ("x < 3", "x = 3"),
    ("x = 3", "x = 3y"),
    ("x = 3", "x = 3 more than y"),
    ("x = 3", "2m x = 3"),
    ("v = 3.5 m/s", "v = 3.5"),
    ("v = 3.5 m/s", "v = 3.5 cm/s"),
    ("f(x) = 2", "x f = 2"),
    ("f(g(x)) = 2", "g(f(x)) = 2"),
    ("2^3 = 8", "3^2 = 8"),
    ("9 * 3 = 27", "A = 9 * 3 > 27"),
    ("2 + 3 = 5", "at 3:02 + 3 = 5"),
    ("48 / 2 = 24", f"48 / 2 = {' = '.join(map(str, range(1, 99)))}"),
    ("x = 37", f"x = {' = '.join(map(str, range(1, 60)))}"),
    ("3 + 5 = 8", "3 + 5 = 7 = 8"),
    ("3 + 5 = 8", "3 + 5 = 8 = 9"),
    ("x = -8", "x = -8 = 8"),
    ("x = 0.67", "x = 0.67 = 0.65"),
    ("48 / 2 = 24", "48 / 2 = 21 apples = 22 apples = 23 apples = 24 apples = 25 apples"),
    ("6 + 5 = 11", "1\u200b6 + 5 = 11"),
    ("3 + 5 = 8", "3 + 5 = 8\u200b0"),
    ("9 - 4 = 5", "Subtracting 9 from 4 gives 5."),
    ("42 / 6 = 7", "Dividing 6 by 42 gives 7."),
    ("3 + 5 = 8", "12, 3 and 5 add up to 8."),
    ("3 + 5 = 8", "x and 3 and 5 make 8."),
    ("24 = 12", "Half of 24 is 12."),
    ("x = 3", "Half of x = 3."),
    ("x = 3", "Adding 2 to x, we get 3."),
    ("6 = 12", "Twice 6 is 12."),
    ("3 + 2 = 1", "The sum of 3 and -2 is 1."),
    ("3 + 4 = 12", "The sum of 3, 4 and 5 is 12."),
    ("4 + 5 = 12", "The sum of 3, 4 and 5 is 12."),
    ("-2 - 3 = 5", "The difference between 3 and -2 is 5."),
    ("3 / 1 / 2 = 6", "The quotient of 3 and 1/2 is 6."),
    ("8 / 1 / 2 = 4", r"8 \div \frac{1}{2} = 4"),
    ("8 / 1 / 2 = 4", "8 ÷ ½ = 4"),
    ("∠B = 75°", r"m\angle C = 75^\circ"),
    ("AB ∥ CD", "AB and CD are not parallel."),
    ("AB ∥ CD", "AB, CD and EF are parallel."),
    ("AB ∥ CD", "AB and CD are parallel to EF."),
    ("AB ∥ CD", "AB is perpendicular to CD."),
    ("△ABC ∼ △DEF", "Triangles ABC and EDF are similar."),
    ("∠C = 75°", "5 m, and 2∠C = 75°"),
]


def found(wording: str, step: str) -> bool:
    sections = parse_sections(f"### Step 1:\n{step}\n### The final answer is: 0")
    return match_key_steps(sections, [(wording,)], threshold=0.8)[0].matched


@pytest.mark.parametrize(("wording", "step"), SAME)
def test_the_same_relation_is_found(wording: str, step: str) -> None:
    assert found(wording, step)


@pytest.mark.parametrize(("wording", "step"), OTHER)
def test_another_relation_is_not_found(wording: str, step: str) -> None:
    assert not found(wording, step)


def test_a_unit_of_the_key_step_must_stand_at_that_number() -> None:
    assert found("9 km/h * 5 h = 45 km", "5 hours * 9 km per hour = 45 kilometers")
    assert not found("9 km/h * 5 h = 45 km", "5 hours * 9 m per hour = 45 kilometers")


def test_the_place_is_that_of_the_relation() -> None:
    text = "### Step 1:\nSo there are 240 trees + 1000 trees = 1240 trees now."
    match = match_key_steps(parse_sections(text), [("1000 + 240 = 1240",)], threshold=0.8)[0]
    assert text[match.start : match.end] == "240 trees + 1000 trees = 1240"


def test_a_list_of_relations_states_none_of_them_in_any_order() -> None:
    assert not found("3 + 5 = 8", "; ".join(f"5 + {i} = 8" for i in range(10)))
    assert found("3 + 5 = 8", "; ".join(f"5 + {i} = {i + 5}" for i in range(10)))


def test_all_operations_with_the_numbers_of_a_question_state_none_of_them() -> None:
    numbers = (48, 5, 3, 2)
    pairs = [(a, b) for a in numbers for b in numbers if a > b]
    said = [f"{a} + {b} = {a + b}, {a} - {b} = {a - b}, {a} * {b} = {a * b}" for a, b in pairs]
    assert not found("48 + 2 = 50", ", ".join(said))
    assert not found("48 + 2 = 50", "\n".join(said))
    assert found("48 + 2 = 50", ", ".join(said[:3]))
    assert found("x = 5", f"{', '.join(said)}, x = 5")


def test_operations_of_which_the_results_are_used_are_no_list() -> None:
    said = [
        f"{n} + 3 = {n + 3}, {n + 3} * 2 = {2 * n + 6}, {2 * n + 6} - 1 = {2 * n + 5}"
        for n in (4, 13, 31, 67)
    ]
    longer = [
        *said,
        *(f"{n} - {n - 1} = 1, {n} + {n + 1} = {2 * n + 1}, {2 * n + 1} / 1 = 5" for n in range(200, 210)),
    ]
    assert found("4 + 3 = 7", ", ".join(longer))


NUMBERS = st.integers(1, 9).map(str)
EXPRESSIONS = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"{t[0]} {t[1]} {t[2]}"),
        inner.map(lambda text: f"({text})"),
    ),
    max_leaves=6,
)


def form_of(expression: str) -> str:
    chain = as_chain(without_end(tokenize(f"{expression} = 77")))
    assert chain is not None, expression
    return chain.forms[0]


def value_of(expression: str) -> Fraction | None:
    import re

    try:
        return eval(re.sub(r"\d+", r"Fraction(\g<0>)", expression), {"Fraction": Fraction})
    except ZeroDivisionError:
        return None


@given(EXPRESSIONS, EXPRESSIONS)
def test_what_has_one_form_has_one_value(one: str, other: str) -> None:
    if form_of(one) == form_of(other):
        assert value_of(one) == value_of(other)


@given(st.lists(NUMBERS, min_size=2, max_size=5), st.randoms())
def test_operands_may_stand_in_any_order(numbers: list[str], random) -> None:
    shuffled = random.sample(numbers, len(numbers))
    for sign in ("+", "*"):
        assert form_of(sign.join(numbers)) == form_of(sign.join(shuffled))


@given(EXPRESSIONS)
def test_units_and_nouns_at_numbers_change_nothing(expression: str) -> None:
    import re

    written = re.sub(r"\d+", r"$\g<0> red apples", expression)
    (chain,) = chains(tokenize(f"So {written} = 77 apples."))
    assert chain.forms == (form_of(expression), "77")


@pytest.mark.parametrize(
    "text",
    [
        "8 / (1 + 1) * (1 + 2)",
        "8 / (2 apples) * (3 apples)",
        "8 / x^2 * (1 + 2)",
        "8 / √(4) * (3)",
        "8 / -2 * (-3)",
    ],
)
def test_what_is_multiplied_behind_a_division_is_not_divided_by(text: str) -> None:
    (chain,) = chains(tokenize(f"So {text} = 12."))
    assert chain.forms[0].count("/") == 1


@given(st.text(alphabet="12x() +-*/=<^%√!°.,'abkm\n", max_size=60))
def test_no_text_raises(text: str) -> None:
    for chain in chains(tokenize(text)):
        assert len(chain.forms) == len(chain.signs) + 1 > 1
