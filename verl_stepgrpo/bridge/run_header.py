"""What a training run leaves in its ``trace_dir`` when it starts: a header, and nothing of an abandoned attempt."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import ray
from omegaconf import DictConfig, OmegaConf
from ray.exceptions import RayError

from verl_stepgrpo.bridge.asked import files_of
from verl_stepgrpo.settings import RunSettings
from verl_stepgrpo.traces.files import set_aside_later_steps
from verl_stepgrpo.traces.header import DataFile, Start, weights_of
from verl_stepgrpo.traces.rows import TRAIN, VAL

logger = logging.getLogger("verl_stepgrpo")


def begin_traces(folder: Path, settings: RunSettings, config: DictConfig, step: int) -> threading.Thread:
    """Set aside what another attempt left in ``folder`` of steps after ``step``, and write the header of this start.

    Returns:
        The thread that writes the header: it reads all the data for its digest, which may be many gigabytes, and
        training does not wait for it.
    """
    try:
        aside = set_aside_later_steps(folder, step)
    except OSError as error:
        logger.error("%s: what another attempt left there cannot be set aside: %s", folder, error)
        aside = None
    if aside is not None:
        logger.warning("%s had steps after %d, of another attempt; they are in %s now.", folder, step, aside)
    thread = threading.Thread(
        target=_write,
        args=(folder, settings, config, step, driver_command()),
        name="stepgrpo-header",
        daemon=True,
    )
    thread.start()
    return thread


def _write(folder: Path, settings: RunSettings, config: DictConfig, step: int, command: str | None) -> None:
    model = OmegaConf.select(config, "actor_rollout_ref.model.path")
    files = {split: OmegaConf.select(config, f"data.{split}_files") for split in (TRAIN, VAL)}
    try:
        data = {split: [DataFile.of(path) for path in files_of(paths)] for split, paths in files.items()}
        Start(step, settings.to_mapping(), command, model, weights_of(str(model)), data).write(folder)
    except OSError as error:
        logger.error("%s gets no header, so that replay will not know the settings: %s", folder, error)


def driver_command() -> str | None:
    """Return the command line of the Ray job that this process belongs to; None where Ray does not tell."""
    if not ray.is_initialized():
        return None
    try:
        job = ray.get_runtime_context().get_job_id()
        # No public call of Ray's lists the jobs of a cluster that has no dashboard.
        jobs = ray._private.state.state.job_table()
    except (RayError, AttributeError):
        return None
    return next((one.get("Entrypoint") for one in jobs if one.get("JobID") == job), None)
