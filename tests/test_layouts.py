"""Datasets as they are published, each through ``prepare`` to rows that ``lint`` finds nothing in."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from verl_stepgrpo import ConfigError, DataError, compute_score
from verl_stepgrpo.bridge.checks.dataset_check import _rows
from verl_stepgrpo.data.key_steps import files as key_step_files
from verl_stepgrpo.data.lint import lint
from verl_stepgrpo.data.prepare import PrepareOptions, prepare
from verl_stepgrpo.data.rows.build import DroppedError, RowOptions, rl_row
from verl_stepgrpo.data.rows.read import raw_rows as rl_rows
from verl_stepgrpo.data.rows.read import reference_of
from verl_stepgrpo.data.sources.choices import UNREADABLE
from verl_stepgrpo.data.sources.items import Item, item_of, read_items
from verl_stepgrpo.data.sources.layouts import answer_and_solution, bare_answer
from verl_stepgrpo.data.sources.raw_rows import batches, files_of, raw_rows
from verl_stepgrpo.data.sources.tables import READ_AT_ONCE
from verl_stepgrpo.settings import RewardSettings

THOUGHT = (
    "<think>\nThe legs are 3 and 4.\n\n3 * 3 + 4 * 4 = 25, so x = 5.\n</think>\n\n<answer> $5$ </answer>"
)


def drawn(n: int) -> bytes:
    """Return a PNG with ``n`` bars."""
    image = Image.new("RGB", (64 + n, 64), "white")
    for i in range(n):
        ImageDraw.Draw(image).rectangle((8 * i, 60 - 4 * i, 8 * i + 5, 60), fill="black")
    content = io.BytesIO()
    image.save(content, format="PNG")
    return content.getvalue()


def embedded(n: int) -> dict[str, Any]:
    return {"bytes": drawn(n), "path": f"{n}.png"}


LAYOUTS: dict[str, Any] = {
    "geometry3k": lambda n: {
        "images": [embedded(n)],
        "problem": f"<image>Find x in figure {n}.",
        "answer": "5 \\sqrt { 2 }",
    },
    "MMK12": lambda n: {
        "id": f"m{n}",
        "question": f"In figure {n}, which is larger?\n<image>\nA. x\nB. y",
        "answer": "B",
        "subject": "math",
        "image": embedded(n),
    },
    "ViRL39K": lambda n: {
        "question": f"<image>\nFind x in figure {n}.",
        "answer": "\\boxed{\\frac{1}{2}}",
        "category": "GradeSchool Geometric",
        "image": [f"{n}.png"],
        "qid": f"Processed-{n}",
    },
    "open-r1-8k": lambda n: {
        "image": embedded(n),
        "problem": f"Find x in figure {n}.",
        "solution": THOUGHT,
        "original_question": "x?",
    },
    "ScienceQA": lambda n: {
        "image": embedded(n),
        "question": f"Which bar of {n} is the tallest?",
        "choices": ["the first", "the last"],
        "answer": 1,
        "hint": "",
        "task": "closed choice",
        "lecture": "Bars are compared by their ends.",
        "solution": "The last bar ends highest.",
    },
    "MathVista": lambda n: {
        "pid": f"{n}",
        "question": f"How many bars are in {n}?",
        "image": f"{n}.png",
        "choices": ["1", "2", "3"] if n == 2 else None,
        "answer": f"{n}",
        "query": "How many?",
    },
    "clevr": lambda n: {
        "image": embedded(n),
        "problem": f"How many bars in {n}?",
        "solution": f"<answer> {n} </answer>",
    },
}
EXPECTED = {
    "geometry3k": ("5 \\sqrt { 2 }", None),
    "MMK12": ("B", "m2"),
    "ViRL39K": ("\\frac{1}{2}", "Processed-2"),
    "open-r1-8k": ("5", None),
    "ScienceQA": ("B", None),
    "MathVista": ("2", "2"),
    "clevr": ("2", None),
}


def written(path: Path, rows: list[dict], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, **options)
    return path


def options(folder: Path, format_: str = "mulberry") -> PrepareOptions:
    return PrepareOptions(RowOptions("d", folder, reward=RewardSettings(format=format_)), val_share=0.0)


def rows_of(folder: Path) -> list[dict]:
    return pq.read_table(folder / "rl-train.parquet").to_pylist()


def items(source: Path) -> Iterator[Item]:
    for _, item in read_items(source):
        assert isinstance(item, Item), item
        yield item


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_published_layout_becomes_rows_that_lint_finds_well(name: str, tmp_path: Path) -> None:
    source = written(tmp_path / f"{name}.parquet", [LAYOUTS[name](n) for n in (1, 2, 3)])
    for n in (1, 2, 3):
        (tmp_path / f"{n}.png").write_bytes(drawn(n))
    report = prepare(source, tmp_path / "out", options(tmp_path, "think"))
    assert (report.read, report.written["rl-train"], report.dropped) == (3, 3, {})
    row = rows_of(tmp_path / "out")[1]
    answer, row_id = EXPECTED[name]
    assert (row["reward_model"]["ground_truth"], row["extra_info"]["id"]) == (answer, row_id)
    assert (row["extra_info"]["index"], row["images"]) == (1, [{"bytes": drawn(2)}])
    assert row["prompt"][0]["content"].count("<image>") == 1
    found = [one.check for one in lint(tmp_path / "out" / "rl-train.parquet", format_="think")]
    assert found == ["no_key_steps"] * 3
    assert report.written["sft-train"] == (3 if name == "open-r1-8k" else 0)


TWO = {"A": "red", "B": "blue"}


class TestChoices:
    @pytest.mark.parametrize(
        "column",
        [
            {"choices": ["red", "blue"]},
            {"options": ["(A) red", "(B) blue"]},
            {"options": "['red', 'blue']"},
            {"choices": TWO},
            {"choices": {"label": ["A", "B"], "text": ["red", "blue"]}},
            {"choices": [], "options": TWO},
        ],
    )
    @pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
    def test_a_column_of_them_reaches_prompt_row_and_reward(
        self, column: dict, name: str, tmp_path: Path
    ) -> None:
        rows = [
            {"id": "x7", "question": "Which colour?", "answer": "B", **column},
            {"question": "x?", "answer": "5"},
        ]
        source = tmp_path / name
        source.write_text("\n".join(map(json.dumps, rows))) if name == "a.jsonl" else written(source, rows)
        report = prepare(source, tmp_path / "out", options(tmp_path))
        assert report.unread == report.others == {}
        row, other = rows_of(tmp_path / "out")
        assert row["extra_info"]["id"] == "x7"
        asked = row["prompt"][0]["content"]
        assert asked.startswith("Which colour?\nChoices:\n(A) red\n(B) blue\n")
        assert "Choices:" not in other["prompt"][0]["content"]
        reference, without = reference_of(row), reference_of(other)
        assert (reference.choices, without.choices) == (TWO, {})
        response = "### Step 1:\nIt is so.\n### The final answer is: blue"
        assert compute_score("d", response, "B", row["extra_info"])["acc"] == 1

    def test_a_question_that_lists_them_is_left_as_it_is(self) -> None:
        item = item_of(0, {"question": "Which? (A) red (B) blue", "choices": ["red", "blue"], "answer": "B"})
        assert item.asked == item.question == "Which? (A) red (B) blue"

    def test_mmmu_writes_them_as_python_does(self) -> None:
        row = {"id": "v_1", "question": "Which?", "options": "['$6', \"Smith's\"]", "answer": "B"}
        item = item_of(0, row)
        assert (item.id, item.choices, item.answer) == ("v_1", {"A": "$6", "B": "Smith's"}, "B")
        assert item_of(0, row | {"options": "[]"}).choices == {}

    @pytest.mark.parametrize(
        ("choices", "answer", "read"),
        [
            (["red", "blue"], 1, "B"),
            (["red", "blue"], "1", "B"),
            (["red", "blue"], True, None),
            (["0", "1"], 1, "B"),
            ([3, 2, 1], 2, "2"),
        ],
    )
    def test_an_answer_that_is_a_place_becomes_its_letter(
        self, choices: list, answer: object, read: str | None
    ) -> None:
        row = {"question": "Which?", "choices": choices, "answer": answer}
        if read is None:
            with pytest.raises(DataError, match="answer is True"):
                item_of(0, row)
        else:
            assert item_of(0, row).answer == read

    def test_a_place_that_is_the_text_of_another_choice_is_refused_but_in_scienceqa(self) -> None:
        row = {"question": "How many?", "choices": ["1", "2", "3"], "answer": 2}
        with pytest.raises(
            DataError, match=r"answer is 2, which is the text of one choice and.* \(1, 2, 3\)"
        ):
            item_of(0, row)
        assert item_of(0, row | {"lecture": ""}).answer == "C"

    @pytest.mark.parametrize("value", ["red, blue", {"shuffle": True}, 5])
    def test_what_is_no_list_of_choices_is_named_and_left(self, value: object) -> None:
        item = item_of(0, {"question": "Which?", "answer": "B", "options": value})
        assert item.choices == {}
        assert item.unread == (("options", UNREADABLE),)

    def test_key_steps_and_a_second_prepare_pass_them_on(self, tmp_path: Path) -> None:
        solution = "Since 2 + 3 = 5, it is blue.\n#### blue"
        source = tmp_path / "a.jsonl"
        source.write_text(
            json.dumps(
                {"question": "Which?", "answer": "B", "choices": ["red", "blue"], "solution": solution}
            )
        )
        key_step_files.by_rules(source, tmp_path / "with.jsonl", progress=lambda n: None)
        prepare(tmp_path / "with.jsonl", tmp_path / "out", options(tmp_path))
        prepare(tmp_path / "out" / "rl-train.parquet", tmp_path / "again", options(tmp_path))
        for folder in (tmp_path / "out", tmp_path / "again"):
            (row,) = rows_of(folder)
            assert reference_of(row).choices == TWO
            assert row["prompt"][0]["content"].count("(A) red") == 1
            assert row["extra_info"]["key_steps"] == [["2 + 3 = 5"]]

    def test_a_solution_that_reaches_another_choice_is_dropped(self, tmp_path: Path) -> None:
        row = {
            "question": "Which?",
            "answer": "B",
            "choices": ["red", "blue"],
            "solution": "So.\nThe answer is red.",
        }
        with pytest.raises(DroppedError, match="its answer is judged wrong"):
            rl_row(item_of(0, row), options(tmp_path).rows)


def test_parquet_is_read_in_batches(tmp_path: Path) -> None:
    source = written(tmp_path / "a.parquet", [{"question": f"{n}?", "answer": n} for n in range(200)])
    assert max(len(batch) for batch in batches(source)) == READ_AT_ONCE
    assert [item.answer for item in items(source)] == [str(n) for n in range(200)]


def test_an_unknown_layout_names_its_columns_and_those_that_are_read(tmp_path: Path) -> None:
    source = written(tmp_path / "a.parquet", [{"q": "x?", "gold": "7", "prompt": "x?"}])
    with pytest.raises(
        DataError,
        match=r"has the columns q, gold, prompt, and none .*problem, question, question_stem, messages",
    ):
        prepare(source, tmp_path / "out", options(tmp_path))
    assert not (tmp_path / "out").exists()


def test_a_text_of_parquet_that_is_no_utf8_is_an_error_in_a_sentence(tmp_path: Path) -> None:
    source = tmp_path / "a.parquet"
    texts = pa.array([b"What is 3 + \xf4?", b"x?"]).cast(pa.string(), safe=False)
    pq.write_table(pa.table({"question": texts, "answer": ["8", "9"]}), source)
    with pytest.raises(DataError, match=r"a\.parquet cannot be read: .*0xf4"):
        prepare(source, tmp_path / "out", options(tmp_path))


@pytest.mark.parametrize("reader", ["raw", "rl", "check"])
def test_a_parquet_file_is_never_in_memory_as_a_whole(tmp_path: Path, reader: str) -> None:
    source, n, size = tmp_path / "a.parquet", 256, 1 << 18
    row = {
        "prompt": [{"role": "user", "content": "What is 3 + 5?"}],
        "reward_model": {"style": "rule", "ground_truth": "8"},
    }
    with pq.ParquetWriter(
        source, pa.Table.from_pylist([row | {"extra_info": {"scan": ""}}]).schema
    ) as writer:
        for _ in range(n // 16):
            rows = [row | {"extra_info": {"scan": os.urandom(size // 2).hex()}} for _ in range(16)]
            writer.write_table(pa.Table.from_pylist(rows))
    before = pa.total_allocated_bytes()
    found = {
        "raw": lambda: raw_rows(source),
        "rl": lambda: rl_rows(source),
        "check": lambda: _rows(str(source)),
    }[reader]()
    held = [pa.total_allocated_bytes() - before for _ in found]
    assert len(held) == n
    assert max(held) < 0.6 * n * size


def test_a_date_that_python_does_not_have_is_an_error_in_a_sentence(tmp_path: Path) -> None:
    source = tmp_path / "a.parquet"
    dates = pa.array([2**31 - 1], pa.date32())
    pq.write_table(pa.table({"question": ["x?"], "answer": ["8"], "index": dates}), source)
    with pytest.raises(DataError, match=r"a\.parquet cannot be read: .*2147483647"):
        list(read_items(source))


def test_whatever_is_damaged_in_parquet_it_is_read_or_refused(tmp_path: Path) -> None:
    """pyarrow raises nearly every kind of error there is, by the byte that is another one."""
    row = {
        "data_source": "d",
        "prompt": [{"role": "user", "content": "What is 3 + 5?"}],
        "reward_model": {"style": "rule", "ground_truth": "8"},
        "extra_info": {"index": 0, "key_steps": [["3 + 5 = 8"]]},
    }
    source = written(tmp_path / "a.parquet", [row])
    whole = source.read_bytes()
    raised = set()
    for at in range(4, len(whole)):
        source.write_bytes(whole[:at] + bytes([whole[at] ^ 0b1101_0101]) + whole[at + 1 :])
        for reader in (read_items, lint):
            try:
                list(reader(source))
            except DataError as error:
                raised.add(type(error.__cause__))
    assert pa.ArrowInvalid in raised
    assert len(raised) > 3


def test_broken_parquet_is_an_error_in_a_sentence(tmp_path: Path) -> None:
    source = written(tmp_path / "a.parquet", [{"question": "x?"}])
    source.write_bytes(source.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"a\.parquet cannot be read"):
        list(read_items(source))


class TestFolders:
    def test_the_shards_of_a_split_are_read_in_order(self, tmp_path: Path) -> None:
        for split, shard, n in (("train", 0, 1), ("train", 1, 2), ("test", 0, 3)):
            path = tmp_path / "data" / f"{split}-0000{shard}-of-00002.parquet"
            written(path, [{"question": f"{n}?", "answer": n}])
        with pytest.raises(
            DataError, match=r"more than one split: it has test, train\. Name one, as .*:test"
        ):
            files_of(tmp_path)
        train = Path(f"{tmp_path}:train")
        assert [item.answer for item in items(train)] == ["1", "2"]
        report = prepare(train, tmp_path / "out", options(tmp_path))
        assert [row["extra_info"]["index"] for row in rows_of(tmp_path / "out")] == [0, 1]
        assert report.read == 2
        with pytest.raises(DataError, match="no parquet of the split val: it has test, train"):
            files_of(Path(f"{tmp_path}:val"))

    def test_one_without_parquet_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="has no parquet files, and none in data"):
            files_of(tmp_path)


class TestHub:
    def test_a_name_is_read_through_datasets_with_its_images_as_they_are(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As loaded from the hub, but for the way there."""
        import datasets

        made = datasets.Dataset.from_list([LAYOUTS["geometry3k"](n) for n in (1, 2)])
        made = made.cast_column("images", [datasets.Image()])
        datasets.DatasetDict({"train": made, "test": made.select([1])}).save_to_disk(tmp_path / "hub")
        asked = []

        def load_dataset(*name: str | None) -> datasets.DatasetDict:
            asked.append(name)
            return datasets.load_from_disk(tmp_path / "hub")

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        report = prepare(Path("nobody/geometry"), tmp_path / "out", options(tmp_path))
        assert report.written["rl-train"] == 2
        assert rows_of(tmp_path / "out")[1]["images"] == [{"bytes": drawn(2)}]
        assert len(list(items(Path("nobody/geometry:test")))) == 1
        assert len(list(items(Path("nobody/geometry:main:test")))) == 1
        assert asked == [("nobody/geometry", None), ("nobody/geometry", None), ("nobody/geometry", "main")]
        with pytest.raises(
            DataError, match=r"hub has no split val: it has train, test\. Name one, as nobody/"
        ):
            list(read_items(Path("nobody/geometry:val")))

    def test_one_that_cannot_be_had_ends_in_a_sentence_before_anything_is_written(
        self, tmp_path: Path
    ) -> None:
        command = [sys.executable, "-m", "verl_stepgrpo", "prepare", "nobody/nothing:train", "--out", "out"]
        env = os.environ | {
            "HF_HUB_OFFLINE": "0",
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "HF_HOME": str(tmp_path),
        }
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env, cwd=tmp_path)
        assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
        assert (
            "there is no file or folder nobody/nothing, and as a dataset of the Hugging Face hub"
            in done.stderr
        )
        assert "(the hub does not answer" in done.stderr
        assert "or download the dataset and name its folder" in done.stderr
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        "name", ["data/none.json", "data/none.parquet", "/nobody/nothing", "a/b/c", "none"]
    )
    def test_what_is_no_name_of_the_hub_is_a_missing_file(self, name: str) -> None:
        with pytest.raises(DataError, match="cannot be read"):
            list(read_items(Path(name)))


