"""StepGRPO for verl: step-wise rewards and group-relative advantages (arXiv 2503.12937).

The public API. Its names are loaded when they are first used, so that importing the package is light and
cannot fail: verl imports it in every process. Neither torch nor verl is loaded; verl finds the rest by
entry point.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verl_stepgrpo.errors import ConfigError, DataError
    from verl_stepgrpo.judging.key_steps.match import KeyStepMatch
    from verl_stepgrpo.judging.key_steps.reference import KeyStep, parse_key_steps
    from verl_stepgrpo.rewards import SCORE_KEYS, ScoredResponse, compute_score, score_response
    from verl_stepgrpo.settings import RewardSettings, RunSettings

__version__ = "0.1.0"

_HOME = {
    "errors": ("ConfigError", "DataError"),
    "judging.key_steps.match": ("KeyStepMatch",),
    "judging.key_steps.reference": ("KeyStep", "parse_key_steps"),
    "rewards": ("SCORE_KEYS", "ScoredResponse", "compute_score", "score_response"),
    "settings": ("RewardSettings", "RunSettings"),
}
"""Public names by the module that defines them."""

__all__ = [
    "SCORE_KEYS",
    "ConfigError",
    "DataError",
    "KeyStep",
    "KeyStepMatch",
    "RewardSettings",
    "RunSettings",
    "ScoredResponse",
    "__version__",
    "compute_score",
    "parse_key_steps",
    "score_response",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
