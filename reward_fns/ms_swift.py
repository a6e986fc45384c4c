"""StepGRPO's rewards for ms-swift's ``--external_plugins`` (ms-swift 4.6): every component is a reward function.

    swift rlhf --rlhf_type grpo --external_plugins reward_fns/ms_swift.py \\
        --reward_funcs step_rar step_rvr acc key_step_match --reward_weights 1 1 0 0

The sum of ``step_rar`` and ``step_rvr`` is the total reward; a component of weight 0 is a curve and no more. Settings
of the rewards are a JSON object in the environment variable ``STEPGRPO_SETTINGS``, since swift passes none.
"""

import json
import os
from typing import Any

from swift.rewards import ORM, orms

from verl_stepgrpo import SCORE_KEYS, RewardSettings
from verl_stepgrpo.adapters.batch import score_batch
from verl_stepgrpo.errors import ConfigError

VARIABLE = "STEPGRPO_SETTINGS"


class Component(ORM):
    """One component of the reward; its subclasses are named after theirs, which is how swift names the curve."""

    def __init__(self, args: Any = None, **kwargs: Any) -> None:
        super().__init__(args, **kwargs)
        self.settings = settings_of(os.environ.get(VARIABLE, "{}"))

    def __call__(self, completions: list[Any], **columns: Any) -> list[float]:
        scored = score_batch(completions, columns, self.settings)
        return [result.components()[type(self).__name__] for result in scored]


def settings_of(text: str) -> RewardSettings:
    """Return the settings that a JSON object holds.

    Raises:
        ConfigError: It is no JSON object, or a setting is unknown or out of range.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{VARIABLE}={text!r} is not JSON ({error}); write '{{\"alpha\": 0.2}}' or the like"
        ) from None
    if not isinstance(values, dict):
        raise ConfigError(f"{VARIABLE}={text!r} is not an object; write '{{\"alpha\": 0.2}}' or the like")
    return RewardSettings.from_mapping(values)


orms.update({name: type(name, (Component,), {}) for name in SCORE_KEYS})
