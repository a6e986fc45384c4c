"""Settings of the rewards and of a run, validated once and frozen.

On verl's command line they live in one node, ``algorithm.stepgrpo``, which reward manager, estimator and
trainer hook all read through ``RunSettings.from_mapping``. Pure: no torch, no verl.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from verl_stepgrpo.errors import ConfigError

NAME = "stepgrpo"
"""Under which verl finds the estimator and the reward manager."""

NODE = f"algorithm.{NAME}"
"""Where the settings live in verl's configuration."""

MODES = ("paper", "reference")


@dataclass(frozen=True)
class RewardSettings:
    """How one response is scored.

    Attributes:
        alpha: Weight of the key-step match in StepRAR, at least 0 (0.1 in the paper, section 4.1).
        match_threshold: Lowest similarity of wording, in (0, 1], at which a key step counts as matched.
            Numbers, variables and operators have to agree exactly whatever this is.
        mode: ``paper`` follows the paper's text; ``reference`` reproduces the rules of the authors' code.

    Raises:
        ConfigError: A value is of the wrong type or out of range.
    """

    alpha: float = 0.1
    match_threshold: float = 0.8
    mode: str = "paper"

    def __post_init__(self) -> None:
        _require_number("alpha", self.alpha, low=0.0, high=math.inf, allowed="a finite number of at least 0")
        _require_number(
            "match_threshold", self.match_threshold, low=0.0, high=1.0, allowed="a number in (0, 1]"
        )
        if self.match_threshold <= 0:
            raise _out_of_range("match_threshold", self.match_threshold, "a number in (0, 1]")
        if self.mode not in MODES:
            raise _out_of_range("mode", self.mode, f"one of {', '.join(MODES)}")


@dataclass(frozen=True)
class RunSettings:
    """The whole node ``algorithm.stepgrpo``.

    Attributes:
        reward: How one response is scored.
        trace_dir: Folder for the traces (one JSONL file a training step and validation), or None for none.
        max_missing_sessions: Largest share of a step's sessions, in [0, 1], that may be missing before the
            run ends with an error. A session goes missing when its agent loop or its reward failed.
    """

    reward: RewardSettings = field(default_factory=RewardSettings)
    trace_dir: str | None = None
    max_missing_sessions: float = 0.5

    def __post_init__(self) -> None:
        share = self.max_missing_sessions
        _require_number("max_missing_sessions", share, low=0.0, high=1.0, allowed="a share in [0, 1]")
        if self.trace_dir is not None and (not isinstance(self.trace_dir, str) or not self.trace_dir):
            raise _out_of_range("trace_dir", self.trace_dir, "a folder's path, or null for no traces")

    @classmethod
    def from_mapping(cls, node: Mapping[str, Any] | None) -> RunSettings:
        """Return the settings that ``node`` holds; what it leaves out takes its default.

        Raises:
            ConfigError: ``node`` has an unknown key, or a value that is out of range.
        """
        if node is not None and not isinstance(node, Mapping):
            raise ConfigError(f"{NODE}={node!r} is not a group of settings; set {NODE}.alpha and the like.")
        values = dict(node or {})
        reward_keys = [f.name for f in dataclasses.fields(RewardSettings)]
        run_keys = [f.name for f in dataclasses.fields(cls) if f.name != "reward"]
        unknown = sorted(set(values) - set(reward_keys) - set(run_keys))
        if unknown:
            key, known = unknown[0], ", ".join(reward_keys + run_keys)
            meant = difflib.get_close_matches(key, reward_keys + run_keys, n=1)
            hint = f" Did you mean {NODE}.{meant[0]}?" if meant else ""
            raise ConfigError(
                f"{NODE}.{key}={values[key]!r} is not a setting of verl-stepgrpo.{hint} Known: {known}."
            )
        reward = RewardSettings(**{key: values[key] for key in reward_keys if key in values})
        return cls(reward=reward, **{key: values[key] for key in run_keys if key in values})


def _require_number(key: str, value: object, *, low: float, high: float, allowed: str) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high:  # type: ignore[arg-type, operator]
        raise _out_of_range(key, value, allowed)


def _out_of_range(key: str, value: object, allowed: str) -> ConfigError:
    return ConfigError(f"{NODE}.{key}={value!r} is out of range: it must be {allowed}.")
