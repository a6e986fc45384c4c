"""Judging a served model on a parquet, and how sure its means are."""

from __future__ import annotations

import base64
import datetime
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_server import ChatServer
from helpers import parquet
from PIL import Image
from sklearn.datasets import load_sample_images

from verl_stepgrpo import SCORE_KEYS, ConfigError, DataError, RewardSettings
from verl_stepgrpo.evaluation.comparison import Comparison, check_comparable, compare
from verl_stepgrpo.evaluation.evaluate import (
    FAILED,
    RESPONSES,
    RESULTS,
    SHARES,
    EvalOptions,
    Results,
    evaluate,
    summarise,
)
from verl_stepgrpo.evaluation.intervals import Estimate, estimate
from verl_stepgrpo.evaluation.responses import Answered
from verl_stepgrpo.evaluation.summary import changes, depends_on_format, on_format
from verl_stepgrpo.files import SetAside
from verl_stepgrpo.running.resume import digest
from verl_stepgrpo.serving.client import ServerOptions
from verl_stepgrpo.traces.files import read_trace
from verl_stepgrpo.traces.header import read_header

RESPONSE = """### Image Description:
A number.
### Rationales:
Add one.
### Step 1:
{n} + 1 = {answer}
### The final answer is: {answer}"""


def row(n: int, **extra: Any) -> dict:
    return {
        "data_source": "successors" if n % 2 else "others",
        "prompt": [{"role": "user", "content": f"What is {n} + 1?"}],
        "reward_model": {"style": "rule", "ground_truth": str(n + 1)},
        "extra_info": {"index": 100 + n, "key_steps": [[f"{n} + 1 = {n + 1}"]]},
        **extra,
    }


class Server(ChatServer):
    """Adds one, but not to what is in ``weak``; takes three seconds for what is in ``slow``."""

    weak: tuple[int, ...] = ()
    slow: tuple[int, ...] = ()

    def contents(self, body: dict, fault: str) -> list[str]:
        content = body["messages"][0]["content"]
        text = content if isinstance(content, str) else content[-1]["text"]
        n = int(text.split()[2])
        if n in self.slow:
            time.sleep(3)
        response = RESPONSE.format(n=n, answer=n + 2 if n in self.weak else n + 1)
        return [response] * body.get("n", 1)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def run(
    server: Server,
    folder: Path,
    rows: list[dict] | None = None,
    set_aside: Callable[[SetAside], None] = lambda line: None,
    **options: Any,
) -> Results:
    file = folder / "data.parquet"
    if rows is not None or not file.exists():
        parquet(file, rows or [row(i) for i in range(10)])
    asked = ServerOptions(server.url, "m", concurrency=3, max_retries=2, timeout=5)
    chosen = EvalOptions("m", "/no/such/model", **options)
    return evaluate(file, folder / "out", chosen, nullcontext(asked), set_aside=set_aside)


@contextmanager
def never() -> Iterator[ServerOptions]:
    raise AssertionError("a server was started")
    yield


