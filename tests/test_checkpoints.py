"""Which checkpoint a run goes on from, with files as torch and verl write them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from verl_stepgrpo.bridge.checks import checkpoints


def save(folder: Path, step: int, *, ranks: int = 1, is_async: bool = False) -> Path:
    """Write a checkpoint as verl's FSDP workers and its trainer do; return its folder."""
    checkpoint = folder / f"global_step_{step}"
    (checkpoint / "actor" / "huggingface").mkdir(parents=True)
    for kind in ("model", "optim", "extra_state"):
        for rank in range(ranks):
            path = checkpoint / "actor" / f"{kind}_world_size_{ranks}_rank_{rank}.pt"
            torch.save({"weight": torch.rand(100, 100)}, path)
    (checkpoint / "actor" / "huggingface" / "config.json").write_text("{}")
    torch.save({"snapshot": step}, checkpoint / "data.pt")
    if is_async:
        (checkpoint / "transfer_queue").mkdir()
        (checkpoint / "transfer_queue" / "metadata.json").write_text("{}")
    (folder / checkpoints.TRACKER).write_text(str(step))
    return checkpoint


def config(folder: Path, **trainer: object) -> DictConfig:
    own = {"resume_mode": "auto", "resume_from_path": None, "default_local_dir": str(folder), "nnodes": 1}
    return OmegaConf.create({"trainer": {**own, "v1": {"trainer_mode": "sync"}, **trainer}})


def goes_on_from(run: DictConfig) -> str:
    """Return what ``PPOTrainer._load_checkpoint`` of verl 0.9.1 takes."""
    from verl.utils.checkpoint.checkpoint_manager import find_latest_ckpt_path

    if run.trainer.resume_mode == "resume_path":
        return Path(run.trainer.resume_from_path).name
    return Path(find_latest_ckpt_path(run.trainer.default_local_dir)).name


