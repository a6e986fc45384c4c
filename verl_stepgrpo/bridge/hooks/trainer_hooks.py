"""What a StepGRPO run adds to verl's trainer: curves, traces, missing sessions, and a watch on the workers.

No trainer mode of verl 0.9.1 overrides the methods of ``PPOTrainer`` (trainer/ppo/v1/trainer_base.py)
that are wrapped here, once each, and no configured extension point sees what they see:

- ``_compute_advantage``: all rows of a training step, their tags and the metrics that get logged;
- ``_val_metrics_update``: the rows of a whole validation;
- ``fit``: the sampler, and the workers that the job depends on;
- ``step``, ``_save_checkpoint``: what trackers get of a step whose run is killed (``bridge.tracked``).

A run with another estimator goes through them untouched.
"""

from __future__ import annotations

import functools
import itertools
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from verl_stepgrpo.bridge.asked import uses_estimator
from verl_stepgrpo.bridge.cluster.cluster import OtherVersionError, RemoteWriter, remote_writer
from verl_stepgrpo.bridge.cluster.liveness import watch_workers
from verl_stepgrpo.bridge.hooks import tracked
from verl_stepgrpo.bridge.hooks.missing_sessions import (
    TRAINING,
    SessionCount,
    missing_share,
    too_many,
    warning,
    watch_sampling,
)
from verl_stepgrpo.bridge.hooks.rollout_gap import gap
from verl_stepgrpo.bridge.judged import Judged, Provided, judged_rows, provided
from verl_stepgrpo.bridge.run_header import begin_traces
from verl_stepgrpo.bridge.token_ends import Decoding, Written, written_spans
from verl_stepgrpo.curves import (
    MAX_DECOY_RESPONSES,
    WITH_KEY_STEPS,
    Outcome,
    Reasoned,
    curve_name,
    curves,
    decoy_rate,
    share_curves,
)
from verl_stepgrpo.imports import apply_once
from verl_stepgrpo.rewards import UNDEFINED_WITHOUT_KEY_STEPS
from verl_stepgrpo.running.identity import identity
from verl_stepgrpo.settings import NODE, RunSettings
from verl_stepgrpo.traces.files import UNTRAINED, TraceWriter
from verl_stepgrpo.traces.packed import PACKED_KEY, line_of, shown
from verl_stepgrpo.traces.rows import TRACE_KEY, TRAIN, VAL, Credit, Judgement, TraceRow

logger = logging.getLogger("verl_stepgrpo")

MISSING_SESSIONS = curve_name("missing_sessions")
"""Metric: share of the step's sessions that came back without a response, in [0, 1]."""

UNTRACED = curve_name("untraced")
"""Metric of a run with traces: 1 where those of the step could not be written, as to a full disk, else 0."""


def wrap(trainer_base: ModuleType) -> None:
    """Wrap the methods of ``PPOTrainer``. Raises AttributeError where verl has no such method."""
    identity()  # of the code as this process begins, whatever is installed over it later
    trainer = trainer_base.PPOTrainer
    apply_once(trainer, "fit", _fit)
    apply_once(trainer, "_compute_advantage", _compute_advantage)
    apply_once(trainer, "_val_metrics_update", _val_metrics_update)
    tracked.wrap(trainer)


class RunState:
    """What the hooks keep for one trainer."""

    def __init__(self, trainer: Any) -> None:
        self.settings = RunSettings.from_mapping(OmegaConf.select(trainer.config, NODE))
        self.writer: TraceWriter | RemoteWriter | None = None
        if self.settings.trace_dir:
            self.writer = remote_writer() or TraceWriter(self.settings.trace_dir)
        per_prompt = OmegaConf.select(trainer.config, "actor_rollout_ref.rollout.n", default=1)
        prompts = OmegaConf.select(trainer.config, "data.train_batch_size", default=1)
        self.sessions = SessionCount(per_prompt, self.settings.max_missing_sessions, prompts)

    @classmethod
    def of(cls, trainer: Any) -> RunState:
        """Return the state of ``trainer``, made on the first call."""
        if not hasattr(trainer, "_stepgrpo"):
            trainer._stepgrpo = cls(trainer)
        return trainer._stepgrpo


