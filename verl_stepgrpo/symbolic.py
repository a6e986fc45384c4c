"""Ask math-verify whether two expressions are equal, in processes that are killed when they take too long.

Each process that asks owns up to ``MAX_WORKERS`` worker processes: the first is started on the first question,
another one while all are busy or after one had to be killed, and a killed one is replaced. Safe under threads,
asyncio (a question blocks the thread that asks) and fork (a child starts its own). Pure apart from those processes.
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
from collections import OrderedDict
from enum import Enum

TIME_LIMIT = 2.0
"""Seconds for one question."""

START_LIMIT = 60.0
"""Seconds for a worker's start, which imports sympy; a loaded machine takes several."""

MAX_WORKERS = 2
"""Workers alive at once for one asking process: one that hangs must not hold up every other question. verl
starts several reward workers on a machine, and each has its own."""

CACHE_SIZE = 8192
"""Decided questions that are remembered."""


class Equality(Enum):
    """What became of one question."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNREADABLE = "unreadable"
    TIMEOUT = "timeout"


_OUTCOMES = {True: Equality.EQUAL, False: Equality.DIFFERENT, None: Equality.UNREADABLE}


class SymbolicChecker:
    """Owns the worker processes. Every method may be called from any thread."""

    def __init__(self, max_workers: int = MAX_WORKERS) -> None:
        self._max_workers = max_workers
        self._slots = threading.BoundedSemaphore(max_workers)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._alive: set[_Worker] = set()
        self._closed = False

    def ask(self, given: str, wanted: str, *, plain: bool = False) -> Equality:
        """Return the outcome within ``TIME_LIMIT`` seconds of its turn; TIMEOUT if the worker died.

        Args:
            given: The answer, as text that math-verify searches for an expression.
            wanted: The reference, one expression.
            plain: Whether math-verify's verdict counts as it is; else equations are compared as equations.
        """
        with self._slots:
            worker = self._take()
            reply = worker.ask({"given": given, "wanted": wanted, "plain": plain})
            self._give_back(worker, usable=reply is not None)
        return Equality.TIMEOUT if reply is None else _OUTCOMES[json.loads(reply)]

    def close(self) -> None:
        """End the worker processes, busy ones too; whoever waits for one gets TIMEOUT."""
        with self._lock:
            self._closed = True
            workers, self._alive, self._idle = self._alive, set(), []
        for worker in workers:
            worker.stop()

    def forget(self) -> None:
        """Let go of the workers of the process that this one was forked from, without ending them."""
        for worker in self._alive:
            worker.disown()

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that are alive."""
        with self._lock:
            return [worker.process.pid for worker in self._alive]

    def _take(self) -> _Worker:
        with self._lock:
            if not self._idle:
                return self._spawn()
            # One that is still loading sympy is the last choice.
            worker = next((idle for idle in self._idle if idle.is_ready()), self._idle[0])
            self._idle.remove(worker)
            return worker

    def _spawn(self) -> _Worker:
        worker = _Worker()
        self._alive.add(worker)
        return worker

    def _give_back(self, worker: _Worker, *, usable: bool) -> None:
        if not usable:
            worker.stop()
        with self._lock:
            self._alive.discard(worker)
            if self._closed:
                worker.stop()
                return
            if usable:
                self._alive.add(worker)
                self._idle.append(worker)
            # Where questions hang, a spare loads sympy while nobody waits for it, ready for the next kill.
            while not usable and len(self._alive) < self._max_workers:
                self._idle.append(self._spawn())


class _Worker:
    """One worker process; used by one thread at a time."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "verl_stepgrpo.symbolic_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        self._ready = False

    def ask(self, request: dict[str, object]) -> bytes | None:
        """Return the reply, or None where it does not come in time or at all."""
        try:
            if not self.is_ready(START_LIMIT):
                return None
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            return self._read_line(TIME_LIMIT)
        except (OSError, ValueError):  # the worker died, or was stopped by another thread
            return None

    def is_ready(self, limit: float = 0.0) -> bool:
        """Return whether it has loaded sympy, waiting for that at most ``limit`` seconds."""
        self._ready = self._ready or self._read_line(limit) is not None
        return self._ready

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self._close_pipes()

    def disown(self) -> None:
        # Else this process would hold the pipe open, and the worker would outlive its owner.
        self._close_pipes()
        self.process.returncode = 0

    def _close_pipes(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _read_line(self, limit: float) -> bytes | None:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], limit)
        # A reply is shorter than a pipe's buffer and written at once, so it is there whole.
        line = self.process.stdout.readline() if ready else b""
        return line or None


class _TimedOutOnceError(Exception):
    """Keeps a first time-out out of the cache: the machine may only have been busy."""


def equal(given: str, wanted: str) -> Equality:
    """Return whether two TeX expressions, equations, inequalities or sets are equal.

    A decided question is asked once. One that timed out is asked once more when it comes again, and then
    remembered: a model that repeats it must not stop the run for two seconds each time.
    """
    try:
        return _decided(given, wanted)
    except _TimedOutOnceError:
        return Equality.TIMEOUT


def verify_plainly(text: str, wanted: str) -> Equality:
    """Return math-verify's own verdict on a whole text."""
    return _state.checker().ask(text, f"${wanted}$", plain=True)


def worker_pids() -> list[int]:
    """Return the process ids of this process's workers that are alive."""
    return _state.checker().pids


@functools.lru_cache(maxsize=CACHE_SIZE)
def _decided(given: str, wanted: str) -> Equality:
    outcome = _state.checker().ask(f"${given}$", f"${wanted}$")
    if outcome is Equality.TIMEOUT and not _state.timed_out_before((given, wanted)):
        raise _TimedOutOnceError
    return outcome


class _ProcessState:
    """What one process shares between its threads: its checker and the questions that timed out once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._checker: SymbolicChecker | None = None
        self._timed_out: OrderedDict[tuple[str, str], None] = OrderedDict()

    def checker(self) -> SymbolicChecker:
        with self._lock:
            if self._checker is None:
                self._checker = SymbolicChecker()
                atexit.register(self._checker.close)
            return self._checker

    def timed_out_before(self, question: tuple[str, str]) -> bool:
        with self._lock:
            before = question in self._timed_out
            self._timed_out[question] = None
            if len(self._timed_out) > CACHE_SIZE:
                self._timed_out.popitem(last=False)
            return before

    def start_anew_after_fork(self) -> None:
        """Locks that another thread held at the fork would stay locked for ever in the child."""
        if self._checker is not None:
            atexit.unregister(self._checker.close)
            self._checker.forget()
        self.__init__()  # type: ignore[misc]


_state = _ProcessState()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_state.start_anew_after_fork)
