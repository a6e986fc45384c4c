"""Key steps from a model behind an OpenAI-compatible server, over real HTTP, with its faults; and by rules."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chat_server import ChatServer

from verl_stepgrpo import DataError, parse_key_steps
from verl_stepgrpo.data.key_steps import files as key_step_files
from verl_stepgrpo.data.prepare import PrepareOptions, prepare
from verl_stepgrpo.data.rows.build import RowOptions
from verl_stepgrpo.judging.key_steps.reference import parse_visual_key_steps
from verl_stepgrpo.serving.client import ServerOptions

ROOT = Path(__file__).resolve().parents[1]
SOLUTION = """### Image Description:
x
### Rationales:
y
### Let's think step by step.
### Step 1:
There are {n} children.
### Step 2:
{twice}/{n} = 2
### The final answer is: 2"""


def row(n: int) -> dict:
    return {"problem": f"Question {n}?", "solution": SOLUTION.format(n=n, twice=2 * n)}


class Server(ChatServer):
    """Answers as a model does that was asked for key steps."""

    def __init__(self) -> None:
        super().__init__()
        self.extra: list[str] = []

    def contents(self, body: dict, fault: str) -> list[str]:
        wrong = {"prose": "Here you are!", "empty": '{"key_steps": [], "wordings": 3}'}.get(fault)
        form = body["response_format"]["json_schema"]["name"].lower()
        return [wrong or getattr(self, form)(body["messages"][0]["content"])]

    def extracted(self, prompt: str) -> str:
        n = re.search(r"There are (\d+) children", prompt)[1]  # type: ignore[index]
        return json.dumps({"key_steps": [f"{n} children", f"{2 * int(n)}/{n} = 2", *self.extra]})

    def extractedbysection(self, prompt: str) -> str:
        n = re.search(r"(\d+) children and", prompt)[1]  # type: ignore[index]
        visual = {"image_description": [f"{n} children", f"{n} children", "red box", *self.extra]}
        return json.dumps(json.loads(self.extracted(prompt)) | visual)

    def augmented(self, prompt: str) -> str:
        steps = json.loads(re.search(r"\[.*\]", prompt)[0])  # type: ignore[index]
        return json.dumps(
            {
                "wordings": [
                    [f"children: {s}" if "children" in s else s.replace("/", " : "), "99"] for s in steps
                ]
            }
        )


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def write(
    server: Server, folder: Path, n: int = 3, **options: Any
) -> tuple[key_step_files.Summary, list[dict]]:
    source = folder / "raw.jsonl"
    source.write_text("".join(json.dumps(row(i)) + "\n" for i in range(2, 2 + n)))
    out = folder / "with.jsonl"
    settings = {"concurrency": 2, "timeout": 1.0, "max_retries": 2, **options}
    summary = key_step_files.by_model(
        source, out, ServerOptions(server.url, "m", **settings), api_key=None, progress=lambda n: None
    )
    return summary, [json.loads(line) for line in out.open()]


def test_rows_come_in_their_order_with_wordings_that_have_the_same_numbers(
    server: Server, tmp_path: Path
) -> None:
    summary, rows = write(server, tmp_path)
    assert [r["question"] for r in rows] == ["Question 2?", "Question 3?", "Question 4?"]
    assert rows[1]["key_steps"] == [["3 children", "children: 3 children"], ["6/3 = 2", "6 : 3 = 2"]]
    assert summary.usage["wordings with other numbers"] == 6
    assert (summary.usage["tokens read"], summary.usage["tokens written"]) == (600, 120)


@pytest.mark.parametrize("by", ["rules", "model"])
def test_rows_keep_the_sources_order_and_what_is_not_read_is_named(
    server: Server, tmp_path: Path, by: str
) -> None:
    """Rows that nobody is asked for wait for those before them."""
    source, out = tmp_path / "raw.jsonl", tmp_path / "with.jsonl"
    alone = {"problem": "How many?", "answer": 3, "keysteps": ["3 children"]}
    table = [row(2), alone, row(3), row(4), alone, alone, row(5) | {"key_steps": ["5 children"]}]
    source.write_text("".join(json.dumps(r) + "\n" for r in table))
    if by == "rules":
        summary = key_step_files.by_rules(source, out, progress=lambda n: None)
    else:
        options = ServerOptions(server.url, "m", concurrency=2, timeout=5.0)
        summary = key_step_files.by_model(source, out, options, api_key=None, progress=lambda n: None)
    assert [json.loads(line)["id"] for line in out.open()] == list("0123456")
    assert (summary.written, summary.passed_on, summary.failed) == (4, 3, 0)
    assert summary.unread == {"keysteps: it is not read; key_steps is": 3}
    assert summary.others == {}


