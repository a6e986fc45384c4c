"""A killed run's metrics are in its trackers once: on verl's own ``Tracking``, with TensorBoard's own reader."""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from test_checkpoints import save

from verl_stepgrpo.bridge.checks import checkpoints
from verl_stepgrpo.bridge.hooks import tracked, trainer_hooks


class KilledError(Exception):
    """Stands for a SIGKILL at that place: nothing is flushed or closed behind it."""


class Trainer:
    """The loop of verl 0.9.1's ``PPOTrainer.fit``: step, checkpoint, log; with its ``Tracking``."""

    def __init__(self, folder: Path, *, die: tuple[int, str] = (0, ""), **trainer: object) -> None:
        own = {"default_local_dir": str(folder / "ckpt"), "resume_mode": "auto", "resume_from_path": None}
        names = {"project_name": "p", "experiment_name": "e", "logger": ["tensorboard", "file"], "nnodes": 1}
        self.config = OmegaConf.create(
            {"trainer": {**own, **names, **trainer}, "algorithm": {"adv_estimator": "stepgrpo"}}
        )
        self.die = die
        tracker = folder / "ckpt" / checkpoints.TRACKER
        self.global_steps = int(tracker.read_text()) if tracker.exists() else 0

    def step(self, metrics: dict, timing: dict) -> str:
        self._may_die("step")
        metrics.update({"actor/loss": float(self.global_steps), "a table": object(), "nan": float("nan")})
        return "batch"

    def _save_checkpoint(self) -> None:
        folder = Path(self.config.trainer.default_local_dir)
        if self.global_steps % self.config.trainer.get("save_freq", 1) == 0:
            save(folder, self.global_steps)
        self._may_die("saved")

    def fit(self, until: int) -> None:
        from verl.utils.tracking import Tracking

        metrics = tracked.Tracked.of(self)
        metrics.begin()
        time.sleep(1.01)  # TensorBoard's readers order the files of a run by the second in their names
        self.logger = Tracking("p", "e", default_backend=list(self.config.trainer.logger))
        self.logger.log(data={"val-core/acc": 0.5}, step=self.global_steps)
        while self.global_steps < until:
            self.global_steps += 1
            own: dict[str, Any] = {}
            self.step(own, {})
            if self.global_steps % self.config.trainer.get("save_freq", 1) == 0:
                self._save_checkpoint()
            numbers = {"actor/loss": own["actor/loss"], "perf/time": 1.0}
            self.logger.log(data=numbers, step=self.global_steps)
            self._may_die("logged")
        metrics.finish()

    def _may_die(self, place: str) -> None:
        if self.die == (self.global_steps, place):
            raise KilledError


tracked.wrap(Trainer)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TENSORBOARD_DIR", str(tmp_path / "board"))
    monkeypatch.delenv("VERL_FILE_LOGGER_PATH", raising=False)
    monkeypatch.delenv("VERL_FILE_LOGGER_ROOT", raising=False)


def killed(trainer: Trainer, until: int = 9) -> None:
    with pytest.raises(KilledError):
        trainer.fit(until)
    # What stands in memory is lost, as with SIGKILL; the event file has what was flushed.
    trainer.logger.logger["tensorboard"].writer.file_writer.event_writer._async_writer._closed = True
    trainer.logger._finished = True


def board(folder: Path, name: str) -> list[int]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder / "board"))
    reader.Reload()
    return [event.step for event in reader.Scalars(name)]


def lines(folder: Path) -> list[int]:
    found = [json.loads(line) for line in (folder / "p" / "e.jsonl").read_text().splitlines()]
    return [line["step"] for line in found if "actor/loss" in line["data"]]


