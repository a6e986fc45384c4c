"""Count the sessions of a step that came back without a response, and end a run that loses too many of them.

verl 0.9.1 tells of a failed session by the state of its prompt alone. Its samplers may throw such a prompt away and ask
for another before the trainer sees anything of it: always in the asynchronous modes, and in ``sync`` with
``sync_refill_failed_groups``. Where every session fails they ask for ever. So each prompt is counted when a poll of the
sampler first sees that its sessions are over, in every mode alike. Whatever share the user allows, a step of
which nothing but failures comes back ends the run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from verl_stepgrpo.bridge.judged import is_padding
from verl_stepgrpo.settings import NODE

TRAINING = "train"
"""verl's name of the partition of TransferQueue with the prompts that are trained on."""

LOST_BATCHES = 3
"""Times the sessions of a step that may fail before the first of them comes back: then none will."""

logger = logging.getLogger("verl_stepgrpo")


class MissingSessionsError(RuntimeError):
    """More sessions of a step are missing than the user allows."""


class SessionCount:
    """The sessions that have come back while a step was sampled.

    Args:
        per_prompt: Sessions of each prompt.
        limit: Largest share of them, in [0, 1], that may be missing.
        prompts: Prompts of a step, at least 1.
    """

    def __init__(self, per_prompt: int, limit: float, prompts: int) -> None:
        self.per_prompt = per_prompt
        self.limit = limit
        self._prompts = prompts
        self.step: int | None = None
        self.finished = self.failed = self.running = 0
        self._over: set[str] = set()

    def look(self, replay_buffer: Any, step: int) -> None:
        """Count the prompts of ``replay_buffer`` whose sessions are over since the look before."""
        if step != self.step:
            self.step, self.finished, self.failed = step, 0, 0
        over = replay_buffer.finished_keys[TRAINING] | replay_buffer.failure_keys[TRAINING]
        new = over - self._over
        self._over = over
        if new:
            finished = _sessions(
                key for key in replay_buffer.partitions[TRAINING] if key.split("_")[0] in new
            )
            self.finished += len(finished)
            self.failed += max(0, self.per_prompt * len(new) - len(finished))
        prompts = len(replay_buffer.pending_keys[TRAINING]) + len(replay_buffer.running_keys[TRAINING])
        self.running = self.per_prompt * prompts

    @property
    def share(self) -> float:
        """Share of those that came back without a response, in [0, 1]."""
        return self.failed / max(1, self.failed + self.finished)

    @property
    def lowest_share(self) -> float:
        """The share if all that still run finish well: a failure may come back sooner than a response."""
        return self.failed / max(1, self.failed + self.finished + self.running)

    @property
    def is_lost(self) -> bool:
        """Whether nothing but failures has come back, again and again."""
        return self.finished == 0 and self.failed >= LOST_BATCHES * self._prompts * self.per_prompt


def watch_sampling(
    replay_buffer: Any, count: SessionCount, before_end: Callable[[int, Sequence[str]], None]
) -> None:
    """Let ``count`` look at each poll of ``replay_buffer`` (this instance alone), and end a sampling that is lost.

    Args:
        replay_buffer: verl's, or a sampler of the user's.
        count: Of the run.
        before_end: Called with the step and the keys of all responses that are there, before the run ends.
    """
    if not hasattr(replay_buffer, "_evict_terminal_groups"):
        logger.warning(
            "%s has no _evict_terminal_groups: groups that it throws away are not counted among missing sessions.",
            type(replay_buffer).__name__,
        )
        return
    evict, sample = replay_buffer._evict_terminal_groups, replay_buffer.sample

    def look_and_evict(global_steps: int, partition_id: str, eviction_reasons: Any) -> Any:
        if partition_id == TRAINING:
            count.look(replay_buffer, global_steps)
            _, _, failed, _ = eviction_reasons
            end = what_ends(global_steps, count) if failed else None
            if end is not None:
                try:
                    before_end(global_steps, list(replay_buffer.partitions[TRAINING]))
                finally:
                    raise end
        return evict(global_steps, partition_id, eviction_reasons)

    def sample_or_end(*args: Any, **kwargs: Any) -> Any:
        try:
            return sample(*args, **kwargs)
        except MissingSessionsError:
            raise
        except RuntimeError as cause:  # verl's, where not a single session of the step has come back
            if count.step is not None and count.share > count.limit:
                raise too_many(count.step, count.share, count.limit) from cause
            raise

    replay_buffer._evict_terminal_groups = look_and_evict
    replay_buffer.sample = sample_or_end


def warning(step: int, share: float) -> str:
    """Return what is said of missing sessions."""
    return (
        f"step {step}: {share:.1%} of the sessions are missing; their agent loop or their reward failed, and the error "
        "stands above (Error in _run_prompt)."
    )


def what_ends(step: int, count: SessionCount) -> MissingSessionsError | None:
    """Return what ends the run for its missing sessions; None where it goes on."""
    if count.lowest_share > count.limit:
        return too_many(step, count.share, count.limit)
    return lost(step, count) if count.is_lost else None


def too_many(step: int, share: float, limit: float) -> MissingSessionsError:
    """Return what ends the run."""
    return MissingSessionsError(
        f"{warning(step, share)} The run ends because {NODE}.max_missing_sessions={limit}."
    )


def lost(step: int, count: SessionCount) -> MissingSessionsError:
    """Return what ends a run whose user allows any share."""
    return MissingSessionsError(
        f"{warning(step, count.share)} {count.failed} have failed since the step began and none has come back, so that "
        f"the run ends, though {NODE}.max_missing_sessions={count.limit} lets as many be missing."
    )


def missing_share(keys: Sequence[str], *, expected: int) -> float:
    """Return the share of ``expected`` sessions that have no row among ``keys``, in [0, 1].

    Keys are ``{uid}_{session}_{index}``; those of verl's padding rows (uid begins with ``pad``) do not count.
    """
    sessions = _sessions(key for key in keys if not is_padding(key))
    return max(0.0, 1.0 - len(sessions) / expected)


def _sessions(keys: Any) -> set[str]:
    return {key.rsplit("_", 1)[0] for key in keys}