def test_a_model_writes_into_verls_parquet_in_place(server: Server, tmp_path: Path) -> None:
    source, out = tmp_path / "train.parquet", tmp_path / "with.parquet"
    table = [
        {
            "prompt": [{"role": "user", "content": f"Question {n}?"}],
            "reward_model": {"ground_truth": "2"},
            "extra_info": {"index": n, "solution": row(n)["solution"] if n != 3 else None},
        }
        for n in (2, 3, 4)
    ]
    pq.write_table(pa.Table.from_pylist(table), source)
    options = ServerOptions(server.url, "m", concurrency=2, timeout=5.0)
    summary = key_step_files.by_model(source, out, options, api_key=None, progress=lambda n: None)
    assert (summary.written, summary.passed_on, summary.failed) == (2, 1, 0)
    rows = pq.read_table(out).to_pylist()
    found = [r["extra_info"].pop("key_steps") for r in rows]
    assert [[wordings[0] for wordings in one] for one in found] == [
        ["2 children", "4/2 = 2"],
        [],
        ["4 children", "8/4 = 2"],
    ]
    assert rows == table


def described(n: int) -> dict:
    return {
        "problem": f"Question {n}?",
        "solution": row(n)["solution"].replace("\nx\n", f"\n{n} children and a red box.\n"),
    }


def write_rows(source: Path, infos: list[dict]) -> None:
    """Write verl's rows for RL with these ``extra_info``."""
    row = {"prompt": [{"role": "user", "content": "?"}], "reward_model": {"ground_truth": "2"}}
    pq.write_table(pa.Table.from_pylist([row | {"extra_info": info} for info in infos]), source)


def by_section(server: Server, source: Path, out: Path) -> key_step_files.Summary:
    options = ServerOptions(server.url, "m", concurrency=2, timeout=5.0)
    return key_step_files.by_model(source, out, options, api_key=None, visual=True, progress=lambda n: None)


