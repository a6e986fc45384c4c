"""The CPU engine's parts, and (marked ``engine``) two real steps of the whole."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from processes import python

from verl_stepgrpo.traces.files import read_trace

ROOT = Path(__file__).resolve().parents[1]


def last_line(code: str, **env: str) -> str:
    done = python(code, **env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


TOLD = """
import asyncio, importlib.metadata, json, pathlib, re, threading, uuid
import verl
from verl.utils.device import get_device_name, get_torch_device
told = {"device": get_device_name()}

text = "".join(p.read_text() for p in pathlib.Path(verl.__file__).parent.rglob("*.py"))
names = set(re.findall(r"get_torch_device\\(\\)\\.(\\w+)", text))
told["asked of a device"] = len(names)
told["not answered"] = sorted(n for n in names if not hasattr(get_torch_device(), n))

from verl_stepgrpo.cpu import adaptations
adaptations.register(); adaptations.register()
import torch
import verl.workers.rollout.vllm_rollout.bucketed_weight_transfer as transfer
once = (importlib.metadata.version, torch.distributed.init_process_group)
once += (transfer.BucketedWeightReceiver.receive_weights,)
told["adapted"] = [f._verl_stepgrpo and not hasattr(f.__wrapped__, "_verl_stepgrpo") for f in once]
told["undocumented"] = [name for name, f in adaptations._ADAPTATIONS.items() if not f.__doc__]
told["vllm"] = importlib.metadata.version("vllm")

handle = f"ipc:///tmp/{uuid.uuid4().hex}.sock"
sender = transfer.BucketedWeightSender(handle, bucket_size_mb=1, use_shm=True)
weights = iter([("w", torch.ones(3))])
thread = threading.Thread(target=lambda: asyncio.run(sender.async_send_weights(weights)), daemon=True)
thread.start()
def load(weights, is_last):
    raise KeyError("no parameter w")
try:
    transfer.BucketedWeightReceiver(handle, torch.device("cpu"), use_shm=True).receive_weights(load)
except Exception as error:
    told["error of the loader"] = f"{type(error).__name__} {error}"
thread.join(10)

from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from verl.utils.fsdp_utils import fsdp2_sharded_load_from_cpu, fsdp2_sharded_save_to_cpu
torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
layer = fully_shard(torch.nn.Linear(1, 1, bias=False), mesh=init_device_mesh("cpu", (1,)))
weight = layer.weight._local_tensor
weight.fill_(1.0)
saved = fsdp2_sharded_save_to_cpu(layer)
weight.fill_(2.0)  # in place, as an optimizer does
fsdp2_sharded_load_from_cpu(layer, *saved)
told["restored weight"] = weight.item()
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told() -> dict:
    """Return what a process on the CPU's platform says of itself."""
    return json.loads(last_line(TOLD, VERL_PLATFORM="cpu"))


def test_the_platform_is_chosen_by_its_variable_alone(told: dict) -> None:
    assert told["device"] == "cpu"
    code = "import verl\nfrom verl.utils.device import get_device_name\nprint(get_device_name())"
    assert last_line(code) != "cpu"


def test_the_platform_answers_every_call_that_verl_makes_of_a_device(told: dict) -> None:
    assert told["asked of a device"] > 10
    assert told["not answered"] == []


def test_a_missing_extra_is_named() -> None:
    code = (
        "import verl, verl_stepgrpo.cpu.platform as p\n"
        "p.REQUIRED = ('no-such-distribution',)\n"
        "from verl.plugin.platform import get_platform\n"
        "get_platform()\n"
    )
    done = python(code, VERL_PLATFORM="cpu")
    assert done.returncode != 0
    assert "verl-stepgrpo[cpu]" in done.stderr
    assert "no-such-distribution" in done.stderr


def test_adaptations_are_applied_once_and_say_what_they_get_past(told: dict) -> None:
    assert told["adapted"] == [True, True, True]
    assert told["undocumented"] == []
    assert told["vllm"].endswith("+cpu")


def test_an_error_of_the_weight_loader_is_not_hidden_by_the_shared_memory(told: dict) -> None:
    assert told["error of the loader"] == "KeyError 'no parameter w'"


def test_weights_that_were_saved_come_back_though_the_optimizer_went_on(told: dict) -> None:
    assert told["restored weight"] == 1.0


