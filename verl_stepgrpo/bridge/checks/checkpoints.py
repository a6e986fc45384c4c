"""Which checkpoint verl will go on from, asked before anything is started. No verl; weights are not loaded.

verl 0.9.1 decides it in the trainer (``PPOTrainer._load_checkpoint``), after the start of Ray and the loading of the
models, and what it cannot read ends the run there, or begins it anew, with a word in the log at most. So a run whose
last checkpoint is torn is stepped back here to the last whole one.

Whole is what can be told without reading weights: every part is there, none is empty, and what ``torch.save`` wrote,
a ZIP archive, has its directory, which stands at the end. Zeros within an archive, as a power cut may leave, are not
noticed.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

TRACKER = "latest_checkpointed_iteration.txt"
"""verl's file beside the checkpoints; it holds the number of the last."""

FOLDER = "global_step_"
"""What the name of a checkpoint's folder begins with; its step follows."""

MODE, PATH = "trainer.resume_mode", "trainer.resume_from_path"

_MODES = ("auto", "disable", "resume_path")
_NO_ROOM = re.compile(r"No space left on device|quota exceeded|unexpected pos \d+ vs \d+", re.IGNORECASE)
"""What is said where a disk is full: by the system, and by torch's writer of archives."""

_SHARD = re.compile(r"(\w+)_world_size_(\d+)_rank_(\d+)\.pt")


class CheckpointNotSavedError(RuntimeError):
    """A checkpoint could not be saved, since its disk is full."""


def start_step(config: DictConfig) -> int | None:
    """Return the step that the run goes on from; 0 where it begins anew, None where none can be read."""
    mode = OmegaConf.select(config, MODE)
    if mode == "resume_path":
        return _step_of(OmegaConf.select(config, PATH))
    tracker = _tracker(config)
    if mode != "auto" or not tracker.exists():
        return 0
    return int(tracker.read_text()) if fault(config) is None else None


def fault(config: DictConfig) -> str | None:
    """Return what is wrong with the checkpoint that the run would go on from; None if nothing, or if there is none."""
    mode = OmegaConf.select(config, MODE)
    if mode == "resume_path":
        path = Path(str(OmegaConf.select(config, PATH)))
        return _torn(path, config) if path.is_dir() else None  # of another machine's disk nothing is known
    tracker = _tracker(config)
    if mode != "auto" or not tracker.exists():
        return None
    text = tracker.read_text(errors="replace").strip()
    if not text.isdecimal():
        return f"{tracker} is empty" if not text else f"{tracker} holds {text!r:.40} in place of a step"
    checkpoint = tracker.parent / f"{FOLDER}{text}"
    if not checkpoint.is_dir():
        return f"{tracker} names {checkpoint.name}, which is not there"
    return _torn(checkpoint, config)


def step_back(config: DictConfig) -> str | None:
    """Let the run go on from the newest whole checkpoint, where the one that it would go on from is torn.

    Returns:
        What is wrong, and where the run goes on; None where nothing is, or where there is no whole checkpoint.
    """
    found = fault(config) if OmegaConf.select(config, MODE) == "auto" else None
    newest = newest_whole(config) if found else None
    if newest is None:
        return None
    OmegaConf.update(config, MODE, "resume_path")
    OmegaConf.update(config, PATH, str(newest))
    return f"{found}. THE RUN GOES ON FROM {newest.name}, the newest whole checkpoint there."


def forgets(config: DictConfig) -> str | None:
    """Return the newest whole checkpoint of a folder without a tracker, which verl does not go on from; else None."""
    tracker = _tracker(config)
    if OmegaConf.select(config, MODE) != "auto" or tracker.exists():
        return None
    newest = newest_whole(config)
    return None if newest is None else f"{tracker.parent} has {newest.name} and no {TRACKER}"


def names_no_step(config: DictConfig) -> bool:
    """Return whether ``resume_mode`` is unknown to verl, or asks for a path that names no step."""
    mode = OmegaConf.select(config, MODE)
    path = OmegaConf.select(config, PATH)
    return mode not in (None, *_MODES) or (mode == "resume_path" and _step_of(path) is None)


