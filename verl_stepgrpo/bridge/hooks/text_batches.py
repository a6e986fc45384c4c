"""Let verl's forward of Qwen2-VL and Qwen2.5-VL take a micro-batch without any image.

For such a batch verl 0.9.1 shows the vision tower zeros and adds 0 times the mean of what it makes of them, so that all
ranks gather the same weights (models/transformers/qwen2_vl.py, ``_get_input_embeds``). transformers 5 returns an object
there, which has no mean: "'BaseModelOutputWithPooling' object has no attribute 'mean'". Text alone, and a mix of rows
whose micro-batch happens to be text, end in that. verl takes such objects apart everywhere else
(``unpack_visual_output``), and so does its forward of Qwen3-VL.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from verl_stepgrpo.imports import apply_once


def wrap(qwen2_vl: ModuleType) -> None:
    """Let ``_get_input_embeds`` see a vision tower that returns tensors, where a batch has neither image nor video.

    Raises:
        AttributeError: verl's module is another one than this is written for.
    """
    unpack = qwen2_vl.unpack_visual_output

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def get_input_embeds(
            model: Any,
            input_ids: Any,
            attention_mask: Any = None,
            pixel_values: Any = None,
            pixel_values_videos: Any = None,
            *grids: Any,
            **named_grids: Any,
        ) -> Any:
            if pixel_values is None and pixel_values_videos is None:
                model = _WithTensors(model, unpack)
            return original(
                model, input_ids, attention_mask, pixel_values, pixel_values_videos, *grids, **named_grids
            )

        return get_input_embeds

    apply_once(qwen2_vl, "_get_input_embeds", make)


class _WithTensors:
    """A model of which ``visual`` returns its image features alone, whatever transformers puts around them."""

    def __init__(self, model: Any, unpack: Callable[[Any], tuple[Any, Any]]) -> None:
        self._model = model
        self._unpack = unpack

    def visual(self, *arguments: Any, **options: Any) -> Any:
        return self._unpack(self._model.visual(*arguments, **options))[0]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)
