"""Key steps from a model's own responses: what is kept, with which support; and which of a dataset teach nothing."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from chat_server import ChatServer
from helpers import parquet
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from verl_stepgrpo import ConfigError, DataError, RewardSettings, parse_key_steps, score_response
from verl_stepgrpo.cli import app
from verl_stepgrpo.data.key_steps.mining import MAX_MINED, Response, Support, mine
from verl_stepgrpo.data.key_steps.responses import Responses, fault_of
from verl_stepgrpo.data.sources.items import Item
from verl_stepgrpo.judging.formats import FORMATS
from verl_stepgrpo.traces.files import TraceWriter, write_rows
from verl_stepgrpo.traces.rows import TRAIN, VAL, Credit, TraceRow, judgement_of

QUESTION = "Tom has 3 boxes with 4 apples each and eats 2. How many are left?"
RIGHT = (
    "Each of 3 boxes has 4 apples, so 3 * 4 = 12. He eats 2: 12 - 2 = 10. \\boxed{10}",
    "Altogether $4 \\times 3 = 12$ apples. Then 12 - 2 = 10 are left. \\boxed{10}",
    "3 times 4 equals 12, and 12 - 2 = 10 apples are left. \\boxed{10}",
)
WRONG = (
    "Altogether 3 + 4 = 7 apples. 7 - 2 = 5. \\boxed{5}",
    "There are 3 * 4 = 12 apples, and 12 + 2 = 14. \\boxed{14}",
)


def response(text: str, is_right: bool) -> Response:
    return Response(text, FORMATS["plain"].sections(text), is_right)


def responses(right: tuple[str, ...] = RIGHT, wrong: tuple[str, ...] = WRONG) -> list[Response]:
    return [*(response(text, True) for text in right), *(response(text, False) for text in wrong)]


class TestMine:
    def test_what_right_responses_share_is_kept_with_its_support(self) -> None:
        found = {one.wordings[0]: one.support for one in mine(QUESTION, "10", responses())}
        assert found == {"3 * 4 = 12": Support(3, 3, 1, 2), "12 - 2 = 10": Support(3, 3, 0, 2)}

    def test_wordings_that_say_the_same_are_one(self) -> None:
        first, *_ = mine(QUESTION, "10", responses())
        assert "3 * 4 = 12" in first.wordings
        assert len(first.wordings) > 1

    def test_one_right_response_is_not_enough(self) -> None:
        assert mine(QUESTION, "10", responses(RIGHT[:1])) == []

    def test_one_text_counts_as_often_as_it_was_sampled_and_once_where_there_is_no_other(self) -> None:
        assert len(mine(QUESTION, "10", responses(RIGHT[:1] * 2))) == 2
        assert mine(QUESTION, "10", responses(RIGHT[:1] * 5, ())) == []

    def test_what_wrong_responses_have_as_often_is_left_out(self) -> None:
        wrong = tuple(f"3 * 4 = 12 and 12 + 2 = 14, for the {i}th time. \\boxed{{14}}" for i in range(3))
        assert [one.wordings[0] for one in mine(QUESTION, "10", responses(wrong=wrong))] == ["12 - 2 = 10"]

    def test_what_the_question_says_is_left_out(self) -> None:
        told = "Tom has 3 * 4 = 12 apples and eats 2. How many are left?"
        assert [one.wordings[0] for one in mine(told, "10", responses())] == ["12 - 2 = 10"]

    @pytest.mark.parametrize("said", ["x = 10", "10 apples"])
    def test_the_answer_alone_is_no_key_step(self, said: str) -> None:
        texts = tuple(f"{lead} see that {said}. \\boxed{{10}}" for lead in ("I", "They", "We"))
        assert mine(QUESTION, "10", responses(texts)) == []

    @pytest.mark.parametrize(
        "said", ["\\sqrt{100} = 10", "√100 = 10", "5!/(3!*2!) = 10", "2^3 + 2 = 10", "|-10| = 10"]
    )
    def test_a_way_to_the_answer_is_one(self, said: str) -> None:
        texts = tuple(f"{lead} see that {said}. \\boxed{{10}}" for lead in ("I", "They", "We"))
        assert [one.wordings[0] for one in mine(QUESTION, "10", responses(texts))] == [said]

    @pytest.mark.parametrize(
        ("said", "truth"), [("x = -10", "-10"), ("P = 3/28", "3/28"), ("x = 50%", "0.5")]
    )
    def test_an_answer_with_a_sign_of_its_own_is_no_way(self, said: str, truth: str) -> None:
        texts = tuple(f"{lead} see that {said}. \\boxed{{{truth}}}" for lead in ("I", "They", "We"))
        assert mine(QUESTION, truth, responses(texts)) == []

    def test_a_calculation_with_and_without_its_next_link_is_one(self) -> None:
        texts = ("Now P = 3/8 * 2/7 = 6/56 = 3/28.", "P = 2/7 * 3/8 = 3/28", "So 3/8 * 2/7 = 3/28 it is.")
        (found,) = mine(QUESTION, "3/28", responses(tuple(f"{text} \\boxed{{3/28}}" for text in texts)))
        assert found.support == Support(3, 3, 0, 2)
        assert {"3/8 * 2/7 = 6/56", "3/8 * 2/7 = 3/28"} <= set(found.wordings)

    def test_of_what_is_counted_only_what_no_equation_has_is_kept(self) -> None:
        more = tuple(f"There are 6 pears, and 12 apples are many. {text}" for text in RIGHT)
        texts = [one.wordings[0] for one in mine(QUESTION, "10", responses(more))]
        assert "6 pears" in texts
        assert not any("12 apples" in text for text in texts)

    def test_what_is_said_to_be_a_number_is_kept_unless_an_equation_comes_to_it(self) -> None:
        right = tuple(
            f"{said} first digit is 3. The second digit is 5. 3 + 5 = 8, so the sum is 8. 8 - 2 = 6. \\boxed{{6}}"
            for said in ("The", "So the", "Here the")
        )
        wrong = ("The first digit is 8. The second digit is 1. 8 + 1 = 9. 9 - 2 = 7. \\boxed{7}",)
        found = [one.wordings[0] for one in mine("The sum of both, less 2?", "6", responses(right, wrong))]
        assert sorted(found) == ["3 + 5 = 8", "8 - 2 = 6", "first digit is 3", "second digit is 5"]

    def test_they_are_few(self) -> None:
        text = " ".join(f"Then {i} + 1 = {i + 1}." for i in range(20, 40, 2))
        assert len(mine("?", "1", responses((text, "So. " + text), ()))) == MAX_MINED

    @given(st.text(max_size=60), st.lists(st.tuples(st.text(max_size=80), st.booleans()), max_size=4))
    def test_whatever_models_write_it_never_raises(
        self, question: str, texts: list[tuple[str, bool]]
    ) -> None:
        mine(question, "10", [response(*one) for one in texts])


class TestSupport:
    @pytest.mark.parametrize(
        ("support", "fault"),
        [
            (Support(5, 5, 3, 3), "all of 8 responses show it"),
            (Support(0, 5, 0, 3), "none of 8 responses show it"),
            (Support(4, 4, 3, 3), None),
            (Support(0, 4, 3, 4), "3 of 4 wrong responses show it, and 0 of 4 right ones"),
            (Support(0, 1, 3, 4), None),
            (Support(3, 4, 1, 4), None),
        ],
    )
    def test_a_fault_needs_enough_responses(self, support: Support, fault: str | None) -> None:
        found = fault_of(support)
        assert (found is None) if fault is None else (fault in (found or ""))

    @pytest.mark.parametrize(
        ("support", "margin"),
        [
            (Support(2, 3, 1, 2), 0.1),
            (Support(5, 8, 3, 8), 0.2),
            (Support(6, 8, 3, 8), 0.3),
        ],
    )
    def test_a_margin_that_is_just_met_is_met(self, support: Support, margin: float) -> None:
        """3/5 - 2/4 is a tenth, and 0.09999999999999998 in floating point."""
        assert support.exceeds(margin)
        assert not support.exceeds(margin + 0.001)
        other = Support(support.wrong, support.of_wrong, support.right, support.of_right)
        if margin and min(support.of_right, support.of_wrong) > 2:
            assert fault_of(other, margin) is not None

    def test_few_responses_say_little(self) -> None:
        assert Support(2, 2, 0, 0).difference == 0.25
        assert Support(16, 16, 0, 16).difference == Fraction(16, 18)


def verl_row(number: int, key_steps: object = None, **extra: object) -> dict:
    return {
        "data_source": "apples",
        "prompt": [{"role": "user", "content": f"Question {number}: {QUESTION}"}],
        "reward_model": {"style": "rule", "ground_truth": "10"},
        "extra_info": {"index": 50 + number, "key_steps": key_steps, "kept": "this", **extra},
    }


def answered(
    number: int, texts: tuple[str, ...], key_steps: object = (), **question: object
) -> list[TraceRow]:
    settings = RewardSettings(format="plain")
    known = {
        "index": 50 + number,
        "data_source": "apples",
        "prompt": f"Question {number}: {QUESTION}",
        "ground_truth": "10",
    }
    return [
        TraceRow.of(
            judgement_of(
                score_response(text, "10", key_steps, settings), settings, response=text, **known | question
            ),
            step=0,
            uid=str(number),
            session=session,
        )
        for session, text in enumerate(texts)
    ]


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """Responses to row 0; none are right to row 1; those of row 2 are to another question."""
    folder = tmp_path / "sampled"
    folder.mkdir()
    rows = [
        *answered(0, (*RIGHT, *WRONG)),
        *answered(1, WRONG),
        *answered(2, RIGHT, prompt="How many pears?"),
    ]
    with (folder / "responses.jsonl").open("w") as file:
        write_rows(file, rows)
        file.write("{torn\n")
    return folder


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


class TestResponses:
    def test_a_runs_traces_serve_too_those_of_training(self, tmp_path: Path) -> None:
        writer = TraceWriter(tmp_path)
        credit = Credit(0.0, (0.0,), 0.0)
        for step, rows in enumerate((answered(0, RIGHT), answered(0, WRONG)), start=1):
            writer.write(TRAIN, step, [replace(row, split=TRAIN, step=step, credit=credit) for row in rows])
        writer.write(VAL, 0, answered(0, WRONG))
        item = Item(0, f"Question 0: {QUESTION}", answer="10", id="50")
        assert [one.text for one in Responses(tmp_path).of(item)] == [*RIGHT, *WRONG]
        assert Responses(tmp_path).of(replace(item, answer="11")) == []


class TestSamples:
    """Responses of one's own, as ``{id, response}``, are judged on the way."""

    def lines(self, folder: Path, rows: list[dict]) -> Path:
        file = folder / "samples.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return file

    def mined(self, folder: Path, rows: list[dict]) -> str:
        source = parquet(folder / "train.parquet", [verl_row(i) for i in range(2)])
        words = ("--from", self.lines(folder, rows), "--out", folder / "with.parquet", "--num-proc", 1)
        status, said = run("key-steps", source, *words)
        assert status == 0
        return said

    @pytest.mark.parametrize("more", [{}, {"ground_truth": 10}, {"prompt": f"Question 0: {QUESTION}"}])
    def test_they_give_what_the_traces_of_the_same_texts_give(self, tmp_path: Path, more: dict) -> None:
        rows = [{"id": "50", "response": text} | more for text in (*RIGHT, *WRONG)]
        assert "1 row with key steps" in self.mined(tmp_path, rows)
        (first, _) = map(json.loads, (tmp_path / "with.support.jsonl").read_text().splitlines())
        assert first["key_steps"][1]["wordings"][0] == "12 - 2 = 10"
        support = [first["key_steps"][1][key] for key in ("right", "of_right", "wrong", "of_wrong")]
        assert support == [3, 3, 0, 2]

    def test_those_that_are_to_no_row_are_counted_by_why(self, tmp_path: Path) -> None:
        rows = [{"id": "50", "response": text} for text in RIGHT]
        rows += [{"id": "51", "response": RIGHT[0], "ground_truth": "19"}] * 2
        rows += [
            {"id": "51", "response": RIGHT[0], "prompt": "How many pears?"},
            {"id": "99", "response": "10"},
        ]
        said = self.mined(tmp_path, [*rows, {"id": "50"}, {"response": "10"}])
        assert "2 responses left out: their reference answer is not that of the row" in said
        assert "1 response left out: their prompt does not have the question of the row" in said
        assert "1 response left out: no row has their id, or index" in said
        assert "2 lines of the responses set aside, the first " in said
        assert "it has no response that is text" in said

    def test_where_all_are_to_another_answer_the_error_says_that(self, tmp_path: Path) -> None:
        rows = [{"id": "50", "response": text, "ground_truth": "19"} for text in RIGHT]
        with pytest.raises(
            DataError, match=r"\(3 responses: their reference answer is not that of the row\)"
        ):
            self.mined(tmp_path, rows)

    @pytest.mark.parametrize(
        ("row", "cause"),
        [
            (
                {"schema": 2, "response": "10", "id": "50", "step": 0, "uid": "a", "session": 0},
                "it lacks components",
            ),
            ({"id": "50", "text": "10"}, "it has no response that is text"),
            ({"response": "10"}, "it has neither id nor index"),
        ],
    )
    def test_lines_that_are_no_responses_say_why(self, tmp_path: Path, row: dict, cause: str) -> None:
        with pytest.raises(
            DataError, match=rf"no line of .* \(1 in all\) is a response.*samples.jsonl:1: .*{cause}"
        ):
            self.mined(tmp_path, [row])

    def test_lint_says_which_lines_are_no_rows(self, traces: Path, tmp_path: Path) -> None:
        source = parquet(tmp_path / "train.parquet", [verl_row(0)])
        assert "1 line of" in run("lint", source, "--traces", traces)[1]
        with pytest.raises(DataError, match="it has no schema"):
            run("lint", source, "--traces", self.lines(tmp_path, [{"id": "50", "response": "10"}]))


