"""Ask math-verify whether two expressions are equal, in processes that are killed when they take too long.

Each process that asks owns up to ``MAX_WORKERS`` worker processes: the first is started on the first question,
another one while all are busy or after one had to be killed, and a killed one is replaced. Safe under threads,
asyncio (a question blocks the thread that asks) and fork (a child starts its own). Pure apart from those processes
and what is logged of them.

What a question does to a worker is its outcome: it takes too long, or ends every worker that it is asked. Trouble of
the workers themselves, which cannot be started or are killed by somebody else, is none: it raises.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import logging
import os
import threading
import time
from collections import OrderedDict
from enum import Enum

from verl_stepgrpo.errors import EndedError
from verl_stepgrpo.judging.answers.symbolic_process import Worker, WorkerDiedError

logger = logging.getLogger("verl_stepgrpo")

TIME_LIMIT = 10.0
"""Seconds of the clock for one question, where a busy machine gives no worker ``symbolic_worker.CPU_LIMIT`` before."""

START_LIMIT = 60.0
"""Seconds for a worker's start, which imports sympy; a loaded machine takes several."""

START_PAUSE = 5.0
"""Seconds in which no worker is started after two could not be: else every answer would try."""

MAX_WORKERS = 2
"""Workers alive at once for one asking process: one that hangs must not hold up every other question. verl
starts several reward workers on a machine, and each has its own."""

CACHE_SIZE = 8192
"""Decided questions that are remembered."""


_SIMPLE = ("$x+1$", "$1+x$")
"""A question that math-verify answers wherever it works."""


class Equality(Enum):
    """What became of one question; CRASHED is one that ended the workers it was asked."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNREADABLE = "unreadable"
    TIMEOUT = "timeout"
    CRASHED = "crashed"


_OUTCOMES = {True: Equality.EQUAL, False: Equality.DIFFERENT, None: Equality.UNREADABLE}


class VerifierFailedError(EndedError):
    """math-verify did not judge, for a reason that is not the question's. Says in one line what happened.

    Attributes:
        stderr: The end of what its process wrote to its standard error.
    """

    def __init__(self, reason: str, stderr: str = "") -> None:
        super().__init__(reason)
        self.stderr = stderr


class SymbolicChecker:
    """Owns the worker processes. Every method may be called from any thread."""

    def __init__(self, max_workers: int = MAX_WORKERS) -> None:
        self._max_workers = max_workers
        self._slots = threading.BoundedSemaphore(max_workers)
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._alive: set[Worker] = set()
        self._closed = False
        self._pause_until = 0.0
        self._pause_reason = ""

    def ask(self, given: str, wanted: str, *, plain: bool = False) -> Equality:
        """Return the outcome within ``TIME_LIMIT`` seconds of its turn; a worker that dies is replaced and asked anew.

        Args:
            given: The answer, as text that math-verify searches for an expression.
            wanted: The reference, one expression.
            plain: Whether math-verify's verdict counts as it is; else equations are compared as equations.

        Raises:
            VerifierFailedError: Workers cannot be started, or died and the question is not why.
        """
        request = _request(given, wanted, plain=plain)
        with self._slots:
            if time.monotonic() < self._pause_until:
                raise VerifierFailedError(self._pause_reason)
            return self._ask_again_after_a_death(request)

    def close(self) -> None:
        """End the worker processes, busy ones too; whoever waits for one gets a VerifierFailedError."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy, self._alive = self._alive.difference(idle), set()
        for worker in idle:
            worker.stop()
        for worker in busy:
            worker.process.kill()  # the thread that waits for it clears up after it

    def forget(self) -> None:
        """Let go of the workers of the process that this one was forked from, without ending them."""
        for worker in self._alive:
            worker.disown()

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that are alive."""
        with self._lock:
            return [worker.process.pid for worker in self._alive]

    def _ask_again_after_a_death(self, request: bytes) -> Equality:
        try:
            return self._ask(request)
        except WorkerDiedError as error:
            first = error
        try:
            outcome = self._ask(request)
        except WorkerDiedError as second:
            return self._after_two_deaths(first, second)
        logger.warning("math-verify's process %s. Another one was asked.", first)
        return outcome

    def _after_two_deaths(self, first: WorkerDiedError, second: WorkerDiedError) -> Equality:
        """Return CRASHED where the question is the reason: two had begun on it, and a third answers another one."""
        if not (first.at_start or second.at_start) and self._answers_a_simple_question():
            return Equality.CRASHED
        reason = f"math-verify's process {second}"
        if second.at_start:
            self._pause_until, self._pause_reason = time.monotonic() + START_PAUSE, reason
        raise VerifierFailedError(reason, second.stderr) from second

    def _answers_a_simple_question(self) -> bool:
        try:
            return self._ask(_request(*_SIMPLE)) is Equality.EQUAL
        except WorkerDiedError:
            return False

    def _ask(self, request: bytes) -> Equality:
        worker = self._take()
        reply = None
        try:
            reply = worker.ask(request, start_limit=START_LIMIT, limit=TIME_LIMIT)
        except WorkerDiedError:
            if self._closed:
                raise VerifierFailedError("math-verify's process was closed") from None
            raise
        finally:
            self._give_back(worker, usable=reply is not None)
        return Equality.TIMEOUT if reply is None else _OUTCOMES[json.loads(reply)]

    def _take(self) -> Worker:
        with self._lock:
            self._let_go_of_the_dead()
            if not self._idle:
                return self._spawn()
            # One that is still loading sympy is the last choice.
            worker = next((idle for idle in self._idle if idle.is_ready()), self._idle[0])
            self._idle.remove(worker)
            return worker

    def _let_go_of_the_dead(self) -> None:
        """Forget workers that were killed while they waited for a question: none is lost with them."""
        for worker in [idle for idle in self._idle if idle.process.poll() is not None]:
            worker.stop()
            self._idle.remove(worker)
            self._alive.discard(worker)

    def _spawn(self) -> Worker:
        worker = Worker()
        self._alive.add(worker)
        return worker

    def _give_back(self, worker: Worker, *, usable: bool) -> None:
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
            elif worker.has_started:
                self._spawn_spares()

    def _spawn_spares(self) -> None:
        """Where questions hang, a spare loads sympy while nobody waits for it, ready for the next kill."""
        with contextlib.suppress(WorkerDiedError):
            while len(self._alive) < self._max_workers:
                self._idle.append(self._spawn())


def _request(given: str, wanted: str, *, plain: bool = False) -> bytes:
    return json.dumps({"given": given, "wanted": wanted, "plain": plain}).encode() + b"\n"


class _AccidentError(Exception):
    """Keeps a question's first time-out or crash out of the cache: it may have been the machine's doing."""

    def __init__(self, outcome: Equality) -> None:
        super().__init__(outcome)
        self.outcome = outcome


def equal(given: str, wanted: str) -> Equality:
    """Return whether two TeX expressions, equations, inequalities or sets are equal.

    A decided question is asked once. One that timed out or crashed is asked once more when it comes again, and then
    remembered: a model that repeats it must not stop the run for seconds each time.

    Raises:
        VerifierFailedError: math-verify could not be asked; it is asked when the question comes again.
    """
    try:
        return _decided(given, wanted)
    except _AccidentError as accident:
        return accident.outcome


def verify_plainly(text: str, wanted: str) -> Equality:
    """Return math-verify's own verdict on a whole text; raises what ``equal`` does."""
    return _ask(text, f"${wanted}$", plain=True)


