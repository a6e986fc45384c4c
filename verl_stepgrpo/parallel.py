"""Work through a stream on several processes, in order, without reading ahead. Pure but for the processes."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerDiedError(RuntimeError):
    """A process of the pool ended in the middle of its work."""


def in_order(work: Callable[[Task], Result], tasks: Iterable[Task], *, num_proc: int) -> Iterator[Result]:
    """Yield what ``work`` gives for each of ``tasks``, in their order.

    At most two tasks a process are taken from ``tasks`` ahead of the results, so that memory stays flat.

    Args:
        work: A function that another process can import.
        tasks: What can be pickled.
        num_proc: Processes, at least 1.

    Raises:
        WorkerDiedError: A process ended, as one that is killed does; multiprocessing.Pool would wait for it for ever.
    """
    running: deque[Future[Result]] = deque()
    # Not forked: the symbolic verifier and progress bars have threads.
    with ProcessPoolExecutor(num_proc, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for task in tasks:
                running.append(pool.submit(work, task))
                if len(running) >= 2 * num_proc:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        except BrokenProcessPool as error:
            raise WorkerDiedError(
                "a worker process ended in the middle of its work: it was killed, perhaps for want of memory (then "
                "try --num-proc 1), or it could not start (then its error stands above)"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