class TestEvaluate:
    def test_a_row_whose_index_json_has_not_is_evaluated_and_named(
        self, server: Server, tmp_path: Path
    ) -> None:
        dated = row(0) | {"extra_info": {"index": datetime.date(2026, 1, 2), "key_steps": [["0 + 1 = 1"]]}}
        assert run(server, tmp_path, [dated]).failed == 0
        assert [r.index for r in read_trace(tmp_path / "out" / RESPONSES)] == ["2026-01-02"]

    def test_the_means_are_those_of_the_responses(self, server: Server, tmp_path: Path) -> None:
        server.weak = (0, 5, 6)
        results = run(server, tmp_path)
        assert (results.rows, results.responses, results.failed) == (10, 10, 0)
        assert set(results.scores) == {"all", "successors", "others"}
        assert results.scores["all"]["acc"].mean == pytest.approx(0.7)
        assert results.scores["successors"]["acc"].mean == pytest.approx(0.8)
        assert set(results.scores["all"]) == set(SCORE_KEYS)
        written = json.loads((tmp_path / "out" / RESULTS).read_text())
        assert written["scores"]["all"]["acc"]["interval"] == list(results.scores["all"]["acc"].interval)

    def test_step_rvr_has_the_interval_of_a_share_where_it_is_one(
        self, server: Server, tmp_path: Path
    ) -> None:
        server.weak = (0, 5, 6)  # wrong, and valid none the less
        own = run(server, tmp_path).scores["all"]
        assert own["step_rvr"] == own["complete"] == own["ordered"]
        (tmp_path / "half").mkdir()
        half = run(server, tmp_path / "half", reward=RewardSettings(rvr_weight=0.5)).scores["all"]["step_rvr"]
        assert half == Estimate(0.5, None, 10, 10)  # a bootstrap of equal values knows no interval

    def test_every_response_is_a_row_of_a_trace(self, server: Server, tmp_path: Path) -> None:
        run(server, tmp_path, samples=2)
        rows = read_trace(tmp_path / "out" / RESPONSES)
        assert [(r.uid, r.session, r.index) for r in rows[:3]] == [
            ("0", 0, 100),
            ("0", 1, 100),
            ("1", 0, 101),
        ]
        assert rows[0].response == RESPONSE.format(n=0, answer=1)
        assert rows[0].steps[0].token_end is None
        assert rows[0].components["score"] == pytest.approx(2.1)

    def test_the_header_says_how_it_was_asked(self, server: Server, tmp_path: Path) -> None:
        run(server, tmp_path, reward=RewardSettings(alpha=0.2))
        (start,) = read_header(tmp_path / "out")
        assert (start.from_step, start.model, start.settings["alpha"]) == (0, "m", 0.2)
        (file,) = start.data["val"]
        assert file.sha256 == digest(Path(file.path))

    def test_what_is_asked_is_what_was_set(self, server: Server, tmp_path: Path) -> None:
        run(server, tmp_path, samples=2, temperature=0.7, max_tokens=99)
        (body,) = [b for b in server.bodies if "What is 3 " in str(b["messages"])]
        assert {k: body[k] for k in ("n", "temperature", "max_tokens")} == {
            "n": 2,
            "temperature": 0.7,
            "max_tokens": 99,
        }

    def test_a_question_that_keeps_failing_is_in_no_mean_and_is_asked_again(
        self, server: Server, tmp_path: Path
    ) -> None:
        server.faults = ["500"] * 3
        file = parquet(tmp_path / "data.parquet", [row(0)])
        results = run(server, tmp_path)
        assert (results.rows, results.failed, results.scores) == (0, 1, {})
        (failed,) = [json.loads(line) for line in (tmp_path / "out" / FAILED).open()]
        assert "InternalServerError" in failed["error"]
        assert run(server, tmp_path).rows == 1, file
        assert (tmp_path / "out" / FAILED).read_text() == ""

    def test_an_interrupted_run_asks_only_for_what_is_missing(self, server: Server, tmp_path: Path) -> None:
        first = run(server, tmp_path, samples=2)
        responses = tmp_path / "out" / RESPONSES
        lines = responses.read_text().splitlines(keepends=True)
        responses.write_text("".join(lines[:7]) + lines[7][:30])  # killed in the middle of a line
        server.bodies.clear()
        second = run(server, tmp_path, samples=2)
        assert len(server.bodies) == 7
        assert (first.reused, second.reused) == (0, 3)
        assert second.scores == first.scores
        assert len(read_trace(responses)) == 20

    def test_a_folder_begun_with_other_options_is_refused(self, server: Server, tmp_path: Path) -> None:
        run(server, tmp_path)
        with pytest.raises(ConfigError, match=r"begun with alpha=0\.1, not 0\.2\. Go on"):
            run(server, tmp_path, reward=RewardSettings(alpha=0.2))
        before = (tmp_path / "out" / RESPONSES).read_bytes()
        with pytest.raises(ConfigError, match=r"begun with samples=1, not 2\. Go on"):
            run(server, tmp_path, samples=2)
        assert (tmp_path / "out" / RESPONSES).read_bytes() == before

    def test_it_is_refused_before_a_server_is_started(self, server: Server, tmp_path: Path) -> None:
        run(server, tmp_path)
        with pytest.raises(ConfigError, match=r"begun with model='m', not 'other'; processor="):
            evaluate(tmp_path / "data.parquet", tmp_path / "out", EvalOptions("other", "other"), never())

    def test_another_server_or_other_weights_are_another_run(self, server: Server, tmp_path: Path) -> None:
        run(server, tmp_path)
        changes = {
            "base_url=None, not 'http://other/v1'": {"base_url": "http://other/v1"},
            "other weights": {"weights": (("model.safetensors", 1, 2),)},
        }
        for said, change in changes.items():
            with pytest.raises(ConfigError, match=f"begun with {said}. Go on"):
                run(server, tmp_path, **change)

    def test_where_all_is_answered_no_server_is_started(self, server: Server, tmp_path: Path) -> None:
        first = run(server, tmp_path)
        options, said = EvalOptions("m", "/no/such/model"), []
        # Written anew with the same rows in it, as by a second prepare.
        (tmp_path / "data.parquet").touch()
        second = evaluate(tmp_path / "data.parquet", tmp_path / "out", options, never(), reused=said.append)
        assert (second.reused, said) == (10, [10])
        assert second.scores == first.scores

    def test_a_folder_in_which_nothing_was_answered_may_be_begun_anew(
        self, server: Server, tmp_path: Path
    ) -> None:
        server.faults = ["404"] * 3  # as many as are asked at a time, whichever comes first
        with pytest.raises(DataError, match="does not have 'm'"):
            run(server, tmp_path, max_tokens=9)
        server.faults = []
        assert run(server, tmp_path).rows == 10

    def test_a_smaller_limit_counts_no_more_rows(self, server: Server, tmp_path: Path) -> None:
        run(server, tmp_path)
        asked = ServerOptions(server.url, "m")
        options = EvalOptions("m", "/no/such/model")
        assert (
            evaluate(tmp_path / "data.parquet", tmp_path / "out", options, nullcontext(asked), limit=3).rows
            == 3
        )

    def test_what_is_no_such_server_ends_the_run(self, server: Server, tmp_path: Path) -> None:
        file = Path(parquet(tmp_path / "data.parquet", [row(0)]))
        options = EvalOptions("m", "/no/such/model")
        server.faults = ["html"]
        with pytest.raises(DataError, match="does not answer as an OpenAI-compatible server"):
            evaluate(file, tmp_path / "out", options, nullcontext(ServerOptions(server.url, "m")))
        nobody = ServerOptions("http://127.0.0.1:9/v1", "m", max_retries=0)
        with pytest.raises(DataError, match=r"no server answers at http://127\.0\.0\.1:9/v1"):
            evaluate(file, tmp_path / "out", options, nullcontext(nobody))

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"reward_model": {"ground_truth": ""}}, "row 0: reward_model.ground_truth is empty"),
            (
                {"prompt": [{"role": "user", "content": "<image>What is 0 + 1?"}]},
                "1 <image> mark for 0 images",
            ),
        ],
    )
    def test_a_row_that_cannot_be_asked_or_scored_is_named(
        self, server: Server, tmp_path: Path, change: dict, said: str
    ) -> None:
        with pytest.raises(DataError, match=said):
            run(server, tmp_path, [row(0, **change)])

    def test_an_image_needs_the_processor_that_scales_it(self, server: Server, tmp_path: Path) -> None:
        prompt = [{"role": "user", "content": "<image>What is 0 + 1?"}]
        with pytest.raises(ConfigError, match="--processor"):
            run(server, tmp_path, [row(0, prompt=prompt, images=[{"bytes": png(32, 32)}])])