def newest_whole(config: DictConfig) -> Path | None:
    """Return the newest checkpoint of the run that is whole; None for none."""
    found = {
        step: path for path in folder(config).glob(f"{FOLDER}*") if (step := _step_of(path.name)) is not None
    }
    for step in sorted(found, reverse=True):
        if _torn(found[step], config, is_saved=False) is None:
            return found[step]
    return None


def folder(config: DictConfig) -> Path:
    """Return the folder of the run's checkpoints."""
    return Path(str(OmegaConf.select(config, "trainer.default_local_dir"))).absolute()


def resumed(config: DictConfig) -> Path | None:
    """Return the checkpoint that the run was told to go on from by its path; None for none."""
    path = OmegaConf.select(config, PATH)
    return Path(path).absolute() if OmegaConf.select(config, MODE) == "resume_path" and path else None


@contextlib.contextmanager
def naming_a_full_disk(config: DictConfig, step: int) -> Iterator[None]:
    """Have an error of saving say that the disk is full, where it is: torch's own says nothing of a disk.

    Raises:
        CheckpointNotSavedError: It is.
    """
    try:
        yield
    except Exception as error:  # verl's workers hand over whatever it is as one of Ray's
        if _NO_ROOM.search(str(error)) is None:
            raise
        whole = newest_whole(config)
        where = folder(config)
        raise CheckpointNotSavedError(
            f"the checkpoint of step {step} could not be written to {where}: its disk has "
            f"{shutil.disk_usage(where).free / 2**20:,.0f} MiB left. Make room (trainer.max_actor_ckpt_to_keep bounds "
            f"how many are kept), and give the same command again: it goes on from {whole or 'the beginning'}."
        ) from error


def _torn(checkpoint: Path, config: DictConfig, *, is_saved: bool = True) -> str | None:
    """Return what a checkpoint lacks; None where it is whole.

    Args:
        checkpoint: Its folder.
        config: Of the run.
        is_saved: Whether verl said that it was saved; else what is written last has to be there, too.
    """
    files = [path for path in sorted(checkpoint.rglob("*")) if path.is_file()]
    if not any(path.is_relative_to(checkpoint / "actor") for path in files):
        return f"{checkpoint} has no weights"
    last = ["data.pt"]  # after the weights
    if not is_saved and OmegaConf.select(config, "trainer.v1.trainer_mode") not in (None, "sync"):
        last.append("transfer_queue/metadata.json")  # after that
    missing = [*_missing_shards(files, config), *(name for name in last if not (checkpoint / name).is_file())]
    if missing:
        return f"{checkpoint} has no {missing[0]}"
    broken = next((path for path in files if _is_broken(path)), None)
    return None if broken is None else f"{broken} is cut short"


def _missing_shards(files: list[Path], config: DictConfig) -> Iterator[str]:
    """Yield the shards that others name; of several machines each may have its own on its own disk."""
    if (OmegaConf.select(config, "trainer.nnodes") or 1) > 1:
        return
    found = {path for path in files if _SHARD.fullmatch(path.name)}
    for path in sorted(found):
        kind, size, _ = _SHARD.fullmatch(path.name).groups()  # type: ignore[union-attr]
        for rank in range(int(size)):
            shard = path.with_name(f"{kind}_world_size_{size}_rank_{rank}.pt")
            if shard not in found:
                yield f"{shard.parent.name}/{shard.name}"


def _is_broken(path: Path) -> bool:
    if not path.stat().st_size:
        return True
    if path.suffix != ".pt":
        return False
    try:
        with zipfile.ZipFile(path):
            return False
    except zipfile.BadZipFile:
        return True


def _tracker(config: DictConfig) -> Path:
    return folder(config) / TRACKER


def _step_of(path: object) -> int | None:
    """Return the step that a checkpoint's path ends with, as verl reads it; None for none."""
    if not isinstance(path, str) or FOLDER not in path:
        return None
    number = path.split(FOLDER)[-1]
    return int(number) if number.isdecimal() else None
