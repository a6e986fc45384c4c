"""Settings of the rewards and of a run, validated once and frozen.

On verl's command line they live in one node, ``algorithm.stepgrpo``, which reward manager, estimator and
trainer hook all read through ``RunSettings.from_mapping``. Pure: no torch, no verl.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from verl_stepgrpo.errors import ConfigError
from verl_stepgrpo.judging import formats
from verl_stepgrpo.parts import name_fault

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
OTHER_VERLS = ("warned", "refused")

NEEDED = {"process_weight": ("combine", "answer_first"), "value_lambda": ("credit", "value")}
"""By setting of advantages, the other one, and its value, without which it does nothing."""

MIN_GROUP = 3
"""Responses to a prompt that ``credit=value`` needs: with two, it would say what ``trajectory`` says."""


EXTRA_WEIGHTS = "extra_weights"


class Weights(dict[str, float]):
    """Weights by name. Nobody changes them, so that settings can be keys."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


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
        true_steps: Whether no key step counts in a step that states a false equation ("3 + 5 = 9"). Not in the paper.
        mode: ``paper`` follows the paper's text; ``reference`` reproduces the rules of the authors' code.
        extra_weights: What one unit of each part beside StepRAR and StepRVR is paid, by its name: of those that
            ``reward.custom_reward_function`` gives, and of those that are ready (``parts.READY``). Any finite number;
            0 only shows the part.

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
    true_steps: bool = False
    mode: str = "paper"
    extra_weights: Mapping[str, float] = field(default_factory=Weights)

    def __post_init__(self) -> None:
        if self.extra_weights is None or isinstance(self.extra_weights, Mapping):
            # Frozen, and verl's configuration has nodes of its own.
            object.__setattr__(self, EXTRA_WEIGHTS, Weights(self.extra_weights or {}))
        _refuse(
            *(_number_fault(key, getattr(self, key), POSITIVE) for key in ("alpha", "rvr_weight")),
            _number_fault(
                "match_threshold", self.match_threshold, Range(0, 1, "a number in (0, 1]", low_is_in=False)
            ),
            _number_fault(
                "answer_tolerance", self.answer_tolerance, Range(0, 1, "a share in [0, 1)", high_is_in=False)
            ),
            *(
                _name_fault(key, getattr(self, key), names)
                for key, names in (("mode", MODES), ("image_description", DESCRIPTIONS), ("draft", DRAFTS))
            ),
            _format_fault(self.format),
            None
            if isinstance(self.true_steps, bool)
            else _fault("true_steps", self.true_steps, "True or False"),
            *_weight_faults(self.extra_weights),
        )
        if self.mode == "reference" and self.true_steps:
            raise ConfigError(
                f"{NODE}.mode=reference and {NODE}.true_steps=True: the authors' rules pay key steps whatever a step "
                "states. Set one of them."
            )
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
            The key steps of a group without a right answer weigh ``outcome_gate``, and not this.
        credit: ``trajectory`` gives every token of a response the same advantage (the paper); ``step`` gives the
            tokens of a step what the response's key steps from that step on are worth; ``value`` gives them how much
            better the answer came out than was to be expected before that step, by the key steps found.
        value_lambda: With ``value``, how far back an outcome is credited, in [0, 1]: 1 to every step before it, 0 to
            the step alone that changed what was to be expected.
        outcome_gate: Factor in [0, 1] on the advantages of a group without a right answer: 1 leaves them
            (the paper), 0 lets such groups train nothing. With ``component`` it acts before the whitening.
        std_floor: Lowest standard deviation that rewards are divided by, at least 0. 0 is the paper. ``component``
            floors that of one unit of each part, ``answer_first`` those of the answer and of what the process is paid.

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
        _refuse(
            *(
                _name_fault(key, getattr(self, key), names)
                for key, names in (("combine", COMBINES), ("credit", CREDITS))
            ),
            *(_number_fault(key, getattr(self, key), FACTOR) for key in ("outcome_gate", "value_lambda")),
            *(_number_fault(key, getattr(self, key), POSITIVE) for key in ("process_weight", "std_floor")),
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
        trace_dir: Folder for the traces (one file a training step and validation), or None for none.
        trace_share: Share of a training step's groups, in (0, 1], whose responses are traced; validations are whole.
        max_missing_sessions: Largest share of a step's sessions, in [0, 1], that may be missing before the
            run ends with an error. A session goes missing when its agent loop or its reward failed.
        overlong_buffer: For the part ``overlong``: the last share of ``data.max_response_length``, in (0, 1], over
            which it falls from 0 to -1.
        other_verl: What becomes of a run with another version of verl than this package is tested with: ``warned``, it
            goes on after a warning; ``refused``, it ends with an error before Ray starts.
    """

    reward: RewardSettings = field(default_factory=RewardSettings)
    advantage: AdvantageSettings = field(default_factory=AdvantageSettings)
    trace_dir: str | None = None
    trace_share: float = 1.0
    max_missing_sessions: float = 0.5
    overlong_buffer: float = 0.2
    other_verl: str = "warned"

    def __post_init__(self) -> None:
        is_folder = self.trace_dir is None or (isinstance(self.trace_dir, str) and self.trace_dir)
        _refuse(
            _number_fault(
                "max_missing_sessions", self.max_missing_sessions, Range(0, 1, "a share in [0, 1]")
            ),
            _number_fault(
                "overlong_buffer", self.overlong_buffer, Range(0, 1, "a share in (0, 1]", low_is_in=False)
            ),
            _number_fault("trace_share", self.trace_share, Range(0, 1, "a share in (0, 1]", low_is_in=False)),
            None
            if is_folder
            else _fault("trace_dir", self.trace_dir, "a folder's path, or null for no traces"),
            _name_fault("other_verl", self.other_verl, OTHER_VERLS),
        )

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
        made, faults = {}, []
        for name, part in parts.items():
            try:
                made[name] = part(**{k: values[k] for k in keys[name] if k in values})
            except ConfigError as error:
                faults.append(str(error))
        try:
            run = cls(**made, **{key: values[key] for key in run_keys if key in values})
        except ConfigError as error:
            faults.append(str(error))
        _refuse(*faults)
        return run

    def to_mapping(self) -> dict[str, Any]:
        """Return the node that ``from_mapping`` reads as these settings, with all its keys."""
        values = dataclasses.asdict(self)
        return {**values.pop("reward"), **values.pop("advantage"), **values}


def check_known(values: Mapping[Any, object], known: Sequence[str], prefix: str = "") -> None:
    """Raise ConfigError where ``values`` has keys that are not ``known``, naming what may have been meant."""
    unknown = {key: value for key, value in values.items() if key not in known}
    if unknown:
        said = [_unknown(str(key), value, known, prefix) for key, value in unknown.items()]
        raise ConfigError("\n".join([*said[:-1], f"{said[-1]} Known: {', '.join(known)}."]))


def _unknown(key: str, value: object, known: Sequence[str], prefix: str) -> str:
    meant = difflib.get_close_matches(key, known, n=1)
    hint = f" Did you mean {prefix}{meant[0]}?" if meant else ""
    return f"{prefix}{key}={value!r} is not a setting of verl-stepgrpo.{hint}"


def is_weight(key: str) -> bool:
    """Return whether a key names the weight of a part, as ``extra_weights.brief``."""
    return key.startswith(f"{EXTRA_WEIGHTS}.")


def assign(values: Mapping[str, Any], assigned: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` with what is assigned, of which a key may name the weight of a part."""
    found = dict(values)
    for key, value in assigned.items():
        if is_weight(key):
            name = key.removeprefix(f"{EXTRA_WEIGHTS}.")
            found[EXTRA_WEIGHTS] = {**(found.get(EXTRA_WEIGHTS) or {}), name: value}
        else:
            found[key] = value
    return found


@dataclass(frozen=True)
class Range:
    """The finite numbers that a setting may be; ``said`` is how it is told."""

    low: float
    high: float
    said: str
    low_is_in: bool = True
    high_is_in: bool = True

    def has(self, value: float) -> bool:
        above = value >= self.low if self.low_is_in else value > self.low
        return above and (value <= self.high if self.high_is_in else value < self.high)


POSITIVE = Range(0, math.inf, "a finite number of at least 0")
FACTOR = Range(0, 1, "a factor in [0, 1]")
FINITE = Range(-math.inf, math.inf, "a finite number")


def _refuse(*faults: str | None) -> None:
    """Raise ConfigError with all that is wrong, a line each; nothing where nothing is."""
    said = [fault for fault in faults if fault is not None]
    if said:
        raise ConfigError("\n".join(said))


def _number_fault(key: str, value: object, allowed: Range) -> str | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    is_in = is_number and math.isfinite(value) and allowed.has(value)  # type: ignore[arg-type]
    return None if is_in else _fault(key, value, allowed.said)


def _name_fault(key: str, value: object, names: Sequence[str]) -> str | None:
    return None if value in names else _fault(key, value, f"one of {', '.join(names)}")


def _format_fault(value: object) -> str | None:
    if not isinstance(value, str):
        return _fault("format", value, "the name of a format")
    try:
        formats.find(value)
    except ConfigError as error:
        return str(error)
    return None


def _weight_faults(weights: object) -> Iterator[str | None]:
    if not isinstance(weights, Mapping):
        yield _fault(EXTRA_WEIGHTS, weights, "an object of names and weights, as {brief: 0.1}")
        return
    for name, weight in weights.items():
        fault = name_fault(name)
        if fault is not None:
            yield f"{NODE}.{EXTRA_WEIGHTS} has a part {name!r}: {fault}."
        else:
            yield _number_fault(f"{EXTRA_WEIGHTS}.{name}", weight, FINITE)


def _fault(key: str, value: object, allowed: str) -> str:
    kind = f" ({type(value).__name__})" if isinstance(value, str) and "number" in allowed else ""
    return f"{NODE}.{key}={value!r}{kind} is out of range: it must be {allowed}."