class TestVerls:
    ROW: ClassVar[dict[str, Any]] = {
        "data_source": "hiyouga/geometry3k",
        "prompt": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "<image>Find x."},
        ],
        "images": [{"bytes": drawn(1), "path": None}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "5"},
        "extra_info": {"split": "train", "index": 17, "answer": "5", "question": "Find x."},
    }

    def test_its_rows_are_read_with_their_names(self, tmp_path: Path) -> None:
        source = written(tmp_path / "train.parquet", [self.ROW])
        prepare(source, tmp_path / "out", options(tmp_path))
        (row,) = rows_of(tmp_path / "out")
        assert row["prompt"][0] == self.ROW["prompt"][0]
        assert row["prompt"][1]["content"].startswith("<image>Find x.\n")
        assert row["data_source"] == "hiyouga/geometry3k"
        assert (row["extra_info"]["id"], row["extra_info"]["index"]) == ("17", 0)
        assert row["extra_info"]["solution"] is None
        assert row["images"] == [{"bytes": drawn(1)}]

    def test_what_else_extra_info_has_is_kept_as_it_was(self, tmp_path: Path) -> None:
        extra = {"index": 3, "box": [1.5, 2.0], "meta": {"level": 4}, "split": "train"}
        rows = [
            self.ROW | {"extra_info": extra},
            self.ROW | {"extra_info": extra | {"index": 4, "box": None}},
        ]
        prepare(written(tmp_path / "train.parquet", rows), tmp_path / "out", options(tmp_path))
        found = [row["extra_info"] for row in rows_of(tmp_path / "out")]
        assert [one["box"] for one in found] == [[1.5, 2.0], None]
        assert [one["meta"] for one in found] == [{"level": 4}] * 2
        assert [(one["id"], one["index"], one["split"]) for one in found] == [
            ("3", 0, "train"),
            ("4", 1, "train"),
        ]

    def test_a_solution_that_verls_examples_call_answer_is_one(self, tmp_path: Path) -> None:
        extra = {"index": 1, "answer": "She has 2 + 3 = <<2+3=5>>5.\n#### 5", "question": "x?"}
        (item,) = items(written(tmp_path / "train.parquet", [self.ROW | {"extra_info": extra}]))
        assert (item.answer, item.solution) == ("5", "She has 2 + 3 = 5.\n#### 5")