class TestVisual:
    def test_a_model_gives_them_and_prepare_carries_them(self, server: Server, tmp_path: Path) -> None:
        """What the description lacks is not believed, though a step says it; a solution without one has none."""
        source, out = tmp_path / "raw.json", tmp_path / "with.jsonl"
        server.extra = ["4/2 = 2"]
        source.write_text(
            json.dumps([described(2), row(3) | {"solution": "There are 3 children. 6/3 = 2\n#### 2"}])
        )
        summary = by_section(server, source, out)
        assert (summary.written, summary.visual, summary.failed) == (2, 1, 0)
        assert summary.usage["visual key steps that their image description lacks"] == 1
        first, second = map(json.loads, out.open())
        assert [one[0] for one in first["key_steps"]] == ["2 children", "4/2 = 2"]
        assert first["visual_key_steps"] == [["2 children", "children: 2 children"], ["red box"]]
        assert "visual_key_steps" not in second
        prepare(out, tmp_path / "out", PrepareOptions(RowOptions("d", tmp_path), val_share=0.0))
        rows = pq.read_table(tmp_path / "out" / "rl-train.parquet")["extra_info"].to_pylist()
        assert [one["visual_key_steps"] for one in rows] == [first["visual_key_steps"], []]

    def test_a_row_keeps_what_it_has_and_is_asked_for_the_rest(self, server: Server, tmp_path: Path) -> None:
        source, out = tmp_path / "raw.json", tmp_path / "with.jsonl"
        whole = {"Image Description": ["red box"], "Steps": ["2 children"]}
        rows = [
            described(2) | {"key_steps": ["4/2 = 2"]},
            described(3) | {"visual_key_steps": ["red box"]},
            described(4) | {"key_steps": whole},
        ]
        source.write_text(json.dumps(rows))
        summary = by_section(server, source, out)
        first, second, third = map(json.loads, out.open())
        assert first["key_steps"] == [["4/2 = 2"]]
        assert [one[0] for one in first["visual_key_steps"]] == ["2 children", "red box"]
        assert [one[0] for one in second["key_steps"]] == ["3 children", "6/3 = 2"]
        assert second["visual_key_steps"] == [["red box"]]
        assert (third["key_steps"], third["visual_key_steps"]) == ([["2 children"]], [["red box"]])
        assert (summary.visual, summary.usage["requests"]) == (3, 4)

    def test_of_verls_parquet_they_are_written_in_place(self, server: Server, tmp_path: Path) -> None:
        source, out, again = (tmp_path / f"{n}.parquet" for n in range(3))
        infos = [
            {"index": 2, "solution": described(2)["solution"], "key_steps": None},
            {
                "index": 3,
                "solution": None,
                "key_steps": '{"Image Description": ["blue box"], "Steps": ["3 children"]}',
            },
            {"index": 4, "solution": described(4)["solution"], "key_steps": '["4 children"]'},
        ]
        write_rows(source, infos)
        summary = by_section(server, source, out)
        assert (summary.written, summary.visual, summary.failed) == (3, 3, 0)
        found = [one["extra_info"] for one in pq.read_table(out).to_pylist()]
        assert [[w[0] for w in one["key_steps"]] for one in found] == [
            ["2 children", "4/2 = 2"],
            ["3 children"],
            ["4 children"],
        ]
        assert [[w[0] for w in one["visual_key_steps"]] for one in found] == [
            ["2 children", "red box"],
            ["blue box"],
            ["4 children", "red box"],
        ]
        assert [one["solution"] for one in found] == [one["solution"] for one in infos]
        by_section(server, out, again)
        assert pq.read_table(again).equals(pq.read_table(out))

    def test_a_row_that_fails_keeps_what_it_has(self, server: Server, tmp_path: Path) -> None:
        source, out = tmp_path / "raw.parquet", tmp_path / "with.parquet"
        infos = [
            {
                "index": n,
                "solution": described(n)["solution"],
                "key_steps": [f"{n} children"],
                "visual_key_steps": own,
            }
            for n, own in ((2, None), (3, ["red box"]))
        ]
        write_rows(source, infos)
        server.faults = ["prose"] * 3
        summary = by_section(server, source, out)
        assert (summary.written, summary.visual, summary.failed) == (1, 1, 1)
        found = [one["extra_info"] for one in pq.read_table(out).to_pylist()]
        assert [one["key_steps"] for one in found] == [[["2 children"]], [["3 children"]]]
        assert [one["visual_key_steps"] for one in found] == [[], [["red box"]]]

    def test_by_rules_given_ones_stay(self, tmp_path: Path) -> None:
        source, out = tmp_path / "raw.parquet", tmp_path / "with.parquet"
        said = 'Image Description: ["red box"], Step 1: ["2 children"]'
        info = {"index": 0, "solution": None, "key_steps": said}
        write_rows(source, [info])
        key_step_files.by_rules(source, out, progress=lambda n: None)
        (found,) = pq.read_table(out)["extra_info"].to_pylist()
        assert (found["key_steps"], found["visual_key_steps"]) == ([["2 children"]], [["red box"]])


