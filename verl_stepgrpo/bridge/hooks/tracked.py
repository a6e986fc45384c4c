"""Keep a step's metrics once in the trackers, whenever a run is killed and gone on with.

verl 0.9.1 saves a step's checkpoint before it logs the step: a death between the two loses what it was to log, since
the resume begins after it. What it logged after its last checkpoint is logged again by the resume, from other weights
or the same. And its logger ``file`` begins an empty file at each start. So:

- what is known of a step is written beside its checkpoint before that is saved, removed once the step is logged, and
  logged by a resume that finds it;
- TensorBoard is told at a resume that what was logged of later steps is void, which its readers heed, and is flushed
  before each checkpoint;
- the lines of the logger ``file`` up to the resumed step are put back.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from verl_stepgrpo.bridge.asked import files_of, uses_estimator
from verl_stepgrpo.bridge.checks import checkpoints
from verl_stepgrpo.files import json_line, read_lines, write_whole
from verl_stepgrpo.imports import apply_once

FILE = "stepgrpo_metrics.json"
"""In the folder of a checkpoint: the metrics of its step, until they are logged."""

logger = logging.getLogger("verl_stepgrpo")


def wrap(trainer: type) -> None:
    """Wrap ``step`` and ``_save_checkpoint`` of verl's ``PPOTrainer``. Raises AttributeError where it has none."""
    apply_once(trainer, "step", _step)
    apply_once(trainer, "_save_checkpoint", _save_checkpoint)


