"""What a node of a Ray cluster has, asked in a task there.

The task gets this module by value, since the package may be what the node lacks: nothing but the standard library may
be imported at its top, and no name of it from elsewhere.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os

POLICY = "VERL_USE_EXTERNAL_PLUGINS"


def look() -> dict[str, str | None]:
    """Return what this process has of ``verl-stepgrpo`` and ``verl``, and what loads the one into the other."""
    try:
        identity = importlib.import_module("verl_stepgrpo.running.identity").identity()
    except ImportError:
        identity = _version("verl-stepgrpo")  # of one that keeps it elsewhere
    entries = importlib.metadata.entry_points(group="verl.plugins")
    is_found = any(entry.name == "stepgrpo" for entry in entries)
    return {
        "verl-stepgrpo": identity,
        "verl": _version("verl"),
        "entry point": "found" if is_found else None,
        POLICY: os.environ.get(POLICY),
    }


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