def test_the_torchvision_line_is_written_only_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    from verl_stepgrpo.cpu import torchvision_ops

    assert torchvision_ops._torchvision_works()
    monkeypatch.setattr(torchvision_ops.Path, "write_text", lambda *a: pytest.fail("written without need"))
    assert "nothing to do" in torchvision_ops.install()


@pytest.mark.engine
def test_the_main_job_runs_for_real(tmp_path: Path) -> None:
    """The README's first command, shortened: two steps of the stock main_ppo, vLLM, FSDP2 and Ray."""
    out = tmp_path / "out"
    # Nothing to reach, so that the warm-up ends where it first asks, at step 10 of 11.
    short = {"WARMUP_ACCURACY": "0", "WARMUP_STEPS": "11", "RL_STEPS": "2", "HELDOUT": "32", "SEED": "3"}
    env = os.environ | short | {"OUT": str(out)}
    done = subprocess.run(
        ["bash", "examples/digits/run.sh"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    log = (out / "logs" / "rl.log").read_text()
    assert "'adv_estimator': 'stepgrpo'" in log
    assert "vLLMHttpServer" in log
    results = json.loads((out / "results.json").read_text())
    assert results["before"]["n"] == results["after"]["n"] == 32
    assert results["exported_model"]["n"] == 32
    assert results["warmup"]["step"] == 10
    check_traces(out / "trace")
    check_header(out)
    check_components_agree_with_verl(log, out / "trace")
    check_curves(log, out)
    check_a_replay_gives_the_run_back(out / "trace")
    smoke = [
        sys.executable,
        "recipes/gpu_smoke/check.py",
        "--out",
        str(out),
        "--rl-steps",
        "2",
        "--seconds",
        "1",
    ]
    done = subprocess.run(smoke, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def check_curves(log: str, out: Path) -> None:
    """Every component is drawn in the console and in TensorBoard, as the traces have it."""
    import statistics

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from verl_stepgrpo import SCORE_KEYS

    (events,) = (out / "tensorboard").glob("events*")
    drawn = EventAccumulator(str(events)).Reload()
    for step in (1, 2):
        rows = read_trace(out / "trace" / "train" / f"step-{step:06d}.jsonl.gz")
        for name in set(SCORE_KEYS) - {"score"}:
            mean = statistics.fmean(row.components[name] for row in rows)
            assert drawn.Scalars(f"stepgrpo/{name}/mean")[step - 1].value == pytest.approx(mean, abs=1e-6)
    for name in (
        "groups_without_variance",
        "groups_all_wrong",
        "groups_all_wrong_moving",
        "advantage_from_all_wrong",
        "decoy_match",
        "missing_sessions",
    ):
        assert f"stepgrpo/{name}/mean:" in log
        assert 0 <= drawn.Scalars(f"stepgrpo/{name}/mean")[0].value <= 1


def check_a_replay_gives_the_run_back(folder: Path) -> None:
    """What verl paid and credited, tokens and float32 and all, is what the traces say it should have."""
    from verl_stepgrpo.replay.replay import replay
    from verl_stepgrpo.replay.variants import variants

    logged, replayed = replay(folder, variants({})).summaries
    assert replayed.components == pytest.approx(logged.components)
    assert replayed.groups == pytest.approx(logged.groups, abs=1e-4)
    # None where so short a warm-up leaves all rewards equal.
    assert replayed.rank_correlation in (None, pytest.approx(1.0))
    assert (replayed.flipped, replayed.responses) == (0, 2 * 32 * 8)


def check_traces(folder: Path) -> None:
    for step in (1, 2):
        rows = read_trace(folder / "train" / f"step-{step:06d}.jsonl.gz")
        assert len(rows) == 32 * 8
        groups: dict[str, list] = {}
        for row in rows:
            groups.setdefault(row.uid, []).append(row)
        assert all(sorted(r.session for r in g) == list(range(8)) for g in groups.values())
        assert all(len({r.index for r in g}) == 1 for g in groups.values())
        for group in groups.values():
            assert sum(r.credit.first for r in group) == pytest.approx(0, abs=1e-4)


def check_header(out: Path) -> None:
    """The trainer's process, which Ray started, knows what was typed."""
    from verl_stepgrpo.running.resume import digest
    from verl_stepgrpo.traces.header import read_header

    (start,) = read_header(out / "trace")
    assert start.from_step == 0
    assert start.command is not None
    assert "verl.trainer.main_ppo" in start.command
    assert "+stepgrpo=digits_cpu" in start.command
    assert start.weights
    assert start.settings["trace_dir"]
    for files in (start.data["train"], start.data["val"]):
        assert [file.sha256 for file in files] == [digest(Path(file.path)) for file in files]


def check_components_agree_with_verl(log: str, folder: Path) -> None:
    import statistics

    logged = {int(s): float(v) for s, v in re.findall(r"step:(\d+) - .*?critic/score/mean:([\d.e-]+)", log)}
    for step in (1, 2):
        rows = read_trace(folder / "train" / f"step-{step:06d}.jsonl.gz")
        assert statistics.fmean(r.total for r in rows) == pytest.approx(logged[step], abs=1e-4)


CPU = os.environ | {"VERL_PLATFORM": "cpu", "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}


def small_job(folder: Path, *overrides: str, groups: str = "digits_cpu") -> list[str]:
    """Return verl's command for a job of 8 prompts a step with an untrained model, whose data and model it makes.

    ``groups`` are those of the config, as ``+stepgrpo`` takes them.
    """
    for script, options in (("build_data.py", ["--sft", "1", "--heldout", "8"]), ("build_model.py", [])):
        target = str(folder / script.split("_")[1][:-3])
        subprocess.run(
            [sys.executable, f"examples/digits/{script}", "--out", target, *options], cwd=ROOT, check=True
        )
    own = ("trainer.val_before_train=False", f"trainer.default_local_dir={folder}/rl")
    return digits_job(folder / "data", folder / "model", 8, *own, *overrides, groups=groups)


MICRO_BATCHES = (
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu",
    "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu",
    "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu",
)
"""Responses in one, which have to divide those of a step."""


def digits_job(
    data: Path, model: Path | str, prompts: int, *overrides: str, groups: str = "digits_cpu"
) -> list[str]:
    """Return verl's command for a job on the digits' ``data`` with so many prompts a step."""
    return [
        *(sys.executable, "-m", "verl.trainer.main_ppo", f"+stepgrpo={groups}"),
        *(f"data.train_files={data}/train.parquet", f"data.val_files={data}/heldout.parquet"),
        *(f"actor_rollout_ref.model.path={model}", f"data.train_batch_size={prompts}"),
        *(f"actor_rollout_ref.actor.ppo_mini_batch_size={prompts}", *overrides),
    ]


REWARD_WORKER = ("ray::RewardLoopWorker", "reward worker 0 died")
ENGINE = ("VLLM::EngineCore", "has lost its engine")


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.parametrize(
    ("killed", "said", "mode"),
    [
        pytest.param(*ENGINE, "sync", id="engine"),
        pytest.param(*REWARD_WORKER, "sync", id="reward worker"),
        pytest.param(*ENGINE, "colocate_async", id="engine, async"),
    ],
)
def test_a_killed_process_ends_the_job_with_the_cause(
    tmp_path: Path, killed: str, said: str, mode: str
) -> None:
    """verl alone would poll, send weights, or ask for other prompts for ever; the job has to end within a minute."""
    # Credit by step and the gate run for real too.
    command = small_job(tmp_path, "algorithm.stepgrpo.credit=step", "algorithm.stepgrpo.outcome_gate=0.5")
    command += ["trainer.total_training_steps=60", f"trainer.v1.trainer_mode={mode}"]
    log = tmp_path / "log"
    with log.open("w") as out:
        job = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=CPU, start_new_session=True)
    try:
        deadline = time.monotonic() + 400
        while "step:1 - " not in log.read_text():
            assert job.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(1)
        children = psutil.Process(job.pid).children(recursive=True)
        (process,) = [p for p in children if " ".join(p.cmdline()).startswith(killed)]
        process.kill()
        begun = time.monotonic()
        assert job.wait(timeout=90) != 0
        assert time.monotonic() - begun < 60
    finally:
        for process in psutil.Process(job.pid).children(recursive=True) if job.poll() is None else ():
            process.kill()
        job.kill()
    assert said in log.read_text()


USERS_OWN = """
import numpy as np
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop
from verl.utils.dataset.rl_dataset import RLHFDataset


class Unscorable(RLHFDataset):
    def __getitem__(self, item):
        row = super().__getitem__(item)
        extra_info = row["extra_info"]
        if extra_info["index"] % 10 < self.config.unscorable_tenths:
            row["reward_model"] = {"ground_truth": ""}
        return {**row, "extra_info": {**extra_info, "index": np.int64(extra_info["index"])}}


class Answered(SingleTurnAgentLoop):
    async def run(self, sampling_params, **kwargs):
        output = await super().run(sampling_params, **kwargs)
        said = self.tokenizer("first digit second digit", add_special_tokens=False)["input_ids"]
        output.response_ids += said
        output.response_mask += [0] * len(said)
        if output.response_logprobs is not None:
            output.response_logprobs += [0.0] * len(said)
        output.num_turns = 4
        return output
"""


COLOCATE = "trainer.v1.trainer_mode=colocate_async"
ASYNCHRONOUS = {
    "colocate_async": ("digits_cpu", [COLOCATE]),
    # Two updates a step, of 4 prompts each.
    "separate_async": (
        "[digits_cpu,separate_async_cpu]",
        [
            "actor_rollout_ref.actor.ppo_mini_batch_size=4",
            *(f"{key}=32" for key in MICRO_BATCHES),
        ],
    ),
}
"""The groups and overrides of each mode."""


@pytest.mark.slow
@pytest.mark.engine
class TestAnAsynchronousMode:
    """verl evicts the groups that failed and asks for others; the dataset class is the user's and is not checked
    before, and the agent loop, the user's too, has a tool speak behind each response."""

    def run(
        self, folder: Path, tenths: int, *overrides: str, groups: str = "digits_cpu"
    ) -> subprocess.CompletedProcess[str]:
        (folder / "users_own.py").write_text(USERS_OWN)
        (folder / "loops.yaml").write_text("[{name: answered, _target_: users_own.Answered}]")
        command = small_job(
            folder,
            "trainer.total_training_steps=2",
            f"data.custom_cls.path={folder}/users_own.py",
            "data.custom_cls.name=Unscorable",
            f"+data.unscorable_tenths={tenths}",
            f"actor_rollout_ref.rollout.agent.agent_loop_config_path={folder}/loops.yaml",
            "actor_rollout_ref.rollout.agent.default_agent_loop=answered",
            f"algorithm.stepgrpo.trace_dir={folder}/trace",
            *overrides,
            groups=groups,
        )
        path = os.pathsep.join([str(folder), CPU.get("PYTHONPATH", "")])
        return subprocess.run(
            command, env=CPU | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=900
        )

    def test_a_reward_that_always_fails_ends_the_run(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, 10, COLOCATE)
        said = done.stdout + done.stderr
        assert done.returncode != 0
        assert "MissingSessionsError: step 1: 100.0% of the sessions are missing" in said, said[-3000:]
        assert "max_missing_sessions=0.5" in said
        assert "ground_truth is empty" in said

    @pytest.mark.parametrize("mode", ASYNCHRONOUS)
    def test_a_reward_that_fails_for_a_share_is_drawn_and_what_a_tool_says_is_not_scored(
        self, tmp_path: Path, mode: str
    ) -> None:
        groups, overrides = ASYNCHRONOUS[mode]
        done = self.run(tmp_path, 3, *overrides, "algorithm.stepgrpo.credit=step", groups=groups)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said[-3000:]
        shares = [float(share) for share in re.findall(r"stepgrpo/missing_sessions/mean:([0-9.e-]+)", said)]
        assert len(shares) == 2
        assert 0 < max(shares) < 0.5
        assert "does not say which tokens" not in said
        for step in (1, 2):
            rows = read_trace(tmp_path / "trace" / "train" / f"step-{step:06d}.jsonl.gz")
            assert len(rows) == 8 * 8
            assert all(isinstance(row.index, int) and row.index % 10 >= 3 for row in rows)
            assert not [row for row in rows if (row.response or "").endswith("first digit second digit")]
            # The steps of a response have credit of their own: a model that is not trained has none but the end.
            assert all(row.credit is not None for row in rows)
        assert not (tmp_path / "trace" / "untrained").exists()
        assert len(re.findall(r"stepgrpo/key_step_match/mean:", said)) == 2
