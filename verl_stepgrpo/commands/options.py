"""What several commands read off the command line alike: settings, as ``--set key=value``, and a server to ask."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from verl_stepgrpo.errors import ConfigError
from verl_stepgrpo.settings import RewardSettings, assign

if TYPE_CHECKING:
    from verl_stepgrpo.serving.client import ServerOptions

FORMAT_HELP = "Format of the responses, as algorithm.stepgrpo.format."


def reward_settings(texts: Sequence[str], base: RewardSettings | None = None) -> RewardSettings:
    """Return the settings of the rewards that ``key=value`` texts give; what they leave out is that of ``base``.

    Raises:
        ConfigError: A text is of another form, a key stands twice or is unknown, or a value is out of range.
    """
    given = {key: value(text) for key, text in assigned(texts).items()}
    return RewardSettings.from_mapping(assign(asdict(base or RewardSettings()), given))


def assigned(texts: Sequence[str]) -> dict[str, str]:
    """Return the value of each key of ``key=value`` texts.

    Raises:
        ConfigError: A text is of another form, or a key stands twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, equals, given = text.partition("=")
        if not equals or not given:
            raise ConfigError(
                f"--set {text!r} is not of the form key=value, as in --set image_description=optional."
            )
        if key in found:
            raise ConfigError(f"--set {key} is given twice.")
        found[key] = given
    return found


def value(text: str) -> float | str:
    """Return a number, True or False, or a word, as YAML would read them."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?(\d+\.\d*|\.\d+)", text) else text


def server_options(base_url: str | None, model: str, concurrency: int, timeout: float) -> ServerOptions:
    """Return how the server is asked.

    Raises:
        ConfigError: The client is not installed.
    """
    try:
        from verl_stepgrpo.serving.client import ServerOptions
    except ImportError as error:
        raise ConfigError(f"{error}. Install the client: pip install 'verl-stepgrpo[openai]'") from error
    return ServerOptions(base_url, model, concurrency, timeout)