def test_a_solution_that_the_rules_fail_on_is_set_aside_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No text is known that does it."""

    def rules(solution: str) -> list[tuple[str, ...]]:
        if "There are 3" in solution:
            raise RecursionError("too deep")
        return [("5 pears",)]

    monkeypatch.setattr(key_step_files, "rule_key_steps", rules)
    source, out = tmp_path / "raw.jsonl", tmp_path / "with.jsonl"
    source.write_text("".join(json.dumps(row(n)) + "\n" for n in (2, 3, 4)))
    summary = key_step_files.by_rules(source, out, progress=lambda n: None)
    assert (summary.written, summary.failed) == (2, 1)
    (failed,) = [json.loads(line) for line in key_step_files.failed_file(out).open()]
    assert failed == {"row": 1, "error": "RecursionError: too deep"}


def test_by_rules_what_the_question_or_the_answer_says_alone_is_left_out(tmp_path: Path) -> None:
    known = [
        {
            "question": "In triangle PQR, angle P is 50° and PQ = PR. Find angle Q.",
            "solution": "Since PQ = PR, 2∠Q = 180° - 50° = 130°. Therefore ∠Q = 65°.",
            "answer": "65",
        },
        {
            "question": "Find x, if 3x + 10 = 70.",
            "solution": "### Step 1:\nAs 3x + 10 = 70, 3x = 60 and x = 20.\n### The final answer is: 20",
        },
        {
            "question": "Which is closer to the Sun?",
            "solution": "Venus is nearer the Sun.",
            "answer": "Venus",
        },
    ]
    source, out = tmp_path / "raw.jsonl", tmp_path / "with.jsonl"
    source.write_text("".join(json.dumps(one) + "\n" for one in known))
    summary = key_step_files.by_rules(source, out, progress=lambda n: None)
    found = [
        [wordings[0] for wordings in parse_key_steps(json.loads(one)["key_steps"])] for one in out.open()
    ]
    assert found == [["180° - 50° = 130°"], ["3x = 60"]]
    assert summary.failed == 1
    (failed,) = [json.loads(line) for line in key_step_files.failed_file(out).open()]
    assert (
        failed["error"]
        == "the rules find none in its solution but what the question or the answer says itself"
    )


@pytest.mark.parametrize(
    "said",
    [
        'Key Elements:\nImage Description: ["red box"]; Step 1: ["3 + 4 = 7"], Step 2: ["7"]',
        {"Step 1": ["3 + 4 = 7"], "Step 2": ["7"]},
    ],
)
def test_what_r1_vls_own_prompt_gives_is_read_by_section(said: object) -> None:
    assert parse_key_steps(said) == (("3 + 4 = 7",), ("7",))
    assert parse_visual_key_steps(None, said) == (() if isinstance(said, dict) else (("red box",),))
    with pytest.raises(DataError, match="One key step alone is a list of one"):
        parse_key_steps("3 + 4 = 7")


def test_a_key_step_that_the_solution_lacks_is_not_believed(server: Server, tmp_path: Path) -> None:
    server.extra = ["7 pears"]
    summary, rows = write(server, tmp_path, n=1)
    assert len(rows[0]["key_steps"]) == 2
    assert summary.usage["key steps that their solution lacks"] == 1


@pytest.mark.parametrize("fault", ["429", "500", "503", "cut", "slow", "prose", "empty"])
def test_a_passing_fault_is_got_over(server: Server, tmp_path: Path, fault: str) -> None:
    server.faults = [fault]
    summary, rows = write(server, tmp_path, n=1)
    assert (summary.written, summary.failed, len(rows)) == (1, 0, 1)


@pytest.mark.parametrize(
    ("fault", "said"), [("500", "InternalServerError"), ("prose", "did not fit the schema")]
)
def test_a_row_that_keeps_failing_is_set_aside_with_its_error(
    server: Server, tmp_path: Path, fault: str, said: str
) -> None:
    server.faults = [fault] * 3
    summary, rows = write(server, tmp_path, n=2, concurrency=1)
    assert (summary.written, summary.failed) == (1, 1)
    (failed,) = [json.loads(line) for line in key_step_files.failed_file(tmp_path / "with.jsonl").open()]
    assert failed["row"] == 0
    assert said in failed["error"]
    assert [r["question"] for r in rows] == ["Question 3?"]


def test_a_second_run_asks_for_nothing_twice(server: Server, tmp_path: Path) -> None:
    _, first = write(server, tmp_path)
    asked = len(server.bodies)
    summary, second = write(server, tmp_path)
    assert len(server.bodies) == asked
    assert (summary.usage["requests"], summary.usage["answers from the run before"]) == (0, 6)
    assert first == second


def test_no_more_requests_run_at_once_than_asked_for(server: Server, tmp_path: Path) -> None:
    write(server, tmp_path, n=12, concurrency=3)
    assert 1 < server.most_at_once <= 3


class TestCommand:
    def run(self, *arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "verl_stepgrpo", "key-steps", *map(str, arguments)]
        bare = {"PATH": "", "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=bare | env)

    def test_by_a_model_and_by_rules(self, server: Server, tmp_path: Path) -> None:
        source = tmp_path / "raw.json"
        source.write_text(json.dumps([row(2), {"problem": "No solution?"}]))
        arguments = [source, "--out", tmp_path / "out.jsonl"]
        done = self.run(*arguments, "--model", "m", "--base-url", server.url, "--price", "1000", "2000")
        assert done.returncode == 1, done.stderr  # a row was set aside
        assert "1 row with key steps" in done.stdout
        assert "about $0.28" in done.stdout
        done = self.run(*arguments, "--rules")
        assert "1 row with key steps" in done.stdout
        rows = [json.loads(line) for line in (tmp_path / "out.jsonl").open()]
        assert rows[0]["key_steps"] == [["4/2 = 2"]]  # "2 children" is the answer

    def test_the_source_is_never_written_over(self, tmp_path: Path) -> None:
        source = tmp_path / "raw.jsonl"
        source.write_text(json.dumps(row(2)) + "\n")
        before = source.read_text()
        done = self.run(source, "--out", source, "--rules")
        assert done.returncode == 2
        assert "is the source itself" in done.stderr
        done = self.run(source, "--out", tmp_path / "out.json", "--rules")
        assert "ends with .jsonl" in done.stderr
        assert source.read_text() == before
        assert list(tmp_path.iterdir()) == [source]

    def test_rows_keep_the_key_steps_that_they_have(self, tmp_path: Path) -> None:
        source, out = tmp_path / "raw.jsonl", tmp_path / "out.jsonl"
        own = {"Steps": ["2 children", ["4/2 = 2", "half of 4"]]}
        source.write_text(json.dumps(row(2) | {"key_steps": own}) + "\n")
        assert self.run(source, "--out", out, "--rules").returncode == 0
        assert json.loads(out.read_text())["key_steps"] == [["2 children"], ["4/2 = 2", "half of 4"]]

    def test_a_row_for_rl_alone_is_passed_on_and_rows_can_be_found_again(self, tmp_path: Path) -> None:
        source, out = tmp_path / "raw.json", tmp_path / "out.jsonl"
        alone = {"problem": "How many?", "answer": 3, "level": 2}
        source.write_text(json.dumps([{"problem": "Nothing?"}, alone, row(2) | {"id": "mine"}, row(3)]))
        done = self.run(source, "--out", out, "--rules")
        assert done.returncode == 1
        assert "1 row without a solution, passed on without key steps" in done.stdout
        assert "keys that are not read: level (1 row)\n" in done.stdout
        rows = [json.loads(line) for line in out.open()]
        assert [(r["id"], "key_steps" in r) for r in rows] == [("1", False), ("mine", True), ("3", True)]
        (failed,) = [json.loads(line) for line in key_step_files.failed_file(out).open()]
        assert failed == {"row": 0, "error": "it has no solution"}

    def test_a_source_that_breaks_off_leaves_nothing(self, tmp_path: Path) -> None:
        source, out = tmp_path / "raw.json", tmp_path / "out.jsonl"
        source.write_text(json.dumps([row(2), row(3)])[:-5])
        done = self.run(source, "--out", out, "--rules")
        assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
        assert list(tmp_path.iterdir()) == [source]

    def test_a_row_with_key_steps_of_a_wrong_type_is_set_aside(self, tmp_path: Path) -> None:
        source, out = tmp_path / "raw.jsonl", tmp_path / "out.jsonl"
        source.write_text("".join(json.dumps(r) + "\n" for r in (row(2) | {"key_steps": 7}, row(3))))
        assert self.run(source, "--out", out, "--rules").returncode == 1
        assert len(out.read_text().splitlines()) == 1
        (failed,) = [json.loads(line) for line in key_step_files.failed_file(out).open()]
        assert failed["row"] == 0

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ([], "Name the model"),
            (["--model", "m"], "set OPENAI_API_KEY"),
            (["--rules", "--visual"], "--visual asks the model that --model names"),
            (["--rules", "--concurrency", "0"], "Invalid value for '--concurrency'"),
        ],
    )
    def test_a_mistake_is_named(self, tmp_path: Path, arguments: list[str], said: str) -> None:
        source = tmp_path / "raw.json"
        source.write_text("[]")
        done = self.run(source, "--out", tmp_path / "out.jsonl", *arguments)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize(("fault", "said"), [("401", "refuses the key"), ("404", "does not have 'm'")])
    def test_a_server_that_refuses_ends_the_run(
        self, server: Server, tmp_path: Path, fault: str, said: str
    ) -> None:
        source = tmp_path / "raw.json"
        source.write_text(json.dumps([row(2)]))
        server.faults = [fault]
        done = self.run(source, "--out", tmp_path / "out.jsonl", "--model", "m", "--base-url", server.url)
        assert done.returncode == 2
        assert said in done.stderr
