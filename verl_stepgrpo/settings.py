"""Settings of the rewards and of a run, validated once and frozen.

On verl's command line they live in one node, ``algorithm.stepgrpo``, which reward manager, estimator and
trainer hook all read through ``RunSettings.from_mapping``. Pure: no torch, no verl.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from verl_stepgrpo.errors import ConfigError
from verl_stepgrpo.judging import formats

NAME = "stepgrpo"
"""Under which verl finds the estimator and the reward manager."""

NODE = f"algorithm.{NAME}"
"""Where the settings live in verl's configuration."""

STD_EPSILON = 1e-4
"""The authors' code divides by std + 1e-4; the paper by std."""

MODES = ("paper", "reference")
DESCRIPTIONS = ("required", "optional")
DRAFTS = ("free", "judged")
COMBINES = ("sum", "component", "answer_first")
CREDITS = ("trajectory", "step", "value")

MIN_GROUP = 3
"""Responses to a prompt that ``credit=value`` needs: with two, it would say what ``trajectory`` says."""


@dataclass(frozen=True)
class RewardSettings:
    """How one response is scored.

    Attributes:
        alpha: Weight of the key-step match in StepRAR, at least 0 (0.1 in the paper, section 4.1).
        rvr_weight: What a valid response is paid for StepRVR, at least 0 (1 in the paper). alpha=0 and rvr_weight=0
            leave the answer alone to be paid.
        match_threshold: Lowest similarity of wording, in (0, 1], at which a key step counts as matched.
            Numbers, variables and operators have to agree exactly whatever this is.
        answer_tolerance: How far an answer with a decimal point may be from a reference that is a number, in [0, 1),
            as a share of the reference. At 0 nothing is rounded.
        image_description: Whether a complete response has one: ``required`` (the paper) or ``optional``, for data
            without images.
        format: How responses are written: ``mulberry`` (the paper), ``think``, ``markdown``, ``plain``, a YAML file of
            patterns, or ``module:Class`` (``judging.formats``).
        draft: What stands in ``<think>...</think>`` before a response of a format without thoughts: ``free`` leaves it
            unread, ``judged`` reads it as a part of the response.
        mode: ``paper`` follows the paper's text; ``reference`` reproduces the rules of the authors' code.

    Raises:
        ConfigError: A value is of the wrong type or out of range.
    """

    alpha: float = 0.1
    rvr_weight: float = 1.0
    match_threshold: float = 0.8
    answer_tolerance: float = 0.0
    image_description: str = "required"
    format: str = "mulberry"
    draft: str = "free"
    mode: str = "paper"

    def __post_init__(self) -> None:
        for key in ("alpha", "rvr_weight"):
            _require_number(
                key, getattr(self, key), low=0.0, high=math.inf, allowed="a finite number of at least 0"
            )
        _require_number(
            "match_threshold", self.match_threshold, low=0.0, high=1.0, allowed="a number in (0, 1]"
        )
        if self.match_threshold <= 0:
            raise _out_of_range("match_threshold", self.match_threshold, "a number in (0, 1]")
        allowed = "a share in [0, 1)"
        _require_number("answer_tolerance", self.answer_tolerance, low=0.0, high=1.0, allowed=allowed)
        if self.answer_tolerance >= 1:
            raise _out_of_range("answer_tolerance", self.answer_tolerance, allowed)
        for key, names in (("mode", MODES), ("image_description", DESCRIPTIONS), ("draft", DRAFTS)):
            if getattr(self, key) not in names:
                raise _out_of_range(key, getattr(self, key), f"one of {', '.join(names)}")
        if not isinstance(self.format, str):
            raise _out_of_range("format", self.format, "the name of a format")
        formats.find(self.format)
        if self.mode == "reference" and self.format != RewardSettings.format:
            raise ConfigError(
                f"{NODE}.mode=reference and {NODE}.format={self.format}: the authors' rules are about the format "
                f"{RewardSettings.format} alone. Set one of them."
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> RewardSettings:
        """Return the settings that ``values`` hold; what they leave out takes its default.

        Raises:
            ConfigError: A key is unknown, or a value out of range.
        """
        for key in values.keys() & {f.name for f in dataclasses.fields(AdvantageSettings)}:
            raise ConfigError(
                f"{key}={values[key]!r} makes advantages of the rewards of a group; it changes nothing that one "
                f"response is paid. It is set in {NODE}, and verl-stepgrpo replay shows what it would make of a run."
            )
        check_known(values, [f.name for f in dataclasses.fields(cls)])
        return cls(**values)


@dataclass(frozen=True)
class AdvantageSettings:
    """How the rewards of a group become advantages.

    Attributes:
        combine: How the components of a reward become one advantage: ``sum`` holds their sum against the group's (the
            paper); ``component`` holds each against the group's own, weighs them by 1, ``alpha`` and ``rvr_weight``,
            and whitens the batch; ``answer_first`` holds the answer against the group's, and what key steps and
            validity are paid against that of the group's right answers alone.
        process_weight: With ``answer_first``, how much key steps and validity weigh beside the answer, at least 0.
        credit: ``trajectory`` gives every token of a response the same advantage (the paper); ``step`` gives the
            tokens of a step what the response's key steps from that step on are worth; ``value`` gives them how much
            better the answer came out than was to be expected before that step, by the key steps found.
        value_lambda: With ``value``, how far back an outcome is credited, in [0, 1]: 1 to every step before it, 0 to
            the step alone that changed what was to be expected.
        outcome_gate: Factor in [0, 1] on the advantages of a group without a right answer: 1 leaves them
            (the paper), 0 lets such groups train nothing.
        std_floor: Lowest standard deviation that rewards are divided by, at least 0. 0 is the paper.

    Raises:
        ConfigError: A value is of the wrong type or out of range.
    """

    combine: str = "sum"
    process_weight: float = 0.5
    credit: str = "trajectory"
    value_lambda: float = 1.0
    outcome_gate: float = 1.0
    std_floor: float = 0.0

    def __post_init__(self) -> None:
        for key, names in (("combine", COMBINES), ("credit", CREDITS)):
            if getattr(self, key) not in names:
                raise _out_of_range(key, getattr(self, key), f"one of {', '.join(names)}")
        for key in ("outcome_gate", "value_lambda"):
            _require_number(key, getattr(self, key), low=0.0, high=1.0, allowed="a factor in [0, 1]")
        for key in ("process_weight", "std_floor"):
            _require_number(
                key, getattr(self, key), low=0.0, high=math.inf, allowed="a finite number of at least 0"
            )

    @property
    def needs_components(self) -> bool:
        """Whether the total rewards are not enough."""
        return self.combine != "sum" or self.credit != "trajectory" or self.outcome_gate < 1


@dataclass(frozen=True)
class RunSettings:
    """The whole node ``algorithm.stepgrpo``.

    Attributes:
        reward: How one response is scored.
        advantage: How the rewards of a group become advantages.
        trace_dir: Folder for the traces (one JSONL file a training step and validation), or None for none.
        max_missing_sessions: Largest share of a step's sessions, in [0, 1], that may be missing before the
            run ends with an error. A session goes missing when its agent loop or its reward failed.
    """

    reward: RewardSettings = field(default_factory=RewardSettings)
    advantage: AdvantageSettings = field(default_factory=AdvantageSettings)
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
        parts = {"reward": RewardSettings, "advantage": AdvantageSettings}
        keys = {name: [f.name for f in dataclasses.fields(part)] for name, part in parts.items()}
        run_keys = [f.name for f in dataclasses.fields(cls) if f.name not in parts]
        check_known(values, [key for names in (*keys.values(), run_keys) for key in names], f"{NODE}.")
        return cls(
            **{
                name: part(**{k: values[k] for k in keys[name] if k in values})
                for name, part in parts.items()
            },
            **{key: values[key] for key in run_keys if key in values},
        )

    def to_mapping(self) -> dict[str, Any]:
        """Return the node that ``from_mapping`` reads as these settings, with all its keys."""
        values = dataclasses.asdict(self)
        return {**values.pop("reward"), **values.pop("advantage"), **values}


def check_known(values: Mapping[Any, object], known: Sequence[str], prefix: str = "") -> None:
    """Raise ConfigError where ``values`` has a key that is not ``known``, naming what may have been meant."""
    for key, value in values.items():
        if key not in known:
            meant = difflib.get_close_matches(str(key), known, n=1)
            hint = f" Did you mean {prefix}{meant[0]}?" if meant else ""
            raise ConfigError(
                f"{prefix}{key}={value!r} is not a setting of verl-stepgrpo.{hint} Known: {', '.join(known)}."
            )


def _require_number(key: str, value: object, *, low: float, high: float, allowed: str) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high:  # type: ignore[arg-type, operator]
        raise _out_of_range(key, value, allowed)


def _out_of_range(key: str, value: object, allowed: str) -> ConfigError:
    kind = f" ({type(value).__name__})" if isinstance(value, str) and "number" in allowed else ""
    return ConfigError(f"{NODE}.{key}={value!r}{kind} is out of range: it must be {allowed}.")
