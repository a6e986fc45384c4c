"""The pool of processes keeps order, reads no further than it has to, and does not wait for a dead process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from verl_stepgrpo.running.parallel import WorkerDiedError, in_order


def square(n: int) -> int:
    return n * n


def die_at_three(n: int) -> int:
    if n == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def test_results_come_in_the_order_of_the_tasks_and_few_tasks_are_read_ahead() -> None:
    read = 0

    def tasks() -> Iterator[int]:
        nonlocal read
        for n in range(50):
            read += 1
            yield n

    for done, result in enumerate(in_order(square, tasks(), num_proc=2), start=1):
        assert result == (done - 1) ** 2
        assert read <= done + 4
    assert done == 50


def test_a_killed_process_is_an_error_and_not_a_wait_for_ever() -> None:
    with pytest.raises(WorkerDiedError, match="ended in the middle of its work"):
        list(in_order(die_at_three, range(10), num_proc=2))
