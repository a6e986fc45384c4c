"""Checks in the driver, before Ray starts: settings, dataset, and whether the parts belong together.

Inside a worker verl swallows such errors (a failed session only gets a status, and training goes on), so
they are raised here, where they end the command at once. verl offers no configured place for a check that
may fail: exceptions of a Hydra callback become warnings. So ``verl.utils.config.validate_config``, which
``main_ppo`` of verl 0.9.1 calls before ``ray.init``, is wrapped.
"""

from __future__ import annotations

import functools
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from verl_stepgrpo.bridge import dataset_check
from verl_stepgrpo.bridge.extensions import VERL_VERSION
from verl_stepgrpo.errors import ConfigError
from verl_stepgrpo.imports import apply_once, installed_version
from verl_stepgrpo.settings import NAME, NODE, RewardSettings, RunSettings

logger = logging.getLogger("verl_stepgrpo")


def wrap(config_module: ModuleType) -> None:
    """Let ``validate_config`` check a StepGRPO run first."""

    def make(original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def validate_config(config: DictConfig, *args: Any, **kwargs: Any) -> None:
            if uses_stepgrpo(config):
                check(config)
            original(config, *args, **kwargs)

        return validate_config

    apply_once(config_module, "validate_config", make)


def uses_stepgrpo(config: DictConfig) -> bool:
    """Return whether any part of StepGRPO is asked for: estimator, reward manager or settings."""
    return uses_estimator(config) or _uses_manager(config) or OmegaConf.select(config, NODE) is not None


def uses_estimator(config: DictConfig) -> bool:
    """Return whether the advantage estimator is ``stepgrpo``."""
    return OmegaConf.select(config, "algorithm.adv_estimator") == NAME


def check(config: DictConfig) -> None:
    """Check a StepGRPO run.

    Raises:
        ConfigError: A setting is unknown, out of range, or without effect beside the others.
        DataError: A dataset row cannot be scored.
    """
    settings = RunSettings.from_mapping(OmegaConf.select(config, NODE))
    _warn_of_other_verl()
    if settings.trace_dir is not None:
        _check_trace_dir(settings.trace_dir)
    if uses_estimator(config):
        _check_group_size(config)
    if settings.advantage.needs_components:
        _check_components(config)
    if uses_estimator(config) and not _uses_manager(config):
        _warn_of_missing_rewards(config)
    if _uses_manager(config) and OmegaConf.select(config, "data.custom_cls.path") is None:
        for key in ("data.train_files", "data.val_files"):
            dataset_check.check_files(OmegaConf.select(config, key), key)


def _check_trace_dir(trace_dir: str) -> None:
    try:
        Path(trace_dir).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=trace_dir):
            pass
    except OSError as error:
        raise ConfigError(
            f"{NODE}.trace_dir={trace_dir!r} cannot be written: {error}. Name a folder that can, or null."
        ) from error


def _check_group_size(config: DictConfig) -> None:
    key = "actor_rollout_ref.rollout.n"
    if OmegaConf.select(config, key) == 1:
        raise ConfigError(
            f"{key}=1: an advantage is relative to the other responses of its group, so that a group of one "
            "trains nothing. Set it to 2 or more (the paper has 4)."
        )


def _check_components(config: DictConfig) -> None:
    """Refuse settings of the advantage that need more than total rewards where nothing would bring more."""
    needed = {
        "algorithm.adv_estimator": NAME,
        "reward.reward_manager.name": NAME,
        "trainer.use_v1": True,
    }
    for key, value in needed.items():
        if OmegaConf.select(config, key) != value:
            raise ConfigError(
                f"{NODE}.credit=step and {NODE}.outcome_gate below 1 need {key}={value}; it is "
                f"{OmegaConf.select(config, key)!r}. Set it, or leave both at credit=trajectory and outcome_gate=1."
            )


def _uses_manager(config: DictConfig) -> bool:
    return OmegaConf.select(config, "reward.reward_manager.name") == NAME


def _warn_of_other_verl() -> None:
    installed = installed_version("verl")
    if installed != VERL_VERSION:
        logger.warning(
            "verl %s is installed; this version of verl-stepgrpo is written and tested for verl %s. Where an "
            "extension point has changed, a warning names it.",
            installed,
            VERL_VERSION,
        )


def _warn_of_missing_rewards(config: DictConfig) -> None:
    manager = OmegaConf.select(config, "reward.reward_manager.name")
    path = OmegaConf.select(config, "reward.custom_reward_function.path")
    if path is not None and str(path).endswith("reward_fns/stepgrpo.py"):
        if RunSettings.from_mapping(OmegaConf.select(config, NODE)).reward != RewardSettings():
            logger.warning(
                "The settings of the reward in %s do not reach a reward function: verl gives it no more than "
                "reward.custom_reward_function.reward_kwargs. Set them there: %s.",
                NODE,
                ", ".join(RewardSettings.__dataclass_fields__),
            )
        return
    logger.warning(
        "algorithm.adv_estimator=stepgrpo runs with reward.reward_manager.name=%s: NO STEP-WISE REWARD IS IN "
        "USE, and this is plain GRPO on that manager's reward. Set reward.reward_manager.name=stepgrpo for "
        "StepRAR and StepRVR.",
        manager,
    )
