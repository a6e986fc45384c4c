"""Errors for mistakes in a configuration or a dataset, and for what ended a run. What a model wrote never raises."""

from __future__ import annotations


class ConfigError(ValueError):
    """A setting is unknown or out of range. Says the key, the value, the allowed range and the remedy."""


class DataError(ValueError):
    """A dataset row cannot be scored. Says where the row is, what it holds and what is expected."""


class EndedError(RuntimeError):
    """A process or a server that the work needs has ended. Says which, and what is known of why."""


def one_line(error: BaseException) -> str:
    """Return what an error of another library says, in one line, as messages of commands are."""
    return " ".join(str(error).split())