class TestKeyStepsInPlace:
    ROWS: ClassVar[list[dict[str, Any]]] = [
        TestVerls.ROW | {"extra_info": TestVerls.ROW["extra_info"] | {"index": n, "answer": answer}}
        for n, answer in enumerate(["5", "Each has 2 + 3 = <<2+3=5>>5.\n#### 5", "It is so.\n#### 5"])
    ]

    def run(self, source: Path, out: Path) -> key_step_files.Summary:
        return key_step_files.by_rules(source, out, progress=lambda n: None)

    def test_all_else_of_the_rows_stays_as_it_is(self, tmp_path: Path) -> None:
        many = [row for _ in range(READ_AT_ONCE) for row in self.ROWS]
        source, out = written(tmp_path / "train.parquet", many), tmp_path / "with.parquet"
        summary = self.run(source, out)
        assert (summary.written, summary.passed_on, summary.failed) == (READ_AT_ONCE,) * 3
        rows = pq.read_table(out).to_pylist()
        assert [row["extra_info"].pop("key_steps") for row in rows] == [
            [],
            [["2 + 3 = 5"]],
            [],
        ] * READ_AT_ONCE
        assert rows == pq.read_table(source).to_pylist()
        assert pq.read_schema(out).names == pq.read_schema(source).names
        (failed, *_) = map(json.loads, key_step_files.failed_file(out).open())
        assert failed == {"row": 2, "error": "the rules find none in its solution"}

    def test_key_steps_that_stand_there_are_kept_and_a_second_run_changes_nothing(
        self, tmp_path: Path
    ) -> None:
        source, once, twice = (tmp_path / f"{n}.parquet" for n in range(3))
        extra = [
            row["extra_info"] | {"key_steps": ["mine"] if n == 1 else None} for n, row in enumerate(self.ROWS)
        ]
        written(source, [row | {"extra_info": one} for row, one in zip(self.ROWS, extra, strict=True)])
        self.run(source, once)
        self.run(once, twice)
        assert pq.read_table(once)["extra_info"].to_pylist()[1]["key_steps"] == [["mine"]]
        assert pq.read_table(once).equals(pq.read_table(twice))

    def test_rows_of_datasets_with_its_own_images_can_be_read_by_it_again(self, tmp_path: Path) -> None:
        import datasets

        source, out = tmp_path / "train.parquet", tmp_path / "with.parquet"
        made = datasets.Dataset.from_list(self.ROWS).cast_column("images", [datasets.Image()])
        made.to_parquet(source)
        self.run(source, out)
        again = datasets.load_dataset("parquet", data_files=str(out), cache_dir=str(tmp_path / "cache"))[
            "train"
        ]
        assert again[1]["extra_info"]["key_steps"] == [["2 + 3 = 5"]]
        assert again[1]["images"][0].size == (65, 64)

    def test_rows_without_extra_info_get_one(self, tmp_path: Path) -> None:
        bare = {key: value for key, value in TestVerls.ROW.items() if key != "extra_info"}
        source, out = written(tmp_path / "train.parquet", [bare]), tmp_path / "with.parquet"
        assert self.run(source, out).passed_on == 1
        assert pq.read_table(out)["extra_info"].to_pylist() == [{"key_steps": []}]

    def test_a_file_of_another_kind_is_named_before_anything_is_written(self, tmp_path: Path) -> None:
        source = written(tmp_path / "train.parquet", self.ROWS)
        with pytest.raises(
            ConfigError, match=r"as verl's parquet, as the source is; name a file that ends with \.par"
        ):
            self.run(source, tmp_path / "out.jsonl")
        with pytest.raises(ConfigError, match="is the source itself"):
            self.run(source, source)
        assert list(tmp_path.iterdir()) == [source]


