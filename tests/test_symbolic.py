"""The processes that math-verify runs in: killed at the limit, replaced, bounded, and gone with their parent."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import ray

from verl_stepgrpo.judging.answers import symbolic, symbolic_worker
from verl_stepgrpo.judging.answers.symbolic import Equality, SymbolicChecker, VerifierFailedError

ENDLESS = "$(a+b+c+d+f+g+h)^{60}$"


@pytest.fixture
def checker() -> Iterator[SymbolicChecker]:
    checker = SymbolicChecker()
    yield checker
    checker.close()


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_the_outcomes(checker: SymbolicChecker) -> None:
    assert checker.ask("$x+1$", "$1+x$") is Equality.EQUAL
    assert checker.ask("$x+2$", "$1+x$") is Equality.DIFFERENT
    assert checker.ask("", "$1+x$") is Equality.UNREADABLE


@pytest.mark.parametrize(
    ("given", "wanted", "outcome"),
    [
        ("y=2x+1", "2x-y+1=0", Equality.EQUAL),
        ("4x+6y=12", "2x+3y=6", Equality.EQUAL),
        ("3x+2y=6", "2x+3y=6", Equality.DIFFERENT),
        ("y=2x+2", "y=2x+1", Equality.DIFFERENT),
        ("x=3", "y=3", Equality.DIFFERENT),
        ("y=2x", "2x", Equality.DIFFERENT),
        ("x<3", "(-\\infty,3)", Equality.EQUAL),
        ("(-\\infty,3)", "x<3", Equality.EQUAL),
        ("x\\le 3", "(-\\infty,3)", Equality.DIFFERENT),
        ("0.0000001", "0.0000002", Equality.DIFFERENT),
    ],
)
def test_equations_and_inequalities_are_compared_as_such(given: str, wanted: str, outcome: Equality) -> None:
    assert symbolic.equal(given, wanted) is outcome


def test_a_question_that_takes_too_long_is_killed_and_the_next_is_answered(checker: SymbolicChecker) -> None:
    assert checker.ask("$x$", "$x$") is Equality.EQUAL
    (before,) = checker.pids
    start = time.monotonic()
    assert checker.ask(ENDLESS, "$x^2+1$") is Equality.TIMEOUT
    assert time.monotonic() - start < 30  # a busy machine has to start a worker, too
    assert gone(before)
    assert checker.ask("$x$", "$x$") is Equality.EQUAL


def test_a_worker_that_the_machine_leaves_waiting_is_not_out_of_time(checker: SymbolicChecker) -> None:
    """Stopped, it has a share of no processor, as for a moment on a machine with other work."""
    checker.ask("$x$", "$x$")
    (pid,) = checker.pids
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(checker.ask, "$x+2$", "$2+x$")
        time.sleep(symbolic_worker.CPU_LIMIT + 0.5)
        os.kill(pid, signal.SIGCONT)
        assert waiting.result() is Equality.EQUAL
    assert checker.pids == [pid]


def test_an_expression_that_wants_too_much_memory_ends_no_other_question(checker: SymbolicChecker) -> None:
    assert checker.ask("$" + "(" * 100_000, "$x$") is not Equality.EQUAL
    assert checker.ask("$x+1$", "$1+x$") is Equality.EQUAL


def test_threads_share_a_bounded_number_of_workers(checker: SymbolicChecker) -> None:
    most = 0

    def ask(i: int) -> Equality:
        nonlocal most
        outcome = checker.ask(f"${i}x$", "$3x$")
        most = max(most, len(checker.pids))
        return outcome

    with ThreadPoolExecutor(12) as threads:
        outcomes = list(threads.map(ask, range(12)))
    assert outcomes == [Equality.EQUAL if i == 3 else Equality.DIFFERENT for i in range(12)]
    assert 1 <= most <= symbolic.MAX_WORKERS


def test_a_question_that_hangs_does_not_hold_up_the_others(checker: SymbolicChecker) -> None:
    checker.ask("$x$", "$x$")
    hanging = threading.Thread(target=checker.ask, args=(ENDLESS, "$x^2+1$"))
    hanging.start()
    outcomes = [checker.ask(f"${i}x$", "$3x$") for i in range(5)]
    hanging.join()
    assert outcomes.count(Equality.EQUAL) == 1
    assert Equality.TIMEOUT not in outcomes


def test_closing_ends_the_workers_and_whoever_waits_for_one(checker: SymbolicChecker) -> None:
    checker.ask("$x$", "$x$")
    pids = checker.pids
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(checker.ask, ENDLESS, "$x^2+1$")
        time.sleep(0.5)
        checker.close()
        with pytest.raises(VerifierFailedError, match="closed"):
            waiting.result(timeout=1.5)
    assert all(gone(pid) for pid in pids)
    assert checker.pids == []


def test_a_time_out_is_asked_again_once_and_then_remembered() -> None:
    question = ("(a+b+c+d+f+g+k)^{60}", "x^2+1")
    durations = []
    for _ in range(3):
        start = time.monotonic()
        assert symbolic.equal(*question) is Equality.TIMEOUT
        durations.append(time.monotonic() - start)
    assert [duration > symbolic_worker.CPU_LIMIT / 2 for duration in durations] == [True, True, False]


def test_a_forked_child_starts_its_own_worker_and_leaves_the_parents_alone() -> None:
    assert symbolic.equal("x+5", "5+x") is Equality.EQUAL
    parents = set(symbolic.worker_pids())
    pid = os.fork()
    if pid == 0:
        right = symbolic.equal("x+6", "6+x") is Equality.EQUAL
        own = parents.isdisjoint(symbolic.worker_pids())
        symbolic._state.checker().close()
        os._exit(0 if right and own else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert symbolic.equal("x+7", "7+x") is Equality.EQUAL
    assert set(symbolic.worker_pids()) == parents


def test_in_an_event_loop_and_its_threads() -> None:
    async def ask() -> list[Equality]:
        direct = symbolic.equal("x+8", "8+x")
        in_threads = [asyncio.to_thread(symbolic.equal, f"x+{i}", "x+9") for i in range(8, 11)]
        return [direct, *await asyncio.gather(*in_threads)]

    outcomes = asyncio.run(ask())
    assert outcomes == [Equality.EQUAL, Equality.DIFFERENT, Equality.EQUAL, Equality.DIFFERENT]


def test_in_a_ray_actor_whose_worker_ends_with_it() -> None:
    @ray.remote
    class Rewards:
        async def ask(self) -> tuple[Equality, list[int]]:
            outcome = await asyncio.to_thread(symbolic.equal, "x+1", "1+x")
            return outcome, symbolic.worker_pids()

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        actor = Rewards.remote()
        outcome, pids = ray.get(actor.ask.remote(), timeout=120)
        assert outcome is Equality.EQUAL
        ray.kill(actor)
        deadline = time.monotonic() + 10
        while not all(gone(pid) for pid in pids):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        ray.shutdown()


@pytest.mark.parametrize("question", ["$x$", ENDLESS], ids=["idle", "busy"])
def test_no_worker_is_left_behind_when_its_parent_is_killed(question: str) -> None:
    code = (
        "import time\n"
        "from verl_stepgrpo.judging.answers import symbolic\n"
        "checker = symbolic.SymbolicChecker()\n"
        "checker.ask('$x$', '$x$')\n"
        "print(checker.pids[0], flush=True)\n"
        f"checker.ask({question!r}, '$x^2+1$')\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    time.sleep(0.5)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + symbolic_worker.LAST_LIMIT + 5
    while not gone(worker):
        assert time.monotonic() < deadline
        time.sleep(0.2)
