"""What several commands read off the command line alike: settings, as ``--set key=value``, and a server to ask."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from verl_stepgrpo.errors import ConfigError
from verl_stepgrpo.parts.function import GROUP
from verl_stepgrpo.settings import EXTRA_WEIGHTS, NODE, RewardSettings, assign

if TYPE_CHECKING:
    from verl_stepgrpo.serving.client import ServerOptions

FORMAT_HELP = "Format of the responses, as algorithm.stepgrpo.format."


def reward_settings(texts: Sequence[str], base: RewardSettings | None = None) -> RewardSettings:
    """Return the settings of the rewards that ``key=value`` texts give; what they leave out is that of ``base``.

    Raises:
        ConfigError: A text is of another form, a key stands twice or is unknown, or a value is out of range.
    """
    return settings_of(assigned(texts), base)


def settings_of(given: Mapping[str, str], base: RewardSettings | None = None) -> RewardSettings:
    """Return the settings that the values of keys give, as ``reward_settings``."""
    values = {key: value(text) for key, text in given.items()}
    return RewardSettings.from_mapping(assign(asdict(base or RewardSettings()), values))


def assigned(texts: Sequence[str]) -> dict[str, str]:
    """Return the value of each key of ``key=value`` texts.

    A key may be as verl's command line has it, ``algorithm.stepgrpo.alpha``; and weights of parts may stand in one
    object, ``extra_weights={brief: 0.1}``, which gives a key for each.

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
        key = key.strip().removeprefix("+").removeprefix(f"{NODE}.")
        for name, one in _named(key, given.strip()):
            if name in found:
                raise ConfigError(f"--set {name} is given twice.")
            found[name] = one
    return found


def _named(key: str, given: str) -> Iterator[tuple[str, str]]:
    """Yield a key with its value, or where that is an object the key of each of its values."""
    if not (key == EXTRA_WEIGHTS and given.startswith("{")):
        yield key, given
        return
    for pair in given.removeprefix("{").removesuffix("}").split(","):
        name, colon, one = (part.strip(" '\"") for part in pair.partition(":"))
        if not (given.endswith("}") and name and colon and one) and given.strip("{} "):
            raise ConfigError(
                f"--set {key}={given} is no object of names and weights; write it as --set '{key}={{brief:0.1}}', or "
                f"each part by itself, as --set {key}.brief=0.1."
            )
        if name:
            yield f"{key}.{name}", one


def function_in(given: dict[str, str]) -> dict[str, Any]:
    """Take what names a reward function by verl's keys out of the values of keys; return it by their last names."""
    prefix = f"{GROUP}."
    return {key.removeprefix(prefix): value(given.pop(key)) for key in list(given) if key.startswith(prefix)}


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
