"""A dead worker ends the job; a slow one does not. On real Ray actors."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from omegaconf import OmegaConf

from verl_stepgrpo.bridge.cluster import liveness


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


@pytest.fixture
def busy(actor_class: Any) -> Any:
    """Return a worker that answers nothing for two seconds."""

    class Busy:
        def work(self, seconds: float = 0.0) -> None:
            time.sleep(seconds)

    worker = ray.remote(Busy).remote()
    ray.get(worker.work.remote())
    worker.work.remote(2.0)
    return worker


def test_a_busy_worker_is_not_taken_for_dead(busy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "PING_TIMEOUT", 0.2)
    liveness.Watch({"reward worker 0": busy}).check(now=True)


class Buffer:
    """What is read of verl's replay buffer, and the two methods that are guarded."""

    def __init__(self) -> None:
        self.waits = 0
        self.failure_keys: dict[str, set[str]] = {"train": set()}

    def _wait_for_next_poll(self, partition: str, last: float) -> float:
        self.waits += 1
        return last

    def sample(self, lost: str = "nothing") -> tuple[str, dict]:
        self.failure_keys["train"] = {"u"} if lost == "kept" else set()
        if lost == "all":
            raise RuntimeError("no materializable trajectories")
        return "batch", {"training/rollout_failure/evicted_samples": 1} if lost == "thrown away" else {}


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


@pytest.mark.parametrize("lost", ["kept", "thrown away", "all"])
def test_a_sample_with_failures_and_a_dead_worker_names_the_worker(
    watched: tuple[Buffer, Any], lost: str
) -> None:
    buffer, agent = watched
    assert buffer.sample() == ("batch", {})
    kill(agent)
    with pytest.raises(liveness.WorkerDiedError, match="agent-loop worker 0"):
        buffer.sample(lost)


def test_only_a_sample_with_failures_waits_for_a_busy_worker(busy: Any) -> None:
    buffer = Buffer()
    liveness.guard_sampling(buffer, liveness.Watch({"reward worker 0": busy}))
    begun = time.monotonic()
    buffer.sample()
    assert time.monotonic() - begun < 0.5
    buffer.sample("kept")
    assert time.monotonic() - begun > 0.5


def test_a_sampler_that_says_nothing_of_its_waiting_is_named_and_looked_at_when_it_has_sampled(
    actor_class: Any, caplog: pytest.LogCaptureFixture
) -> None:
    worker = actor_class.remote()
    ray.get(worker.work.remote())
    sampler = SimpleNamespace(sample=lambda: "batch")
    liveness.guard_sampling(sampler, liveness.Watch({"reward worker 0": worker}))
    assert "SimpleNamespace has no _wait_for_next_poll" in caplog.text
    assert sampler.sample() == "batch"
    kill(worker)
    with pytest.raises(liveness.WorkerDiedError):
        sampler.sample()


def test_rounds_are_spaced(actor_class: Any) -> None:
    worker = actor_class.remote()
    ray.get(worker.work.remote())
    watch = liveness.Watch({"reward worker 0": worker})
    kill(worker)
    watch.check()  # the first round is not due yet


def test_a_job_without_such_workers_is_not_watched() -> None:
    liveness.Watch({}).check(now=True)


class Health(BaseHTTPRequestHandler):
    """A server's ``/health``, with the status that the test says, after as long as it says."""

    status, seconds = 200, 0.0

    def do_GET(self) -> None:
        time.sleep(self.seconds)
        with contextlib.suppress(OSError):
            self.send_response(self.status if self.path == "/health" else 404)
            self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    monkeypatch.setattr(Health, "status", 200)
    monkeypatch.setattr(Health, "seconds", 0.0)
    # A proxy of the environment's would answer for a server that is dead.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    serving = ThreadingHTTPServer(("127.0.0.1", 0), Health)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield serving
    serving.shutdown()
    serving.server_close()


def address_of(server: ThreadingHTTPServer) -> str:
    return f"127.0.0.1:{server.server_port}"


