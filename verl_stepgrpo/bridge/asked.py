"""What a run's configuration asks of StepGRPO: the keys that say so, and whether they name it.

Light at import, since every process asks. Whose reward manager a run has is asked of ``run``, which may load it.
"""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from verl_stepgrpo.parts.function import FUNCTION as FUNCTION
from verl_stepgrpo.settings import NAME, NODE

ESTIMATOR = "algorithm.adv_estimator"
MANAGER = "reward.reward_manager.name"
SOURCE = "reward.reward_manager.source"
MODULE = "reward.reward_manager.module.path"


def uses_estimator(config: DictConfig) -> bool:
    """Return whether the advantage estimator is ``stepgrpo``."""
    return OmegaConf.select(config, ESTIMATOR) == NAME


def uses_stepgrpo(config: DictConfig) -> bool:
    """Return whether any part of StepGRPO is asked for by name: estimator, reward manager or settings."""
    managers = (MANAGER, "reward_model.reward_manager")
    return (
        uses_estimator(config)
        or any(OmegaConf.select(config, key) == NAME for key in managers)
        or OmegaConf.select(config, NODE) is not None
    )


def files_of(value: Any) -> list[str]:
    """Return the files that a key of verl's names: one, several, or none."""
    return [value] if isinstance(value, str) else list(value or ())
