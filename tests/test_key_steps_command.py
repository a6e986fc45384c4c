"""Key steps from a model behind an OpenAI-compatible server, over real HTTP, with its faults; and by rules."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from verl_stepgrpo.data import key_step_files
from verl_stepgrpo.data.key_step_model import ServerOptions

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


class Server:
    """A scripted server: answers as a model does, after the faults that were asked for."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.asked: Counter[str] = Counter()
        self.extra: list[str] = []
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer.handle(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def handle(self, request: Any) -> None:
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        form = body["response_format"]["json_schema"]["name"]
        with self._lock:
            self.asked[form] += 1
            fault = self.faults.pop(0) if self.faults else ""
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        time.sleep(0.02)
        with self._lock:
            self._at_once -= 1
        if fault == "cut":
            request.connection.close()
            return
        if fault == "slow":
            time.sleep(3)
        if fault.isdigit():
            self._send(request, int(fault), {"error": {"message": f"fault {fault}"}})
            return
        content = {"prose": "Here you are!", "empty": '{"key_steps": [], "wordings": 3}'}.get(fault)
        content = content or getattr(self, form.lower())(body["messages"][0]["content"])
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        message = {"role": "assistant", "content": content}
        self._send(
            request,
            200,
            {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": "m",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": usage,
            },
        )

    def extracted(self, prompt: str) -> str:
        n = re.search(r"There are (\d+) children", prompt)[1]  # type: ignore[index]
        return json.dumps({"key_steps": [f"{n} children", f"{2 * int(n)}/{n} = 2", *self.extra]})

    def augmented(self, prompt: str) -> str:
        steps = json.loads(re.search(r"\[.*\]", prompt)[0])  # type: ignore[index]
        return json.dumps(
            {
                "wordings": [
                    [f"children: {s}" if "children" in s else s.replace("/", " : "), "99"] for s in steps
                ]
            }
        )

    @staticmethod
    def _send(request: Any, status: int, answer: dict) -> None:
        data = json.dumps(answer).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(data)))
        request.send_header("Retry-After-Ms", "10")
        request.end_headers()
        request.wfile.write(data)


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
    asked = sum(server.asked.values())
    summary, second = write(server, tmp_path)
    assert sum(server.asked.values()) == asked
    assert (summary.usage["requests"], summary.usage["answers from the run before"]) == (0, 6)
    assert first == second


def test_no_more_requests_run_at_once_than_asked_for(server: Server, tmp_path: Path) -> None:
    write(server, tmp_path, n=12, concurrency=3)
    assert 1 < server.most_at_once <= 3


class TestCommand:
    def run(self, *arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "verl_stepgrpo", "key-steps", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env={"PATH": "", **env})

    def test_by_a_model_and_by_rules(self, server: Server, tmp_path: Path) -> None:
        source = tmp_path / "raw.json"
        source.write_text(json.dumps([row(2), {"problem": "No solution?"}]))
        arguments = [source, "--out", tmp_path / "out.jsonl"]
        done = self.run(*arguments, "--model", "m", "--base-url", server.url, "--price", "1000", "2000")
        assert done.returncode == 1, done.stderr  # a row was set aside
        assert "1 rows with key steps" in done.stdout
        assert "about $0.28" in done.stdout
        done = self.run(*arguments, "--rules")
        assert "1 rows with key steps" in done.stdout
        rows = [json.loads(line) for line in (tmp_path / "out.jsonl").open()]
        assert rows[0]["key_steps"] == [["4/2 = 2"], ["2 children"]]

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ([], "Name the model"),
            (["--model", "m"], "set OPENAI_API_KEY"),
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