PLAIN = "Each box has 4 apples.\n\n3 * 4 = 12, so he has 12 apples."


@pytest.mark.parametrize("format_", ["mulberry", "think", "markdown", "plain"])
@pytest.mark.parametrize(
    ("solution", "warms_up"),
    [
        (PLAIN, set()),
        (PLAIN + "\n#### 12", {"plain"}),
        (f"<think>\n{PLAIN}\n</think>\n\\boxed{{12}}", {"think"}),
        ("Step 1: 3 * 4 = 12\nStep 2: 12 apples\nFinal answer: 12", {"markdown", "plain"}),
    ],
)
def test_a_solution_in_any_format_gives_key_steps_and_warms_up_where_it_is_what_is_paid(
    solution: str, warms_up: set[str], format_: str, tmp_path: Path
) -> None:
    source = tmp_path / "raw.jsonl"
    source.write_text(json.dumps({"question": "How many apples?", "answer": "12", "solution": solution}))
    summary = key_step_files.by_rules(source, tmp_path / "with.jsonl", progress=lambda n: None)
    assert (summary.written, summary.failed) == (1, 0)
    report = prepare(tmp_path / "with.jsonl", tmp_path / "out", options(tmp_path, format_))
    assert report.dropped == {}
    (row,) = rows_of(tmp_path / "out")
    assert ["3 * 4 = 12"] in row["extra_info"]["key_steps"]
    assert report.key_steps["removed"] == 0
    assert (report.written["sft-train"] == 1) == (format_ in warms_up)
    assert report.no_warmup == ({} if format_ in warms_up else {"other_format": 1})
    assert list(lint(tmp_path / "out" / "rl-train.parquet", format_=format_)) == []