def png(width: int, height: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(load_sample_images().images[0]).resize((width, height)).save(content, format="PNG")
    return content.getvalue()


def test_images_reach_the_server_as_training_scales_them(tmp_path: Path) -> None:
    from verl.utils.dataset.vision_utils import process_image

    from verl_stepgrpo.data.rows.read import row_of
    from verl_stepgrpo.evaluation.questions import chat_messages

    image = {"bytes": png(200, 90), "max_pixels": 28 * 28 * 8}
    prompt = [{"role": "user", "content": "Look: <image>What is 0 + 1?"}]
    (message,) = chat_messages(row_of(0, row(0, prompt=prompt, images=[image])), patch_size=14)
    kinds = [part["type"] for part in message["content"]]
    assert kinds == ["text", "image_url", "text"]
    encoded = message["content"][1]["image_url"]["url"].removeprefix("data:image/png;base64,")
    sent = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert np.array_equal(np.asarray(sent), np.asarray(process_image(dict(image), image_patch_size=14)))


class TestIntervals:
    def test_a_share_of_one_does_not_look_certain(self) -> None:
        found = estimate([[1.0]] * 20, is_share=True)
        assert found.interval is not None
        assert found.interval[0] == pytest.approx(0.839, abs=0.001)  # Wilson: 20 of 20
        assert found.interval[1] == 1.0

    def test_responses_to_one_question_are_not_questions_of_their_own(self) -> None:
        alone = estimate([[float(i % 2)] for i in range(40)], is_share=True)
        copied = estimate([[float(i % 2)] * 8 for i in range(40)], is_share=True)
        assert copied.mean == alone.mean
        width = [e.interval[1] - e.interval[0] for e in (alone, copied) if e.interval]
        assert width[1] == pytest.approx(width[0], rel=0.1)

    @pytest.mark.parametrize("share", [True, False])
    def test_the_interval_holds_the_truth_as_often_as_it_says(self, share: bool) -> None:
        rng = np.random.default_rng(0)
        held = [
            low <= 0.3 <= high
            for _ in range(300)
            for low, high in [
                estimate([[float(v)] for v in rng.random(60) < 0.3], is_share=share).interval or (0, 0)
            ]
        ]
        assert 0.91 <= np.mean(held) <= 0.98

    def test_the_same_values_give_the_same_interval_in_whatever_order_they_come(self) -> None:
        values = [[float(v)] for v in np.random.default_rng(0).normal(size=50)]
        assert estimate(values) == estimate(values[::-1])

    def test_one_question_has_no_interval(self) -> None:
        assert estimate([[1.0, 0.0]]).interval is None


class TestComparison:
    """Two models are compared on the questions that both were asked."""

    def both(self, server: Server, tmp_path: Path, weak: tuple, then_weak: tuple) -> Comparison:
        server.weak = weak
        run(server, tmp_path / "before", [row(i) for i in range(10)])
        server.weak = then_weak
        run(server, tmp_path / "after", [row(i) for i in range(10)])
        return compare(tmp_path / "before" / "out", tmp_path / "after" / "out")

    @pytest.fixture(autouse=True)
    def folders(self, tmp_path: Path) -> None:
        for name in ("before", "after"):
            (tmp_path / name).mkdir()

    def test_the_change_is_the_mean_of_the_changes(self, server: Server, tmp_path: Path) -> None:
        found = self.both(server, tmp_path, (0, 1, 2, 3), (3, 4))
        assert (found.rows, found.unpaired) == (10, 0)
        assert found.changes["acc"].difference.mean == pytest.approx(0.2)
        # Alike on all: how sure that is, nobody knows.
        assert found.changes["step_rvr"].difference == Estimate(0.0, None, 10, 10)

    def test_pairing_makes_it_surer_than_two_intervals_apart(self, server: Server, tmp_path: Path) -> None:
        """Half the questions are hard for both models, and one more is for the first alone."""
        found = self.both(server, tmp_path, (0, 1, 2, 3, 4, 5), (0, 1, 2, 3, 4)).changes["acc"].difference
        rows = map(Answered.of, read_trace(tmp_path / "after" / "out" / RESPONSES))
        alone = summarise(rows, failed=0, done=(), shares=SHARES).scores["all"]["acc"]
        assert found.interval is not None
        assert alone.interval is not None
        assert found.interval[1] - found.interval[0] < (alone.interval[1] - alone.interval[0]) / 1.5

    def test_questions_of_one_alone_are_counted(self, server: Server, tmp_path: Path) -> None:
        self.both(server, tmp_path, (), ())
        path = tmp_path / "before" / "out" / RESPONSES
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:7]))
        found = compare(path.parent, tmp_path / "after" / "out")
        assert (found.rows, found.unpaired) == (7, 3)

    def test_other_questions_are_refused(self, server: Server, tmp_path: Path) -> None:
        run(server, tmp_path / "before", [row(i) for i in range(3)])
        run(server, tmp_path / "after", [row(i) for i in range(1, 4)])
        with pytest.raises(DataError, match="of different data: row 0 is another question"):
            compare(tmp_path / "before" / "out", tmp_path / "after" / "out")

    def test_what_cannot_be_compared_is_refused_before_anything_is_asked(
        self, server: Server, tmp_path: Path
    ) -> None:
        run(server, tmp_path / "before", [row(0), row(1)])
        done, file = tmp_path / "before" / "out", tmp_path / "before" / "data.parquet"
        alike = asdict(EvalOptions("m", "m"))
        check_comparable(done, file, alike)
        with pytest.raises(ConfigError, match="was evaluated with max_tokens=1024, this run with 99"):
            check_comparable(done, file, asdict(EvalOptions("m", "m", max_tokens=99)))
        with pytest.raises(DataError, match="has no finished evaluation"):
            check_comparable(tmp_path / "after", file, alike)
        other = Path(parquet(tmp_path / "other.parquet", [row(0), row(2)]))
        with pytest.raises(
            DataError, match=r"other\.parquet are of different data: row 1 is another question"
        ):
            check_comparable(done, other, alike)


