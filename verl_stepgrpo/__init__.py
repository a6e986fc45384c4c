"""StepGRPO for verl: step-wise rewards and group-relative advantages (arXiv 2503.12937).

The public API. Importing it loads neither torch nor verl; verl finds the rest by entry point.
"""

from verl_stepgrpo.errors import ConfigError, DataError
from verl_stepgrpo.key_steps import KeyStep, KeyStepMatch, parse_key_steps
from verl_stepgrpo.rewards import SCORE_KEYS, ScoredResponse, compute_score, score_response
from verl_stepgrpo.settings import RewardSettings, RunSettings

__version__ = "0.1.0"

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
