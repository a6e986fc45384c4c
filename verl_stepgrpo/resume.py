"""Make sure that a run which goes on in a folder is the one that was begun there. Pure but for its own file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from verl_stepgrpo.errors import ConfigError


def begin(mark: Path, source: Path, options: Any, *, has_begun: bool) -> None:
    """Write into ``mark`` which ``source`` and ``options`` (a dataclass) a run has; where a run has begun, compare.

    Args:
        mark: The file.
        source: The file that the run works on.
        options: How.
        has_begun: Whether anything of a run is there that would be gone on with.

    Raises:
        ConfigError: The run was begun with another source or other options.
    """
    stat = source.stat()
    wanted = json.dumps([str(source), stat.st_size, stat.st_mtime_ns, asdict(options)], default=str)
    if has_begun and mark.exists() and mark.read_text() != wanted:
        raise ConfigError(
            f"{mark} is of a run that was begun with another source or other options. Go on with those, name another "
            f"folder, or remove {mark.parent}."
        )
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(wanted)
