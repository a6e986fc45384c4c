"""A run as its configuration describes it, with the reward manager that it comes to.

verl's names are taken for what verl takes them for: a reward manager counts by its class, not by its name. A user's own
is loaded as verl loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from omegaconf import DictConfig, OmegaConf

from verl_stepgrpo.bridge.asked import MANAGER, MODULE, SOURCE, uses_estimator
from verl_stepgrpo.bridge.checks.own_files import imports_package
from verl_stepgrpo.errors import ConfigError
from verl_stepgrpo.settings import NAME, NODE, RunSettings

DEFAULTS: Mapping[str, Any] = RunSettings().to_mapping()
"""The keys of the node, and what each is where nobody sets it."""


class Manager(Enum):
    """Whose reward manager a run has."""

    OURS = "StepGRPORewardManager"
    SUBCLASS = "a subclass of it"
    WRAPPER = "another class, whose file imports verl_stepgrpo"
    VERLS = "one of verl's own"
    UNKNOWN = "any other"


@dataclass(frozen=True)
class Run:
    """A run as its configuration describes it.

    Attributes:
        config: The whole of it.
        manager: Whose reward manager pays.
    """

    config: DictConfig
    manager: Manager

    @classmethod
    def of(cls, config: DictConfig) -> Run:
        """Return the run that ``config`` describes.

        Raises:
            ConfigError: verl cannot load the reward manager.
        """
        return cls(config, _manager(config))

    def value(self, key: str) -> Any:
        """Return the value of a key, None where it is not there."""
        return OmegaConf.select(self.config, key)

    def setting(self, key: str) -> Any:
        """Return the value of one key of ``algorithm.stepgrpo``."""
        value = self.value(f"{NODE}.{key}")
        return DEFAULTS[key] if value is None else value

    def said(self, key: str) -> str:
        """Return a key with its value, as it is written on the command line."""
        value = self.value(key)
        if isinstance(value, Mapping):
            value = "{" + ",".join(f"{name}:{own}" for name, own in value.items()) + "}"
        return f"{key}={'null' if value is None else value}"

    @property
    def estimates(self) -> bool:
        """Whether StepGRPO's estimator gives the advantages."""
        return uses_estimator(self.config)

    @property
    def pays(self) -> bool:
        """Whether StepGRPO's reward manager, or a subclass of it, gives the rewards."""
        return self.manager in (Manager.OURS, Manager.SUBCLASS)

    @property
    def may_pay(self) -> bool:
        """Whether the reward manager gives StepGRPO's rewards, as far as can be seen."""
        return self.pays or self.manager is Manager.WRAPPER

    @property
    def uses_v1(self) -> bool:
        """Whether verl's v1 trainer runs it."""
        return bool(self.value("trainer.use_v1"))

    @property
    def scales(self) -> bool:
        """Whether StepGRPO's estimator divides by a standard deviation."""
        return self.estimates and self.value("algorithm.norm_adv_by_std_in_grpo") is not False


def _manager(config: DictConfig) -> Manager:
    name = OmegaConf.select(config, MANAGER)
    if name is None:
        return Manager.UNKNOWN
    if name == NAME and OmegaConf.select(config, SOURCE) == "register":
        return Manager.OURS  # this package's, by verl's registry; nothing has to be loaded for that
    return _kind_of(_loaded(config), config)


def _loaded(config: DictConfig) -> object:
    from verl.trainer.ppo.reward import resolve_reward_manager_cls

    try:
        return resolve_reward_manager_cls(config)
    except Exception as error:  # a user's own file may raise anything, and an assertion of verl's may fail
        reason = error.__cause__ or error
        raise ConfigError(
            f"{MANAGER}={OmegaConf.select(config, MANAGER)}: verl cannot load this reward manager: "
            f"{type(reason).__name__}: {reason}. Mend the name, {SOURCE} or {MODULE}."
        ) from error


def _kind_of(manager: object, config: DictConfig) -> Manager:
    from verl_stepgrpo.bridge.reward_manager import StepGRPORewardManager

    if manager is StepGRPORewardManager:
        return Manager.OURS
    if isinstance(manager, type) and issubclass(manager, StepGRPORewardManager):
        return Manager.SUBCLASS
    module = str(getattr(manager, "__module__", ""))
    if module.split(".")[0] == "verl":
        return Manager.VERLS
    is_file = OmegaConf.select(config, SOURCE) == "importlib"
    wraps = imports_package(OmegaConf.select(config, MODULE) if is_file else f"pkg://{module}")
    return Manager.WRAPPER if wraps else Manager.UNKNOWN
