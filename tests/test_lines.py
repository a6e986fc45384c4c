"""The end of a line ends what it says, unless the next line goes on with it; rows of TeX's environments are lines."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_stepgrpo import compute_score, score_response
from verl_stepgrpo.judging import lines
from verl_stepgrpo.judging.lines import settled

FORM = "### Image Description:\nA picture.\n### Rationales:\nA reason.\n### Let's think step by step.\n"
BREAKS = ["\n", "\n\n", " \n", "\\\\\n", " \\\\ ", ".\n", ",\n", "\n- ", "\n1. ", "\nThus "]
PAIRS = [
    ("3x = 15", "x = 5"),
    ("AB = 5", "BC = 12"),
    ("3 + 5 = 8", "(8 - 2) * 2 = 12"),
    ("$3x = 15$", "$x = 5$"),
    ("\\[3x = 15\\]", "\\[x = 5\\]"),
    ("$$\nx^2 = 9\n$$", "$$\n\\sqrt{9} = 3\n$$"),
    ("r = 3", "\\pi r^2 = 9\\pi"),
    ("x = 5 cm", "y = 7 cm"),
    ("6 red cubes", "3 blue spheres"),
]
ENVIRONMENTS = ["align*", "align", "aligned", "eqnarray*", "split", "gathered", "alignat*", "cases", "array"]
WRAPPED = [
    ("3 + 5\n= 8", "3 + 5 = 8"),
    ("3 +\n5 = 8", "3 + 5 = 8"),
    ("3 + 5 =\n8", "3 + 5 = 8"),
    ("3 + 5\n\\times 2 = 13", "3 + 5 * 2 = 13"),
    ("3 + 5\n\\]\n\\[\n= 8", "3 + 5 = 8"),
    ("There are\n3 children", "3 children"),
    ("There are 3\nchildren", "3 children"),
    ("We see a\ncube that is red", "cube is red"),
    ("He has\na red cube", "red cube"),
    ("They drive a distance of 55 miles at once * 4\nhours = 220 miles", "55 * 4 = 220"),
    ("12 kg / 4\n(kg) = 3", "12 / 4 = 3"),
]
SEPARATE = [
    ("Cubes: 2\nSpheres: 3", "2 spheres"),
    ("cubes = 2\nspheres = 3", "2 spheres"),
    ("There are 2 cubes\nThe sphere is red", "2 spheres"),
    ("Color: red\nShape: cube", "red cube"),
    ("a = 3\nb = 4", "3b = 4"),
    ("3 = 15\nx = 5", "15x = 5"),
    ("3 + 5 = 8\n* 2 = 16", "8 * 2 = 16"),
    ("2015: 40\n2016: 50", "40 2016"),
    ("x = 2\nsin y = 1", "2 sin y = 1"),
    ("x = 2\nso y = 3", "2 so y = 3"),
    ("\\begin{cases} x + 1 & x > 0 \\\\ 2 & x < 0 \\end{cases}", "x + x > 0"),
    ("\\begin{cases} x + 1 & x > 0 \\\\ 2 & x < 0 \\end{cases}", "2x < 0"),
]
TAKEN_BACK = [
    "It is not true that\n\\[\nx = 4\n\\]",
    "We reject\n\\[\nx = 4\n\\]",
    "x = 4\nThat is wrong.",
    "x = 4\n\nwhich is impossible",
    "x = 4\n(wrong)",
    "For want of any other value we must here deny\nx = 4",
]


def score(step: str, *key_steps: str) -> dict:
    return compute_score(
        "", f"{FORM}### Step 1:\n{step}\n### The final answer is: 1", "1", {"key_steps": [*key_steps]}
    )


def found(step: str, key_step: str) -> bool:
    return score(step, key_step)["key_step_match"] == 1


@pytest.mark.parametrize("between", BREAKS)
@pytest.mark.parametrize("pair", PAIRS)
def test_each_of_two_lines_is_found(pair: tuple[str, str], between: str) -> None:
    plain = [re.sub(r"\$|\\[\[\]]", "", line).strip() for line in pair]
    assert score(between.join(pair), *plain)["key_step_match"] == 1


@pytest.mark.parametrize("between", [" \\\\ ", "\\\\\n", " \\\\[4pt]\n"])
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_each_row_of_an_environment_is_found(name: str, between: str) -> None:
    argument = {"alignat*": "{2}", "array": "{rcl}"}.get(name, "")
    rows = between.join(("3x + 5 &= 20", "3x &= 15", "x &= 5"))
    if name == "gathered":
        rows = rows.replace("&", "")
    step = f"\\[\\begin{{{name}}}{argument} {rows} \\end{{{name}}}\\]"
    assert score(step, "3x + 5 = 20", "3x = 15", "x = 5")["key_step_match"] == 1


def test_a_row_that_begins_with_a_sign_goes_on_with_the_last() -> None:
    step = "\\begin{aligned}\nAC^2 &= AB^2 + BC^2 \\\\\n&= 6^2 + 8^2 \\\\\n&= 36 + 64 \\\\\n&= 100\n\\end{aligned}"
    assert score(step, "AC^2 = AB^2 + BC^2", "36 + 64 = 100")["key_step_match"] == 1
    assert found(step, "6^2 + 8^2 = 36 + 64")
    assert found("\\begin{split} 3 + 5 &+ 2 \\\\ &- 4 = 6 \\end{split}", "3 + 5 + 2 - 4 = 6")


def test_a_matrix_has_no_rows_of_its_own() -> None:
    matrix = "\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}"
    assert found(f"A =\n{matrix}", f"A = {matrix}")
    assert not found(matrix.replace("4", "5"), matrix)


@pytest.mark.parametrize(("step", "key_step"), WRAPPED)
def test_a_sentence_over_two_lines_is_one(step: str, key_step: str) -> None:
    assert found(step, key_step)


@pytest.mark.parametrize(("step", "key_step"), SEPARATE)
def test_two_lines_are_not_read_as_one(step: str, key_step: str) -> None:
    assert not found(step, key_step)


@pytest.mark.parametrize("step", TAKEN_BACK)
def test_a_denial_reaches_over_the_end_of_a_line_that_goes_on(step: str) -> None:
    assert not found(step, "x = 4")


@pytest.mark.parametrize("step", ["There is no doubt\nx = 4", "It is not red\nx = 4", "It is not so.\nx = 4"])
def test_and_over_no_other(step: str) -> None:
    assert found(step, "x = 4")


@pytest.mark.parametrize("word", sorted(lines.AWAITING))
def test_no_statement_ends_with_such_a_word(word: str) -> None:
    assert "\n" not in settled(f"Here we see {word}\nx = 4")
    assert "\n" in settled("Here we see red\nx = 4")


@pytest.mark.parametrize("sign", sorted(lines.SIGNS.split("|")))
def test_a_sign_at_either_end_of_a_line_goes_on(sign: str) -> None:
    assert "\n" not in settled(f"x\n\\{sign} y") + settled(f"x \\{sign}\ny")


@pytest.mark.parametrize(
    ("step", "equations", "false"),
    [
        ("3 + 5 = 9\nx = 2", 1, 1),
        ("3 + 5 = 8\n(8 - 2) * 2 = 12", 2, 0),
        ("- 3 + 5 = 9", 1, 1),
        ("\\begin{align*} 3 + 5 &= 8 \\\\ 4 + 4 &= 9 \\end{align*}", 2, 1),
        ("\\begin{align*} 2(3 + 5) &= 2 \\cdot 8 \\\\ &= 16 \\end{align*}", 2, 0),
        ("3 + 5 = 9\nThat is wrong.", 0, 0),
    ],
)
def test_the_equations_of_lines_are_checked(step: str, equations: int, false: float) -> None:
    result = score(step)
    assert (result["equations"], result["false_equations"]) == (equations, false)


def test_the_place_of_a_match_is_that_in_the_response() -> None:
    response = f"{FORM}### Step 1:\n\\[\n3x = 15 \\\\\n x = 5\n\\]\n### The final answer is: 1"
    match = score_response(response, "1", ["x = 5"]).key_steps[0]
    assert response[match.start : match.end] == "x = 5"


@given(
    st.lists(
        st.sampled_from([*"\n\r &$x3=+-.,:(\\", "\\\\", "\\begin{align}", "\\end{align}", "is", "**"])
    ).map("".join)
)
def test_nothing_but_the_ends_of_lines_changes(text: str) -> None:
    read = settled(text)
    assert len(read) == len(text)
    changed = {a for a, b in zip(text, read, strict=True) if a != b}
    assert changed <= set("\n\r\\&")
    assert set(read) - set(text) <= set(" \n,")
