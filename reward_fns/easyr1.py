"""StepGRPO's rewards for EasyR1: ``worker.reward.reward_function=reward_fns/easyr1.py:compute_score``.

EasyR1 hands a reward function the text and the column ``data.answer_key`` and nothing else of the row
(verl/workers/reward/function.py, read at commit 46c6c21), so that column holds the key steps too, as JSON:

    {"answer": "2", "key_steps": [["6/3 = 2", "6 divided by 3 equals 2"], ["3 children"]]}

Settings are ``worker.reward.reward_function_kwargs``, the fields of ``RewardSettings``.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from verl_stepgrpo import DataError, RewardSettings
from verl_stepgrpo.adapters.batch import score_batch
from verl_stepgrpo.errors import ConfigError

# What later versions read; at that commit it is worker.reward.reward_type, which is batch too.
REWARD_NAME = "stepgrpo"
REWARD_TYPE = "batch"

EXPECTED = 'a JSON object like {"answer": "2", "key_steps": ["6/3 = 2"]}'


def compute_score(reward_inputs: Sequence[Mapping[str, Any]], **settings: Any) -> list[dict[str, float]]:
    """Return, for each response, ``overall`` (the total reward, which EasyR1 trains on) and every component.

    Args:
        reward_inputs: Each with ``response`` and ``ground_truth``.
        **settings: Fields of ``RewardSettings``. With ``alpha=0`` a plain answer is enough.

    Raises:
        ConfigError: EasyR1 asks for one response at a time, or a setting is unknown or out of range.
        DataError: A ``ground_truth`` cannot be read.
    """
    if isinstance(reward_inputs, Mapping):
        raise ConfigError("reward_fns/easyr1.py scores batches; set worker.reward.reward_type=batch")
    reward = RewardSettings.from_mapping(settings)
    references = [reference(row["ground_truth"], plain=reward.alpha == 0) for row in reward_inputs]
    columns = {
        "ground_truth": [known["answer"] for known in references],
        "key_steps": [known["key_steps"] for known in references],
    }
    scored = score_batch([row["response"] for row in reward_inputs], columns, reward)
    components = [result.components() for result in scored]
    return [{"overall": values.pop("score"), **values} for values in components]


def reference(ground_truth: Any, *, plain: bool) -> Mapping[str, Any]:
    """Return the answer and the key steps that ``ground_truth`` holds.

    Args:
        ground_truth: The JSON object, as text or read; or a plain answer.
        plain: Whether a plain answer is allowed, which has no key steps.

    Raises:
        DataError: It is neither, or a key is missing.
    """
    value = _read(ground_truth)
    if isinstance(value, Mapping):
        missing = [key for key in ("answer", "key_steps") if key not in value]
        if missing:
            raise DataError(
                f"ground_truth has no {' and no '.join(missing)}: {ground_truth!r}; expected {EXPECTED}"
            )
        return value
    if plain:
        return {"answer": value, "key_steps": None}
    raise DataError(
        f"ground_truth is {ground_truth!r}, which holds no key steps; expected {EXPECTED}, with an empty list where "
        "there are none, or worker.reward.reward_function_kwargs.alpha=0 to pay for none"
    )


def _read(ground_truth: Any) -> Any:
    if not isinstance(ground_truth, str) or not ground_truth.lstrip().startswith("{"):
        return ground_truth
    try:
        return json.loads(ground_truth)
    except json.JSONDecodeError as error:
        if '"answer"' in ground_truth:
            raise DataError(f"ground_truth is {ground_truth!r}; expected {EXPECTED} ({error})") from None
        return ground_truth  # a set is written with braces too
