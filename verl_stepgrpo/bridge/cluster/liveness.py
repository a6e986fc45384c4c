"""End a job whose workers, actors or engines have died, instead of waiting for ever.

verl 0.9.1's sampler polls until enough groups are finished. Groups of a dead worker never finish, and nothing else
looks. Of a dead vLLM engine (its process ``EngineCore``) the server lives on: in ``sync`` the trainer then sends the
weights to a receiver that is gone, and in ``colocate_async`` verl throws failed groups away and asks for others, both
without end. So, from the start of training to its last save, a thread of the trainer's process pings the actors,
asks each vLLM server for its ``/health``, and Ray which of the job's actors have died (``actor_deaths``); on a death
it ends what the trainer may be blocked on, and ``fit`` raises the cause. Where the trainer is blocked on what cannot be
ended, as on TransferQueue, which waits for minutes, its process is. The polling loop looks as well.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
from omegaconf import OmegaConf
from ray.exceptions import ActorUnavailableError, RayActorError

from verl_stepgrpo.bridge.cluster.actor_deaths import Deaths, WorkerDiedError, where_to_look

PING_INTERVAL = 10.0
"""Seconds between two rounds of pings, so that a death ends the job well within a minute."""

PING_TIMEOUT = 5.0
"""Seconds that a round waits for answers. A busy worker may take longer; only a dead one ends the job."""

HEALTH_TIMEOUT = 3.0
"""Seconds that a server has to take a connection, and to answer. One that is late with its answer is busy."""

MAX_REFUSALS = 3
"""Rounds in a row in which a server's address takes no connection, from which on the server or its node is dead: the
kernel of a node takes connections however busy the server is. Of a node that is gone without a word Ray tells after a
minute."""

GRACE = 10.0
"""Seconds in which the trainer has to end once a death was found; then its process is ended."""

ENGINE_IS_DEAD = 503
"""What vLLM's ``/health`` says once its engine has died (EngineDeadError); 200 before, asleep or busy."""

logger = logging.getLogger("verl_stepgrpo")


