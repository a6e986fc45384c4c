"""A dead worker ends the job; a slow one does not. On real Ray actors."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from verl_stepgrpo.bridge import liveness


@pytest.fixture(scope="module")
def actor_class() -> Iterator[Any]:
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)

    class Worker:
        async def work(self) -> int:
            return 1

        def sleep(self, seconds: float) -> None:
            time.sleep(seconds)

    yield ray.remote(Worker)
    ray.shutdown()


def kill(actor: Any) -> None:
    """Kill an actor and wait until Ray says that it is dead; ``ray.kill`` only asks for it."""
    ray.kill(actor)
    with contextlib.suppress(ray.exceptions.RayActorError):
        while True:
            ray.get(actor.work.remote(), timeout=30)


def test_living_workers_pass(actor_class: Any) -> None:
    liveness.Watch({"reward worker 0": actor_class.remote()}).check(now=True)


def test_a_dead_worker_is_named_with_the_cause(actor_class: Any) -> None:
    alive, dead = actor_class.remote(), actor_class.remote()
    ray.get([alive.work.remote(), dead.work.remote()])
    kill(dead)
    watch = liveness.Watch({"reward worker 0": alive, "agent-loop worker 0": dead})
    with pytest.raises(liveness.WorkerDiedError, match="agent-loop worker 0 died") as error:
        watch.check(now=True)
    assert isinstance(error.value.__cause__, ray.exceptions.RayActorError)


def test_a_busy_worker_is_not_taken_for_dead(actor_class: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "PING_TIMEOUT", 0.2)
    busy = actor_class.remote()
    ray.get(busy.work.remote())
    busy.sleep.remote(2.0)
    liveness.Watch({"reward worker 0": busy}).check(now=True)


class Buffer:
    """The two methods of verl's replay buffer that are guarded."""

    def __init__(self) -> None:
        self.waits = 0

    def _wait_for_next_poll(self, partition: str, last: float) -> float:
        self.waits += 1
        return last

    def sample(self, fails: bool = False) -> str:
        if fails:
            raise RuntimeError("no materializable trajectories")
        return "batch"


@pytest.fixture
def watched(actor_class: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Buffer, Any]:
    monkeypatch.setattr(liveness, "PING_INTERVAL", 0.1)
    reward, agent = actor_class.remote(), actor_class.remote()
    ray.get([reward.work.remote(), agent.work.remote()])
    trainer = SimpleNamespace(get_reward_handles=lambda: [reward], replay_buffer=Buffer())
    liveness.watch_workers(trainer, SimpleNamespace(agent_loop_workers=[agent]))
    time.sleep(0.15)
    return trainer.replay_buffer, agent


def test_the_polling_loop_ends_when_a_worker_dies(watched: tuple[Buffer, Any]) -> None:
    buffer, agent = watched
    assert buffer._wait_for_next_poll("train", 5.0) == 5.0
    kill(agent)
    time.sleep(0.15)
    with pytest.raises(liveness.WorkerDiedError):
        buffer._wait_for_next_poll("train", 5.0)
    assert buffer.waits == 1


@pytest.mark.parametrize("fails", [False, True])
def test_a_sample_with_a_dead_worker_names_the_worker(watched: tuple[Buffer, Any], fails: bool) -> None:
    buffer, agent = watched
    assert buffer.sample() == "batch"
    kill(agent)
    with pytest.raises(liveness.WorkerDiedError, match="agent-loop worker 0"):
        buffer.sample(fails=fails)


def test_rounds_are_spaced(actor_class: Any) -> None:
    worker = actor_class.remote()
    ray.get(worker.work.remote())
    watch = liveness.Watch({"reward worker 0": worker})
    kill(worker)
    watch.check()  # the first round is not due yet


def test_a_job_without_such_workers_is_not_watched() -> None:
    liveness.Watch({}).check(now=True)
