"""Work through a stream on several processes, in order, without reading ahead. Pure but for the processes."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from verl_stepgrpo.errors import EndedError
from verl_stepgrpo.running.children import end_with, without_interrupts

Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerDiedError(EndedError):
    """A process of the pool ended in the middle of its work."""


def in_order(
    work: Callable[[Task], Result], tasks: Iterable[Task], *, num_proc: int
) -> Generator[Result, None, None]:
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
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    with ours, theirs, ProcessPoolExecutor(num_proc, context, end_with, (theirs,)) as pool:
        try:
            for task in tasks:
                with without_interrupts():  # where the pool starts its processes
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
        except BaseException:
            ours.close()  # nobody waits for what they are at
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