def test_a_solution_that_reaches_another_answer_is_dropped_in_any_format(tmp_path: Path) -> None:
    source = tmp_path / "raw.jsonl"
    source.write_text(json.dumps({"question": "How many?", "answer": "7", "solution": PLAIN + "\n#### 12"}))
    with pytest.raises(DataError, match=r"can be used \(solution: 1\)"):
        prepare(source, tmp_path / "out", options(tmp_path))
    assert "its answer is judged wrong" in (tmp_path / "out" / "dropped.jsonl").read_text()


@pytest.mark.parametrize(
    ("solution", "answer", "is_kept"),
    [
        ("Look at the map.\nWest Virginia is the farthest north.", "West Virginia", True),
        ("Look at the map.\nWest Virginia is the farthest north.", "B", True),
        ("Look at the map.\nThe answer is Ohio.", "West Virginia", False),
        ("So he has 12 apples.", "7", False),
        ("So it is (C).", "B", False),
    ],
)
def test_the_last_line_of_prose_is_an_answer_where_it_has_a_value_like_the_reference(
    solution: str, answer: str, is_kept: bool, tmp_path: Path
) -> None:
    item = item_of(0, {"question": "Which?", "answer": answer, "solution": solution})
    with (
        contextlib.nullcontext()
        if is_kept
        else pytest.raises(DroppedError, match="its answer is judged wrong")
    ):
        rl_row(item, options(tmp_path).rows)