class TestTheFormatAndTheAnswer:
    """A model that answers in another format is not taken for one that is wrong, nor a new header for an answer."""

    class Formatted(ChatServer):
        """Answers in a box behind thoughts, or under the header once it is ``trained``."""

        trained = False

        def contents(self, body: dict, fault: str) -> list[str]:
            n = int(body["messages"][0]["content"].split()[2])
            right = n % 10 < (6 if self.trained else 9)
            answer = n + 1 if right else n + 2
            boxed = f"<think>{n} and one more.</think>\nSo it is $\\boxed{{{answer}}}$."
            return [RESPONSE.format(n=n, answer=answer) if self.trained else boxed]

    @pytest.fixture
    def server(self) -> Iterator[Formatted]:
        server = self.Formatted()
        yield server
        server.close()

    def test_a_header_that_was_learnt_is_no_gain_in_right_answers(
        self, server: Formatted, tmp_path: Path
    ) -> None:
        file = parquet(tmp_path / "data.parquet", [row(i) for i in range(1, 61, 2)])
        arguments = [file, "--model", "m", "--base-url", server.url]
        before = TestCommand.run(*arguments, "--out", tmp_path / "before").stdout
        assert "acc                  0.000" in before
        assert "acc_flexible         0.800" in before
        assert "0.0% of the responses have an answer under `### The final answer is:`" in before
        server.trained = True
        done = TestCommand.run(*arguments, "--out", tmp_path / "after", "--against", tmp_path / "before")
        against = done.stdout.partition("Against ")[2]
        lines = against.splitlines()[2:]
        assert lines[0].startswith("  acc_flexible        -0.200   -0.")
        assert lines[1].startswith("  acc                 +0.600   +0.")
        assert "0.0% and 100.0% of the responses, before and after, have an answer under" in against

    def test_where_all_answer_in_the_format_accuracy_comes_first_and_nothing_is_said(
        self, server: Formatted, tmp_path: Path
    ) -> None:
        server.trained = True
        for name in ("before", "after"):
            (tmp_path / name).mkdir()
            run(server, tmp_path / name, [row(i) for i in range(10)])
        found = compare(tmp_path / "before" / "out", tmp_path / "after" / "out").changes
        assert list(found) == list(SCORE_KEYS)
        assert not depends_on_format(found)

    @pytest.mark.parametrize(
        ("before", "after", "depends"),
        [
            (100, 100, False),
            (96, 96, False),
            (94, 100, True),
            (100, 94, True),
            (99, 100, False),
            (95, 100, True),
        ],
    )
    def test_the_rule(self, before: int, after: int, depends: bool) -> None:
        """Below 95% in one, or a difference beyond chance: that of 5 questions of 100 is one, that of 1 is none."""

        def responses(answered: int) -> dict[int, list[dict[str, float]]]:
            return {
                i: [dict.fromkeys(SCORE_KEYS, 0.0) | {"answered": float(i < answered)}] for i in range(100)
            }

        assert depends_on_format(changes(responses(before), responses(after))) is depends

    def test_an_evaluation_that_does_not_know_it_has_none_and_it_is_said(
        self, server: Formatted, tmp_path: Path
    ) -> None:
        for name in ("before", "after"):
            server.trained = name == "after"
            (tmp_path / name).mkdir()
            run(server, tmp_path / name, [row(i) for i in range(10)])
        old = tmp_path / "before" / "out" / RESPONSES
        lines = [json.loads(line) for line in old.read_text().splitlines()]
        for line in lines:
            del line["components"]["acc_flexible"], line["last_answer"]
        old.write_text("".join(json.dumps(line | {"schema": 1}) + "\n" for line in lines))
        found = compare(tmp_path / "before" / "out", tmp_path / "after" / "out").changes
        assert (next(iter(found)), "acc_flexible" in found) == ("acc", False)
        answered = found["answered"]
        assert "make it anew" in on_format([answered.before, answered.after], has_flexible=False)


