"""The front page's three starts, each run as it stands there, but for the model, which a local server plays."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from chat_server import ChatServer
from PIL import Image
from test_from_grpo import SCRIPT
from test_rules import composed
from test_rules import said as messages

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def start(name: str) -> str:
    """Return what stands below a start, up to the next."""
    return README.partition(f"**You have {name}")[2].partition("\n**You have ")[0].partition("\n## ")[0]


def commands(name: str) -> list[list[str]]:
    (block,) = re.findall(r"```bash\n(.*?)```", start(name), re.DOTALL)
    return [shlex.split(line) for line in block.splitlines()]


def run(words: list[str], *more: str) -> str:
    assert words[0] == "verl-stepgrpo"
    done = subprocess.run(
        [sys.executable, "-m", "verl_stepgrpo", *words[1:], *more],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def _raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    Image.new("RGB", (112, 84), "red").save("images/apples.png")


class Server(ChatServer):
    """A model that adds rightly three times of four."""

    def contents(self, body: dict, fault: str) -> list[str]:
        said = body["messages"][0]["content"]
        text = said if isinstance(said, str) else said[-1]["text"]
        n = int(re.search(r"(\d+) \+ 2", text)[1])  # type: ignore[index]
        right = f"### Step 1:\nWe add: {n} + 2 = {n + 2}\n### The final answer is: {n + 2}"
        wrong = f"### Step 1:\nWe add: {n} + 3 = {n + 3}\n### The final answer is: {n + 3}"
        return [wrong if i % 4 == 0 else right for i in range(body["n"])]


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def test_a_grpo_script(caplog: pytest.LogCaptureFixture) -> None:
    page = start("a GRPO script for verl")
    named = re.findall(r"`(\+?[a-z_.]+=[^`]+)`", page)
    taken_out = "algorithm.adv_estimator=grpo"
    assert named[:2] == ["+stepgrpo=recommended", taken_out]
    Path("mine.py").write_text("def compute_score(*args, **kwargs):\n    return 1.0\n")
    own = "reward.custom_reward_function.path=mine.py"
    script = [word for word in SCRIPT if word != taken_out]
    config = composed(*script, own, *(word for word in named if word != taken_out))
    assert messages(config, caplog) == ([], [])
    assert config.algorithm.stepgrpo.format == "think"
    assert config.algorithm.stepgrpo.extra_weights == {"score": 0.5}


def test_questions_and_answers(server: Server) -> None:
    rows = [
        {"question": f"What is {n} + 2?", "answer": str(n + 2), "image": "apples.png"} for n in range(10, 40)
    ]
    Path("data.json").write_text(json.dumps(rows))
    prepare, sample, mine = commands("questions and answers")
    run(prepare)
    run(sample, "--base-url", server.url)
    run(mine)
    found = [row["extra_info"]["key_steps"] for row in pq.read_table("train.parquet").to_pylist()]
    assert found
    assert all(re.fullmatch(r"\d+ \+ 2 = \d+", key_steps[0][0]) for key_steps in found)


def test_worked_solutions() -> None:
    solution = (
        "### Image Description:\nApples.\n### Rationales:\nAdd.\n### Step 1:\n{n} + 2 = {total}\n"
        "### The final answer is: {total}"
    )
    rows = [
        {
            "question": f"What is {n} + 2?",
            "solution": solution.format(n=n, total=n + 2),
            "image": "apples.png",
        }
        for n in range(10, 40)
    ]
    Path("data.json").write_text(json.dumps(rows))
    for command in commands("worked solutions"):
        run(command)
    (first, *_) = pq.read_table("prepared/rl-train.parquet").to_pylist()
    n = 10 + first["extra_info"]["index"]
    assert first["extra_info"]["key_steps"] == [[f"{n} + 2 = {n + 2}"]]
    assert pq.read_metadata("prepared/sft-train.parquet").num_rows > 20
