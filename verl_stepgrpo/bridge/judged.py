"""The judgements behind the rewards of one training batch, on their way from verl's rows to the estimator.

verl calls an estimator with the rewards alone. The trainer hook reads the judgements beforehand and holds them here
while verl computes the advantages, so that credit by step and the gate on the outcome see more than totals.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from verl_stepgrpo.earned import Earned, parts_paid, steps_found, with_visual
from verl_stepgrpo.parts import VISUAL, keys_with_parts, parts_in
from verl_stepgrpo.rewards import SCORE_KEYS, defined
from verl_stepgrpo.traces.packed import PACKED_KEY
from verl_stepgrpo.traces.rows import SCORER_KEY, TRACE_KEY, Judgement


@dataclass(frozen=True)
class Judged:
    """One row of a training batch.

    Attributes:
        key: verl's name of the row, ``{uid}_{session}_{output}``.
        components: ``SCORE_KEYS`` and parts, and their values, as far as the reward gave them and they mean something:
            without ``key_step_match`` where the judgement says that there are no key steps.
        judgement: What the reward manager judged, without the texts, or None where another one scored the row.
        scorer: Version and node of the reward worker that judged it, ``VERSION on NODE``; None where it does not say.
        packed: The row that it adds to the traces (``traces.packed``); None where there are none.
        is_final: Whether it is the last output of its session, the one that was scored.
    """

    key: str
    components: Mapping[str, float]
    judgement: Judgement | None
    is_final: bool = True
    packed: str | None = None
    scorer: str | None = None

    @property
    def uid(self) -> str:
        return self.key.rsplit("_", 2)[0]

    @property
    def session(self) -> int:
        return int(self.key.rsplit("_", 2)[1])

    @property
    def is_padding(self) -> bool:
        return is_padding(self.key)

    @property
    def key_steps(self) -> list[tuple[str, ...]]:
        """The key steps of its prompt."""
        return self.judgement.wordings if self.judgement else []

    @property
    def step_ends(self) -> list[int]:
        """Number of leading tokens up to the end of each step; none where they are not this row's."""
        if self.judgement is None or not self.is_final:
            return []
        return [step.token_end or 0 for step in self.judgement.steps]

    def earned(self, extra_weights: Mapping[str, float] | None = None) -> Earned:
        """Return what it was paid, and for which of its steps; none are known of an output that was not scored itself.

        ``extra_weights`` are those of the run.
        """
        correct, validity = (self.components.get(key, 0.0) for key in ("acc", "step_rvr"))
        judgement = self.judgement
        share = 0.0 if judgement is None else judgement.key_step_share
        parts = parts_in(self.components)
        paid = parts_paid(parts, extra_weights or {})
        visual = (extra_weights or {}).get(VISUAL, 0.0) * parts.get(VISUAL, 0.0)
        shares: Sequence[float] = ()
        found: Sequence[int | None] = ()
        if judgement is not None and self.is_final:
            shares = with_visual([step.key_step_share for step in judgement.steps], visual)
            found = steps_found(judgement.key_steps)
        elif judgement is not None:
            shares, found = [share], [None] * len(judgement.key_steps)
        return Earned(
            correct > 0,
            share,
            validity,
            shares,
            found,
            is_real=not self.is_padding,
            parts=paid,
        )


def is_padding(key: str) -> bool:
    """Return whether a row was added by verl to fill the batch (trainer/ppo/padding_utils.py)."""
    return key.startswith("pad")


def judged_rows(keys: Sequence[str], extras: Sequence[Any]) -> list[Judged]:
    """Return the rows of a batch, padding included.

    Args:
        keys: verl's names of the rows.
        extras: The field ``extra_fields`` of each.
    """
    last: dict[str, int] = {}
    for key in keys:
        session, _, output = key.rpartition("_")
        last[session] = max(int(output), last.get(session, 0))
    rows = []
    for key, extra in zip(keys, extras, strict=True):
        info: Mapping[str, Any] = extra.get("reward_extra_info", {}) if isinstance(extra, dict) else {}
        # A reward function of the user's may use a name for something else.
        names = keys_with_parts(SCORE_KEYS, [info])
        components = {name: float(info[name]) for name in names if isinstance(info.get(name), Real)}
        judgement = Judgement.from_json(json.loads(info[TRACE_KEY])) if TRACE_KEY in info else None
        if judgement is not None:
            components = defined(
                components, has_key_steps=bool(judgement.key_steps), has_visual=bool(judgement.visual)
            )
        session, _, output = key.rpartition("_")
        is_final = int(output) == last[session]
        rows.append(Judged(key, components, judgement, is_final, info.get(PACKED_KEY), info.get(SCORER_KEY)))
    return rows


@dataclass
class Provided:
    """The rows of a batch while verl computes its advantages, and what the estimator made of them.

    Attributes:
        rows: In the batch's order.
        advantages, mask: Of each token, (B, T); None until the estimator was called.
        shares: What each component makes of the advantages, as ``advantage.combine.shares``.
    """

    rows: Sequence[Judged]
    advantages: Any = None
    mask: Any = None
    shares: Mapping[str, float] = field(default_factory=dict)


_current: ContextVar[Provided | None] = ContextVar("stepgrpo_judged", default=None)


@contextlib.contextmanager
def provided(rows: Sequence[Judged]) -> Iterator[Provided]:
    """Let ``current`` return ``rows`` meanwhile, and yield what keeps what the estimator makes of them."""
    held = Provided(rows)
    token = _current.set(held)
    try:
        yield held
    finally:
        _current.reset(token)


def current() -> Sequence[Judged] | None:
    """Return the rows of the batch whose advantages are being computed, in its order; None where none are known."""
    held = _current.get()
    return None if held is None else held.rows


def keep(advantage_BT: Any, mask_BT: Any, shares: Mapping[str, float]) -> None:
    """Keep advantages for the trainer hook, which would have to fetch them again; nothing outside of ``provided``."""
    held = _current.get()
    if held is not None:
        held.advantages, held.mask, held.shares = advantage_BT, mask_BT, shares
