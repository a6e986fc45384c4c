"""A death of any actor that a job needs is found in Ray's own table; one that was meant is none."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import ray

from verl_stepgrpo.bridge.cluster import liveness
from verl_stepgrpo.bridge.cluster.actor_deaths import NEEDED, Deaths, WorkerDiedError, where_to_look


def actor_class(name: str) -> type:
    """Return a class of this name; a local one, which Ray's workers get by value."""

    class Actor:
        def pid(self) -> int:
            return os.getpid()

        def leave(self) -> None:
            ray.actor.exit_actor()

    Actor.__name__ = Actor.__qualname__ = name
    return Actor


STORAGE = "SimpleStorageUnit"
"""TransferQueue's actors, which the trainer has no handle of."""


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def started(name: str = STORAGE) -> tuple[Any, int]:
    actor = ray.remote(actor_class(name)).options(num_cpus=0).remote()
    return actor, ray.get(actor.pid.remote())


def dead(actor: Any) -> None:
    with contextlib.suppress(ray.exceptions.RayActorError):
        while True:
            ray.get(actor.pid.remote(), timeout=60)
            time.sleep(0.1)


def until(condition: Callable[[], None], error: type[Exception], seconds: float = 60) -> Exception:
    for _ in range(int(10 * seconds)):
        try:
            condition()
        except error as found:
            return found
        time.sleep(0.1)
    pytest.fail(f"no {error.__name__} within {seconds} s")


def test_a_killed_process_is_named_with_its_node() -> None:
    actor, pid = started()
    deaths = Deaths()
    deaths.check()
    os.kill(pid, signal.SIGKILL)
    dead(actor)
    said = str(until(deaths.check, WorkerDiedError))
    assert said.startswith(f"{NEEDED[STORAGE]} died (SimpleStorageUnit, process {pid} on node ")
    assert "goes on from the last checkpoint" in said


@pytest.mark.parametrize("end", [lambda actor: ray.kill(actor), lambda actor: actor.leave.remote()])
def test_a_death_that_was_meant_is_none(end: Callable[[Any], object]) -> None:
    actor, _ = started()
    deaths = Deaths()
    end(actor)
    dead(actor)
    time.sleep(1)
    deaths.check()


def test_one_that_died_before_is_none() -> None:
    actor, pid = started()
    os.kill(pid, signal.SIGKILL)
    dead(actor)
    time.sleep(1)
    Deaths().check()


def test_an_actor_of_the_users_is_told_once_and_the_job_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    actor, pid = started("Sandbox")
    deaths = Deaths()
    os.kill(pid, signal.SIGKILL)
    dead(actor)
    time.sleep(1)
    with caplog.at_level(logging.WARNING, "verl_stepgrpo"):
        deaths.check()
        deaths.check()
    (message,) = [r.getMessage() for r in caplog.records if "The job goes on." in r.getMessage()]
    assert message.startswith(f"the actor Sandbox died (Sandbox, process {pid}")


def test_a_look_costs_less_than_a_thousandth_of_the_time_between_two() -> None:
    deaths = Deaths()
    deaths.check()
    begun = time.process_time()
    for _ in range(20):
        deaths.check()
    assert (time.process_time() - begun) / 20 < 1e-3 * liveness.PING_INTERVAL


def test_a_trainer_that_nothing_wakes_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that waits for TransferQueue, which gives up after minutes."""
    monkeypatch.setattr(liveness, "PING_INTERVAL", 0.2)
    monkeypatch.setattr(liveness, "GRACE", 0.2)
    actor, pid = started()
    woken = threading.Event()
    monkeypatch.setattr(liveness, "_end_process", woken.set)
    watch = liveness.Watch({})
    os.kill(pid, signal.SIGKILL)

    def wait() -> None:
        with watch.running():
            assert woken.wait(90)
            raise RuntimeError("what a process that is ended does not come to")

    with pytest.raises(WorkerDiedError, match="storage unit"):
        wait()
    del actor


def test_the_names_are_those_of_verl_and_transfer_queue() -> None:
    from transfer_queue.controller import TransferQueueController
    from transfer_queue.storage.simple_storage import SimpleStorageUnit as Unit
    from verl.checkpoint_engine.base import CheckpointEngineWorker
    from verl.experimental.reward_loop.reward_loop import RewardLoopWorker
    from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ
    from verl.workers.rollout.llm_server import GlobalRequestLoadBalancer

    def name(cls: Any) -> str:
        return getattr(cls, "__ray_metadata__", cls).__dict__.get("class_name") or cls.__name__

    for cls in (
        TransferQueueController,
        Unit,
        CheckpointEngineWorker,
        RewardLoopWorker,
        AgentLoopWorkerTQ,
        GlobalRequestLoadBalancer,
    ):
        assert name(cls).rsplit(".", 1)[-1] in NEEDED, cls


@pytest.mark.parametrize(
    ("said", "looked_at"),
    [
        ("The actor died because its node has died. Node Id: 1fe4", "that machine"),
        ("The actor died unexpectedly before finishing this task.", "out of memory"),
    ],
)
def test_a_lost_node_is_looked_at_itself_and_a_lost_process_in_its_log(said: str, looked_at: str) -> None:
    assert looked_at in where_to_look(said)