def _fit(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def fit(self: Any, agent_loop_manager: Any) -> None:
        if not uses_estimator(self.config):
            original(self, agent_loop_manager)
            return
        state = RunState.of(self)
        watch_sampling(self.replay_buffer, state.sessions, functools.partial(_write_uncredited, state))
        settings = state.settings
        if isinstance(state.writer, RemoteWriter):
            state.writer.begin(settings, self.config, self.global_steps)
        elif state.writer is not None:
            begin_traces(state.writer.folder, settings, self.config, self.global_steps)
        metrics = tracked.Tracked.of(self)
        metrics.begin()
        with watch_workers(self, agent_loop_manager).running():
            original(self, agent_loop_manager)
        metrics.finish()

    return fit


def _compute_advantage(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def compute_advantage(self: Any, batch: Any, metrics: dict) -> Any:
        if not uses_estimator(self.config):
            return original(self, batch, metrics)
        state = RunState.of(self)
        rows = _judged(batch.partition_id, batch.keys)
        check_scorers(rows)
        with provided(rows) as held:
            batch = original(self, batch, metrics)
        advantages = _token_advantages(held)
        rows = [row for row in rows if not row.is_padding]
        metrics.update(curves(_outcomes(rows, advantages)))
        metrics.update(share_curves(held.shares))
        metrics.update(_decoy_metric(self, state, batch, rows))
        if apart := gap(metrics, self.global_steps):
            logger.warning(apart)
        if state.writer is not None:
            share = state.settings.trace_share
            traces = (
                training_line(row, values, self.global_steps)
                for row, values in zip(rows, advantages, strict=True)
                if shown(row.uid, share)
            )
            write_counted(state.writer, self.global_steps, filter(None, traces), metrics)
        # Last: the rows of a step that ends the run are written before.
        _count_missing(self, state, batch.keys, metrics)
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
            if traces is not None:
                judgements = validated(traces)
                if state.writer is not None:
                    packed = reward_extra_infos_dict.get(PACKED_KEY, [])
                    lines = validation_lines(sample_uids, packed, self.global_steps)
                    state.writer.write(VAL, self.global_steps, lines)
                reward_extra_infos_dict = validation_infos(reward_extra_infos_dict, judgements)
        return original(self, data_sources, sample_uids, reward_extra_infos_dict, *args, **kwargs)

    return val_metrics_update


def check_scorers(rows: Sequence[Judged]) -> None:
    """End the run where a reward worker scored by another version's rules.

    Raises:
        OtherVersionError: Names the node, and both versions.
    """
    for scorer in {row.scorer for row in rows if row.judgement is not None}:
        theirs, _, node = (scorer or "").partition(" on ")
        if theirs != identity():
            raise OtherVersionError(
                f"a reward worker on {f'node {node}' if node else 'some node'} has verl-stepgrpo "
                f"{theirs or 'of an earlier version'}, the trainer {identity()}: it scores by other rules. Install the "
                "same on every node."
            )


def _count_missing(trainer: Any, state: RunState, keys: Sequence[str], metrics: dict) -> None:
    """Log the share of missing sessions, and end the run where it is above what the user allows."""
    step, limit = trainer.global_steps, state.sessions.limit
    share = state.sessions.share if state.sessions.step == step else _missing_of_batch(trainer, keys)
    metrics[MISSING_SESSIONS] = share
    if share > limit:
        raise too_many(step, share, limit)
    if share > 0:
        logger.warning(warning(step, share))


def _missing_of_batch(trainer: Any, keys: Sequence[str]) -> float:
    """Return the share of missing sessions where the sampler could not be watched."""
    config = trainer.config
    prompts = config.data.train_batch_size // trainer.parameter_sync_step
    return missing_share(keys, expected=prompts * config.actor_rollout_ref.rollout.n)


def write_counted(
    writer: TraceWriter | RemoteWriter, step: int, rows: Iterable[TraceRow | bytes], metrics: dict
) -> None:
    """Write the rows of a training step, and log whether that could be done."""
    metrics[UNTRACED] = float(writer.write(TRAIN, step, rows) is None)


def _write_uncredited(state: RunState, step: int, keys: Sequence[str]) -> None:
    """Write the rows of the responses of a step that ends before it is trained."""
    if state.writer is not None and keys:
        traces = (training_line(row, None, step) for row in _judged(TRAINING, keys))
        state.writer.write(UNTRAINED, step, filter(None, traces))


def _judged(partition_id: str, keys: Sequence[str]) -> list[Judged]:
    return judged_rows(keys, _fetch(partition_id, keys, ["extra_fields"])["extra_fields"])


def _fetch(partition_id: str, keys: Sequence[str], fields: Sequence[str]) -> dict[str, list[Any]]:
    """Return fields of some rows of a partition. Needs TransferQueue, which verl's v1 trainer has running."""
    import transfer_queue as tq

    data = tq.kv_batch_get(keys=list(keys), partition_id=partition_id, select_fields=list(fields))
    # What is no tensor comes back as a list or as wrapped items, by TransferQueue's backend.
    return {
        field: [getattr(value, "data", value) if field == "extra_fields" else value for value in data[field]]
        for field in fields
    }


def _token_advantages(held: Provided) -> list[TokenAdvantages]:
    """Return what the estimator gave to each row that is no padding."""
    given = zip(held.rows, held.advantages.cpu().numpy(), held.mask.cpu().numpy(), strict=True)
    return [TokenAdvantages(advantage_T, mask_T) for row, advantage_T, mask_T in given if not row.is_padding]


def _outcomes(rows: Sequence[Judged], advantages: Sequence[TokenAdvantages]) -> list[Outcome]:
    return [
        Outcome(row.uid, row.components, own.mean_absolute) for row, own in zip(rows, advantages, strict=True)
    ]


def _decoy_metric(trainer: Any, state: RunState, batch: Any, rows: Sequence[Judged]) -> dict[str, float]:
    judged = [row for row in rows if row.judgement is not None and row.is_final]
    chosen = judged[:: max(1, -(-len(judged) // MAX_DECOY_RESPONSES))]
    if not chosen:
        return {}
    # verl may rewrite response_mask (rollout correction); loss_mask stays that of the agent loop.
    data = _fetch(batch.partition_id, [row.key for row in chosen], ["responses", "loss_mask"])
    decoding = Decoding.of(trainer.tokenizer)
    responses = [
        Reasoned(row.uid, Written.of(decoding, ids, written_spans(mask)).text, row.key_steps)
        for row, ids, mask in zip(chosen, data["responses"], data["loss_mask"], strict=True)
    ]
    rate = decoy_rate(responses, state.settings.reward)
    return {} if rate is None else {curve_name("decoy_match"): rate}


def training_line(row: Judged, advantages: TokenAdvantages | None, step: int) -> bytes | None:
    """Return the line of a response in the traces, or None where another reward manager scored it.

    ``advantages`` is None where the run ended before there were any.
    """
    if row.packed is None:
        return None
    credit = None if advantages is None else advantages.credit(row.step_ends)
    return line_of(row.packed, _place(TRAIN, step, row.uid, row.session), credit)


def validated(traces: Sequence[str | None]) -> list[Judgement | None]:
    """Return what was judged of each response of a validation, None where another reward manager scored it."""
    return [None if trace is None else Judgement.from_json(json.loads(trace)) for trace in traces]


def validation_lines(uids: Sequence[str], rows: Sequence[str | None], step: int) -> Iterator[bytes]:
    """Yield one line for each response of a validation; sessions of a uid count in their order."""
    seen: Counter[str] = Counter()
    for uid, row in zip(uids, rows, strict=True):
        if row is not None:
            yield line_of(row, _place(VAL, step, uid, seen[uid]), None)
        seen[uid] += 1


def _place(split: str, step: int, uid: str, session: int) -> dict[str, Any]:
    return {"split": split, "step": step, "uid": uid, "session": session}


def validation_infos(
    infos: Mapping[str, Sequence[Any]], judgements: Sequence[Judgement | None]
) -> Mapping[str, Sequence[Any]]:
    """Return what verl averages of a validation, with no key-step match for prompts without key steps.

    verl 0.9.1 leaves None out of its means (``process_validation_metrics``). ``with_key_steps`` is added: its mean says
    of how many responses that of ``key_step_match`` is. What another reward manager gave stays as it is.
    """
    key = UNDEFINED_WITHOUT_KEY_STEPS
    if key not in infos:
        return infos
    known = [None if judgement is None else bool(judgement.key_steps) for judgement in judgements]
    matches = [
        None if has_key_steps is False else value
        for has_key_steps, value in zip(known, infos[key], strict=True)
    ]
    return {**infos, key: matches, WITH_KEY_STEPS: [None if one is None else float(one) for one in known]}


class TokenAdvantages:
    """The advantages of the tokens of one response that the model generated.

    Args:
        values: Of all tokens of its row, (T,).
        mask: Not 0 for those that the model generated, (T,).
    """

    def __init__(self, values: np.ndarray, mask: np.ndarray) -> None:
        self._places = np.flatnonzero(mask)
        self._values = values[self._places]

    def credit(self, step_ends: Sequence[int]) -> Credit:
        """Return what a response's steps were credited, given the number of leading tokens up to each one's end."""
        return Credit(self.first, tuple(self.of_spans(step_ends)), self.mean_absolute)

    @property
    def first(self) -> float:
        """That of the first token that the model generated; 0 where there is none."""
        return float(self._values[0]) if self._values.size else 0.0

    @functools.cached_property
    def mean_absolute(self) -> float:
        return float(np.abs(self._values).mean(dtype=np.float64)) if self._values.size else 0.0

    def of_spans(self, ends: Sequence[int]) -> list[float | None]:
        """Return that of each span of tokens up to an end, and of what follows the last; None where it is empty."""
        edges = [0, *np.searchsorted(self._places, ends).tolist(), self._values.size]
        return [
            float(self._values[start]) if start < end else None for start, end in itertools.pairwise(edges)
        ]
