"""The process that math-verify runs in: killed at the limit, replaced, and gone with its parent."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import psutil
import pytest

from verl_stepgrpo import symbolic, symbolic_worker
from verl_stepgrpo.symbolic import Equality, SymbolicChecker

ENDLESS = "$(a+b+c+d+f+g+h)^{60}$"


@pytest.fixture
def checker() -> SymbolicChecker:
    checker = SymbolicChecker()
    yield checker
    checker.close()


def test_the_outcomes(checker: SymbolicChecker) -> None:
    assert checker.equal("$x+1$", "1+x") is Equality.EQUAL
    assert checker.equal("$x+2$", "1+x") is Equality.DIFFERENT
    assert checker.equal("", "1+x") is Equality.UNREADABLE


def test_a_question_that_takes_too_long_is_killed_and_the_next_is_answered(checker: SymbolicChecker) -> None:
    assert checker.equal("$x$", "x") is Equality.EQUAL
    before = checker._worker
    start = time.monotonic()
    assert checker.equal(ENDLESS, "x^2+1") is Equality.TIMEOUT
    assert time.monotonic() - start < symbolic.TIME_LIMIT + 1
    assert before is not None
    assert not psutil.pid_exists(before.pid)
    assert checker.equal("$x$", "x") is Equality.EQUAL


def test_a_worker_that_died_is_replaced(checker: SymbolicChecker) -> None:
    checker.equal("$x$", "x")
    assert checker._worker is not None
    checker._worker.kill()
    checker._worker.wait()
    assert checker.equal("$x+1$", "1+x") is Equality.TIMEOUT
    assert checker.equal("$x+1$", "1+x") is Equality.EQUAL


def test_threads_take_turns(checker: SymbolicChecker) -> None:
    outcomes: dict[int, Equality] = {}

    def ask(i: int) -> None:
        outcomes[i] = checker.equal(f"${i}x$", "3x")

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {i: Equality.EQUAL if i == 3 else Equality.DIFFERENT for i in range(6)}


@pytest.mark.parametrize("question", ["$x$", ENDLESS], ids=["idle", "busy"])
def test_no_worker_is_left_behind_when_its_parent_is_killed(question: str) -> None:
    code = (
        "import json, sys, time\n"
        "from verl_stepgrpo import symbolic\n"
        "symbolic.TIME_LIMIT = 60\n"
        "checker = symbolic.SymbolicChecker()\n"
        "checker.equal('$x$', 'x')\n"
        "print(checker._worker.pid, flush=True)\n"
        f"checker.equal({question!r}, 'x^2+1')\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = psutil.Process(int(parent.stdout.readline()))
    time.sleep(0.5)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + symbolic_worker.LAST_LIMIT + 5
    while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.2)
