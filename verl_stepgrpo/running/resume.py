"""Make sure that a run which goes on in a folder is the one that was begun there. Pure but for its own file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from verl_stepgrpo.errors import ConfigError
from verl_stepgrpo.files import json_line, write_whole


def begin(
    mark: Path, source: Path, options: Any, *, has_begun: bool, files: Sequence[Path] | None = None
) -> str:
    """Write into ``mark`` which ``source`` and ``options`` (a dataclass) a run has; where a run has begun, compare.

    Returns:
        The digest of ``source``.

    Args:
        mark: The file.
        source: The file that the run works on; the same where it holds the same, whatever its name is.
        options: How.
        has_begun: Whether anything of a run is there that would be gone on with.
        files: What ``source`` consists of, where it is not one file.

    Raises:
        ConfigError: The run was begun with another source or other options; says which. Or ``mark`` cannot be read.
    """
    # As it is read again below: without tuples and paths.
    found = digest(*([source] if files is None else files))
    ours = json.loads(json.dumps({"source": found, **asdict(options)}, default=str))
    if has_begun and mark.exists():
        theirs = _read(mark)
        if theirs != ours:
            raise ConfigError(
                f"{mark} is of a run that was begun with {'; '.join(_differences(theirs, ours, source))}. Go on with "
                f"that, name another folder, or remove {mark.parent}."
            )
        return found
    mark.parent.mkdir(parents=True, exist_ok=True)
    write_whole(mark, json.dumps(ours))
    return found


def _read(mark: Path) -> dict[str, Any]:
    try:
        theirs = json_line(mark.read_bytes())
        if not isinstance(theirs, dict):
            raise ValueError(f"{theirs!r:.60} is no object")
    except ValueError as error:
        raise ConfigError(
            f"{mark} says no more how the run was begun ({error}). If it was with these options, remove that file; "
            "else name another folder."
        ) from None
    return theirs


def digest(*files: Path) -> str:
    """Return the SHA-256 of the contents of files, one after the other."""
    sha = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                sha.update(block)
    return sha.hexdigest()


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any], source: Path) -> Iterator[str]:
    for key in sorted(theirs.keys() | ours.keys()):
        before, now = theirs.get(key), ours.get(key)
        if before == now:
            continue
        if key == "source":
            yield f"other contents of {source}"
        elif isinstance(before, dict) and isinstance(now, dict):
            yield from _differences(before, now, source)
        elif isinstance(before, list):
            yield f"other {key}"
        else:
            yield f"{key}={before!r}, not {now!r}"