def worker_pids() -> list[int]:
    """Return the process ids of this process's workers that are alive."""
    return _state.checker().pids


def check() -> None:
    """Start a worker as ``equal`` does and ask it a simple question; takes a second or two.

    Raises:
        VerifierFailedError: It does not start, or gives another answer.
    """
    checker = SymbolicChecker(max_workers=1)
    try:
        outcome = checker.ask(*_SIMPLE)
    finally:
        checker.close()
    if outcome is not Equality.EQUAL:
        raise VerifierFailedError(f"math-verify's verdict on x+1 and 1+x: {outcome.value}")


@functools.lru_cache(maxsize=CACHE_SIZE)
def _decided(given: str, wanted: str) -> Equality:
    outcome = _ask(f"${given}$", f"${wanted}$")
    is_accident = outcome in (Equality.TIMEOUT, Equality.CRASHED)
    if is_accident and not _state.had_accident_before((given, wanted)):
        raise _AccidentError(outcome)
    return outcome


def _ask(given: str, wanted: str, *, plain: bool = False) -> Equality:
    try:
        return _state.checker().ask(given, wanted, plain=plain)
    except VerifierFailedError as error:
        if _state.fails_for_the_first_time():
            logger.error(
                "%s. Answers that need math-verify are not judged: they count in verifier_failed, are paid as wrong, "
                "and are asked again when they come again. Mend this; `verl-stepgrpo doctor` tries it in each "
                "process. It wrote:\n%s",
                error,
                error.stderr or "(nothing)",
            )
        raise


class _ProcessState:
    """What one process shares between its threads: its checker, and what went wrong once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._checker: SymbolicChecker | None = None
        self._accidents: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._has_failed = False

    def checker(self) -> SymbolicChecker:
        with self._lock:
            if self._checker is None:
                self._checker = SymbolicChecker()
                atexit.register(self._checker.close)
            return self._checker

    def had_accident_before(self, question: tuple[str, str]) -> bool:
        with self._lock:
            before = question in self._accidents
            self._accidents[question] = None
            if len(self._accidents) > CACHE_SIZE:
                self._accidents.popitem(last=False)
            return before

    def fails_for_the_first_time(self) -> bool:
        with self._lock:
            has_failed, self._has_failed = self._has_failed, True
            return not has_failed

    def start_anew_after_fork(self) -> None:
        """Locks that another thread held at the fork would stay locked for ever in the child."""
        if self._checker is not None:
            atexit.unregister(self._checker.close)
            self._checker.forget()
        self.__init__()  # type: ignore[misc]


_state = _ProcessState()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_state.start_anew_after_fork)