class TestKeyStepsThatAreNotThere:
    """A prompt without key steps has no key-step match, and is in no mean of it."""

    ROWS = tuple(row(i, **({} if i < 4 else {"extra_info": {"index": i}})) for i in range(10))

    def test_the_mean_is_over_the_rows_that_have_some(self, server: Server, tmp_path: Path) -> None:
        server.weak = (0,)
        results = run(server, tmp_path, list(self.ROWS))
        found = results.scores["all"]["key_step_match"]
        assert (found.mean, found.questions, found.responses) == (0.75, 4, 4)
        assert results.scores["all"]["acc"].questions == 10
        own = [results.scores[name]["key_step_match"].questions for name in ("others", "successors")]
        assert own == [2, 2]

    def test_where_none_has_some_there_is_no_mean(self, server: Server, tmp_path: Path) -> None:
        assert "key_step_match" not in run(server, tmp_path, list(self.ROWS[4:])).scores["all"]

    def test_the_command_says_of_how_many_it_is(self, server: Server, tmp_path: Path) -> None:
        file = parquet(tmp_path / "data.parquet", [self.ROWS[i] for i in (1, 3, 5, 7)])
        arguments = [file, "--model", "m", "--base-url", server.url]
        TestCommand.run(*arguments, "--out", tmp_path / "before")
        done = TestCommand.run(*arguments, "--out", tmp_path / "after", "--against", tmp_path / "before")
        for line in (
            "key_step_match       1.000   -  (of 2 rows)",
            "key_step_match      +0.000   -  (of 2 rows)",
        ):
            assert line in done.stdout


