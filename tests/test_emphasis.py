"""Headers and answers in Markdown's emphasis, in every format: what is read, what it is paid, and where it stands."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from verl_stepgrpo import score_response
from verl_stepgrpo.cli import app
from verl_stepgrpo.judging import formats
from verl_stepgrpo.judging.formats import FORMATS
from verl_stepgrpo.judging.formats.emphasis import without_halves
from verl_stepgrpo.judging.sections import Kind, final_answer

STEP = "**Step 1:** 6/3 = 2\n\n"


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("**Final answer: Jupiter**", "Jupiter"),
        ("Final answer: **Jupiter**", "Jupiter"),
        ("## Final answer: **Jupiter**", "Jupiter"),
        ("### **Final answer: Jupiter**", "Jupiter"),
        ("**Final answer**: Jupiter", "Jupiter"),
        ("**Final answer:** Jupiter", "Jupiter"),
        ("__Final answer: Jupiter__", "Jupiter"),
        ("*Final answer: Jupiter*", "Jupiter"),
        ("***Final answer: Jupiter***", "Jupiter"),
        ("> **Final answer: Jupiter**", "Jupiter"),
        ("- **Final answer: Jupiter**", "Jupiter"),
        ("**Final answer:\nJupiter**", "Jupiter"),
        ("**Final answer**\n\n**Jupiter**", "**Jupiter**"),
        ("**Final answer：木星**", "木星"),
        ("**The final answer is Jupiter.**", "Jupiter."),
        ("Final answer: **B**", "B"),
        ("**Final answer: 18 dollars**", "18 dollars"),
        (r"**Final answer: $\frac{1}{2}$**", r"$\frac{1}{2}$"),
        ("**Final answer: (1, 2)**", "(1, 2)"),
        ("**Final answer: 2**3**", "2**3"),
        ("*Final answer: 2 * 3*", "2 * 3"),
        ("**Final answer: A** and **B**", "A   and **B**"),
        ("**Final answer: Jupiter", "Jupiter"),
        ("Final answer: Jupiter **", "Jupiter"),
        (r"Final answer: *a\*b*", r"a\*b"),
    ],
)
def test_the_answer_has_no_half_of_the_headers_emphasis(line: str, answer: str) -> None:
    assert final_answer(FORMATS["markdown"].sections(STEP + line)) == answer


@pytest.mark.parametrize(
    ("line", "reference"),
    [
        ("**Final answer: Jupiter**", "Jupiter"),
        ("Final answer: **Jupiter**.", "Jupiter"),
        ("Final answer: **B**", "(B) carbon dioxide"),
        ("**Final answer: 18 dollars**", "18"),
        ("**Final answer: (1, 2)**", "(1, 2)"),
        ("**Final answer: A** and **B**", "A and B"),
    ],
)
def test_a_right_answer_in_bold_is_paid(line: str, reference: str) -> None:
    result = score_response(STEP + line, reference, ["6/3 = 2"], format="markdown")
    assert result.total == pytest.approx(2.1)


@pytest.mark.parametrize(
    ("format_", "response"),
    [
        ("plain", "So 6/3 = 2\n\n**Answer: 2**"),
        ("plain", "So 6/3 = 2 **Answer: 2**"),
        ("plain", "Step 1: 6/3 = 2\n**Answer: 2**"),
        ("plain", "**Step 1: 6/3 = 2**\n**The answer is 2.**"),
        ("markdown", "**1. 6/3 = 2**\nGood.\n**Final answer: 2**"),
        ("markdown", "**Step 1: 6/3 = 2**\nGood.\n**Final answer: 2**"),
        ("markdown", "- **Step 1: 6/3 = 2** holds.\n- **Final answer: 2**"),
        ("markdown", "**Step 1: 6/3 = 2**\n**\\boxed{2}**"),
        ("think", "<think>\n**Step 1: 6/3 = 2**\n</think>\n<answer>**2**</answer>"),
        ("mulberry", "### Step 1:\n**6/3 = 2**\n### The final answer is: **2**"),
    ],
)
def test_a_step_is_searched_without_the_emphasis_around_it(format_: str, response: str) -> None:
    result = score_response(response, "2", ["6/3 = 2"], format=format_)
    (match,) = result.key_steps
    assert (result.answer.correct, match.matched) == (True, True)
    assert response[match.start : match.end] == "6/3 = 2"


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ("^Answer:", "Answer: **Jupiter**"),
        (r"^\*\*Answer:", "**Answer: Jupiter**"),
        (r"^\*\*Answer:", "**Answer:** Jupiter"),
        (r"^(?:\*\*)?Answer:(?: \*\*)?", "Answer: **Jupiter**"),
        ("Answer:", "**Answer: Jupiter**"),
    ],
)
def test_patterns_of_ones_own_leave_no_half_either(tmp_path: Path, answer: str, line: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        json.dumps({"name": "own", "request": "x", "step": r"^\** ?Thought(?: \d+)?:", "answer": answer})
    )
    response = f"**Thought 1: 6/3 = 2** holds.\n{line}"
    result = score_response(response, "Jupiter", ["6/3 = 2"], format=str(path))
    assert (result.answer.correct, result.key_step_match, result.step_rvr) == (True, 1, 1)


def test_a_solution_in_bold_is_kept_and_gives_the_answer(tmp_path: Path) -> None:
    solution = "**Step 1:** Jupiter is the largest planet.\n\n**Final answer: Jupiter**"
    rows = [{"question": f"Which planet is the largest? {i}", "solution": solution} for i in range(2)]
    source = tmp_path / "qa.jsonl"
    source.write_text(
        "".join(json.dumps(row | {"answer": "Jupiter"} if i else row) + "\n" for i, row in enumerate(rows))
    )
    done = CliRunner().invoke(
        app,
        ["prepare", str(source), "--out", str(tmp_path / "o"), "--format", "markdown", "--val-share", "0"],
    )
    assert done.exit_code == 0, done.output
    kept = pq.read_table(tmp_path / "o" / "rl-train.parquet").to_pylist()
    assert [row["reward_model"]["ground_truth"] for row in kept] == ["Jupiter", "Jupiter"]


PIECES = st.lists(
    st.sampled_from(
        ["**", "__", "*", "_", "***", "Step 1:", "Final answer:", "1. ", "- ", "> ", "\n", "\n\n", " ", "6/3 = 2",
         "Jupiter", "2*3", "2 * 3", "2**3", ".", ": ", "木星", "<think>", "</think>", "\\*"]
    ),
    max_size=24,
)  # fmt: skip


@given(PIECES, st.sampled_from(["markdown", "plain", "think"]))
def test_a_body_is_the_responses_own_text_but_for_blanks_in_place_of_marks(
    parts: list[str], format_: str
) -> None:
    response = "".join(parts)
    for one in formats.find(format_).sections(response):
        if one.kind is Kind.STEP or format_ == "markdown":
            own = response[one.body_start : one.body_start + len(one.body)]
            assert all(a == b or (a in "*_" and b == " ") for a, b in zip(own, one.body, strict=True))


@given(
    st.text(alphabet="ab2 \n.", max_size=40), st.sampled_from(["Final answer: ", "**Step 1:** ", "* ", ""])
)
def test_text_without_marks_stays_as_it_is(text: str, header: str) -> None:
    assert without_halves(header, text) == text