@pytest.mark.parametrize(
    ("written_as", "bare"),
    [
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("<answer> \\boxed{B} </answer>", "B"),
        ("$5$", "5"),
        ("$$x = 5$$", "x = 5"),
        ("\\(5\\)", "5"),
        ("\\(5\\) and \\(6\\)", "\\(5\\) and \\(6\\)"),
        ("$3$ or $4$", "$3$ or $4$"),
        ("$5", "$5"),
        ("\\boxed{3}, \\boxed{4}", "\\boxed{3}, \\boxed{4}"),
        ("\\boxed{3} cm", "\\boxed{3} cm"),
        ("\\boxed{}", "\\boxed{}"),
        ("B", "B"),
    ],
)
def test_wrappers_around_a_whole_answer_are_taken_off(written_as: str, bare: str) -> None:
    assert bare_answer(written_as) == bare


@pytest.mark.parametrize(
    ("answer", "solution", "read"),
    [
        ("2 + 3 = <<2+3=5>>5.\n#### 5", None, ("5", "2 + 3 = 5.\n#### 5")),
        (None, "<answer> 3 </answer>", ("3", None)),
        (None, THOUGHT, ("5", THOUGHT)),
        ("7", THOUGHT, ("7", THOUGHT)),
        ("#### 5", None, ("#### 5", None)),
        (None, "Half of 4 is 2.", (None, "Half of 4 is 2.")),
    ],
)
def test_answer_and_solution_are_told_apart(answer: str | None, solution: str | None, read: tuple) -> None:
    assert answer_and_solution(answer, solution) == read


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("B", "B"),
        ("It is 18.", "18"),
        ("Red.", "Red"),
        ("There are two dogs.", "two dogs"),
        ("Yes, it is.", "Yes"),
        ("No, the man is not wearing a hat.", "No"),
        ("No one", "No one"),
        ("x = 5", "x = 5"),
        ("24/4 = 6 bags. 6*3 = 18.", None),
        ("6/3 = 2", None),
        ("There are 3. So it is 2.", None),
        ("So 2", None),
        ("I don't know", None),
        ("A man is riding a wave on his board", None),
        ("Step 1: look", None),
        ("Two\nThree", None),
        ("...", None),
    ],
)
def test_a_turn_of_a_few_words_is_the_answer(said: str, answer: str | None) -> None:
    """As of LLaVA-1.5's visual questions; a way to an answer is a solution."""
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": said}]
    item = item_of(0, {"conversations": turns, "image": "a.png"})
    assert (item.answer, item.solution) == ((answer, None) if answer else (None, said))
    assert item_of(0, {"question": "?", "solution": said, "answer": "7"}).solution == said


