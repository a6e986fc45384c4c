"""Send weights from the trainer to standalone rollout workers without a GPU, for ``trainer_mode=separate_async``.

verl 0.9.1's own engines move weights by NCCL, NIXL and the like, each of which needs an accelerator or its libraries.
This one goes through the key-value store with which torch's processes find each other, over TCP, on one machine or
several: the first actor serves it, and each rollout worker reads it. One update of the weights is held in memory, which
suits the small models that a CPU trains. ``+stepgrpo=separate_async_cpu`` sets


    actor_rollout_ref.rollout.checkpoint_engine.backend=store
    actor_rollout_ref.rollout.checkpoint_engine.custom_backend_module=verl_stepgrpo.cpu.checkpoint_engine
"""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Iterable
from typing import Any

import ray
import torch
from safetensors.torch import load, save
from torch.distributed import TCPStore
from verl.checkpoint_engine.base import CheckpointEngine, CheckpointEngineRegistry

NAME = "store"

WAIT = datetime.timedelta(minutes=5)
"""How long a worker waits for the next tensors; where the sender has died the watch ends the job before."""


@CheckpointEngineRegistry.register(NAME)
class StoreCheckpointEngine(CheckpointEngine):
    """Weights through a ``torch.distributed.TCPStore``.

    Args:
        bucket_size: Bytes of the tensors that are sent together, at least one tensor.
        is_master: Whether this is the first actor, which sends.
    """

    def __init__(self, bucket_size: int, is_master: bool = False) -> None:
        self._bucket_size = bucket_size
        self._is_master = is_master
        self._store: TCPStore | None = None

    def prepare(self) -> dict[str, Any]:
        """Return where this process's store is, if it is the sender's."""
        if not self._is_master:
            return {}
        host = ray.util.get_node_ip_address().strip("[]")
        self._store = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=WAIT)
        return {"host": host, "port": self._store.port}

    @classmethod
    def build_topology(
        cls, actor_wg_world_size: int, rollout_world_size: int, metadata: list[dict]
    ) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """Tell every worker where the first actor's store is; the other actors need none."""
        place = metadata[0]
        return {"place": [None] * actor_wg_world_size}, {"place": [place] * rollout_world_size}

    def init_process_group(self, place: dict[str, Any] | None) -> None:
        """Join the store at ``place``."""
        if place is not None:
            self._store = TCPStore(place["host"], place["port"], is_master=False, timeout=WAIT)

    async def send_weights(
        self, weights: Iterable[tuple[str, torch.Tensor]], global_steps: int | None = None
    ) -> None:
        """Put the weights into the store. Every actor walks them: making each is work of all together."""
        n, bucket, size = 0, {}, 0
        for name, tensor in weights:
            if not self._is_master:
                continue
            # A copy, since tied weights are one piece of memory, which safetensors refuses to write twice.
            bucket[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            size += tensor.nbytes
            if size >= self._bucket_size:
                n, bucket, size = self._put(n, bucket), {}, 0
        if self._is_master:
            self._put(self._put(n, bucket) if bucket else n, {})

    async def receive_weights(
        self, global_steps: int | None = None
    ) -> AsyncIterator[tuple[str, torch.Tensor]]:
        """Yield the weights as they come."""
        assert self._store is not None, "init_process_group comes first"
        n = 0
        while found := load(self._store.get(_key(n))):
            for name, tensor in found.items():
                yield name, tensor
            n += 1

    def finalize(self) -> None:
        """Let the store go, and with it the weights in it."""
        self._store = None

    def _put(self, n: int, bucket: dict[str, torch.Tensor]) -> int:
        """Put the ``n``-th bucket, an empty one behind the last, and return the next number."""
        assert self._store is not None, "prepare comes first"
        self._store.set(_key(n), save(bucket))  # type: ignore[arg-type]  # torch takes bytes, and says str
        return n + 1


def _key(n: int) -> str:
    return f"bucket-{n}"
