"""Parts of the reward beside StepRAR and StepRVR: a user's own, and two that are ready.

A part has a name and, for each response, a number; ``extra_weights`` says what one unit of it is paid. Where
components stand, its number stands beside them as ``extra_<name>``. Pure: no I/O, no torch, no verl.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from numbers import Real

from verl_stepgrpo.errors import ConfigError

OVERLONG = "overlong"
"""Ready: 0 for a response that is short enough, falling to -1 at the longest."""

REPETITION = "repetition"
"""Ready: less the share of a response's runs of words that repeat an earlier one."""

VISUAL = "visual"
"""Ready: the share of a row's visual key steps that the image description shows (``visual_key_steps``)."""

READY = (OVERLONG, REPETITION, VISUAL)

KNOWN = (REPETITION, VISUAL)
"""Those that every score knows."""

NUMBER = "score"
"""Name of the part that a function gives which returns a number, and what verl's own functions call theirs."""

REPEATED_WORDS = 4
"""Length of the runs of words that ``repetition`` counts; formulas and lists repeat shorter ones by right."""

_PREFIX = "extra_"
_NAME = re.compile(r"[A-Za-z]\w*")
_AGGREGATED = ("max", "min", "sum", "total")
"""What makes verl add up, or take the extreme of, a curve (0.9.1, trainer/ppo/v1/utils.py)."""
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|\w+|[^\w\s]")


def component_of(name: str) -> str:
    """Return the key of a part among components."""
    return f"{_PREFIX}{name}"


def part_of(component: str) -> str | None:
    """Return the name of the part that a component is the number of; None where it is another component."""
    return component.removeprefix(_PREFIX) if component.startswith(_PREFIX) else None


def parts_in(components: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers of the parts among components, by name."""
    return {name: value for key, value in components.items() if (name := part_of(key)) is not None}


def keys_with_parts(keys: Sequence[str], components: Iterable[Mapping[str, float]]) -> tuple[str, ...]:
    """Return ``keys``, and behind them those of parts that any of ``components`` has."""
    of_parts = (key for key in chain.from_iterable(components) if part_of(key) is not None)
    return tuple(dict.fromkeys((*keys, *of_parts)))


def name_fault(name: object) -> str | None:
    """Return why a part cannot have a name; None where it can."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return "it is no name: letters, digits and _, a letter first"
    clash = next((word for word in _AGGREGATED if word in name.lower()), None)
    if clash:
        return f"its name has {clash!r} in it, which makes verl take the {clash} of its curve in place of the mean"
    return None


def check_given(weights: Mapping[str, float], given: Collection[str]) -> None:
    """Raise ConfigError where a part has a weight, and nothing gives it."""
    lacking = [name for name in weights if name not in given and name not in KNOWN]
    if lacking:
        raise ConfigError(
            f"extra_weights.{lacking[0]}={weights[lacking[0]]}: no such part is given here. In training "
            "reward.custom_reward_function gives parts, a replay has those of its traces, "
            f"{' and '.join(KNOWN)} are known of every response, and verl-stepgrpo score calls a function of yours: "
            "--set reward.custom_reward_function.path=FILE."
        )


def checked(returned: object, weights: Mapping[str, float]) -> dict[str, float]:
    """Return the parts that a reward function gave, by name.

    Args:
        returned: What it returned: a number, which is the part ``score``, or an object of names and numbers.
        weights: What each part is paid.

    Raises:
        ConfigError: It is something else, a part is no finite number or has no name or no weight, or one is missing.
    """
    given = {NUMBER: returned} if isinstance(returned, Real) else returned
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"it returned {returned!r:.80} ({type(returned).__name__}); expected a number, or an object of names and "
            "numbers"
        )
    own = [name for name in weights if name not in READY]
    for name, value in given.items():
        fault = name_fault(name)
        if fault is not None:
            raise ConfigError(f"it returned a part {name!r}: {fault}")
        if not isinstance(value, Real) or not math.isfinite(value):
            raise ConfigError(f"its part {name} is {value!r:.80}; expected a finite number")
        if name in READY:
            raise ConfigError(f"its part {name} has the name of one that is ready; give it another")
        if name not in weights:
            raise ConfigError(
                f"its part {name} has no weight: set algorithm.stepgrpo.extra_weights.{name}, to 0 where it is only "
                "to be shown"
            )
    missing = [name for name in own if name not in given]
    if missing:
        raise ConfigError(
            f"it returned no part {missing[0]}, which algorithm.stepgrpo.extra_weights has a weight for; it has to be "
            "there for every response"
        )
    return {name: float(given[name]) for name in own}


def repetition(text: str) -> float:
    """Return less the share of the runs of ``REPEATED_WORDS`` words that stand in ``text`` before, in [-1, 0].

    0 for a text of fewer words. A mark is a word, and so is each Chinese or Japanese character.
    """
    words = _WORD.findall(text.lower())
    runs = Counter(zip(*(words[i:] for i in range(REPEATED_WORDS)), strict=False))
    n = runs.total()
    return -(n - len(runs)) / n if n else 0.0


def overlong(tokens: int, longest: int, buffer: float) -> float:
    """Return the soft punishment of long responses, in [-1, 0].

    0 up to ``longest`` less its last part, from there in a straight line to -1 at ``longest``. Source: DAPO, arXiv
    2503.14476, equation 13, which has 4,096 of 20,480 tokens for that part.

    Args:
        tokens: Length of the response.
        longest: Longest response that is sampled.
        buffer: Share of ``longest`` that the last part is, in (0, 1].
    """
    width = buffer * longest
    return max(-1.0, min(0.0, (longest - width - tokens) / width))
