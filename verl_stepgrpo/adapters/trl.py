"""StepRAR and StepRVR as reward functions of TRL's ``GRPOTrainer`` (TRL 1.16), each with its curve and weight.

    GRPOTrainer(reward_funcs=[step_rar, step_rvr], ...)
    GRPOTrainer(reward_funcs=[partial(step_rar, settings=settings), partial(step_rvr, settings=settings)], ...)

    GRPOTrainer(reward_funcs=[acc, key_step_match, step_rvr], args=GRPOConfig(
        reward_weights=[1.0, 0.1, 1.0], multi_objective_aggregation="normalize_then_sum", ...), ...)

The sum of the first two functions, which TRL trains on, is the total reward; the third way is ``combine=component`` in
verl. TRL draws ``rewards/step_rar`` and ``rewards/step_rvr`` itself; their parts are logged beside them under the names
that verl's curves have. Called by TRL, and imports none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from verl_stepgrpo.adapters.batch import score_batch
from verl_stepgrpo.rewards import ScoredResponse, defined
from verl_stepgrpo.settings import NAME, RewardSettings

LogMetric = Callable[[str, float], None]
LogExtra = Callable[[str, list[Any]], None]

RAR_PARTS = (
    "acc",
    "acc_flexible",
    "key_step_match",
    "equations",
    "false_equations",
    "answered",
    "verifier_timeout",
    "verifier_failed",
    "unparseable",
)
RVR_PARTS = ("complete", "ordered")


def step_rar(
    completions: Sequence[Any],
    *,
    settings: RewardSettings | None = None,
    log_metric: LogMetric | None = None,
    log_extra: LogExtra | None = None,
    **columns: Any,
) -> list[float]:
    """Return StepRAR of each completion, in [0, 1 + alpha]; none for none.

    Args:
        completions: Texts or conversations.
        settings: Defaults to ``RewardSettings()``.
        log_metric: TRL's; gets the mean of each of ``RAR_PARTS``.
        log_extra: TRL's; gets, for the table of completions, why each answer was judged as it was and how many key
            steps were found.
        **columns: The dataset's columns, as ``score_batch`` reads them, and what else TRL passes.

    Raises:
        DataError: A column is missing, or a row cannot be scored.
    """
    scored = score_batch(completions, columns, settings or RewardSettings())
    _log_means(scored, RAR_PARTS, log_metric)
    if log_extra is not None:
        log_extra("answer_verdict", [result.answer.reason for result in scored])
        log_extra("key_steps_found", [_found(result) for result in scored])
    return [result.step_rar for result in scored]


def step_rvr(
    completions: Sequence[Any],
    *,
    settings: RewardSettings | None = None,
    log_metric: LogMetric | None = None,
    **columns: Any,
) -> list[float]:
    """Return StepRVR of each completion, 0 or ``rvr_weight``; logs the mean of each of ``RVR_PARTS``.

    Takes and raises what ``step_rar`` does.
    """
    scored = score_batch(completions, columns, settings or RewardSettings())
    _log_means(scored, RVR_PARTS, log_metric)
    return [result.step_rvr for result in scored]


def acc(completions: Sequence[Any], *, settings: RewardSettings | None = None, **columns: Any) -> list[float]:
    """Return whether each completion's answer is right, 1 or 0. Takes and raises what ``step_rar`` does."""
    return [
        float(one.answer.correct) for one in score_batch(completions, columns, settings or RewardSettings())
    ]


def key_step_match(
    completions: Sequence[Any], *, settings: RewardSettings | None = None, **columns: Any
) -> list[float | None]:
    """Return the share of key steps that StepRAR pays for, in [0, 1]: 0 without an answer.

    None, which TRL leaves out, where a question has no key steps. Takes and raises what ``step_rar`` does.
    """
    settings = settings or RewardSettings()
    pays_always = settings.mode == "reference"  # as the authors' code
    return [
        one.key_step_match * (one.answer.answered or pays_always) if one.key_steps else None
        for one in score_batch(completions, columns, settings)
    ]


def _log_means(scored: Sequence[ScoredResponse], parts: Sequence[str], log_metric: LogMetric | None) -> None:
    """Log the mean of each part, over the completions that have it: a key-step match needs key steps."""
    if log_metric is None:
        return
    components = [defined(one.components(), has_key_steps=bool(one.key_steps)) for one in scored]
    for part in parts:
        values = [own[part] for own in components if part in own]
        if values:
            log_metric(f"{NAME}/{part}/mean", sum(values) / len(values))


def _found(result: ScoredResponse) -> str:
    return f"{sum(match.matched for match in result.key_steps)} of {len(result.key_steps)}"
