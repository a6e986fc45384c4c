"""Refuse a model of which verl would load no weight: a LoRA run's, with base and adapters kept apart.

verl 0.9.1 writes such folders itself (``hf_model`` of a run with adapters, verl #4761). transformers finds none of its
names in them and makes new weights, with a warning, and verl trains those. Names alone are read here, not weights.
"""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

from verl_stepgrpo.errors import ConfigError

KEY = "actor_rollout_ref.model.path"
PEFT_PREFIX = "base_model.model."


def check(model: str) -> None:
    """Check the weights of a folder; a model of another kind is left to verl.

    Raises:
        ConfigError: They have PEFT's names, or cannot be read.
    """
    for path in sorted(Path(model).glob("*.safetensors")):
        name = _first_name(path)
        if name.startswith(PEFT_PREFIX):
            raise ConfigError(
                f"{KEY}={model}: {path.name} is a LoRA run's, with base and adapters apart ({name}). No weight is "
                "loaded from it, and training would begin with new ones. Add the adapters in first: python "
                "recipes/fold_adapters.py CHECKPOINT TARGET, CHECKPOINT being the folder that 'huggingface' lies in."
            )


def _first_name(path: Path) -> str:
    try:
        with safe_open(path, framework="pt") as file:
            return next(iter(file.keys()), "")
    except SafetensorError as error:
        raise ConfigError(f"{KEY}: {path} cannot be read: {error}. Download or write it again.") from error
