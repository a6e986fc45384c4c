"""Child processes end with the process that started them, whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

# Where tests run in the background an interrupt is ignored, and children inherit that.
POOL = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from verl_stepgrpo.running.parallel import in_order
from test_children import work
for _ in in_order(work, [FOLDER] * 9, num_proc=2):
    pass
"""
COMMAND = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from verl_stepgrpo.running.children import running
from test_children import GRANDCHILD
with open(FOLDER + "/log", "wb") as log, running([sys.executable, "-c", GRANDCHILD, FOLDER], log):
    time.sleep(100)
"""
GRANDCHILD = """
import subprocess, sys
from test_children import work
subprocess.Popen([sys.executable, "-c", "import sys, test_children as t; t.work(sys.argv[1])", sys.argv[1]])
work(sys.argv[1])
"""


def work(folder: str) -> None:
    """Say which process this is, and be busy for long."""
    Path(folder, f"{os.getpid()}.pid").touch()
    time.sleep(100)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
@pytest.mark.parametrize("script", [POOL, COMMAND], ids=["pool", "command"])
def test_they_end_with_it(script: str, number: signal.Signals, tmp_path: Path) -> None:
    code = script.replace("FOLDER", repr(str(tmp_path)))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE) as parent:
        try:
            wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
            children = [int(path.stem) for path in tmp_path.glob("*.pid")]
            assert all(map(is_running, children))
        finally:
            parent.send_signal(number)
        wait_for(lambda: not any(map(is_running, children)), 30)


def test_the_status_is_that_of_the_command(tmp_path: Path) -> None:
    from verl_stepgrpo.running.children import running

    codes = {"raise SystemExit(3)": 3, "import os; os.kill(os.getpid(), 9)": 137}
    for code, status in codes.items():
        with (tmp_path / "log").open("wb") as log, running([sys.executable, "-c", code], log) as process:
            assert process.wait(60) == status


def test_what_a_command_leaves_behind_ends_too(tmp_path: Path) -> None:
    from verl_stepgrpo.running.children import running

    starter = GRANDCHILD.replace("\nwork(", "\n0 and work(")
    environment = {"PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}
    command = [
        "env",
        *(f"{k}={v}" for k, v in environment.items()),
        sys.executable,
        "-c",
        starter,
        str(tmp_path),
    ]
    with (tmp_path / "log").open("wb") as log, running(command, log) as process:
        process.wait(60)
        # It may have ended before it began: then there is nothing to leave.
        assert not any(is_running(int(path.stem)) for path in tmp_path.glob("*.pid"))


def test_a_server_that_ends_while_it_is_asked_says_its_status_and_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In vLLM's place stands a server that dies when it has said that it is ready."""
    from verl_stepgrpo.errors import EndedError
    from verl_stepgrpo.serving.vllm import vllm_server

    module = tmp_path / "vllm" / "entrypoints" / "openai" / "api_server.py"
    module.parent.mkdir(parents=True)
    for folder in module.relative_to(tmp_path).parents[:3]:
        (tmp_path / folder / "__init__.py").touch()
    module.write_text(
        "import http.server, sys\n"
        "class Handler(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200)\n"
        "        self.end_headers()\n"
        "server = http.server.HTTPServer(('127.0.0.1', int(sys.argv[sys.argv.index('--port') + 1])), Handler)\n"
        "server.handle_request()\n"
        "print('RuntimeError: out of memory')\n"
        "raise SystemExit(7)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))

    def ask() -> None:
        with vllm_server("m", [], tmp_path / "log"):
            time.sleep(1)
            raise EndedError("nobody answers")

    with pytest.raises(
        EndedError, match=r"vLLM's server ended with status 7\.[^$]*RuntimeError: out of memory"
    ):
        ask()
