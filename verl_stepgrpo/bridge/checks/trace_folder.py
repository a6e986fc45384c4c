"""The folder of a run's traces before the run begins: where it is, and whether it can be written. No verl."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from verl_stepgrpo.errors import ConfigError
from verl_stepgrpo.settings import NODE

_SCHEME = re.compile(r"[A-Za-z][\w.+-]*://")


def has_scheme(trace_dir: str) -> bool:
    """Return whether ``trace_dir`` names a place that is no folder of a file system, as ``s3://bucket/x``."""
    return _SCHEME.match(trace_dir) is not None


def absolute(trace_dir: str) -> Path:
    """Return the folder, whatever the working directory of the process that writes it."""
    return Path(trace_dir).expanduser().absolute()


def check_writable(folder: Path) -> None:
    """Make the folder, if need be.

    Raises:
        ConfigError: It cannot be made, or no file can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"{NODE}.trace_dir={str(folder)!r} cannot be written: {error}. Name a folder that can, or null."
        ) from error
