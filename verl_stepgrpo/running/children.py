"""Hold child processes so that they end with this process, whatever ends it.

A child holds one end of a pipe, and this process alone the other, which the kernel closes when the process is gone,
killed or not. (Linux's PR_SET_PDEATHSIG would follow the thread that started the child, and reach no grandchildren.)
Run as a script, this file keeps a command in the same way that knows nothing of such a pipe. Pure but for the
processes; imports nothing of the package.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from types import FrameType
from typing import IO, NoReturn

END_LIMIT = 30.0
"""Seconds that a command has to end by itself: vLLM's server ends its engine."""


def end_with(line: Connection) -> None:
    """End this process, in the middle of whatever it does, when nobody holds the other end of ``line``."""
    threading.Thread(target=_wait_and_end, args=(line,), daemon=True).start()


def _wait_and_end(line: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        line.recv_bytes()
    os._exit(1)


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Start child processes in the block that Ctrl-C, which reaches all processes of a terminal, does not end.

    Their parent ends them. One that comes meanwhile is not lost: this process has it after the block.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def running(command: Sequence[str], log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command for the length of the block; it and all that it starts end with the block, or with this process.

    The process that is given ends with the status of the command.
    """
    keeper = [sys.executable, "-I", __file__, *command]
    process = subprocess.Popen(
        keeper, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait()


def _keep(command: Sequence[str]) -> int:
    """Run ``command`` until standard input is closed, or it ends; return its status."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_wait_for_the_end_of_input, args=(child,), daemon=True).start()
    try:
        status = child.wait()
    finally:
        _end(child)
    return status if status >= 0 else 128 - status


def _wait_for_the_end_of_input(child: subprocess.Popen[bytes]) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child and what it started; what is left when it has ended has nobody to work for."""
    if child.poll() is None:
        _signal(child, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(END_LIMIT)
    _signal(child, signal.SIGKILL)
    child.wait()


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    raise SystemExit(_keep(sys.argv[1:]))
