"""What a StepGRPO run adds to verl's trainer: traces, missing sessions, and a watch on the workers.

No trainer mode of verl 0.9.1 overrides the methods of ``PPOTrainer`` (trainer/ppo/v1/trainer_base.py)
that are wrapped here, once each, and no configured extension point sees what they see:

- ``_compute_advantage``: all rows of a training step, their tags and the metrics that get logged;
- ``_val_metrics_update``: the rows of a whole validation;
- ``fit``: the workers that the job depends on.

A run with another estimator goes through them untouched.
"""

from __future__ import annotations

import functools
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from omegaconf import OmegaConf

from verl_stepgrpo.bridge.liveness import watch_workers
from verl_stepgrpo.bridge.preflight import uses_estimator
from verl_stepgrpo.bridge.trace import TRACE_KEY, TraceWriter
from verl_stepgrpo.imports import apply_once
from verl_stepgrpo.settings import NODE, RunSettings

logger = logging.getLogger("verl_stepgrpo")

MISSING_SESSIONS = "stepgrpo/missing_sessions/mean"
"""Metric: share of the step's sessions that came back without a response, in [0, 1]."""


class MissingSessionsError(RuntimeError):
    """More sessions of a step are missing than the user allows."""


def wrap(trainer_base: ModuleType) -> None:
    """Wrap the three methods of ``PPOTrainer``. Raises AttributeError where verl has no such method."""
    trainer = trainer_base.PPOTrainer
    apply_once(trainer, "fit", _fit)
    apply_once(trainer, "_compute_advantage", _compute_advantage)
    apply_once(trainer, "_val_metrics_update", _val_metrics_update)


class RunState:
    """What the hooks keep for one trainer."""

    def __init__(self, trainer: Any) -> None:
        self.settings = RunSettings.from_mapping(OmegaConf.select(trainer.config, NODE))
        self.writer = TraceWriter(self.settings.trace_dir) if self.settings.trace_dir else None

    @classmethod
    def of(cls, trainer: Any) -> RunState:
        """Return the state of ``trainer``, made on the first call."""
        if not hasattr(trainer, "_stepgrpo"):
            trainer._stepgrpo = cls(trainer)
        return trainer._stepgrpo


def _fit(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def fit(self: Any, agent_loop_manager: Any) -> None:
        if uses_estimator(self.config):
            watch_workers(self, agent_loop_manager)
        original(self, agent_loop_manager)

    return fit


def _compute_advantage(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def compute_advantage(self: Any, batch: Any, metrics: dict) -> Any:
        batch = original(self, batch, metrics)
        if uses_estimator(self.config):
            state = RunState.of(self)
            _count_missing(self, state, batch.keys, metrics)
            if state.writer is not None:
                state.writer.write("train", self.global_steps, _training_rows(self, batch))
        return batch

    return compute_advantage


def _val_metrics_update(original: Callable[..., dict]) -> Callable[..., dict]:
    @functools.wraps(original)
    def val_metrics_update(
        self: Any,
        data_sources: Any,
        sample_uids: Any,
        reward_extra_infos_dict: Any,
        *args: Any,
        **kwargs: Any,
    ) -> dict:
        if uses_estimator(self.config):
            state = RunState.of(self)
            traces = reward_extra_infos_dict.get(TRACE_KEY)
            if state.writer is not None and traces is not None:
                rows = validation_rows(sample_uids, traces, self.global_steps)
                state.writer.write("val", self.global_steps, rows)
        return original(self, data_sources, sample_uids, reward_extra_infos_dict, *args, **kwargs)

    return val_metrics_update


def _count_missing(trainer: Any, state: RunState, keys: Sequence[str], metrics: dict) -> None:
    """Log the share of missing sessions, and end the run where it is above what the user allows."""
    config = trainer.config
    prompts = config.data.train_batch_size // trainer.parameter_sync_step
    share = missing_share(keys, expected=prompts * config.actor_rollout_ref.rollout.n)
    metrics[MISSING_SESSIONS] = share
    if share == 0:
        return
    limit = state.settings.max_missing_sessions
    message = (
        f"step {trainer.global_steps}: {share:.1%} of the sessions are missing; their agent loop or their "
        "reward failed, and the error stands above (Error in _run_prompt)."
    )
    if share > limit:
        raise MissingSessionsError(f"{message} The run ends because {NODE}.max_missing_sessions={limit}.")
    logger.warning(message)


def missing_share(keys: Sequence[str], *, expected: int) -> float:
    """Return the share of ``expected`` sessions that have no row among ``keys``, in [0, 1].

    Keys are ``{uid}_{session}_{index}``; those of verl's padding rows (uid begins with ``pad``) do not count.
    """
    sessions = {key.rsplit("_", 1)[0] for key in keys if not is_padding(key)}
    return max(0.0, 1.0 - len(sessions) / expected)


def is_padding(key: str) -> bool:
    """Return whether a row was added by verl to fill the batch (trainer/ppo/padding_utils.py)."""
    return key.startswith("pad")


def _training_rows(trainer: Any, batch: Any) -> list[dict[str, Any]]:
    """Return one trace row for each response of a training batch, padding left out."""
    import transfer_queue as tq

    keys = [key for key in batch.keys if not is_padding(key)]
    fields = ["extra_fields", "advantages", "response_mask"]
    data = tq.kv_batch_get(keys=keys, partition_id=batch.partition_id, select_fields=fields)
    # TransferQueue gives what is no tensor back as a list or as wrapped items, by its backend.
    extras = [getattr(extra, "data", extra) for extra in data["extra_fields"]]
    rows = []
    for key, extra, advantages, mask in zip(
        keys, extras, data["advantages"], data["response_mask"], strict=True
    ):
        trace = _trace_of(extra)
        if trace is not None:
            uid, session, _ = key.rsplit("_", 2)
            place = {"step": trainer.global_steps, "uid": uid, "session": int(session)}
            rows.append({**place, **trace, "advantage": first_masked(advantages, mask)})
    return rows


def validation_rows(uids: Sequence[str], traces: Sequence[str | None], step: int) -> list[dict[str, Any]]:
    """Return one trace row for each response of a validation; sessions of a uid count in their order."""
    seen: Counter[str] = Counter()
    rows = []
    for uid, trace in zip(uids, traces, strict=True):
        if trace is not None:
            rows.append(
                {"step": step, "uid": uid, "session": seen[uid], **json.loads(trace), "advantage": None}
            )
        seen[uid] += 1
    return rows


def first_masked(values: torch.Tensor, mask: torch.Tensor) -> float:
    """Return the first value whose mask is not 0, or 0.0 where all are masked. Both (T,)."""
    kept = values[mask.bool()]
    return float(kept[0]) if kept.numel() else 0.0


def _trace_of(extra: Any) -> dict[str, Any] | None:
    info: Mapping[str, Any] = extra.get("reward_extra_info", {}) if isinstance(extra, dict) else {}
    return json.loads(info[TRACE_KEY]) if TRACE_KEY in info else None
