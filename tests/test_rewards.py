"""StepRAR, StepRVR and the public entry points."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_stepgrpo import (
    SCORE_KEYS,
    ConfigError,
    DataError,
    RewardSettings,
    compute_score,
    parse_key_steps,
    score_response,
)
from verl_stepgrpo.judging.formats import FORMATS
from verl_stepgrpo.judging.sections import parse_sections

KEY_STEPS = [["first digit is 3"], ["second digit is 5"], ["3 + 5 = 8"]]
STEPS = ["The first digit is 3.", "The second digit is 5.", "3 + 5 = 8"]


def response(
    steps: list[str] | None = None,
    final: str | None = "8",
    description: str | None = "Two digits.",
    rationales: str | None = "Add them.",
) -> str:
    lines = []
    if description is not None:
        lines += ["### Image Description:", description]
    if rationales is not None:
        lines += ["### Rationales:", rationales]
    lines.append("### Let's think step by step.")
    for number, body in enumerate(STEPS if steps is None else steps, start=1):
        lines += [f"### Step {number}:", body]
    if final is not None:
        lines.append(f"### The final answer is: {final}")
    return "\n".join(lines)


def score(text: str, gold: str = "8", **settings: object) -> dict[str, float]:
    return compute_score("digits", text, gold, {"key_steps": KEY_STEPS}, **settings)


def test_the_gold_response_scores_full_marks() -> None:
    result = score(response())
    assert result["score"] == pytest.approx(2.1)
    assert (result["acc"], result["step_rvr"], result["key_step_match"]) == (1.0, 1.0, 1.0)


def test_no_response_at_all_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(DataError, match=r"the response is None \(NoneType\); expected text"):
        compute_score("d", None, "8")  # type: ignore[arg-type]


# Table of equations 3 and 4: (response, StepRAR, StepRVR) with alpha = 0.1 and three key steps.
TABLE = {
    "right, all key steps": (response(), 1.1, 1.0),
    "right, no key steps": (response(["I guess."]), 1.0, 1.0),
    "wrong, all key steps": (response(final="9"), 0.1, 1.0),
    "wrong, two of three": (response(STEPS[:2], final="9"), 0.2 / 3, 1.0),
    "no answer, all key steps": (response(final=None), 0.0, 0.0),
    "empty answer": (response(final=""), 0.0, 0.0),
    "right, no description": (response(description=None), 1.1, 0.0),
    "right, empty rationales": (response(rationales=""), 1.1, 0.0),
    "right, no steps": (response([]), 1.0, 0.0),
    "empty": ("", 0.0, 0.0),
}


@pytest.mark.parametrize("case", TABLE)
def test_the_equations_of_the_paper(case: str) -> None:
    text, step_rar, step_rvr = TABLE[case]
    result = score(text)
    assert result["step_rar"] == pytest.approx(step_rar)
    assert result["step_rvr"] == step_rvr
    assert result["score"] == pytest.approx(step_rar + step_rvr)


ORDER = {
    "in order": (response(), True),
    "a gap": (response().replace("Step 2", "Step 4"), False),
    "a repetition": (response().replace("Step 2", "Step 1"), False),
    "counted from 0": (response().replace("Step 1", "Step 0"), False),
    "background behind a step": (
        response(rationales=None).replace("### Step 2", "### Rationales:\nAdd them.\n### Step 2"),
        False,
    ),
    "answer before the last step": (
        response(final=None).replace("### Step 3", "### The final answer is: 8\n### Step 3"),
        False,
    ),
    "two final answers": (response() + "\n### The final answer is: 8", False),
}


@pytest.mark.parametrize("case", ORDER)
def test_order_of_the_sections(case: str) -> None:
    text, ordered = ORDER[case]
    assert bool(score(text)["ordered"]) is ordered


@pytest.mark.parametrize(
    "steps",
    [
        ["first digit is 0 1 2 3 4 5 6 7 8 9"],
        [" ".join(f"{a} + {b} = {a + b}" for a in range(10) for b in range(10))],
    ],
    ids=["all digits", "all sums"],
)
def test_listing_key_words_does_not_score_above_an_honest_response(steps: list[str]) -> None:
    assert score(response(steps))["score"] <= score(response())["score"]


@pytest.mark.parametrize(
    ("written", "missing", "faults"),
    [
        (response(), [], []),
        ("", [f"no {what}" for what in ("image description", "rationales", "step", "final answer")],
         ["no step", "no final answer"]),
        (response(rationales=None), ["no rationales"], []),
        (response() + "\n### The final answer is: 9", [], ["2 final answers"]),
        (response() + "\n### Step 7:\n3", [], ["steps numbered 1, 2, 3, 7", "a step behind the final answer"]),
        (response(rationales=None, final=None) + "\n### Rationales:\nx\n### The final answer is: 8", [],
         ["background behind a step"]),
    ],
)  # fmt: skip
def test_why_a_response_is_not_valid_is_said_in_words(
    written: str, missing: list[str], faults: list[str]
) -> None:
    sections = parse_sections(written)
    mulberry = FORMATS["mulberry"]
    found = mulberry.missing(sections, needs_description=True), mulberry.disorder(sections)
    assert found == (missing, faults)


def test_an_empty_reference_answer_is_a_mistake_in_the_data() -> None:
    with pytest.raises(DataError, match="ground_truth is empty"):
        compute_score("digits", response(), " ")


@pytest.mark.parametrize("gold", [None, [], {"a": 1}, True, math.nan])
def test_a_reference_answer_of_a_wrong_type_is_a_mistake_in_the_data(gold: object) -> None:
    with pytest.raises(DataError, match="ground_truth"):
        compute_score("digits", response(), gold)  # type: ignore[arg-type]


def test_numbers_are_taken_as_reference_answers() -> None:
    assert score(response(), gold=8)["acc"] == 1.0  # type: ignore[arg-type]


@pytest.mark.parametrize("extra_info", [None, {}, {"key_steps": None}, {"key_steps": []}])
def test_without_key_steps_the_match_is_zero(extra_info: dict | None) -> None:
    result = compute_score("digits", response(), "8", extra_info)
    assert (result["key_step_match"], result["score"]) == (0.0, 2.0)


def test_settings_change_the_score() -> None:
    assert score(response(), alpha=0.5)["score"] == pytest.approx(2.5)
    assert score(response(), alpha=0)["score"] == 2.0


@pytest.mark.parametrize(
    "settings",
    [
        {"alpha": -0.1},
        {"alpha": math.nan},
        {"alpha": "0.1"},
        {"match_threshold": 0},
        {"mode": "best"},
        {"alhpa": 1},
    ],
)
def test_a_wrong_setting_names_key_and_range(settings: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        score(response(), **settings)


def test_reference_mode_reproduces_the_rules_of_the_authors_code() -> None:
    # A substring matches inside a number, and key steps are paid without an answer.
    sloppy = compute_score(
        "d", response(["It is 12."], final=None), "8", {"key_steps": ["2"]}, mode="reference"
    )
    assert (sloppy["key_step_match"], sloppy["step_rar"]) == (1.0, pytest.approx(0.1))
    strict = compute_score("d", response(["It is 12."], final=None), "8", {"key_steps": ["2"]})
    assert (strict["key_step_match"], strict["step_rar"]) == (0.0, 0.0)
    # Background after the steps is in order there.
    behind = response(rationales=None) + "\n### Rationales:\nx\n### The final answer is: 8"
    assert score(behind, mode="reference")["ordered"] == 1.0
    assert score(behind)["ordered"] == 0.0


def test_reference_mode_scores_the_gold_response_fully() -> None:
    assert score(response(), mode="reference")["score"] == pytest.approx(2.1)


@given(st.text(max_size=400), st.sampled_from(["paper", "reference"]))
def test_whatever_a_model_wrote_scores_in_range_with_all_keys(text: str, mode: str) -> None:
    result = score(text, mode=mode)
    assert tuple(result) == SCORE_KEYS
    assert all(isinstance(value, float) and math.isfinite(value) for value in result.values())
    assert 0.0 <= result["score"] <= 2.1 + 1e-9
    assert "reward" not in result


@given(
    st.lists(
        st.sampled_from(["### Step 1:", "### Step 2:", "### The final answer is: 8", "3 + 5 = 8", "x", ""])
    )
)
def test_any_mix_of_lines_scores_in_range(lines: list[str]) -> None:
    assert 0.0 <= score("\n".join(lines))["score"] <= 2.1 + 1e-9


def test_the_rich_result_says_where_everything_is() -> None:
    text = response()
    result = score_response(text, "8", parse_key_steps(KEY_STEPS), RewardSettings())
    assert [text[m.start : m.end] for m in result.key_steps] == [
        "first digit is 3",
        "second digit is 5",
        "3 + 5 = 8",
    ]
    assert [m.step for m in result.key_steps] == [0, 1, 2]
    assert [text[s.start : s.end].startswith("### Step") for s in result.steps] == [True] * 3
    assert (result.answer.layer, result.answer.text) == ("text", "8")
    assert result.key_step_share == pytest.approx(0.1)
    assert result.components() == score(text)


@pytest.mark.parametrize("form", [["3 + 5 = 8"], '["3 + 5 = 8"]', {"Steps": [["3 + 5 = 8"]]}])
def test_the_rich_result_takes_key_steps_and_answers_in_every_form(form: object) -> None:
    result = score_response(response(), 8, form)  # type: ignore[arg-type]
    assert (result.key_step_match, result.answer.correct) == (1.0, True)


def test_without_images_the_description_may_be_left_out() -> None:
    text = response(description=None)
    assert score(text)["complete"] == 0.0
    assert score(text, image_description="optional")["score"] == pytest.approx(2.1)


def test_rvr_weight_is_what_a_valid_response_is_paid() -> None:
    assert score(response(), rvr_weight=0.5)["score"] == pytest.approx(1.6)
    alone = score(response(), rvr_weight=0, alpha=0)
    assert (alone["score"], alone["complete"], alone["ordered"]) == (1.0, 1.0, 1.0)


def test_a_setting_that_was_meant_is_named() -> None:
    with pytest.raises(ConfigError, match="Did you mean alpha"):
        score(response(), alhpa=1)


def test_extra_info_of_a_wrong_type_is_a_mistake_in_the_data() -> None:
    with pytest.raises(DataError, match="extra_info is 'x'"):
        compute_score("d", response(), "8", "x")  # type: ignore[arg-type]


def test_a_decimal_may_be_off_by_the_tolerance_and_nothing_else_may() -> None:
    def acc(answer: str, gold: str, tolerance: float) -> float:
        found = compute_score("x", f"### The final answer is: {answer}", gold, answer_tolerance=tolerance)
        assert found["acc"] == found["acc_flexible"]
        return found["acc"]

    assert [acc("0.33", "1/3", tolerance) for tolerance in (0.0, 0.005, 0.02)] == [0.0, 0.0, 1.0]
    assert [acc("3.1 m", "3.14 m", tolerance) for tolerance in (0.0, 0.02)] == [0.0, 1.0]
    assert [acc("2.83", "2\\sqrt{2}", tolerance) for tolerance in (0.0, 0.02)] == [0.0, 1.0]
    assert [acc("\\frac{3\\pi}{2}", "4.71", tolerance) for tolerance in (0.0, 0.02)] == [0.0, 1.0]
    assert acc("314", "315", 0.02) == 0.0
    assert acc("0.5", "x", 0.5) == 0.0
    assert acc("3.1 m", "3.14 kg", 0.02) == 0.0
