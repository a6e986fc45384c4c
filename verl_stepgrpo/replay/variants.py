"""The settings that a replay compares: the run's own, with every combination of the values that were given. Pure."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from verl_stepgrpo.errors import ConfigError
from verl_stepgrpo.settings import (
    NEEDED,
    AdvantageSettings,
    RewardSettings,
    RunSettings,
    assign,
    check_known,
    is_weight,
)

GROUP_SIZE = "M"
"""Responses to a prompt, as the paper calls it (section 4.1); verl's ``rollout.n``."""

_REWARD = [f.name for f in dataclasses.fields(RewardSettings)]
_ADVANTAGE = [f.name for f in dataclasses.fields(AdvantageSettings)]


@dataclass(frozen=True)
class Variant:
    """One way to score and to credit.

    Attributes:
        assigned: What it sets, by name; the rest is as the run had it.
        group_size: Into groups of how many responses the logged groups are split, or None for as they are.
    """

    assigned: Mapping[str, Any] = field(default_factory=dict)
    group_size: int | None = None

    @property
    def label(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.assigned.items()) or "nothing set"

    def settings(self, run: RunSettings) -> RunSettings:
        """Return all of its settings for a step that the run made with ``run``."""
        own = {key: value for key, value in self.assigned.items() if key != GROUP_SIZE}
        return RunSettings.from_mapping(assign(run.to_mapping(), own))


def without_effect(variant: Variant, run: RunSettings) -> str | None:
    """Return what a variant sets in vain beside the rest of its settings, and why; None for nothing."""
    settings = variant.settings(run).to_mapping()
    lacking = [
        f"{key} without {other}={value}"
        for key, (other, value) in NEEDED.items()
        if key in variant.assigned and settings[other] != value
    ]
    return f"{variant.label}: {' and '.join(lacking)} changes nothing" if lacking else None


def variants(values: Mapping[str, Sequence[Any]]) -> list[Variant]:
    """Return a variant for every combination of the ``values`` of each setting.

    Raises:
        ConfigError: A setting is unknown, has no value, or has one that is out of range.
    """
    named = {key: own for key, own in values.items() if not is_weight(key)}
    check_known(named, [*_REWARD, *_ADVANTAGE, GROUP_SIZE])
    return [
        _variant(dict(zip(values, chosen, strict=True))) for chosen in itertools.product(*values.values())
    ]


def _variant(assigned: dict[str, Any]) -> Variant:
    size = assigned.get(GROUP_SIZE)
    if size is not None and (not isinstance(size, (int, float)) or size < 2 or size != int(size)):
        raise ConfigError(f"{GROUP_SIZE}={size!r} is out of range: it must be a whole number of at least 2.")
    variant = Variant(assigned, None if size is None else int(size))
    variant.settings(RunSettings())  # a value may be out of range
    return variant