class TestCommand:
    def test_verls_parquet_gets_them_in_place(self, traces: Path, tmp_path: Path) -> None:
        source = parquet(tmp_path / "train.parquet", [verl_row(i) for i in range(3)])
        out = tmp_path / "with.parquet"
        status, said = run("key-steps", source, "--from", traces, "--out", out, "--num-proc", 1)
        assert status == 0, said
        assert "1 row with key steps" in said
        assert "1 row without key steps: fewer than 2 right responses" in said
        assert "1 row without key steps: no responses" in said
        assert f"{len(RIGHT)} responses left out: their prompt does not have the question of the row" in said
        assert "1 line of the responses set aside" in said
        found = pq.read_table(out).to_pylist()
        assert [len(row["extra_info"]["key_steps"]) for row in found] == [2, 0, 0]
        assert {row["extra_info"]["kept"] for row in found} == {"this"}
        first, *_ = map(json.loads, out.with_suffix(".support.jsonl").read_text().splitlines())
        assert first["key_steps"][1]["wordings"][0] == "12 - 2 = 10"
        assert {key: first["key_steps"][1][key] for key in ("right", "of_right", "wrong", "of_wrong")} == {
            "right": 3,
            "of_right": 3,
            "wrong": 0,
            "of_wrong": 2,
        }

    def test_a_raw_source_goes_by_the_rows_number_as_prepare_counts(self, tmp_path: Path) -> None:
        source = tmp_path / "raw.jsonl"
        source.write_text(
            "".join(
                json.dumps({"question": f"Question {i}: {QUESTION}", "answer": "10"}) + "\n" for i in range(2)
            )
        )
        file = tmp_path / "responses.jsonl"
        with file.open("w") as lines:
            write_rows(lines, answered(1, RIGHT, index=1))
        out = tmp_path / "with.jsonl"
        status, said = run("key-steps", source, "--from", file, "--out", out, "--num-proc", 1)
        assert status == 0, said
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert ["key_steps" in row for row in rows] == [False, True]
        assert parse_key_steps(rows[1]["key_steps"])[1][0] == "12 - 2 = 10"

    def test_responses_to_nothing_of_the_source_end_the_command(self, traces: Path, tmp_path: Path) -> None:
        source = parquet(tmp_path / "train.parquet", [verl_row(7)])
        with pytest.raises(DataError, match=r"none of the responses in .* is to a question of"):
            run("key-steps", source, "--from", traces, "--out", tmp_path / "with.parquet", "--num-proc", 1)
        assert not (tmp_path / "with.parquet").exists()

    def test_key_steps_that_are_there_stay_and_are_pruned_where_that_is_asked(self, tmp_path: Path) -> None:
        own = [["3 + 4 = 7"], ["12 - 2 = 10"]]
        source = parquet(tmp_path / "train.parquet", [verl_row(0, own)])
        wrong = tuple(f"{WRONG[0]} I counted {i} times." for i in range(4))
        with (tmp_path / "responses.jsonl").open("w") as file:
            write_rows(file, answered(0, (*RIGHT, *wrong), own))
        command = ["key-steps", source, "--from", tmp_path / "responses.jsonl", "--num-proc", 1]
        for options, kept in (([], own), (["--prune"], own[1:])):
            out = tmp_path / f"{len(kept)}.parquet"
            _, said = run(*command, "--out", out, *options)
            assert pq.read_table(out).to_pylist()[0]["extra_info"]["key_steps"] == kept
            assert ("1 key step left out" in said) == bool(options)
        support = json.loads((tmp_path / "1.support.jsonl").read_text())
        assert support["pruned"][0]["why"] == "4 of 4 wrong responses show it, and 0 of 3 right ones"

    def test_lint_lists_them(self, tmp_path: Path) -> None:
        own = [["3 + 4 = 7"], ["12 - 2 = 10"]]
        source = parquet(tmp_path / "train.parquet", [verl_row(0, own), verl_row(1, own)])
        wrong = tuple(f"{WRONG[0]} I counted {i} times." for i in range(4))
        with (tmp_path / "responses.jsonl").open("w") as file:
            write_rows(file, answered(0, (*RIGHT, *wrong), own))
        status, said = run("lint", source, "--traces", tmp_path / "responses.jsonl", "--json")
        assert status == 1
        (found,) = [one for one in map(json.loads, said.splitlines()) if one["check"] == "teaches_nothing"]
        assert (found["row"], found["detail"]) == (
            0,
            "3 + 4 = 7: 4 of 4 wrong responses show it, and 0 of 3 right ones",
        )
        assert "teaches_nothing" not in run("lint", source)[1]

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["--rules", "--from", "x"], "--rules and --from are two ways"),
            ([], "or name responses to mine them from"),
            (["--rules", "--prune"], "--prune goes by the responses that --from names"),
        ],
    )
    def test_one_way_at_a_time(self, options: list[str], said: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=said):
            run("key-steps", "x.json", "--out", tmp_path / "y.jsonl", *options)