def cut(path: Path, share: float = 0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def clear(path: Path) -> None:
    """As a power cut leaves a file whose length was on the disk before its contents."""
    path.write_bytes(bytes(path.stat().st_size))


TRACKER = "the tracker"
ACTOR = "global_step_3/actor/"
DAMAGE = {
    "a torn shard": (lambda at: cut(at / (ACTOR + "optim_world_size_2_rank_1.pt")), "is cut short"),
    "a shard without its last bytes": (
        lambda at: cut(at / (ACTOR + "model_world_size_2_rank_0.pt"), 0.99),
        "is cut short",
    ),
    "a shard of zeros": (lambda at: clear(at / (ACTOR + "model_world_size_2_rank_0.pt")), "is cut short"),
    "an empty file": (lambda at: (at / (ACTOR + "huggingface/config.json")).write_text(""), "is cut short"),
    "a shard that is gone": (
        lambda at: (at / (ACTOR + "extra_state_world_size_2_rank_0.pt")).unlink(),
        "has no actor/extra_state_world_size_2_rank_0.pt",
    ),
    "no state of the data": (lambda at: (at / "global_step_3/data.pt").unlink(), "has no data.pt"),
    "no weights": (lambda at: [path.unlink() for path in (at / ACTOR).rglob("*.*")], "has no weights"),
    f"{TRACKER}: an empty tracker": (lambda at: (at / checkpoints.TRACKER).write_text(""), "is empty"),
    f"{TRACKER}: a tracker of noise": (
        lambda at: (at / checkpoints.TRACKER).write_bytes(b"\xff\0"),
        "in place of a step",
    ),
    f"{TRACKER}: a tracker of what is gone": (
        lambda at: (at / checkpoints.TRACKER).write_text("7"),
        "names global_step_7, which is not there",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_checkpoint_is_stepped_over_and_told(case: str, tmp_path: Path) -> None:
    damage, told = DAMAGE[case]
    for step in (1, 2, 3):
        save(tmp_path, step, ranks=2)
    damage(tmp_path)
    run = config(tmp_path)
    said = checkpoints.step_back(run)
    newest = "global_step_3" if case.startswith(TRACKER) else "global_step_2"
    assert said is not None
    assert told in said
    assert f"THE RUN GOES ON FROM {newest}" in said
    assert goes_on_from(run) == newest
    assert checkpoints.start_step(run) == int(newest[-1])
    assert checkpoints.fault(run) is None


def test_a_whole_checkpoint_is_gone_on_from_as_verl_does(tmp_path: Path) -> None:
    for step in (9, 10):
        save(tmp_path, step)
    run = config(tmp_path)
    assert checkpoints.step_back(run) is None
    assert (goes_on_from(run), checkpoints.start_step(run)) == ("global_step_10", 10)


def test_several_torn_ones_are_stepped_over(tmp_path: Path) -> None:
    for step in (8, 9, 10):
        save(tmp_path, step)
    for step in (9, 10):
        cut(tmp_path / f"global_step_{step}" / "actor" / "model_world_size_1_rank_0.pt")
    run = config(tmp_path)
    assert checkpoints.step_back(run)
    assert goes_on_from(run) == "global_step_8"


def test_without_a_whole_one_nothing_is_decided(tmp_path: Path) -> None:
    cut(save(tmp_path, 1) / "data.pt")
    run = config(tmp_path)
    assert checkpoints.step_back(run) is None
    assert run.trainer.resume_mode == "auto"
    assert checkpoints.fault(run)


def test_a_checkpoint_that_was_begun_is_none_to_go_on_from(tmp_path: Path) -> None:
    """In the asynchronous modes verl saves the prompts that are on their way behind the state of the data."""
    save(tmp_path, 1, is_async=True)
    save(tmp_path, 2)
    (tmp_path / checkpoints.TRACKER).write_text("")
    run = config(tmp_path, v1={"trainer_mode": "colocate_async"})
    assert checkpoints.step_back(run)
    assert goes_on_from(run) == "global_step_1"


def test_what_the_user_chose_is_left_alone(tmp_path: Path) -> None:
    save(tmp_path, 1)
    torn = save(tmp_path, 2)
    cut(torn / "data.pt")
    for own in ({"resume_mode": "disable"}, {"resume_mode": "resume_path", "resume_from_path": str(torn)}):
        run = config(tmp_path, **own)
        before = OmegaConf.to_container(run)
        assert checkpoints.step_back(run) is None
        assert OmegaConf.to_container(run) == before
    assert checkpoints.fault(run) == f"{torn / 'data.pt'} is cut short"


def test_of_several_machines_each_may_have_its_own_shards(tmp_path: Path) -> None:
    checkpoint = save(tmp_path, 1, ranks=2)
    for path in checkpoint.rglob("*_rank_1.pt"):
        path.unlink()
    assert checkpoints.fault(config(tmp_path, nnodes=2)) is None
    assert checkpoints.fault(config(tmp_path)) is not None


def test_the_preflight_steps_back_before_it_looks_at_traces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from test_rules import PAPER, composed, node

    from verl_stepgrpo.bridge.checks import preflight

    monkeypatch.chdir(tmp_path)
    for name in ("_check_data", "_check_verifier", "_check_model"):
        monkeypatch.setattr(preflight, name, lambda *_: None)
    for step in (1, 2):
        save(tmp_path / "ckpt", step)
    cut(tmp_path / "ckpt" / "global_step_2" / "data.pt")
    (tmp_path / "traces" / "train").mkdir(parents=True)
    (tmp_path / "traces" / "train" / "step-000002.jsonl").write_text("")
    run = composed(PAPER, "trainer.default_local_dir=ckpt", node("trace_dir=traces"))
    with caplog.at_level(logging.WARNING, "verl_stepgrpo"):
        preflight.check(run)
    assert goes_on_from(run) == "global_step_1"
    assert "holds step 2, and the run goes on from step 1" in caplog.text
