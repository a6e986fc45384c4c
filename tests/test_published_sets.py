"""Multimodal sets with choices and several images, with the columns they have on the hub: the right rows come of them.

The columns are those of MMMU/MMMU, MathLLMs/MathVision, AI4Math/MathVista, AI4Math/MathVerse, We-Math/We-Math,
lmms-lab/ai2d, LightChen2333/M3CoT, derek-thomas/ScienceQA, HuggingFaceM4/A-OKVQA, lmms-lab/MMBench,
lmms-lab/SEED-Bench, Lin-Chen/MMStar, BLINK-Benchmark/BLINK, Fancy-MLLM/R1-Onevision and allenai/ai2_arc.
"""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from verl_stepgrpo import DataError, compute_score
from verl_stepgrpo.data.key_steps import files as key_step_files
from verl_stepgrpo.data.lint import lint
from verl_stepgrpo.data.prepare import PrepareOptions, prepare
from verl_stepgrpo.data.rows.build import RowOptions
from verl_stepgrpo.data.sources.images import in_place
from verl_stepgrpo.data.sources.items import item_of
from verl_stepgrpo.settings import RewardSettings


def drawn(shade: int) -> bytes:
    """Return a PNG of one grey, by which an image is told from another."""
    content = io.BytesIO()
    Image.new("RGB", (64, 64), (shade, shade, shade)).save(content, format="PNG")
    return content.getvalue()


def embedded(shade: int) -> dict[str, Any]:
    return {"bytes": drawn(shade), "path": None}


@dataclass
class Expected:
    """What comes of a row: what the prompt begins with, the reference answer, images by shade, and what is right."""

    asked: str
    truth: str
    images: list[int] = field(default_factory=lambda: [1])
    right: str | None = None
    id: str | None = None