class TestCommand:
    @staticmethod
    def run(*arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "verl_stepgrpo", "eval", *map(str, arguments)]
        environment = os.environ | (env or {})
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)

    def test_it_prints_n_means_and_intervals(self, server: Server, tmp_path: Path) -> None:
        server.weak = (0, 1)
        file = parquet(tmp_path / "data.parquet", [row(i) for i in range(1, 9, 2)])
        arguments = [file, "--model", "m", "--base-url", server.url, "--out", tmp_path / "out"]
        done = self.run(*arguments, "--set", "alpha=0.2")
        assert done.returncode == 0, done.stderr
        assert "4 rows, 4 responses" in done.stdout
        assert "acc                  0.750   0.301 to 0.954" in done.stdout
        assert "score                1.900   " in done.stdout
        again = self.run(*arguments, "--set", "alpha=0.2").stdout
        # The name may stand for another model by now: it is said before the figures are.
        assert again.startswith("4 rows were answered in an earlier run into ")
        assert "if 'm' is another model by now, name another folder" in again

    def test_one_that_ends_before_an_answer_says_that_nothing_is_kept(
        self, server: Server, tmp_path: Path
    ) -> None:
        server.faults = ["slow"] * 10
        file = parquet(tmp_path / "data.parquet", [row(i) for i in range(3)])
        command = ["eval", file, "--model", "m", "--base-url", server.url, "--out", str(tmp_path / "out")]
        started = subprocess.Popen(
            [sys.executable, "-m", "verl_stepgrpo", *command], stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 60
        while not server.bodies and time.monotonic() < deadline:
            time.sleep(0.05)
        started.send_signal(signal.SIGINT)
        _, said = started.communicate(timeout=60)
        assert started.returncode == 130
        assert (
            f"ended before any row was answered and kept in {tmp_path}/out; the same command begins anew"
            in said
        )

    def test_what_math_verify_could_not_judge_is_said_and_judged_by_the_next_run(
        self, tmp_path: Path
    ) -> None:
        class Symbolic(ChatServer):
            def contents(self, body: dict, fault: str) -> list[str]:
                return [r"### The final answer is: \sin(x)+1"]

        (tmp_path / "math_verify.py").write_text("raise ImportError('no antlr4 here')")
        broken = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        rows = [row(n, reward_model={"ground_truth": gold}) for n, gold in enumerate((r"1+\sin x", "2"))]
        file, server = parquet(tmp_path / "data.parquet", rows), Symbolic()
        words = [
            file,
            "--model",
            "m",
            "--base-url",
            server.url,
            "--out",
            tmp_path / "out",
            "--set",
            "alpha=0",
        ]
        try:
            done = self.run(*words, env=broken)
            assert done.returncode == 1
            assert "2 of 2 responses not judged, since math-verify failed" in done.stdout
            assert "ImportError: no antlr4 here" in done.stderr
            again = self.run(*words)
        finally:
            server.close()
        assert again.returncode == 0, again.stderr
        assert len(server.bodies) == 2, "they were asked again"
        assert "acc                  0.500" in again.stdout
        assert "verifier_failed      0.000" in again.stdout

    def test_it_prints_the_change_against_an_earlier_evaluation(self, server: Server, tmp_path: Path) -> None:
        file = parquet(tmp_path / "data.parquet", [row(i) for i in range(1, 9)])
        arguments = [file, "--model", "m", "--base-url", server.url]
        server.weak = (2, 3)
        self.run(*arguments, "--out", tmp_path / "before")
        server.weak = ()
        done = self.run(*arguments, "--out", tmp_path / "after", "--against", tmp_path / "before")
        assert done.returncode == 0, done.stderr
        assert f"Against {tmp_path / 'before'}: 8 rows\n" in done.stdout
        assert "acc                 +0.250   +0.000 to +0.625" in done.stdout

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--against", "/no/such/folder"], "/no/such/folder has no finished evaluation"),
            (["--set", "alpha"], "not of the form key=value"),
            (["--set", "alpha=-1"], "alpha=-1 is out of range"),
            (["--set", "alhpa=1"], "Did you mean alpha?"),
            (["--samples", "0"], "Invalid value for '--samples'"),
        ],
    )
    def test_a_mistake_is_named_before_a_server_starts(
        self, tmp_path: Path, arguments: list[str], said: str
    ) -> None:
        file = parquet(tmp_path / "data.parquet", [row(1)])
        done = self.run(file, "--model", "no-such-model", "--out", tmp_path / "out", *arguments)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "out" / "vllm.log").exists()

    def test_a_file_that_is_not_there_is_named_before_a_server_starts(self, tmp_path: Path) -> None:
        done = self.run(tmp_path / "none.parquet", "--model", "no-such-model", "--out", tmp_path / "out")
        assert done.returncode == 2
        assert "none.parquet is not a file" in done.stderr
        assert not (tmp_path / "out").exists()

    def test_a_model_that_vllm_cannot_serve_ends_with_the_end_of_its_log(self, tmp_path: Path) -> None:
        file = parquet(tmp_path / "data.parquet", [row(1)])
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "config.json").write_text('{"model_type": "qwen2"}')
        served = ("--out", tmp_path / "out", "--vllm-args", "--no-such-argument")
        done = self.run(file, "--model", tmp_path / "model", *served)
        assert done.returncode == 2
        assert "vLLM's server ended with status" in done.stderr
        assert "unrecognized arguments: --no-such-argument" in done.stderr

    @pytest.mark.parametrize(
        ("model", "said"),
        [
            ("/no/model", "/no/model is not a folder"),
            ("nobody/nothing", "there is no folder nobody/nothing, and: "),
        ],
    )
    def test_a_model_that_is_not_there_is_said_before_a_server_starts(
        self, tmp_path: Path, model: str, said: str
    ) -> None:
        file = parquet(tmp_path / "data.parquet", [row(1)])
        env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
        done = self.run(file, "--model", model, "--out", tmp_path / "out", env=env)
        assert done.returncode == 2
        assert f"--model={model}: it cannot be loaded: {said}" in done.stderr
        assert not (tmp_path / "out" / "vllm.log").exists()

    def test_an_evaluation_is_not_compared_with_itself(self, tmp_path: Path) -> None:
        file = parquet(tmp_path / "data.parquet", [row(1)])
        done = self.run(file, "--model", "m", "--out", tmp_path / "out", "--against", tmp_path / "out")
        assert "--against is --out itself" in done.stderr
