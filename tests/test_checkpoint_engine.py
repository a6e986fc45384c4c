"""Weights reach standalone rollout workers without a GPU: verl's own registry, over sockets, in other processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
import torch

WEIGHTS = {
    "embed": torch.arange(12, dtype=torch.bfloat16).reshape(3, 4),
    "lm_head": torch.full((2, 2), -1.5),
    "scale": torch.tensor(3.0),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
}

RECEIVER = """
import asyncio, sys
from verl_stepgrpo.cpu.checkpoint_engine import StoreCheckpointEngine

async def main():
    engine = StoreCheckpointEngine(bucket_size=1)
    engine.init_process_group(place={"host": "127.0.0.1", "port": int(sys.argv[1])})
    async for name, tensor in engine.receive_weights(global_steps=1):
        print(name, tuple(tensor.shape), str(tensor.dtype), tensor.float().sum().item())
    engine.finalize()

asyncio.run(main())
"""


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
def test_every_receiver_gets_every_weight_as_it_is(engine: Any, bucket_size: int) -> None:
    first, second = engine(bucket_size=bucket_size, is_master=True), engine(bucket_size=bucket_size)
    places = [first.prepare(), second.prepare(), {}, {}]
    actors, rollout = type(first).build_topology(2, 2, places)
    for one, place in zip((first, second), actors["place"], strict=True):
        one.init_process_group(place=place)
    receivers = [
        subprocess.Popen(
            [sys.executable, "-c", RECEIVER, str(place["port"])], stdout=subprocess.PIPE, text=True
        )
        for place in rollout["place"]
    ]
    asyncio.run(first.send_weights(iter(WEIGHTS.items())))
    walked = iter(WEIGHTS.items())
    asyncio.run(second.send_weights(walked))
    assert next(walked, None) is None, "making a weight is work of all actors together"
    expected = [f"{n} {tuple(t.shape)} {t.dtype} {t.float().sum().item()}" for n, t in WEIGHTS.items()]
    for one in receivers:
        assert sorted(one.communicate(timeout=120)[0].splitlines()) == sorted(expected)
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

    from verl_stepgrpo.bridge.preflight import _check_rules
    from verl_stepgrpo.bridge.run import Run

    config = composed("ppo_trainer", "+stepgrpo=[digits_cpu,separate_async_cpu]")
    engine = omega_conf_to_dataclass(config.actor_rollout_ref.rollout.checkpoint_engine)
    assert (engine.backend, engine.custom_backend_module) == ("store", "verl_stepgrpo.cpu.checkpoint_engine")
    _check_rules(Run.of(config))