COLOURS = ["red", "blue", "green"]
LISTED = "\nChoices:\n(A) red\n(B) blue\n(C) green\n"
SETS: dict[str, tuple[dict[str, Any], Expected]] = {
    "MMMU": (
        {
            "id": "validation_Art_1",
            "question": "<image 2> comes from <image 1>. Which colour has <image 2>?",
            "options": "['red', 'blue', 'green']",
            "explanation": "",
            **{f"image_{n}": embedded(n) if n < 3 else None for n in range(1, 8)},
            "answer": "B",
        },
        Expected(
            f"<image> comes from <image>. Which colour has image 2?{LISTED}",
            "B",
            [2, 1],
            "blue",
            "validation_Art_1",
        ),
    ),
    "MMMU, choices that are images": (
        {
            "question": "Which is like it?",
            "options": "['<image 2>', '<image 3>']",
            **{f"image_{n}": embedded(n) if n < 4 else None for n in range(1, 8)},
            "answer": "A",
        },
        Expected("<image>Which is like it?\nChoices:\n(A) <image>\n(B) <image>\n", "A", [1, 2, 3], "(A)"),
    ),
    "MMMU, an open question": (
        {
            "question": "How many bars are in <image 1>?",
            "options": "[]",
            "image_1": embedded(1),
            "image_2": None,
            "answer": "7",
        },
        Expected("How many bars are in <image>?", "7", [1], "7"),
    ),
    "MATH-Vision": (
        {
            "id": "4",
            "question": "Which number replaces (*)?\n<image1>",
            "options": [],
            "image": "images/4.jpg",
            "decoded_image": embedded(1),
            "answer": "8",
            "solution": None,
        },
        Expected("Which number replaces (*)?\n<image>\n", "8", [1], "8", "4"),
    ),
    "MathVista": (
        {
            "pid": "12",
            "question": "How long is it?",
            "image": "images/12.jpg",
            "decoded_image": embedded(1),
            "choices": ["1", "2", "3"],
            "unit": None,
            "answer": "2",
            "query": "Hint: ...",
        },
        Expected("<image>How long is it?\nChoices:\n(A) 1\n(B) 2\n(C) 3\n", "2", [1], "B", "12"),
    ),
    "MathVerse": (
        {
            "sample_index": "7",
            "problem_version": "Text Lite",
            "question": "How long is BC? ()\nChoices:\nA:2\nB:2√{3}\nC:√{3}\nD:2√{2}",
            "image": embedded(1),
            "answer": "C",
            "question_for_eval": "...",
        },
        Expected(
            "<image>How long is BC? ()\nChoices:\nA:2\nB:2√{3}\nC:√{3}\nD:2√{2}\n",
            "C",
            [1],
            "\\sqrt{3}",
            "7",
        ),
    ),
    "We-Math": (
        {
            "ID": "3steps_1",
            "question": "How large is it?",
            "option": "A. 200.96;B. 3215.36;C. 6280;D. 32; E. No correct answer",
            "answer": "B",
            "image_path": embedded(1),
            "key": "3steps_3",
        },
        Expected(
            "<image>How large is it?\nChoices:\n(A) 200.96\n(B) 3215.36\n(C) 6280\n(D) 32\n(E) No correct answer\n",
            "B",
            [1],
            "3215.36",
            "3steps_1",
        ),
    ),
    "AI2D": (
        {"question": "Which is it?", "options": COLOURS, "answer": "1", "image": embedded(1)},
        Expected(f"<image>Which is it?{LISTED}", "B", [1], "blue"),
    ),
    "M3CoT": (
        {
            "id": "m-1",
            "image_id": "m-1",
            "question": "Which is it?",
            "choices": COLOURS,
            "context": "Light is scattered.",
            "answer": "B",
            "rationale": "Light is scattered, and short waves more than long ones.",
            "image": embedded(1),
            "split": "train",
        },
        Expected(f"<image>Light is scattered.\nWhich is it?{LISTED}", "B", [1], "blue", "m-1"),
    ),
    "ScienceQA": (
        {
            "image": embedded(1),
            "question": "Which is it?",
            "choices": COLOURS,
            "answer": 1,
            "hint": "The sky is seen at noon.",
            "lecture": "Light is scattered.",
            "solution": "Short waves are scattered more.",
        },
        Expected(f"<image>The sky is seen at noon.\nWhich is it?{LISTED}", "B", [1], "blue"),
    ),
    "A-OKVQA": (
        {
            "question_id": "22MexNk",
            "image": embedded(1),
            "question": "Which is it?",
            "choices": COLOURS,
            "correct_choice_idx": 0,
            "direct_answers": "['red']",
        },
        Expected(f"<image>Which is it?{LISTED}", "A", [1], "red", "22MexNk"),
    ),
    "MMBench": (
        {
            "index": 241,
            "question": "Which is it?",
            "hint": "nan",
            "answer": "B",
            "A": "red",
            "B": "blue",
            "C": "green",
            "D": "nan",
            "image": embedded(1),
        },
        Expected(f"<image>Which is it?{LISTED}", "B", [1], "blue", "241"),
    ),
    "SEED-Bench": (
        {
            "question_id": "101",
            "question": "Which is it?",
            "choice_a": "red",
            "choice_b": "blue",
            "choice_c": "green",
            "answer": "C",
            "image": [embedded(1)],
        },
        Expected(f"<image>Which is it?{LISTED}", "C", [1], "green", "101"),
    ),
    "MMStar": (
        {
            "index": 3,
            "question": "Which is it?\nOptions: A: red, B: blue, C: green",
            "image": embedded(1),
            "answer": "B",
        },
        Expected(
            "<image>Which is it?\nOptions: A: red, B: blue, C: green\n",
            "B",
            [1],
            "blue",
            "3",
        ),
    ),
    "BLINK": (
        {
            "idx": "val_1",
            "question": "Which is like the first?",
            "choices": ["the second image", "the third image"],
            "answer": "(B)",
            **{f"image_{n}": embedded(n) if n < 4 else None for n in range(1, 5)},
        },
        Expected(
            "<image><image><image>Which is like the first?\nChoices:\n(A) the second image\n(B) the third image\n",
            "(B)",
            [1, 2, 3],
            "the third image",
            "val_1",
        ),
    ),
    "R1-Onevision": (
        {
            "id": "o1",
            "image": base64.b64encode(drawn(1)).decode(),
            "conversations": [
                {"from": "human", "value": "How many?"},
                {"from": "gpt", "value": "<think>It is one.</think>\n\\boxed{1}"},
            ],
        },
        Expected("<image>How many?", "1", [1], "1", "o1"),
    ),
    "ARC": (
        {
            "id": "Mercury_1",
            "question": "Which is it?",
            "choices": {"text": COLOURS, "label": ["1", "2", "3"]},
            "answerKey": "3",
        },
        Expected(f"Which is it?{LISTED}", "C", [], "green", "Mercury_1"),
    ),
}


