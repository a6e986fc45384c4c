"""Weights reach standalone rollout workers without a GPU: verl's own registry, over sockets, in other processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from itertools import takewhile
from typing import Any

import pytest
import torch

EMBEDDING = torch.arange(12, dtype=torch.bfloat16).reshape(3, 4)
WEIGHTS = {
    "embed": EMBEDDING,
    "tied": EMBEDDING,
    "lm_head": torch.full((2, 2), -1.5),
    "scale": torch.tensor(3.0),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
}

RECEIVER = """
import asyncio, sys
from verl_stepgrpo.cpu.checkpoint_engine import StoreCheckpointEngine

async def receive(port):
    engine = StoreCheckpointEngine(bucket_size=1)
    engine.init_process_group(place={"host": "127.0.0.1", "port": port})
    async for name, tensor in engine.receive_weights(global_steps=1):
        print(name, tuple(tensor.shape), str(tensor.dtype), tensor.float().sum().item())
    engine.finalize()
    print("end", flush=True)

for line in sys.stdin:
    asyncio.run(receive(int(line)))
"""


class Receiver:
    """A rollout worker's process, which receives the weights from one port after the other."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RECEIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def begin(self, port: int) -> None:
        assert self.process.stdin is not None
        print(port, file=self.process.stdin, flush=True)

    def received(self) -> list[str]:
        assert self.process.stdout is not None
        return list(takewhile(lambda line: line != "end\n", self.process.stdout))


@pytest.fixture(scope="module")
def receivers() -> Iterator[list[Receiver]]:
    both = [Receiver(), Receiver()]
    yield both
    for one in both:
        one.process.communicate(timeout=120)
        assert one.process.returncode == 0


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Any:
    import ray
    from verl.checkpoint_engine import CheckpointEngineRegistry

    import verl_stepgrpo.cpu.checkpoint_engine

    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    name = verl_stepgrpo.cpu.checkpoint_engine.NAME

    def new(**options: Any) -> Any:
        return CheckpointEngineRegistry.new(name, **options)

    return new


@pytest.mark.parametrize("bucket_size", [1, 30, 1 << 20])
def test_every_receiver_gets_every_weight_as_it_is(
    engine: Any, receivers: list[Receiver], bucket_size: int
) -> None:
    first, second = engine(bucket_size=bucket_size, is_master=True), engine(bucket_size=bucket_size)
    places = [first.prepare(), second.prepare(), {}, {}]
    actors, rollout = type(first).build_topology(2, 2, places)
    for one, place in zip((first, second), actors["place"], strict=True):
        one.init_process_group(place=place)
    for receiver, place in zip(receivers, rollout["place"], strict=True):
        receiver.begin(place["port"])
    asyncio.run(first.send_weights(iter(WEIGHTS.items())))
    walked = iter(WEIGHTS.items())
    asyncio.run(second.send_weights(walked))
    assert next(walked, None) is None, "making a weight is work of all actors together"
    expected = [f"{n} {tuple(t.shape)} {t.dtype} {t.float().sum().item()}\n" for n, t in WEIGHTS.items()]
    for receiver in receivers:
        assert sorted(receiver.received()) == sorted(expected)
    first.finalize()


def test_the_next_update_has_a_store_of_its_own(engine: Any) -> None:
    one = engine(bucket_size=1 << 20, is_master=True)
    ports = set()
    for _ in range(2):
        ports.add(one.prepare()["port"])
        asyncio.run(one.send_weights(iter(WEIGHTS.items())))
        held = one._store
        one.finalize()
        assert one._store is None
    assert held is not None
    assert len(ports) == 2


def test_the_trainers_config_takes_it() -> None:
    from test_recipes import composed
    from verl.utils.config import omega_conf_to_dataclass

    from verl_stepgrpo.bridge.checks.preflight import _check_rules
    from verl_stepgrpo.bridge.checks.run import Run

    config = composed("ppo_trainer", "+stepgrpo=[digits_cpu,separate_async_cpu]")
    engine = omega_conf_to_dataclass(config.actor_rollout_ref.rollout.checkpoint_engine)
    assert (engine.backend, engine.custom_backend_module) == ("store", "verl_stepgrpo.cpu.checkpoint_engine")
    _check_rules(Run.of(config))