def test_where_no_row_can_be_used_the_columns_are_named_that_are_not_read(tmp_path: Path) -> None:
    file = tmp_path / "qa.jsonl"
    for row in ({"question": "2+2?", "ans": "4"}, {"Q": "2+2?", "answer": "4"}):
        file.write_text(json.dumps(row) + "\n")
        with pytest.raises(
            DataError, match=rf"not read: {'ans' if 'ans' in row else 'Q'}; read: problem, .*answerKey"
        ):
            prepare(file, tmp_path / "out", options(tmp_path))
        assert "; not read: " in (tmp_path / "out" / "dropped.jsonl").read_text()


def test_a_table_of_text_is_named_with_what_makes_one_that_is_read(tmp_path: Path) -> None:
    file = tmp_path / "qa.csv"
    file.write_text("question,answer\n1+1?,2\n")
    with pytest.raises(
        DataError, match=r"qa\.csv is a table of a kind that is not read: .* as parquet or JSONL"
    ):
        next(read_items(file))


def test_jsonl_may_hold_the_same(tmp_path: Path) -> None:
    """As ``datasets`` writes it, but for the bytes of images."""
    source = tmp_path / "a.jsonl"
    source.write_text(json.dumps(LAYOUTS["ViRL39K"](2)))
    (item,) = items(source)
    assert (item.id, item.answer, item.images) == ("Processed-2", "\\frac{1}{2}", ("2.png",))
