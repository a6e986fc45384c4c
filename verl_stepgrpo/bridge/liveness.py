"""End a job whose reward workers or agent-loop workers have died, instead of waiting for ever.

verl 0.9.1's sampler polls until enough groups are finished. Groups of a dead worker never finish, and
nothing else looks. So the workers are pinged from within the polling loop, in the trainer's process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError

PING_INTERVAL = 10.0
"""Seconds between two rounds of pings, so that a death ends the job well within a minute."""

PING_TIMEOUT = 5.0
"""Seconds that a round waits for answers. A busy worker may take longer; only a dead one ends the job."""

logger = logging.getLogger("verl_stepgrpo")


class WorkerDiedError(RuntimeError):
    """A worker that the job cannot go on without is gone."""


class Watch:
    """Pings a set of Ray actors, at most once in ``PING_INTERVAL`` seconds.

    Args:
        workers: Actor handles by a name for messages.
    """

    def __init__(self, workers: Mapping[str, Any]) -> None:
        self.workers = dict(workers)
        self._next_round = time.monotonic() + PING_INTERVAL

    def check(self, *, now: bool = False) -> None:
        """Ping the workers if a round is due, or in any case with ``now``.

        Raises:
            WorkerDiedError: A worker is dead; says which, and Ray's cause.
        """
        if not self.workers or (not now and time.monotonic() < self._next_round):
            return
        pings = {worker.__ray_ready__.remote(): name for name, worker in self.workers.items()}
        answered, _ = ray.wait(list(pings), num_returns=len(pings), timeout=PING_TIMEOUT)
        for ping in answered:
            try:
                ray.get(ping)
            except ActorUnavailableError:
                continue  # the network, for now; a death is told as one
            except RayActorError as error:
                raise WorkerDiedError(
                    f"{pings[ping]} died, and the groups it was working on will never finish: {error} "
                    "Look for its error above; out of memory (the kernel's log says so) is the usual cause."
                ) from error
        self._next_round = time.monotonic() + PING_INTERVAL


def guard_sampling(replay_buffer: Any, watch: Watch) -> None:
    """Let ``replay_buffer`` (this instance alone) check ``watch`` while it waits, and when what it gives has failures.

    The second is for groups that failed because a worker died: they count as finished, and verl would go on
    with what is left or end with an error that does not name the cause.
    """
    sample: Callable[..., Any] = replay_buffer.sample

    def sample_and_check(*args: Any, **kwargs: Any) -> Any:
        try:
            sampled = sample(*args, **kwargs)
        except Exception:
            watch.check(now=True)
            raise
        if _may_have_failures(replay_buffer, sampled):
            watch.check(now=True)
        return sampled

    replay_buffer.sample = sample_and_check
    _guard_waiting(replay_buffer, watch)


def _guard_waiting(replay_buffer: Any, watch: Watch) -> None:
    wait: Callable[..., float] | None = getattr(replay_buffer, "_wait_for_next_poll", None)
    if wait is None:
        logger.warning(
            "%s has no _wait_for_next_poll: while it waits for responses, no death of a worker is noticed.",
            type(replay_buffer).__name__,
        )
        return

    def wait_for_next_poll(*args: Any, **kwargs: Any) -> float:
        watch.check()
        return wait(*args, **kwargs)

    replay_buffer._wait_for_next_poll = wait_for_next_poll


def _may_have_failures(replay_buffer: Any, sampled: Any) -> bool:
    """Return whether a group failed while ``sampled`` was waited for; yes where the sampler does not tell.

    verl keeps failed groups (``sync``, validation), or throws them away and counts them in a metric.
    """
    kept = getattr(replay_buffer, "failure_keys", None)
    if kept is None:
        return True
    _, metrics = sampled
    return any(kept.values()) or any("/rollout_failure/" in name for name in metrics)


def watch_workers(trainer: Any, agent_loop_manager: Any) -> Watch:
    """Return a watch on the trainer's reward workers and agent-loop workers, which guards its sampling."""
    workers: dict[str, Any] = {}
    for kind, handles in (
        ("reward worker", trainer.get_reward_handles()),
        ("agent-loop worker", getattr(agent_loop_manager, "agent_loop_workers", None)),
    ):
        workers.update({f"{kind} {i}": handle for i, handle in enumerate(handles or ())})
    if not getattr(agent_loop_manager, "agent_loop_workers", None):
        logger.warning("%s has no agent_loop_workers to watch.", type(agent_loop_manager).__name__)
    watch = Watch(workers)
    guard_sampling(trainer.replay_buffer, watch)
    return watch
