"""Load a model's configuration or processor, from a folder or by its name on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from verl_stepgrpo.errors import ConfigError

HUB_LIMIT = 10.0
"""Seconds in which the hub has to answer that it is there."""


def load(auto: Any, model: str) -> Any:
    """Return ``auto.from_pretrained(model)``, of one of transformers' auto classes.

    A name whose hub cannot be reached is looked up in the cache alone: transformers would try each of its files six
    times first, which takes minutes.

    Raises:
        ConfigError: There is no such thing; the message is one line, for a caller to say what it was for.
    """
    is_folder = Path(model).is_dir()
    if model.startswith(("/", "./", "../", "~")) and not is_folder:
        raise ConfigError(f"{model} is not a folder")
    try:
        return auto.from_pretrained(model, local_files_only=not is_folder and not hub_answers())
    except (OSError, ValueError, KeyError) as error:
        said = str(error).splitlines()[0]
        # What looks like a name of the hub may be a folder that was misspelt.
        raise ConfigError(said if is_folder else f"there is no folder {model}, and: {said}") from error


def check_model(model: str) -> None:
    """Raise ConfigError where a model is not there, or is of no kind that transformers knows."""
    from transformers import AutoConfig

    load(AutoConfig, model)


def hub_answers() -> bool:
    import httpx
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        httpx.head(constants.ENDPOINT, timeout=HUB_LIMIT)
    except httpx.TransportError:
        return False
    return True
