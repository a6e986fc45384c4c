"""What StepGRPO's part of a training step costs as the batch grows: bytes and CPU of the driver, and the rewards.

    python benchmarks/scale.py driver --rows 2048 --trace
    python benchmarks/scale.py rewards --workers 1 2 4 8
    python benchmarks/scale.py simulate

``driver`` puts synthetic rows of 4,000 tokens into a real TransferQueue and lets verl's own
``PPOTrainer._compute_advantage`` work on them, once as verl has it (``grpo_vectorized``, no hooks), once with
StepGRPO's estimator and hooks. What comes through the driver's sockets is counted. ``rewards`` scores such responses
in so many Ray actors, as reward workers do, each in the event loop's thread pool. ``simulate`` measures the driver at
the sizes of runs on more and more GPUs, and puts beside it how many reward workers they need.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import multiprocessing
import os
import platform
import random
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import ray
import torch
from omegaconf import DictConfig, OmegaConf
from token_ends import response, tokenizer

from verl_stepgrpo.bridge.reward_manager import StepGRPORewardManager

N = 16
"""Responses to a prompt."""
STEPS = 17
"""With these a response of ``token_ends.response`` has about 4,000 tokens."""
DISTINCT = 256
"""Responses that are written and scored; rows beyond them are these again, under other names."""
ROUNDS = 5
"""Steps of each kind that are measured, in turns and after one that is not; the median of each figure counts."""
GPUS, ROWS_A_GPU = (8, 64, 256, 1024), 8
"""Of the simulated runs."""
WORKERS = 8
"""Reward workers of a simulated run: verl's default (``reward.num_workers``)."""
KEY_STEPS = [
    ["6/3 = 2", "6 divided by 3 equals 2"],
    ["3 children"],
    ["the rate is 60 km per hour"],
    ["x = 12"],
]
VERLS_CPU, VERLS_MEGABYTES = "verl: CPU s", "verl: MB"
WALL, CPU, MEGABYTES = (f"StepGRPO on top: {unit}" for unit in ("wall s", "CPU s", "MB"))
PROMPT = (
    "<image>" + "A train leaves the station at noon and travels to the next city, which is 180 km away. " * 4
)


@dataclass(frozen=True)
class Cost:
    """Of one piece of work in this process: wall and CPU seconds, bytes received and sent."""

    wall: float
    cpu: float
    received: int
    sent: int


class Sockets:
    """Counts what this process's sockets of ZeroMQ, which TransferQueue talks through, receive and send."""

    received = sent = 0

    @classmethod
    def watch(cls) -> None:
        import zmq.asyncio

        receive, send = zmq.asyncio.Socket.recv_multipart, zmq.asyncio.Socket.send_multipart

        def size(frames: Sequence[Any]) -> int:
            return sum(
                memoryview(frame).nbytes if not hasattr(frame, "buffer") else len(frame.buffer)
                for frame in frames
            )

        def add(future: Any) -> None:
            if not future.cancelled() and future.exception() is None:
                cls.received += size(future.result())

        def recv_multipart(self: Any, *args: Any, **kwargs: Any) -> Any:
            future = receive(self, *args, **kwargs)
            future.add_done_callback(add)
            return future

        def send_multipart(self: Any, frames: Any, *args: Any, **kwargs: Any) -> Any:
            frames = list(frames)
            cls.sent += size(frames)
            return send(self, frames, *args, **kwargs)

        zmq.asyncio.Socket.recv_multipart, zmq.asyncio.Socket.send_multipart = recv_multipart, send_multipart


@contextmanager
def measured(costs: list[Cost]) -> Iterator[None]:
    received, sent, wall, cpu = Sockets.received, Sockets.sent, time.perf_counter(), time.process_time()
    yield
    costs.append(
        Cost(
            time.perf_counter() - wall,
            time.process_time() - cpu,
            Sockets.received - received,
            Sockets.sent - sent,
        )
    )


def configuration(
    trace_dir: str | None, estimator: str = "stepgrpo", credit: str = "trajectory"
) -> DictConfig:
    """Return what verl's trainer and the reward manager read of a run's configuration."""
    return OmegaConf.create(
        {
            "algorithm": {
                "adv_estimator": estimator,
                "use_kl_in_reward": False,
                "gamma": 1.0,
                "lam": 1.0,
                "stepgrpo": {"trace_dir": trace_dir, "credit": credit},
            },
            "actor_rollout_ref": {"rollout": {"n": N}},
            "data": {"train_batch_size": 1},
            "trainer": {"use_v1": True},
        }
    )


@dataclass(frozen=True)
class Scored:
    """A response with what its reward worker gave."""

    token_ids: list[int]
    result: dict[str, Any]