class OneAtATime(ChatServer):
    """A closed model's server: it knows no ``n``, and its model has no processor on the hub."""

    def contents(self, body: dict, fault: str) -> list[str]:
        return [f"{RIGHT[len(self.bodies) % 3]} ({len(self.bodies)})"]


@pytest.fixture
def closed() -> Iterator[OneAtATime]:
    server = OneAtATime()
    yield server
    server.close()


class TestSampling:
    def test_one_command_samples_from_a_closed_server(self, closed: OneAtATime, tmp_path: Path) -> None:
        picture = io.BytesIO()
        Image.new("RGB", (56, 56), "red").save(picture, "PNG")
        row = verl_row(0) | {"images": [{"bytes": picture.getvalue()}]}
        row["prompt"][0]["content"] = "<image>" + row["prompt"][0]["content"]
        file = parquet(tmp_path / "train.parquet", [row])
        out = tmp_path / "sampled"
        status, said = run(
            "eval", file, "--model", "closed-1", "--base-url", closed.url, "--samples", 16, "--out", out
        )
        assert status == 0, said
        assert "images are sent as they are" in said
        assert len(closed.bodies) == 16
        assert {body["temperature"] for body in closed.bodies} == {1.0}
        assert len({body["seed"] for body in closed.bodies}) == 16
        status, said = run("key-steps", file, "--from", out, "--out", tmp_path / "w.parquet", "--num-proc", 1)
        assert status == 0, said
        assert "1 row with key steps" in said


def test_the_benchmark_counts_what_is_mined(tmp_path: Path) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
    import mined_key_steps as benchmark

    solution = "He has 3 * 4 = <<3*4=12>>12 apples.\nSo 12 - 2 = <<12-2=10>>10 are left.\nA: 10"
    row = {"question": QUESTION, "ground_truth": solution}
    for i, model in enumerate(benchmark.MODELS):
        is_right = i < 2
        text = solution if is_right else "He has 3 + 4 = <<3+4=7>>7.\nA: 7"
        row[model] = {"is_correct": is_right, "solution": f"{'Yes. ' * i}{text}"}
    file = tmp_path / "solutions.jsonl"
    file.write_text(json.dumps(row) + "\n")
    counts = benchmark.measure(file)
    assert (counts["wanted"], counts["wanted, mined"], counts["mined"], counts["stands"]) == (2, 2, 2, 2)
    assert "| the reference's calculations that are mined | 2 | 100.0% | 34.2 to 100.0% |" in benchmark.table(
        counts
    )