@pytest.mark.parametrize("save_freq", [1, 2])
@pytest.mark.parametrize("place", ["step", "saved", "logged"])
def test_each_step_is_in_each_tracker_once(place: str, save_freq: int, tmp_path: Path) -> None:
    dies = (4, 6) if (place, save_freq) == ("saved", 2) else (3, 5)  # checkpoints are of even steps there
    for step in dies:
        killed(Trainer(tmp_path, die=(step, place), save_freq=save_freq))
    Trainer(tmp_path, save_freq=save_freq).fit(8)
    assert lines(tmp_path) == list(range(1, 9))
    assert board(tmp_path, "actor/loss") == list(range(1, 9))
    assert list((tmp_path / "ckpt").rglob(tracked.FILE)) == []
    assert not (tmp_path / "p" / "e.jsonl.before").exists()


def test_what_was_lost_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    killed(Trainer(tmp_path, die=(2, "saved")))
    (kept,) = (tmp_path / "ckpt").rglob(tracked.FILE)
    assert json.loads(kept.read_text()) == {"actor/loss": 2.0}
    with caplog.at_level(logging.WARNING, "verl_stepgrpo"):
        Trainer(tmp_path).fit(3)
    assert "The metrics of step 2 were not logged before the run ended; they are now." in caplog.text


def test_a_run_from_another_runs_checkpoint_takes_none_of_its_metrics(tmp_path: Path) -> None:
    killed(Trainer(tmp_path / "one", die=(2, "saved"), logger=["tensorboard"]))
    (kept,) = (tmp_path / "one").rglob(tracked.FILE)
    path = str(tmp_path / "one" / "ckpt" / "global_step_2")
    other = Trainer(tmp_path / "two", resume_mode="resume_path", resume_from_path=path, logger=["console"])
    other.global_steps = 2
    other.fit(3)
    assert kept.exists()


def test_a_run_of_another_estimator_is_left_alone(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path)
    trainer.config.algorithm.adv_estimator = "grpo"
    assert trainer.step({}, {}) == "batch"
    trainer._save_checkpoint()
    assert not list(tmp_path.rglob(tracked.FILE))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder of a file system of 1 MiB; needs root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here: that takes root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_without_room_for_a_checkpoint_is_named(small_disk: Path) -> None:
    config = OmegaConf.create({"trainer": {"default_local_dir": str(small_disk), "resume_mode": "auto"}})
    whole = save(small_disk, 1)
    saving: list[Callable[[], object]] = [
        lambda: torch.save(torch.rand(10**6), small_disk / "weights.pt"),
        lambda: (small_disk / "text").write_bytes(bytes(2**21)),
    ]
    for write in saving:
        with (
            pytest.raises(checkpoints.CheckpointNotSavedError) as error,
            checkpoints.naming_a_full_disk(config, 7),
        ):
            write()
        assert f"checkpoint of step 7 could not be written to {small_disk}: its disk has 0 MiB left" in str(
            error.value
        )
        assert str(error.value).endswith(f"it goes on from {whole}.")


def test_another_error_of_saving_stays_what_it_is(tmp_path: Path) -> None:
    config = OmegaConf.create({"trainer": {"default_local_dir": str(tmp_path)}})
    with pytest.raises(ValueError, match=r"^something else$"), checkpoints.naming_a_full_disk(config, 7):
        raise ValueError("something else")


def test_a_full_disk_costs_traces_which_are_counted(small_disk: Path) -> None:
    """As the trainer's hook does it: the run goes on, the curve says which steps have no traces."""
    from helpers import trace_row

    from verl_stepgrpo.traces.files import TraceWriter, trace_files

    writer = TraceWriter(small_disk)
    filler = small_disk / "filler"
    logged = []
    for step in (1, 2, 3):
        filler.unlink(missing_ok=True)
        if step == 2:
            with contextlib.suppress(OSError):
                filler.write_bytes(bytes(2**20))
        rows = [trace_row("a" * 1000, step=step) for _ in range(100)]
        metrics: dict[str, float] = {}
        trainer_hooks.write_counted(writer, step, rows, metrics)
        logged.append(metrics[trainer_hooks.UNTRACED])
    assert logged == [0.0, 1.0, 0.0]
    assert {"step-000001", "step-000003"} <= {path.name.split(".")[0] for path in trace_files(small_disk)}