def scored(n: int, config: DictConfig, seed: int) -> tuple[Any, list[Scored]]:
    """Return the tokenizer, and responses as the reward manager scores them."""
    own = tokenizer(seed)
    manager = StepGRPORewardManager(config=config, tokenizer=own)
    found = [Scored(one.batch["responses"].tolist(), score(manager, one)) for one in items(n, own, seed)]
    return own, found


def score(manager: StepGRPORewardManager, one: Any) -> dict[str, Any]:
    """Return what the manager gives for a response: decoded, scored and packed."""
    return manager._score(one.non_tensor_batch, manager._written(one), {})


def item(ids: list[int], prompt: int, session: int) -> Any:
    """Return a response as a reward worker gets it."""
    row = {
        "uid": f"{prompt:032x}",
        "session_id": session,
        "reward_model": {"style": "rule", "ground_truth": "12"},
        "extra_info": {"index": prompt, "id": f"row-{prompt}", "key_steps": KEY_STEPS},
        "raw_prompt": [{"role": "user", "content": PROMPT}],
        "data_source": "synthetic",
        "response_len": len(ids),
    }
    return SimpleNamespace(batch={"responses": torch.tensor(ids)}, non_tensor_batch=row)


def items(n: int, own: Any, seed: int) -> list[Any]:
    """Return so many responses as reward workers get them, in the tokens of the tokenizer ``own``."""
    rng = random.Random(seed)
    return [item(own.encode(response(STEPS, rng)), i // N, i % N) for i in range(n)]


def put(rows: int, found: Sequence[Scored]) -> list[str]:
    """Put a batch of so many rows into TransferQueue, as verl's agent-loop workers and actors leave it."""
    import transfer_queue as tq
    from verl.utils.tensordict_utils import list_of_dict_to_tensordict

    keys = []
    for start in range(0, rows, 256):
        block = []
        for i in range(start, min(start + 256, rows)):
            one = found[i % len(found)]
            n = len(one.token_ids)
            ids, ones = torch.tensor(one.token_ids), torch.ones(n, dtype=torch.int64)
            rewards = torch.zeros(n)
            rewards[-1] = one.result["reward_score"]
            probabilities = {
                key: torch.rand(n) for key in ("rollout_log_probs", "old_log_probs", "ref_log_prob")
            }
            extra = {"reward_extra_info": one.result["reward_extra_info"], "min_global_steps": 1}
            row = {"uid": f"{i // N:032x}", "responses": ids, "response_mask": ones, "loss_mask": ones}
            block.append({**row, "rm_scores": rewards, **probabilities, "extra_fields": extra})
            keys.append(f"{i // N:032x}_{i % N}_0")
        tags = [{"global_steps": 1}] * len(block)
        tq.kv_batch_put(
            keys=keys[start:], partition_id="train", fields=list_of_dict_to_tensordict(block), tags=tags
        )
    return keys


def driver(rows: int, trace: bool, credit: str, seed: int) -> dict[str, Any]:
    """Measure the driver's part of a step: verl's alone, and with StepGRPO's estimator and hooks."""
    import transfer_queue as tq
    from transfer_queue import KVBatchMeta

    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    storage = {"num_data_storage_units": 2, "total_storage_size": 2 * rows}
    tq.init(OmegaConf.create({"backend": {"SimpleStorage": storage}}))
    folder = tempfile.mkdtemp()
    config = configuration(folder if trace else None, credit=credit)
    own, found = scored(min(rows, DISTINCT), config, seed)
    keys = put(rows, found)
    batch = KVBatchMeta(partition_id="train", keys=keys, tags=[{}] * rows)
    Sockets.watch()
    ways: dict[str, list[Cost]] = {"grpo_vectorized": [], "stepgrpo": []}
    for _ in range(1 + ROUNDS):
        for estimator, costs in ways.items():
            own_config = configuration(folder if trace else None, estimator, credit)
            own_config.data.train_batch_size = rows // N
            with measured(costs):
                step(own_config, own, batch)
    written = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    shutil.rmtree(folder)
    extra = sum(len(json.dumps(one.result["reward_extra_info"])) for one in found) / len(found)
    tq.close()
    ray.shutdown()
    verl = middle(ways["grpo_vectorized"][1:])
    on_top = middle(
        [minus(*both) for both in zip(ways["stepgrpo"], ways["grpo_vectorized"], strict=True)][1:]
    )
    return {
        "rows": rows,
        "tokens": int(np.mean([len(one.token_ids) for one in found])),
        "trace_dir": trace,
        "credit": credit,
        VERLS_CPU: round(verl.cpu, 2),
        VERLS_MEGABYTES: round((verl.received + verl.sent) / 1e6, 1),
        WALL: round(on_top.wall, 2),
        CPU: round(on_top.cpu, 2),
        MEGABYTES: round((on_top.received + on_top.sent) / 1e6, 1),
        "reward_extra_info: bytes a row": int(extra),
        "on disk: bytes a row": int(written / rows),
        "peak GiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def step(config: DictConfig, own: Any, batch: Any) -> None:
    """Compute a batch's advantages as verl's trainer does: its own way for ``grpo_vectorized``, else with the hooks."""
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    trainer = SimpleNamespace(config=config, tokenizer=own, global_steps=1, parameter_sync_step=1)
    hooked = PPOTrainer._compute_advantage
    method = hooked.__wrapped__ if config.algorithm.adv_estimator == "grpo_vectorized" else hooked
    method(trainer, batch, {})


def middle(costs: Sequence[Cost]) -> Cost:
    """Return the median of each figure."""
    return Cost(*(statistics.median(values) for values in zip(*map(astuple, costs), strict=True)))


def minus(one: Cost, other: Cost) -> Cost:
    return Cost(*(a - b for a, b in zip(astuple(one), astuple(other), strict=True)))


class Worker:
    """A reward worker: scores in the thread pool of its event loop, as verl's does."""

    def __init__(self, own: Any, trace: bool, n: int, seed: int) -> None:
        self._manager = StepGRPORewardManager(
            config=configuration("traces" if trace else None), tokenizer=own
        )
        self._items = items(n, own, seed)

    async def warm_up(self) -> None:
        self._manager.loop = asyncio.get_running_loop()
        score(self._manager, self._items[0])  # starts math-verify's process

    async def score(self) -> float:
        """Score all of its responses; return the CPU seconds."""
        began, loop = time.process_time(), self._manager.loop
        await asyncio.gather(*(loop.run_in_executor(None, score, self._manager, one) for one in self._items))
        return time.process_time() - began


def rewards(workers: int, rows: int, trace: bool, seed: int) -> dict[str, Any]:
    """Measure how many responses reward workers score in a second."""
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    own = ray.put(tokenizer(seed))
    remote = ray.remote(Worker).options(num_cpus=1)
    actors = [remote.remote(own, trace, rows // workers, seed + i) for i in range(workers)]
    ray.get([actor.warm_up.remote() for actor in actors])
    began = time.perf_counter()
    cpu = sum(ray.get([actor.score.remote() for actor in actors]))
    wall = time.perf_counter() - began
    ray.shutdown()
    return {
        "workers": workers,
        "responses": rows,
        "trace_dir": trace,
        "responses/s": round(rows / wall, 1),
        "CPU ms a response": round(1e3 * cpu / rows, 2),
    }


def simulate(trace: bool, credit: str, step_seconds: float, seed: int) -> Iterator[dict[str, Any]]:
    """Yield what a step of ``ROWS_A_GPU`` responses a GPU costs, as the GPUs grow.

    The driver's part is measured at each size, the reward of a response once. A step takes ``step_seconds`` however
    many the GPUs are, and rewards are made meanwhile by ``WORKERS``.
    """
    cores = os.cpu_count() or 1
    reward = rewards(cores, DISTINCT * cores, trace, seed)["CPU ms a response"] / 1e3
    for gpus in GPUS:
        rows = ROWS_A_GPU * gpus
        # In a process of its own: in a heap that was filled before, Python takes longer.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            one = pool.submit(driver, rows, trace, credit, seed).result()
        yield {
            "GPUs": gpus,
            "responses": rows,
            "driver s": one[WALL],
            "driver, % of a step": round(100 * one[WALL] / step_seconds, 2),
            "driver MB": one[MEGABYTES],
            "verl's own driver CPU s": one[VERLS_CPU],
            "verl's own driver MB": one[VERLS_MEGABYTES],
            f"reward s over {WORKERS} workers": round(rows * reward / WORKERS, 1),
            "workers for 1% of a step": max(1, math.ceil(rows * reward / (0.01 * step_seconds))),
        }


def table(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "| " + " | ".join(found[0]) + " |"
    yield "|" + "---|" * len(found[0])
    for one in found:
        yield (
            "| "
            + " | ".join(f"{value:,}" if isinstance(value, int) else str(value) for value in one.values())
            + " |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["driver", "rewards", "simulate"])
    parser.add_argument("--rows", type=int, default=2048, help="of a step; a multiple of 16")
    parser.add_argument("--workers", type=int, nargs="+", default=[1], help="reward workers, one row each")
    parser.add_argument("--trace", action="store_true", help="with a trace_dir")
    parser.add_argument("--step-seconds", type=float, default=300.0, help="of a simulated step")
    parser.add_argument("--credit", default="trajectory")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "driver": lambda: [driver(args.rows, args.trace, args.credit, args.seed)],
        "rewards": lambda: [rewards(n, args.rows, args.trace, args.seed) for n in args.workers],
        "simulate": lambda: list(simulate(args.trace, args.credit, args.step_seconds, args.seed)),
    }
    print(
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, seed {args.seed}"
    )
    print("\n".join(table(parts[args.part]())))


if __name__ == "__main__":
    main()
