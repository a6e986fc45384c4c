"""Tell the reward manager which tokens of a response the model wrote.

A response of several turns holds what tools answered. verl 0.9.1 masks that from the loss, but hands a reward manager
the response without the mask. What an agent loop adds to its output (``extra_fields``) does reach the manager, so the
places of the model's tokens are put there while a session is scored. No configured extension point of verl's stands
between agent loop and reward manager, so ``AgentLoopWorker._compute_score`` (experimental/agent_loop/agent_loop.py),
which all agent loops pass through, is wrapped.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from verl_stepgrpo.bridge.asked import uses_stepgrpo
from verl_stepgrpo.bridge.token_ends import WRITTEN_SPANS, written_spans
from verl_stepgrpo.imports import apply_once


def wrap(agent_loop: ModuleType) -> None:
    """Wrap ``AgentLoopWorker._compute_score``. Raises AttributeError where verl has no such method."""
    apply_once(agent_loop.AgentLoopWorker, "_compute_score", _compute_score)


def _compute_score(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def compute_score(self: Any, outputs: list[Any], *args: Any, **kwargs: Any) -> None:
        if not uses_stepgrpo(self.config):
            return await original(self, outputs, *args, **kwargs)
        scored = outputs[-1]
        scored.extra_fields[WRITTEN_SPANS] = written_spans(scored.response_mask)
        try:
            return await original(self, outputs, *args, **kwargs)
        finally:
            del scored.extra_fields[WRITTEN_SPANS]

    return compute_score
