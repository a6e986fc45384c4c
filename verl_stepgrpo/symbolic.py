"""Ask math-verify whether two expressions are equal, in a process that is killed when it takes too long.

One worker process for each process that asks, started on the first question and replaced after a kill.
Safe under threads (they take turns) and fork (a child starts its own). Pure apart from that process.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import subprocess
import sys
import threading
from enum import Enum

TIME_LIMIT = 2.0
"""Seconds for one question."""

START_LIMIT = 60.0
"""Seconds for the worker's start, which imports sympy; a loaded machine takes several."""


class Equality(Enum):
    """What became of one question."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNREADABLE = "unreadable"
    TIMEOUT = "timeout"


class SymbolicChecker:
    """Owns one worker process. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None
        self._ready = False

    def equal(self, given: str, wanted: str) -> Equality:
        """Return the outcome within ``TIME_LIMIT`` seconds of its turn; TIMEOUT if the worker died."""
        with self._lock:
            worker = self._worker or self._spawn()
            reply = self._ask(worker, {"given": given, "wanted": wanted})
            if reply is None:
                self._stop()
                # The next worker loads sympy while nobody waits for it.
                self._spawn()
                return Equality.TIMEOUT
        verdicts = {True: Equality.EQUAL, False: Equality.DIFFERENT, None: Equality.UNREADABLE}
        return verdicts[json.loads(reply)]

    def close(self) -> None:
        """End the worker process."""
        with self._lock:
            self._stop()

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "verl_stepgrpo.symbolic_worker"]
        self._ready = False
        self._worker = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        return self._worker

    def _ask(self, worker: subprocess.Popen[bytes], request: dict[str, str]) -> bytes | None:
        assert worker.stdin is not None
        self._ready = self._ready or _read_line(worker, START_LIMIT) is not None
        if not self._ready:
            return None
        try:
            worker.stdin.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            return None
        return _read_line(worker, TIME_LIMIT)

    def _stop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()
            worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                if pipe is not None:
                    pipe.close()


@functools.lru_cache(maxsize=8192)
def equal(given: str, wanted: str) -> Equality:
    """Return whether two expressions are equal by math-verify; the same question is asked once."""
    return _checker_of_this_process().equal(given, wanted)


_checkers: dict[int, SymbolicChecker] = {}
_checkers_lock = threading.Lock()


def _checker_of_this_process() -> SymbolicChecker:
    with _checkers_lock:
        pid = os.getpid()
        if pid not in _checkers:
            _checkers[pid] = SymbolicChecker()
            atexit.register(_checkers[pid].close)
        return _checkers[pid]


def _read_line(worker: subprocess.Popen[bytes], limit: float) -> bytes | None:
    """Return the worker's next line, or None where it does not come in ``limit`` seconds or at all."""
    assert worker.stdout is not None
    ready, _, _ = select.select([worker.stdout], [], [], limit)
    # A reply is shorter than a pipe's buffer and written at once, so it is there whole.
    line = worker.stdout.readline() if ready else b""
    return line or None
