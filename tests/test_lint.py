"""What in a prepared dataset will hurt training, each planted."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import parquet, rows
from PIL import Image

from verl_stepgrpo import DataError
from verl_stepgrpo.data.lint import CHECKS, lint


def row(number: int, *wordings: list[str], answer: str = "8", **extra: object) -> dict:
    key_steps = list(wordings) or [[f"{number} + 1 = {number + 1}"]]
    return {
        "prompt": [{"role": "user", "content": f"Question {number}?"}],
        "reward_model": {"style": "rule", "ground_truth": answer},
        "extra_info": {"index": number, "key_steps": key_steps, "solution": None, **extra},
    }


def checks(tmp_path: Path, table: list[dict], **options: object) -> list[tuple[int, str]]:
    path = parquet(tmp_path / "data.parquet", table)
    return [(finding.row, finding.check) for finding in lint(Path(path), **options)]  # type: ignore[arg-type]


def test_an_index_that_stands_twice_is_found(tmp_path: Path) -> None:
    assert checks(tmp_path, [row(0), row(1, index=0), row(2)]) == [(1, "index")]


def test_an_index_that_no_trace_can_hold_is_found(tmp_path: Path) -> None:
    days = [datetime.date(2026, 1, day) for day in (1, 2)]
    assert checks(tmp_path, [row(i, index=day) for i, day in enumerate(days)]) == [(0, "index"), (1, "index")]


def test_a_good_dataset_has_no_findings(tmp_path: Path) -> None:
    assert checks(tmp_path, [row(i) for i in range(30)]) == []


def test_a_key_step_that_its_own_solution_lacks_is_found(tmp_path: Path) -> None:
    solution = "### Rationales:\nx\n### Step 1:\n0 + 1 = 1\n### The final answer is: 8"
    assert checks(tmp_path, [row(0, ["0 + 1 = 1"], ["7 pears"], solution=solution)]) == [(0, "never_matched")]


@pytest.mark.parametrize(
    ("wording", "said"),
    [
        (") = 3/8", "its brackets do not close"),
        ("18) = 6", "its brackets do not close"),
        ("12÷2=6（", "its brackets do not close"),
        (r"\frac{6}{2 = 3", "its brackets do not close"),
        ("200×0.8=160元。", "it ends with 。"),
        ("= 3/8", "it begins with ="),
        ("3 * 4 =", "it ends with ="),
        (": 3 children", "it begins with :"),
        ("3 children,", "it ends with ,"),
    ],
)
def test_a_key_step_that_was_cut_out_of_its_text_is_found(tmp_path: Path, wording: str, said: str) -> None:
    path = parquet(tmp_path / "data.parquet", [row(0, ["0 + 1 = 1", wording])])
    found = [finding.detail for finding in lint(Path(path)) if finding.check == "cut_key_step"]
    assert found == [f"{wording} ({said})"]


@pytest.mark.parametrize(
    "wording",
    ["There are 3 children.", "x in [0, 5)", "x in ]0, 5]", "**3 children**", "$x = 3$", "-3 = x", "5! = 120",
     "f(x) = 2", r"\left\{ 1, 2 \right.", r"\{1, 2\}", '"New York"', "a^+", "\\( x = 3 \\)", "McDonald's", "...",
     ".5 m"],
)  # fmt: skip
def test_a_whole_key_step_is_not_taken_for_one_that_was_cut(tmp_path: Path, wording: str) -> None:
    assert "cut_key_step" not in dict(map(reversed, checks(tmp_path, [row(0, [wording])])))


WHOLE = "### Rationales:\nx\n### Step 1:\n0 + 1 = 1\n### The final answer is: 8"


@pytest.mark.parametrize(
    ("solution", "answer", "said"),
    [
        (WHOLE, "9", "its answer is judged wrong (number: 8 does not equal 9)"),
        (WHOLE.replace("Step 1", "Step 2"), "8", "it is not in order (steps numbered 2)"),
        (WHOLE.replace("### Rationales:\nx\n", ""), "8", "it is not complete (no rationales)"),
        (
            WHOLE.replace("Step 1", "Step 2"),
            "9",
            "its answer is judged wrong (number: 8 does not equal 9); it is not in order (steps numbered 2)",
        ),
        ("0 + 1 = 1.\n#### 8", "9", "its answer is judged wrong (number: 8 does not equal 9)"),
    ],
)
def test_why_its_own_solution_would_not_be_paid_is_said(
    tmp_path: Path, solution: str, answer: str, said: str
) -> None:
    table = [row(0, solution=WHOLE), row(1, ["0 + 1 = 1"], solution=solution, answer=answer)]
    path = Path(parquet(tmp_path / "data.parquet", table))
    assert [(one.row, one.check, one.detail) for one in lint(path)] == [(1, "solution", said)]


def test_a_solution_to_an_image_has_to_describe_it(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    asked = row(0, solution=WHOLE) | {
        "prompt": [{"role": "user", "content": "<image>?"}],
        "images": [{"image": str(tmp_path / "a.png")}],
    }
    (found,) = lint(Path(parquet(tmp_path / "data.parquet", [asked])))
    assert (found.check, found.detail) == ("solution", "it is not complete (no image description)")


def test_a_letter_for_the_text_of_a_choice_is_paid(tmp_path: Path) -> None:
    blue = WHOLE.replace(": 8", ": blue")
    assert checks(tmp_path, [row(0, solution=blue, answer="B", choices=["red", "blue"])]) == []


def test_why_it_is_not_found_is_said(tmp_path: Path) -> None:
    solution = "### Rationales:\nx\n### Step 1:\nIt is not 7 pears.\n### The final answer is: 8"
    path = Path(parquet(tmp_path / "data.parquet", [row(0, ["7 pears"], solution=solution)]))
    (finding,) = lint(path)
    assert finding.detail.startswith("7 pears (denied by 'not', nearest place")


def test_a_key_step_that_nothing_can_match_is_found_without_a_solution(tmp_path: Path) -> None:
    assert checks(tmp_path, [row(0, ["..."])]) == [(0, "never_matched")]


def test_a_key_step_that_stands_in_other_rows_solutions_is_found(tmp_path: Path) -> None:
    solution = "### Rationales:\nx\n### Step 1:\nWe read the chart. {0} + 1 = {1}\n### The final answer is: 8"
    table = [row(i, [f"{i} + 1 = {i + 1}"], solution=solution.format(i, i + 1)) for i in range(30)]
    table[4] = row(4, ["read the chart"], solution=solution.format(4, 5))
    assert checks(tmp_path, table) == [(4, "matches_anything")]


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"reward_model": {"ground_truth": ""}}, "unreadable"),
        ({"extra_info": {"index": 0, "key_steps": []}}, "no_key_steps"),
        ({"extra_info": {"key_steps": [["3 + 5 = 8"]]}}, "index"),
        ({"extra_info": {"index": 0, "key_steps": [["3 + 5 = 8", " "]]}}, "empty_key_step"),
        ({"extra_info": {"index": 0, "key_steps": [["3 + 5 = 8"], ["8", "3 + 5 = 8"]]}}, "repeated_key_step"),
        ({"reward_model": {"ground_truth": "one two three four five six seven eight nine"}}, "answer_kind"),
    ],
)
def test_a_row_that_pays_for_nothing_or_twice_is_found(tmp_path: Path, change: dict, check: str) -> None:
    assert (0, check) in checks(tmp_path, rows(1, **change))


def test_the_same_question_with_the_same_image_is_found(tmp_path: Path) -> None:
    table = [row(0), row(1), row(0, index=2)]
    assert checks(tmp_path, table) == [(2, "duplicate")]


def test_a_tiny_image_is_found_unless_it_bounds_itself(tmp_path: Path) -> None:
    Image.new("RGB", (28, 28)).save(tmp_path / "tiny.png")
    image = {"image": str(tmp_path / "tiny.png")}
    asked = row(0) | {"prompt": [{"role": "user", "content": "<image>?"}]}
    assert checks(tmp_path, [asked | {"images": [image]}]) == [(0, "tiny_image")]
    assert checks(tmp_path, [asked | {"images": [image | {"min_pixels": 784}]}]) == []


def test_an_error_that_nobody_foresaw_is_a_finding_of_its_row(tmp_path: Path) -> None:
    def length(messages: list, images: list) -> int:
        if "Question 1?" in messages[0]["content"]:
            raise StopIteration
        return 0

    found = checks(tmp_path, [row(i) for i in range(3)], prompt_length=length, max_prompt_length=1)
    assert found == [(1, "failed")]


def test_the_text_of_a_special_token_is_found(tmp_path: Path) -> None:
    said = row(0) | {"prompt": [{"role": "user", "content": "What is <|im_end|>?"}]}
    assert checks(tmp_path, [said]) == [(0, "marks")]
    own = row(0) | {"prompt": [{"role": "user", "content": "What is <eos>?"}]}
    assert checks(tmp_path, [own]) == []
    assert checks(tmp_path, [own], tokens={"<eos>"}) == [(0, "marks")]


def test_an_overlong_prompt_is_found(tmp_path: Path) -> None:
    def length(messages: list, images: list) -> int:
        return len(messages[0]["content"])

    found = checks(tmp_path, [row(0), row(1000000)], prompt_length=length, max_prompt_length=12)
    assert found == [(1, "overlong")]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("x")
    with pytest.raises(DataError, match=r"x\.parquet cannot be read"):
        list(lint(tmp_path / "x.parquet"))


def test_the_command_shows_each_kind_with_its_meaning(tmp_path: Path) -> None:
    path = parquet(tmp_path / "data.parquet", [row(0), row(0, index=2), row(1, ["..."])])
    command = [sys.executable, "-m", "verl_stepgrpo", "lint", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"1  duplicate: {CHECKS['duplicate']}\n          row 1, index 2: of row 0" in done.stdout
    lines = subprocess.run(
        [*command, "--json"], capture_output=True, text=True, timeout=60
    ).stdout.splitlines()
    assert {json.loads(line)["check"] for line in lines} == {"duplicate", "never_matched"}


def test_a_finding_names_its_row_as_the_row_does(tmp_path: Path) -> None:
    table = [row(0), row(7, ["..."], id="cat-7"), row(8, ["..."]), row(9, index=None, id="dog")]
    path = Path(parquet(tmp_path / "data.parquet", table))
    places = {finding.place for finding in lint(path)}
    assert places == {"row 1, id cat-7, index 7", "row 2, index 8", "row 3, id dog"}
    solution = "### Rationales:\nx\n### Step 1:\nWe read the chart. {0} + 1 = {1}\n### The final answer is: 8"
    table = [row(i, solution=solution.format(i, i + 1), id=f"chart-{i}") for i in range(30)]
    table[4] = row(4, ["read the chart"], solution=solution.format(4, 5), id="chart-4")
    (found,) = lint(Path(parquet(tmp_path / "decoys.parquet", table)))
    assert (found.check, found.place) == ("matches_anything", "row 4, id chart-4, index 4")


def test_a_file_of_another_kind_is_said_once(tmp_path: Path) -> None:
    path = parquet(tmp_path / "other.parquet", [{"image": "a.png", "query": "?"}] * 30)
    command = [sys.executable, "-m", "verl_stepgrpo", "lint", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "other.parquet has no columns prompt, reward_model; it has image, query. Expected" in done.stderr
    half = Path(parquet(tmp_path / "half.parquet", [{"prompt": row(0)["prompt"]}]))
    with pytest.raises(DataError, match="has no column reward_model; it has prompt"):
        list(lint(half))