def written(path: Path, rows: list[dict]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def prepared(source: Path, out: Path, format_: str = "think") -> tuple[Any, list[dict[str, Any]]]:
    options = PrepareOptions(
        RowOptions("d", source.parent, reward=RewardSettings(format=format_)), val_share=0.0
    )
    report = prepare(source, out, options)
    return report, pq.read_table(out / "rl-train.parquet").to_pylist()


def check(row: dict[str, Any], expected: Expected) -> None:
    assert row["prompt"][0]["content"].startswith(expected.asked)
    assert row["prompt"][0]["content"].count("<image>") == len(expected.images)
    assert row["images"] == [{"bytes": drawn(shade)} for shade in expected.images]
    assert row["reward_model"]["ground_truth"] == expected.truth
    info = row["extra_info"] | {"question": row["prompt"][0]["content"]}
    response = f"<think>\nIt is so.\n</think>\n\\boxed{{{expected.right}}}"
    assert compute_score("d", response, expected.truth, info, format="think")["acc"] == 1
    wrong = compute_score(
        "d", response.replace(str(expected.right), "D"), expected.truth, info, format="think"
    )
    assert wrong["acc"] == 0


@pytest.mark.parametrize("name", SETS)
def test_a_row_shows_and_asks_what_the_set_does_and_its_right_answer_is_right(
    name: str, tmp_path: Path
) -> None:
    raw, expected = SETS[name]
    report, (row,) = prepared(written(tmp_path / "set.parquet", [raw]), tmp_path / "out")
    assert report.unread == {}
    check(row, expected)
    assert row["extra_info"]["id"] == expected.id
    assert {one.check for one in lint(tmp_path / "out" / "rl-train.parquet", format_="think")} <= {
        "no_key_steps"
    }


@pytest.mark.parametrize("name", ["MMMU", "MMMU, choices that are images", "ARC"])
def test_key_steps_pass_on_where_images_stand_and_which_letter_is_right(name: str, tmp_path: Path) -> None:
    raw, expected = SETS[name]
    source = written(
        tmp_path / "set.parquet", [raw | {"solution": f"2 + 3 = 5.\nThe answer is {raw.get('answer', 'C')}."}]
    )
    key_step_files.by_rules(source, tmp_path / "with.jsonl", progress=lambda n: None)
    _, (row,) = prepared(tmp_path / "with.jsonl", tmp_path / "out")
    check(row, expected)
    assert row["extra_info"]["key_steps"] == [["2 + 3 = 5"]]


def test_rows_with_letters_and_with_numbers_lie_in_one_file(tmp_path: Path) -> None:
    raw, expected = SETS["ARC"]
    lettered = raw | {"choices": {"text": COLOURS, "label": ["A", "B", "C"]}, "answerKey": "C"}
    (tmp_path / "a.jsonl").write_text(json.dumps(raw) + "\n" + json.dumps(lettered))
    _, rows = prepared(tmp_path / "a.jsonl", tmp_path / "out")
    for row in rows:
        check(row, expected)


class TestNumberedImages:
    IMAGES = {1: "a", 2: "b", 3: "c"}  # noqa: RUF012

    @pytest.mark.parametrize(
        ("texts", "marked", "images"),
        [
            (["x <image 1> <image_2><image3>"], ["x <image> <image><image>"], "abc"),
            (["<image 3> <image 1>"], ["<image><image> <image>"], "bca"),
            (["<image 2>, <image 2>"], ["<image><image><image>, image 2"], "acb"),
            (["x", "<image 2>"], ["<image><image>x", "<image>"], "acb"),
            (["<image> <image 2>"], ["<image> <image 2>"], "abc"),
            (["x"], ["x"], "abc"),
        ],
    )
    def test_each_stands_where_it_is_first_named(
        self, texts: list[str], marked: list[str], images: str
    ) -> None:
        assert in_place(texts, self.IMAGES) == (marked, tuple(images))

    def test_one_that_is_not_there_is_named(self) -> None:
        row = {"question": "See <image 4>.", "answer": "1", "image_1": "a.png", "image_3": "b.png"}
        with pytest.raises(DataError, match="it names <image 4>, and has image 1, image 3"):
            item_of(0, row)
        with pytest.raises(DataError, match="it names <image 4>, and has no images"):
            item_of(0, {"question": "See <image 4>.", "answer": "1"})


class TestNumbers:
    """An answer that is a number beside choices."""

    @pytest.mark.parametrize(
        ("choices", "answer", "read"),
        [
            (COLOURS, "2", "C"),
            (COLOURS, 2, "C"),
            (["1 cm", "3 cm"], "1", "1"),
            (["10", "11"], "1", "B"),
            ({"1": "red", "2": "blue", "3": None}, "2", "B"),
            ({"label": ["0", "1"], "text": ["red", "blue"]}, 1, "B"),
            ({"1": "red", "2": "blue"}, "blue", "blue"),
        ],
    )
    def test_it_is_a_label_the_text_of_one_or_a_place(self, choices: Any, answer: object, read: str) -> None:
        assert item_of(0, {"question": "Which?", "choices": choices, "answer": answer}).answer == read

    @pytest.mark.parametrize("answer", [3, "3"])
    def test_one_that_is_neither_is_refused(self, answer: object) -> None:
        row = {"question": "Which?", "choices": COLOURS, "answer": answer}
        with pytest.raises(
            DataError,
            match=r"answer is 3, which is neither the place, .* \(red, blue, green\): write the letter",
        ):
            item_of(0, row)

    def test_a_place_that_looks_like_the_text_of_another_is_refused(self) -> None:
        with pytest.raises(
            DataError, match="the text of one choice and, counted from 0, the place of another"
        ):
            item_of(0, {"question": "Which?", "choices": ["1 cm", "3 cm"], "answer": 1})


@pytest.mark.parametrize("value", [{"label": 1, "text": ["red"]}, {"label": ["1", "2"], "text": None}])
def test_labels_without_texts_are_no_choices(value: Any) -> None:
    item = item_of(0, {"question": "x?", "answer": "7", "choices": value})
    assert (item.choices, [name for name, _ in item.unread]) == ({}, ["choices"])


def test_a_single_letter_alone_is_no_choice() -> None:
    item = item_of(0, {"question": "x?", "answer": "7", "A": "note", "C": "other"})
    assert (item.choices, item.others) == ({}, ("A", "C"))


def test_what_is_no_text_is_neither_a_context_nor_a_solution() -> None:
    row = {"question": "x?", "answer": "B", "choices": COLOURS, "context": {"a": 1}, "rationale": ["It is."]}
    item = item_of(0, row)
    assert (item.question, item.solution, item.others) == ("x?", None, ("context",))
    assert item.unread == (("rationale", "it is not read; solution is"),)


def test_a_hint_is_not_put_before_a_question_without_choices() -> None:
    item = item_of(0, {"question": "x?", "answer": "7", "hint": "Use x = 7."})
    assert (item.asked, item.others) == ("x?", ("hint",))
