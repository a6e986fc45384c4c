"""Let a model that vLLM loads with random weights keep what is no weight.

verl starts its rollout with ``load_format=dummy``: random weights, which those of the actor then replace. vLLM draws
every persistent buffer with them, and one that no checkpoint has is never replaced. In vLLM 0.31 these are the scale
and shift by which it normalises the pixels of Qwen2-VL and Qwen2.5-VL (``FusedMMInputNorm``): the rollout goes on
without an error, and sees noise for images. So buffers get back what the model was built with; those that the actor
sends are replaced as before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from verl_stepgrpo.imports import apply_once


def wrap(dummy_loader: ModuleType) -> None:
    """Wrap ``DummyModelLoader.load_weights``. Raises AttributeError where vLLM has no such method."""
    apply_once(dummy_loader.DummyModelLoader, "load_weights", _load_weights)


def _load_weights(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def load_weights(self: Any, model: Any, *args: Any, **kwargs: Any) -> None:
        built = [(owner, name, buffer.clone()) for owner, name, buffer in _persistent_buffers(model)]
        original(self, model, *args, **kwargs)
        for owner, name, value in built:
            owner.get_buffer(name).data.copy_(value)

    return load_weights


def _persistent_buffers(model: Any) -> Iterator[tuple[Any, str, Any]]:
    """Yield the module, name and value of each buffer that a checkpoint would have and that is there already."""
    for owner in model.modules():
        for name, buffer in owner.named_buffers(recurse=False):
            if name not in owner._non_persistent_buffers_set and not buffer.is_meta:
                yield owner, name, buffer