def _step(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def step(self: Any, metrics: dict, *args: Any, **kwargs: Any) -> Any:
        if not uses_estimator(self.config):
            return original(self, metrics, *args, **kwargs)
        own = Tracked.of(self)
        own.begin_step()
        batch = original(self, metrics, *args, **kwargs)
        own.metrics = metrics
        return batch

    return step


def _save_checkpoint(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def save_checkpoint(self: Any) -> None:
        if not uses_estimator(self.config):
            original(self)
            return
        Tracked.of(self).keep()
        with checkpoints.naming_a_full_disk(self.config, self.global_steps):
            original(self)

    return save_checkpoint


class Tracked:
    """The metrics of one trainer's steps on their way to its trackers.

    Args:
        trainer: verl's; its ``logger`` (a ``Tracking``) is there from its first step on.

    Attributes:
        metrics: Of the step that was made last, as far as they are known.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._has_begun = False
        self._kept: Path | None = None
        self.metrics: Mapping[str, Any] = {}

    @classmethod
    def of(cls, trainer: Any) -> Tracked:
        """Return that of ``trainer``, made on the first call."""
        if not hasattr(trainer, "_stepgrpo_tracked"):
            trainer._stepgrpo_tracked = cls(trainer)
        return trainer._stepgrpo_tracked

    def begin(self) -> None:
        """Call before the trackers are opened: keep what verl's logger ``file`` would empty."""
        path = log_file(self._trainer.config)
        if path is None or not self._goes_on(self._trainer.global_steps):
            return
        aside = _aside(path)
        lines = [line for file in (aside, path) for line in _lines_up_to(file, self._trainer.global_steps)]
        try:
            write_whole(aside, b"".join(dict.fromkeys(lines)))
        except OSError as error:
            logger.warning("%s cannot be kept, and begins anew: %s", path, error)

    def begin_step(self) -> None:
        """Call before each step: the one before is logged by now, and nothing is before the first."""
        if not self._has_begun:
            self._has_begun = True
            self._resume(self._trainer.global_steps - 1)
        self.finish()

    def keep(self) -> None:
        """Call before a step's checkpoint is saved: write down what is known of the step."""
        self._flush()
        path = self._place(self._trainer.global_steps)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(_numbers(self.metrics)))
        except OSError as error:
            logger.warning(
                "%s cannot be written: %s. A death in this step would lose its metrics.", path, error
            )
        else:
            self._kept = path

    def finish(self) -> None:
        """Call when the last step is logged: what was kept of it is not needed any more."""
        if self._kept is None:
            return
        self._flush()
        self._kept.unlink(missing_ok=True)
        self._kept = None

    def _resume(self, last: int) -> None:
        """Log what a death kept from being logged of ``last``, the step that is gone on from."""
        if not self._goes_on(last):
            return
        self._put_back()
        self._void_behind(last)
        self._kept = self._place(last)
        metrics = _read(self._kept)
        if metrics and not self._was_logged(last, metrics):
            logger.warning("The metrics of step %d were not logged before the run ended; they are now.", last)
            self._trainer.logger.log(data=metrics, step=last)

    def _goes_on(self, step: int) -> bool:
        """Return whether the run goes on after ``step`` of its own folder, not of another run's."""
        path = checkpoints.resumed(self._trainer.config)
        return step > 0 and (path is None or path.parent == checkpoints.folder(self._trainer.config))

    def _place(self, step: int) -> Path:
        return checkpoints.folder(self._trainer.config) / f"{checkpoints.FOLDER}{step}" / FILE

    def _put_back(self) -> None:
        """Put the lines that ``begin`` kept before those that the logger ``file`` has by now."""
        path = log_file(self._trainer.config)
        file = getattr(self._backends.get("file"), "fp", None)
        if path is None or file is None or not _aside(path).exists():
            return
        older, newer = _aside(path).read_bytes(), path.read_bytes()
        file.seek(0)
        file.write(older + newer)
        _aside(path).unlink()

    def _void_behind(self, step: int) -> None:
        if self._tensorboard is None:
            return
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        # What torch's SummaryWriter(purge_step=...) writes; verl's adapter does not ask for it.
        self._tensorboard.file_writer.add_event(
            Event(session_log=SessionLog(status=SessionLog.START)), step + 1
        )

    def _was_logged(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Return whether a death came between the log of ``step`` and the end of what was kept of it."""
        names = [name for name in metrics if not name.startswith("val-")]
        path = log_file(self._trainer.config)
        lines = [] if path is None else _lines_up_to(path, step)
        if any(line["step"] == step and names[0] in line["data"] for line in map(json.loads, lines) if names):
            return True
        return self._tensorboard is not None and _has(Path(self._tensorboard.log_dir), step, names)

    def _flush(self) -> None:
        if self._tensorboard is not None:
            self._tensorboard.flush()

    @property
    def _backends(self) -> Mapping[str, Any]:
        return getattr(getattr(self._trainer, "logger", None), "logger", {})

    @property
    def _tensorboard(self) -> Any:
        """torch's ``SummaryWriter``; None where the run has none."""
        return getattr(self._backends.get("tensorboard"), "writer", None)


def log_file(config: DictConfig) -> Path | None:
    """Return the file of verl's logger ``file``, as verl 0.9.1 names it; None where the run has none."""
    if "file" not in files_of(OmegaConf.select(config, "trainer.logger")):
        return None
    if (path := os.getenv("VERL_FILE_LOGGER_PATH")) is not None:
        return Path(path)
    root = Path(os.getenv("VERL_FILE_LOGGER_ROOT", ".")).expanduser()
    return root / config.trainer.project_name / f"{config.trainer.experiment_name}.jsonl"


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.before")


def _lines_up_to(path: Path, step: int) -> list[bytes]:
    """Return the lines of steps up to ``step``; a torn one is none."""

    def line_of(line: bytes) -> bytes | None:
        found = json_line(line)
        is_step = (
            isinstance(found, dict)
            and isinstance(found.get("step"), int)
            and isinstance(found.get("data"), dict)
        )
        return line if is_step and found["step"] <= step else None

    try:
        return [line for line in read_lines(path, line_of, set_aside=lambda _: None) if line is not None]
    except OSError:
        return []


def _has(log_dir: Path, step: int, names: Sequence[str]) -> bool:
    """Return whether TensorBoard's files have one of these metrics of ``step``."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    return any(
        event.step == step and value.tag in names
        for path in sorted(log_dir.glob("events.out.tfevents.*"))
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
    )


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics that are finite numbers, which is what trackers draw."""
    found = {}
    for name, value in metrics.items():
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue  # a table, or another thing of verl's that is none of a curve
        if math.isfinite(number):
            found[name] = number
    return found


def _read(path: Path) -> dict[str, float] | None:
    """Return what was kept; None where nothing was, or nothing that can be read."""
    try:
        found = json_line(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