class Watch:
    """Pings a set of Ray actors and asks a set of vLLM servers, at most once in ``PING_INTERVAL`` seconds.

    Args:
        workers: Actor handles by a name for messages.
        servers: Addresses of vLLM servers, ``host:port``.
        blocking: Actors that the trainer may be waiting for, which are killed once another part is found dead.

    Attributes:
        cause: The death that was found, or None.
    """

    def __init__(
        self, workers: Mapping[str, Any], servers: Sequence[str] = (), blocking: Sequence[Any] = ()
    ) -> None:
        self.workers = dict(workers)
        self.servers = list(servers)
        self.cause: WorkerDiedError | None = None
        self._blocking = list(blocking)
        self._deaths = Deaths()
        self._pings: dict[str, Any] = {}
        self._refusals: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._next_round = time.monotonic() + PING_INTERVAL

    def check(self, *, now: bool = False) -> None:
        """Look at everything if a round is due, or in any case with ``now``.

        Raises:
            WorkerDiedError: A part is dead; says which, and the cause. It stays dead: every later call says so.
        """
        with self._lock:
            if self.cause is not None:
                raise self.cause
            if not now and time.monotonic() < self._next_round:
                return
            try:
                self._ping_workers()
                self._deaths.check()
                self._ask_servers()
            except WorkerDiedError as error:
                self.cause = error
                raise
            finally:
                self._next_round = time.monotonic() + PING_INTERVAL

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Look meanwhile from a thread, and raise the death that was found in place of what it led to.

        The trainer may meet it before a round does: then one more look says what died.
        """
        stop = threading.Event()
        thread = threading.Thread(target=self._look, args=(stop,), name="stepgrpo-watch", daemon=True)
        thread.start()
        try:
            yield
        except Exception as error:
            if self.cause is None:
                self._death(now=True)
            if self.cause is None or error is self.cause:
                raise
            raise self.cause from error
        finally:
            stop.set()

    def _death(self, *, now: bool = False) -> WorkerDiedError | None:
        """Return the death that ``check`` finds, and warn where it cannot look: Ray itself may be ending."""
        try:
            self.check(now=now)
        except WorkerDiedError as error:
            return error
        except Exception:
            logger.warning("The watch on workers and engines could not look this time.", exc_info=True)
        return None

    def _look(self, stop: threading.Event) -> None:
        while not stop.wait(PING_INTERVAL):
            error = self._death()
            if error is None:
                continue
            logger.error("%s The job ends.", error)
            for actor in self._blocking:
                ray.kill(actor)
            if not stop.wait(GRACE):
                logger.error("The trainer still waits for what is gone, and its process is ended.")
                _end_process()
            return

    def _ping_workers(self) -> None:
        # A busy actor has its ping waiting; another one after it would tell nothing new.
        self._pings |= {
            name: worker.__ray_ready__.remote()
            for name, worker in self.workers.items()
            if name not in self._pings
        }
        if not self._pings:
            return
        names = {ping: name for name, ping in self._pings.items()}
        answered, _ = ray.wait(list(names), num_returns=len(names), timeout=PING_TIMEOUT)
        for ping in answered:
            del self._pings[names[ping]]
            try:
                ray.get(ping)
            except ActorUnavailableError:
                continue  # the network, for now; a death is told as one
            except RayActorError as error:
                raise WorkerDiedError(
                    f"{names[ping]} died, and the groups it was working on will never finish: {error} "
                    f"{where_to_look(str(error))}"
                ) from error

    def _ask_servers(self) -> None:
        if not self.servers:
            return
        with ThreadPoolExecutor(min(16, len(self.servers))) as pool:
            statuses = dict(zip(self.servers, pool.map(_health, self.servers), strict=True))
        for address, status in statuses.items():
            self._refusals[address] = self._refusals[address] + 1 if status is None else 0
            if status == ENGINE_IS_DEAD or self._refusals[address] >= MAX_REFUSALS:
                said = f"/health says {status}" if status else "it takes no connection, or its node is gone"
                raise WorkerDiedError(
                    f"the vLLM server at {address} has lost its engine ({said}): no response will come from it any "
                    "more, and no weights can be sent to it. Look for EngineDeadError, or for what killed EngineCore, "
                    "above; out of memory (the kernel's log says so) is the usual cause."
                )


def _end_process() -> None:
    """End this process at once: its main thread waits in a call that nothing interrupts."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def _health(address: str) -> int | None:
    """Return the status that a server's ``/health`` has; 0 where it is late, None where no connection is to be had."""
    # A proxy of the environment's is for the world outside.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{address}/health", timeout=HEALTH_TIMEOUT) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return int(error.code)
    except urllib.error.URLError:
        return None  # it wraps errors of connecting alone
    except OSError as error:
        return None if isinstance(error, ConnectionError) else 0


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
    """Return a watch on all that the trainer's sampling and training depend on, which guards its sampling."""
    workers: dict[str, Any] = {}
    training = _training_actors(trainer)
    for kind, handles in (
        ("reward worker", trainer.get_reward_handles()),
        ("agent-loop worker", getattr(agent_loop_manager, "agent_loop_workers", None)),
        ("training worker", training),
    ):
        workers.update({f"{kind} {i}": handle for i, handle in enumerate(handles or ())})
    if not getattr(agent_loop_manager, "agent_loop_workers", None):
        logger.warning("%s has no agent_loop_workers to watch.", type(agent_loop_manager).__name__)
    watch = Watch(workers, _vllm_servers(trainer), blocking=training)
    guard_sampling(trainer.replay_buffer, watch)
    return watch


def _training_actors(trainer: Any) -> list[Any]:
    group = getattr(trainer, "actor_rollout_wg", None)
    return list(getattr(group, "workers", None) or ())


def _vllm_servers(trainer: Any) -> list[str]:
    """Return the addresses of the trainer's vLLM servers; other engines' ``/health`` means other things."""
    config, managers = getattr(trainer, "config", None), getattr(trainer, "_rollout_server_managers", None)
    if config is None or managers is None:
        return []
    if OmegaConf.select(config, "actor_rollout_ref.rollout.name") != "vllm":
        return []
    return [address for manager in managers() for address in getattr(manager, "server_addresses", None) or ()]
