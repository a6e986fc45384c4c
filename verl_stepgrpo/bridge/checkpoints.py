"""Which checkpoint verl will go on from, asked before anything is started. No verl; weights are not opened.

verl 0.9.1 decides it in the trainer (``PPOTrainer._load_checkpoint``), behind the start of Ray and the loading of the
models, and what it cannot read ends the run there, or begins it anew, with a word in the log at most.
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

TRACKER = "latest_checkpointed_iteration.txt"
"""verl's file beside the checkpoints; it holds the number of the last."""

FOLDER = "global_step_"
"""What the name of a checkpoint's folder begins with; its step follows."""

_MODES = ("auto", "disable", "resume_path")


def start_step(config: DictConfig) -> int | None:
    """Return the step that the run goes on from; 0 where it begins anew, None where none can be read."""
    mode = OmegaConf.select(config, "trainer.resume_mode")
    if mode == "resume_path":
        return _step_of(OmegaConf.select(config, "trainer.resume_from_path"))
    tracker = _tracker(config)
    if mode != "auto" or not tracker.exists():
        return 0
    return int(tracker.read_text()) if tracker_fault(config) is None else None


def tracker_fault(config: DictConfig) -> str | None:
    """Return what is wrong with the file that says where to go on, and what could be gone on from; None if nothing."""
    tracker = _tracker(config)
    if OmegaConf.select(config, "trainer.resume_mode") != "auto" or not tracker.exists():
        return None
    text = tracker.read_text(errors="replace").strip()
    if not text.isdecimal():
        fault = f"{tracker} is empty" if not text else f"{tracker} holds {text!r} in place of a step"
    elif not (tracker.parent / f"{FOLDER}{text}").is_dir():
        fault = f"{tracker} names {FOLDER}{text}, which is not there"
    else:
        return None
    newest = newest_whole(tracker.parent)
    beside = f"the newest whole checkpoint is {newest}" if newest else "no whole checkpoint is beside it"
    return f"{fault}, and {beside}"


def names_no_step(config: DictConfig) -> bool:
    """Return whether ``resume_mode`` is unknown to verl, or asks for a path that names no step."""
    mode = OmegaConf.select(config, "trainer.resume_mode")
    path = OmegaConf.select(config, "trainer.resume_from_path")
    return mode not in (None, *_MODES) or (mode == "resume_path" and _step_of(path) is None)


def newest_whole(folder: Path) -> str | None:
    """Return the name of the newest checkpoint in ``folder`` that has all its parts and no empty file; None for none.

    Files that end too early are not noticed: they are not opened.
    """
    found = [
        path for path in folder.glob(f"{FOLDER}*") if _step_of(path.name) is not None and _is_whole(path)
    ]
    return max(found, key=lambda path: _step_of(path.name) or 0).name if found else None


def _is_whole(checkpoint: Path) -> bool:
    weights = [path for path in (checkpoint / "actor").glob("*") if path.is_file()]
    # verl writes data.pt behind the weights.
    return bool(weights) and all(
        path.is_file() and path.stat().st_size for path in (*weights, checkpoint / "data.pt")
    )


def _tracker(config: DictConfig) -> Path:
    return Path(str(OmegaConf.select(config, "trainer.default_local_dir"))).absolute() / TRACKER


def _step_of(path: object) -> int | None:
    """Return the step that a checkpoint's path ends with, as verl reads it; None for none."""
    if not isinstance(path, str) or FOLDER not in path:
        return None
    number = path.split(FOLDER)[-1]
    return int(number) if number.isdecimal() else None
