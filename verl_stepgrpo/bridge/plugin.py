"""The entry point that verl loads (group ``verl.plugins``, name ``stepgrpo``).

verl only loads it, in every process that imports verl and in the middle of ``import verl``, so
registration happens on import of this module, and it is light: whatever is heavy in verl is extended
when verl first imports it. verl hides a plugin's error at DEBUG; this one reports its own at WARNING.
Nothing here changes a run that does not use StepGRPO.
"""

from __future__ import annotations

import logging
from types import ModuleType

from verl_stepgrpo.imports import installed_version, when_imported

VERL_VERSION = "0.9.1"
"""The version of verl whose extension points this package was written and tested for."""

REMEDY = f"StepGRPO may not work. This version of verl-stepgrpo is written for verl {VERL_VERSION}."

logger = logging.getLogger("verl_stepgrpo")


def register() -> None:
    """Arrange every extension of verl. Idempotent: each registration is applied once."""
    from verl_stepgrpo import cpu

    remedy = f"{REMEDY} Installed: verl {installed_version('verl')}."
    for module, action in _EXTENSIONS.items():
        when_imported(module, action, remedy=remedy)
    if cpu.wanted():
        cpu.activate()


def _estimator(core_algos: ModuleType) -> None:
    from verl_stepgrpo.bridge import estimator

    estimator.register(core_algos)


def _reward_manager(module: ModuleType) -> None:
    # Registers itself with verl's decorator.
    from verl_stepgrpo.bridge import reward_manager  # noqa: F401


def _preflight(config_module: ModuleType) -> None:
    from verl_stepgrpo.bridge import preflight

    preflight.wrap(config_module)


def _trainer_hooks(trainer_base: ModuleType) -> None:
    from verl_stepgrpo.bridge import trainer_hooks

    trainer_hooks.wrap(trainer_base)


def _config_groups(hydra: ModuleType) -> None:
    from verl_stepgrpo.bridge import search_path

    search_path.register()


_EXTENSIONS = {
    "hydra": _config_groups,
    "verl.utils.config": _preflight,
    "verl.trainer.ppo.core_algos": _estimator,
    "verl.experimental.reward_loop.reward_manager": _reward_manager,
    "verl.trainer.ppo.v1.trainer_base": _trainer_hooks,
}

try:
    register()
except Exception as error:  # verl would hide it, and the user would see only an unknown estimator
    logger.warning(
        "verl-stepgrpo was not loaded: %s: %s. %s Installed: verl %s. Reinstall both packages, or set "
        "VERL_USE_EXTERNAL_PLUGINS=none to run without it.",
        type(error).__name__,
        error,
        REMEDY,
        installed_version("verl"),
    )
    raise
