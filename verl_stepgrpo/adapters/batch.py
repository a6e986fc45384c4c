"""Score a batch of completions against the dataset's columns, as TRL and ms-swift hand them over.

What a model wrote is scored and never raises; a column that is missing or of a wrong type raises ``DataError``.
Not covered: the advantage, credit by step and the guards, which live in the bridge to verl. Pure: no torch, no trainer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from verl_stepgrpo.errors import ConfigError, DataError
from verl_stepgrpo.judging.answers.options import choices_of
from verl_stepgrpo.judging.key_steps.reference import KeyStep, parse_key_steps
from verl_stepgrpo.rewards import ScoredResponse, check_ground_truth, score_response
from verl_stepgrpo.settings import RewardSettings

ANSWER_COLUMNS = ("ground_truth", "answer", "solution")
"""Columns that may hold the reference answer; the first that is there is read."""

CACHE_SIZE = 4096
"""Scored completions that are remembered: a trainer asks for each part of the reward with a call of its own."""


def score_batch(
    completions: Sequence[Any], columns: Mapping[str, Any], settings: RewardSettings
) -> list[ScoredResponse]:
    """Return one result for each completion, in their order.

    Args:
        completions: Texts, or conversations (lists of messages).
        columns: What the trainer passes beside them: the columns of the dataset, each a list as long as
            ``completions``, and values of the trainer's own, which are left alone. The reference answer is read from
            the first of ``ANSWER_COLUMNS``, else from verl's ``reward_model``; key steps from ``key_steps``, else from
            verl's ``extra_info``; the question's choices from ``choices``, else as ``choices_of`` finds them in
            ``extra_info`` and in the prompts, as far as the trainer passes them.
        settings: How a response is scored.

    Raises:
        DataError: A column is missing, or a row cannot be scored; says which, and the remedy.
        ConfigError: ``settings`` is something else, or has weights of other parts.
    """
    if not isinstance(settings, RewardSettings):
        raise ConfigError(
            f"settings is {settings!r}; expected verl_stepgrpo.RewardSettings(alpha=0.1) or the like"
        )
    if settings.extra_weights:
        raise ConfigError(
            "extra_weights are for verl's trainer and for replay: a trainer that takes reward functions takes yours "
            "beside these, with a weight of its own"
        )
    name, answers = _answers(columns)
    n = len(completions)
    known = zip(answers, _key_steps(columns, n, settings), _choices(columns, n), strict=True)
    references = [_reference(i, name, *one) for i, one in enumerate(known)]
    return [
        _scored(completion_text(completion), *reference, settings)
        for completion, reference in zip(completions, references, strict=True)
    ]


def completion_text(completion: Any) -> str:
    """Return what the model wrote: a text as it is, of a conversation the text of the assistant's messages.

    Raises:
        DataError: ``completion`` is neither.
    """
    if isinstance(completion, str):
        return completion
    if not isinstance(completion, Sequence) or not all(isinstance(m, Mapping) for m in completion):
        raise DataError(f"a completion is {completion!r}; expected a text or a list of messages")
    written = [message for message in completion if message.get("role", "assistant") == "assistant"]
    # Chat templates of models that think keep the thought apart from the answer; the steps may stand in either.
    parts = [message.get(key) for message in written for key in ("reasoning_content", "content")]
    return "\n".join(text for part in parts for text in _texts(part))


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, Sequence):
        texts = (part.get("text") for part in content if isinstance(part, Mapping))
        yield from (text for text in texts if isinstance(text, str))


_Reference = tuple[str, tuple[KeyStep, ...], tuple[tuple[str, str], ...]]
"""The answer, the key steps, and the choices as letters with their texts."""


def _reference(i: int, name: str, answer: Any, key_steps: Any, row: tuple[Any, str]) -> _Reference:
    try:
        choices = tuple(choices_of(*row).items())
        return check_ground_truth(answer, name), parse_key_steps(key_steps), choices
    except DataError as error:
        raise DataError(f"row {i} of the batch: {error}") from None


@lru_cache(maxsize=CACHE_SIZE)
def _scored(
    response: str,
    ground_truth: str,
    key_steps: tuple[KeyStep, ...],
    choices: tuple[tuple[str, str], ...],
    settings: RewardSettings,
) -> ScoredResponse:
    return score_response(response, ground_truth, key_steps, settings, choices=dict(choices))


def _answers(columns: Mapping[str, Any]) -> tuple[str, Sequence[Any]]:
    """Return the name and the values of the column with the reference answers."""
    for name in ANSWER_COLUMNS:
        if name in columns:
            return name, columns[name]
    if "reward_model" in columns:
        models = _objects(columns, "reward_model", "ground_truth")
        return "reward_model.ground_truth", [model.get("ground_truth") for model in models]
    raise DataError(
        f"the dataset has no reference answers: none of its columns is {', '.join(ANSWER_COLUMNS)} or reward_model, it "
        f"has {_names(columns)}; rename the column that holds them to {ANSWER_COLUMNS[0]}"
    )


def _key_steps(columns: Mapping[str, Any], n: int, settings: RewardSettings) -> Sequence[Any]:
    if "key_steps" in columns:
        return columns["key_steps"]
    if "extra_info" in columns:
        infos = _objects(columns, "extra_info", "key_steps")
        if any("key_steps" in info for info in infos):
            return [info.get("key_steps") for info in infos]
    if settings.alpha == 0:
        return [None] * n
    raise DataError(
        f"the dataset has no column key_steps, it has {_names(columns)}; rename the column that holds them, make them "
        "with `verl-stepgrpo key-steps`, or set alpha=0 to pay for none"
    )


def _choices(columns: Mapping[str, Any], n: int) -> list[tuple[Mapping[str, Any], str]]:
    """Return for each completion where its choices may stand: an ``extra_info``, and the text of its prompt."""
    nothing: list[Any] = [None] * n
    infos = _objects(columns, "extra_info", "choices") if "extra_info" in columns else [{}] * n
    own = columns.get("choices") or nothing
    prompts = columns.get("prompts") or columns.get("prompt") or nothing
    return [
        ({**info, "choices": choices} if choices is not None else info, _prompt_text(prompt))
        for info, choices, prompt in zip(infos, own, prompts, strict=True)
    ]


def _prompt_text(prompt: Any) -> str:
    if isinstance(prompt, str):
        return prompt
    messages = prompt if isinstance(prompt, Sequence) else ()
    return "\n".join(
        text
        for message in messages
        if isinstance(message, Mapping)
        for text in _texts(message.get("content"))
    )


def _objects(columns: Mapping[str, Any], column: str, field: str) -> list[Mapping[str, Any]]:
    rows = [{} if row is None else row for row in columns[column]]
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise DataError(f"row {i} of the batch: {column} is {row!r}; expected an object with {field}")
    return rows


def _names(columns: Mapping[str, Any]) -> str:
    return (
        ", ".join(sorted(name for name, values in columns.items() if isinstance(values, Sequence))) or "none"
    )