class TestServers:
    def test_a_server_that_has_lost_its_engine_is_named(self, server: ThreadingHTTPServer) -> None:
        watch = liveness.Watch({}, [address_of(server)])
        watch.check(now=True)
        Health.status = 503
        with pytest.raises(
            liveness.WorkerDiedError, match=rf"{address_of(server)} has lost its engine .*503"
        ):
            watch.check(now=True)
        Health.status = 200
        with pytest.raises(liveness.WorkerDiedError):
            watch.check(now=True)  # dead is dead

    def test_a_server_that_is_gone_is_dead_after_three_rounds(self, server: ThreadingHTTPServer) -> None:
        watch = liveness.Watch({}, [address_of(server)])
        server.shutdown()
        server.server_close()
        watch.check(now=True)
        watch.check(now=True)
        with pytest.raises(liveness.WorkerDiedError, match="takes no connection"):
            watch.check(now=True)

    def test_a_node_that_says_nothing_at_all_is_dead_after_three_rounds(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(liveness, "HEALTH_TIMEOUT", 0.2)
        with contextlib.ExitStack() as stack:
            # A kernel whose queue is full drops what asks for a connection, as if nobody were there.
            full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            for _ in range(4):
                one = stack.enter_context(socket.socket())
                one.setblocking(False)
                one.connect_ex(full.getsockname())
            watch = liveness.Watch({}, [f"127.0.0.1:{full.getsockname()[1]}"])
            watch.check(now=True)
            watch.check(now=True)
            with pytest.raises(liveness.WorkerDiedError, match="takes no connection, or its node is gone"):
                watch.check(now=True)

    def test_a_server_that_is_late_is_busy(
        self, server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(liveness, "HEALTH_TIMEOUT", 0.1)
        Health.seconds = 0.5
        watch = liveness.Watch({}, [address_of(server)])
        for _ in range(liveness.MAX_REFUSALS + 1):
            watch.check(now=True)


class TestThread:
    def test_a_trainer_that_is_blocked_on_an_actor_is_ended_with_the_cause(
        self, actor_class: Any, server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(liveness, "PING_INTERVAL", 0.2)
        actor = actor_class.options(max_concurrency=1).remote()
        ray.get(actor.work.remote())
        watch = liveness.Watch({}, [address_of(server)], blocking=[actor])
        Health.status = 503
        with pytest.raises(liveness.WorkerDiedError, match="has lost its engine") as raised, watch.running():
            ray.get(actor.sleep.remote(60), timeout=30)
        assert isinstance(raised.value.__cause__, ray.exceptions.RayActorError)

    def test_a_death_that_the_trainer_meets_before_a_round_does_is_named(self, actor_class: Any) -> None:
        actor = actor_class.remote()
        ray.get(actor.work.remote())
        watch = liveness.Watch({"training worker 0": actor})
        ray.kill(actor)
        with (
            pytest.raises(liveness.WorkerDiedError, match="training worker 0 died") as raised,
            watch.running(),
        ):
            ray.get(actor.work.remote())
        assert isinstance(raised.value.__cause__, ray.exceptions.RayActorError)

    def test_an_error_of_the_trainers_own_stays_what_it_is(self, actor_class: Any) -> None:
        watch = liveness.Watch({"reward worker 0": actor_class.remote()})
        with pytest.raises(KeyError), watch.running():
            raise KeyError("own")

    def test_it_ends_with_the_training(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(liveness, "PING_INTERVAL", 0.05)
        with liveness.Watch({}).running():
            assert any(thread.name == "stepgrpo-watch" for thread in threading.enumerate())
        time.sleep(0.3)
        assert not any(thread.name == "stepgrpo-watch" for thread in threading.enumerate())

    def test_a_busy_actor_has_one_ping_waiting(self, busy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(liveness, "PING_TIMEOUT", 0.05)
        watch = liveness.Watch({"training worker 0": busy})
        watch.check(now=True)
        first = dict(watch._pings)
        watch.check(now=True)
        assert watch._pings == first != {}


def test_all_that_a_trainer_depends_on_is_watched() -> None:
    config = OmegaConf.create({"actor_rollout_ref": {"rollout": {"name": "vllm"}}})
    trainer = SimpleNamespace(
        config=config,
        get_reward_handles=lambda: ["r"],
        replay_buffer=Buffer(),
        actor_rollout_wg=SimpleNamespace(workers=["w0", "w1"]),
        _rollout_server_managers=lambda: [SimpleNamespace(server_addresses=["a:1", "b:2"])],
    )
    watch = liveness.watch_workers(trainer, SimpleNamespace(agent_loop_workers=["l"]))
    assert list(watch.workers) == [
        "reward worker 0",
        "agent-loop worker 0",
        "training worker 0",
        "training worker 1",
    ]
    assert watch.servers == ["a:1", "b:2"]
    config.actor_rollout_ref.rollout.name = "sglang"
    assert liveness.watch_workers(trainer, SimpleNamespace(agent_loop_workers=["l"])).servers == []
