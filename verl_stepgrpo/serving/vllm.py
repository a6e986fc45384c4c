"""Start vLLM's own OpenAI-compatible server for one model, and end it again."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from verl_stepgrpo.errors import ConfigError, DataError, EndedError
from verl_stepgrpo.running.children import running

START_LIMIT = 1800.0
"""Seconds in which a server has to be ready: a large model takes minutes to load, and to download."""
_POLL = 0.5
_ERROR = re.compile(r"\b\w*(?:Error|Exception): ")


@contextlib.contextmanager
def vllm_server(model: str, arguments: Sequence[str], log: Path) -> Iterator[str]:
    """Serve ``model`` as ``vllm serve`` does, with further ``arguments``, on a free port, and yield its base URL.

    Args:
        model: A folder or a name; the server has it under just this name.
        arguments: As ``vllm serve`` takes them, such as ``["--tensor-parallel-size", "4"]``.
        log: File for what the server says.

    Raises:
        ConfigError: vLLM is not installed.
        DataError: The server ended before it was ready, or was not in time; with the end of its log.
        EndedError: It ended while it was asked.
    """
    if importlib.util.find_spec("vllm") is None:
        raise ConfigError(
            "vLLM is not installed in this environment. Install it, or name a server: --base-url URL."
        )
    port = _free_port()
    # Not the script `vllm serve`: it looks for a distribution of just that name, which CPU builds do not have.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    command += ["--host", "127.0.0.1", "--port", str(port), *arguments]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file, running(command, file) as process:
        _wait_until_ready(process, port, log)
        try:
            yield f"http://127.0.0.1:{port}/v1"
        except EndedError as error:
            if process.poll() is None:
                raise
            raise EndedError(f"vLLM's server ended with status {process.returncode}. {_said(log)}") from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    began = time.monotonic()
    while not _is_healthy(port):
        if process.poll() is not None:
            raise DataError(f"vLLM's server ended with status {process.returncode}. {_said(log)}")
        if time.monotonic() - began > START_LIMIT:
            raise DataError(f"vLLM's server was not ready in {START_LIMIT:.0f} s. {_said(log)}")
        time.sleep(_POLL)


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _said(log: Path, last: int = 10) -> str:
    """Return the first error of the log, which is the cause of those after it, and its last lines."""
    lines = log.read_text(errors="replace").splitlines()
    first = [line for line in lines if _ERROR.search(line) and "WARNING" not in line][:1]
    said = (
        [f"The first error in {log}:", *first, "Its last lines:"] if first else [f"The last lines of {log}:"]
    )
    return "\n".join([*said, *lines[-last:]])
