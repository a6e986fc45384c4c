"""A run on several nodes: real Ray, with its own nodes in processes of this machine."""

from __future__ import annotations

import gzip
import importlib.metadata
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import yaml
from helpers import trace_row
from omegaconf import DictConfig, OmegaConf
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from test_children import wait_for
from test_recipes import composed

from verl_stepgrpo.bridge.cluster import cluster, node_probe
from verl_stepgrpo.bridge.hooks import trainer_hooks
from verl_stepgrpo.bridge.judged import Judged
from verl_stepgrpo.doctor.checks import token_line
from verl_stepgrpo.running.identity import identity
from verl_stepgrpo.traces.files import read_trace
from verl_stepgrpo.traces.header import read_header
from verl_stepgrpo.traces.rows import Judgement

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    nodes.add_node(num_cpus=2)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.fixture
def joined(two_nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DictConfig]:
    """Join as the driver of a run with traces does, and yield its configuration."""
    monkeypatch.setattr(ray, "init", ray.init)  # what is wrapped here is taken back
    config = OmegaConf.create(
        {
            "algorithm": {"stepgrpo": {"trace_dir": str(tmp_path / "traces")}},
            "actor_rollout_ref": {"model": {"path": "m"}},
            "data": {"train_files": [], "val_files": []},
        }
    )
    cluster.watch_start(config)
    ray.init(address=two_nodes.address, log_to_driver=False)
    yield config
    ray.shutdown()


def elsewhere() -> str:
    """Return the node that this process is not on."""
    here = ray.get_runtime_context().get_node_id()
    return next(node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] != here)


def on(node: str, work: Any, *args: Any) -> Any:
    strategy = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.get(ray.remote(work).options(num_cpus=0, scheduling_strategy=strategy).remote(*args))


def test_traces_of_a_trainer_on_another_node_are_written_on_the_drivers(
    joined: DictConfig, tmp_path: Path
) -> None:
    def trainer(config: DictConfig, row: Any) -> tuple[str, bool]:
        """Stands for verl's TaskRunner; returns what it has for a writer, and whether the rows were written."""
        state = trainer_hooks.RunState(SimpleNamespace(config=config))
        assert isinstance(state.writer, cluster.RemoteWriter)
        state.writer.begin(state.settings, config, 0)
        metrics: dict = {}
        trainer_hooks.write_counted(state.writer, 1, [row], metrics)
        return type(state.writer).__name__, metrics[trainer_hooks.UNTRACED] == 0

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    assert on(elsewhere(), trainer, joined, trace_row("8")) == ("RemoteWriter", True)
    (path,) = (tmp_path / "traces" / "train").iterdir()
    assert read_trace(path) == [trace_row("8")]
    assert cluster._node_of(ray.get_actor(cluster.WRITER)) == ray.get_runtime_context().get_node_id()
    wait_for(lambda: bool(read_header(tmp_path / "traces")), 60)  # a thread writes it
    assert [start.from_step for start in read_header(tmp_path / "traces")] == [0]


def test_a_trainer_on_the_drivers_node_writes_itself(joined: DictConfig) -> None:
    assert cluster.remote_writer() is None


def test_the_nodes_of_one_environment_are_passed(joined: DictConfig) -> None:
    cluster.check_nodes()
    assert len(cluster._answers()) == 2


OURS = {"verl-stepgrpo": "0.1.0+aa", "verl": "0.9.1", "entry point": "found", node_probe.POLICY: None}
NODES = {
    "no package": ({"verl-stepgrpo": None, "entry point": None}, "n has no verl-stepgrpo: a worker there"),
    "another version": (
        {"verl-stepgrpo": "0.0.9+aa"},
        "n has verl-stepgrpo 0.0.9+aa, the driver 0.1.0+aa: it would",
    ),
    "other sources": (
        {"verl-stepgrpo": "0.1.0+bb"},
        "n has verl-stepgrpo 0.1.0+bb, the driver 0.1.0+aa: it would",
    ),
    "no entry point": ({"entry point": None}, "n has verl-stepgrpo without its entry point"),
    "an older verl": ({"verl": "0.8.0"}, "n has verl 0.8.0; the plugin is written for verl 0.9.1"),
    "no verl": ({"verl": None}, "n has no verl; the plugin is written for verl 0.9.1"),
    "left out": ({node_probe.POLICY: "other, none"}, f"n has {node_probe.POLICY}=other, none, which leaves"),
}


@pytest.mark.parametrize(("change", "said"), NODES.values(), ids=NODES)
def test_a_node_that_would_run_other_code_is_named(change: dict, said: str) -> None:
    (fault,) = cluster.node_faults("n", OURS | change, OURS)
    assert fault.startswith(said)


@pytest.mark.parametrize("policy", [None, "auto", "other,STEPGRPO"])
def test_a_node_like_the_driver_is_none(policy: str | None) -> None:
    assert list(cluster.node_faults("n", OURS | {node_probe.POLICY: policy}, OURS)) == []


def test_such_a_node_ends_the_drivers_start(
    two_nodes: Any, joined: DictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.shutdown()
    other = dict(node_probe.look(), **{"verl-stepgrpo": "0.0.9+00"})
    monkeypatch.setattr(cluster, "_answers", lambda: [("node gpu-17 (10.0.0.17)", other)])
    with pytest.raises(
        cluster.OtherVersionError, match=r"node gpu-17 \(10\.0\.0\.17\) has verl-stepgrpo 0\.0\.9"
    ):
        ray.init(address=two_nodes.address, log_to_driver=False)


def test_a_cluster_that_does_not_answer_is_told_of_the_token(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def init(**_: object) -> None:
        raise ConnectionError("Failed to connect to Ray cluster")

    monkeypatch.setattr(ray, "init", init)
    cluster.watch_start(OmegaConf.create({}))
    with caplog.at_level(logging.ERROR, "verl_stepgrpo"), pytest.raises(ConnectionError):
        ray.init(address="127.0.0.1:1")
    assert "RAY_AUTH_MODE=disabled" in caplog.text


class TestScorers:
    """The version travels with each reward."""

    def judged(self, scorer: str | None) -> Judged:
        judgement = Judgement.from_json(trace_row("8").to_json())
        return Judged("u_0_0", judgement.components, judgement, scorer=scorer)

    def test_one_version_passes(self) -> None:
        trainer_hooks.check_scorers([self.judged(f"{identity()} on a"), self.judged(f"{identity()} on b")])
        trainer_hooks.check_scorers([Judged("u_0_0", {}, None)])  # of another reward manager

    @pytest.mark.parametrize(
        ("scorer", "said"),
        [
            ("0.0.9+00 on gpu-17", "a reward worker on node gpu-17 has verl-stepgrpo 0.0.9+00, the trainer"),
            (None, "a reward worker on some node has verl-stepgrpo of an earlier version, the trainer"),
        ],
    )
    def test_another_one_ends_the_run_with_the_nodes_name(self, scorer: str | None, said: str) -> None:
        with pytest.raises(cluster.OtherVersionError, match=re.escape(said)):
            trainer_hooks.check_scorers([self.judged(f"{identity()} on a"), self.judged(scorer)])


def not_installed(name: str) -> str:
    raise importlib.metadata.PackageNotFoundError(name)


class TestIdentity:
    def test_it_is_the_version_and_the_sources(self) -> None:
        from verl_stepgrpo import __version__

        assert re.fullmatch(re.escape(__version__) + r"\+[0-9a-f]{8}", identity())

    def test_a_version_that_keeps_it_elsewhere_is_told_by_its_number(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "verl_stepgrpo.running.identity", None)  # it cannot be imported
        assert node_probe.look()["verl-stepgrpo"] == importlib.metadata.version("verl-stepgrpo")
        monkeypatch.setattr(importlib.metadata, "version", not_installed)
        assert node_probe.look()["verl-stepgrpo"] is None

    def test_a_probe_by_value_finds_it(self) -> None:
        assert node_probe.look()["verl-stepgrpo"] == identity()


class TestRecipes:
    """The files for Slurm and Kubernetes: what they start composes, and passes verl's validation."""

    def checked(self, *overrides: str) -> DictConfig:
        from verl.trainer.ppo.utils import need_critic, need_reference_policy
        from verl.utils.config import validate_config

        config = composed("ppo_trainer", *overrides)
        wrapped = validate_config.__wrapped__
        wrapped(config, need_reference_policy(config), need_critic(config))
        return config

    def test_the_group_joins_a_cluster_and_names_no_resources(self) -> None:
        for groups in ("[paper,cluster]", "[digits_cpu,cluster]", "[multi_node,cluster]"):
            given = self.checked(f"+stepgrpo={groups}").ray_kwargs.ray_init
            assert (given.num_cpus, given.num_gpus, given.address) == (None, None, "auto")

    def test_kuberays_job_composes(self) -> None:
        job = yaml.safe_load((ROOT / "recipes" / "multi_node" / "kuberay.yaml").read_text())
        doctor, command = job["spec"]["entrypoint"].split(" && ")
        assert doctor == "verl-stepgrpo doctor --address auto"
        module, *overrides = command.split()[2:]
        assert module == "verl.trainer.main_ppo"
        config = self.checked(*overrides)
        workers = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
        limits = workers["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert config.trainer.nnodes == workers["replicas"] == workers["minReplicas"]
        assert config.trainer.n_gpus_per_node == int(limits["nvidia.com/gpu"])
        assert job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-gpus"] == "0"

    def test_slurms_job_composes(self, tmp_path: Path) -> None:
        """It is run with stand-ins for Slurm, Ray and Python that note what they are given."""
        (tmp_path / "venv" / "bin").mkdir(parents=True)
        notes = tmp_path / "notes"
        (tmp_path / "venv" / "bin" / "activate").write_text(f"export PATH={tmp_path}/venv/bin:$PATH\n")
        stand_ins = {
            "scontrol": "echo first; echo second",
            "srun": f'echo "srun $@" >> {notes}; exec sleep 60',
            "verl-stepgrpo": f'echo "verl-stepgrpo $@" >> {notes}',
            "python": f'[ "$1" = -c ] && exit 0; echo "python $@" >> {notes}',
            "sleep": '[ "$1" = 20 ] || exec /bin/sleep "$@"',
        }
        for name, text in stand_ins.items():
            path = tmp_path / "venv" / "bin" / name
            path.write_text(f"#!/bin/bash\n{text}\n")
            path.chmod(0o755)
        (tmp_path / "prepared").mkdir()
        (tmp_path / "prepared" / "rl-train.parquet").write_text("")
        (tmp_path / "recipes").symlink_to(ROOT / "recipes")
        env = {
            "PATH": f"{tmp_path}/venv/bin:/usr/bin:/bin",
            "VENV": str(tmp_path / "venv"),
            "MODEL": "m",
            "SLURM_SUBMIT_DIR": str(tmp_path),
            "SLURM_JOB_ID": "7",
            "SLURM_JOB_NODELIST": "first,second",
            "SLURM_NNODES": "2",
            "SLURM_GPUS_ON_NODE": "8",
        }
        script = ROOT / "recipes" / "multi_node" / "slurm.sbatch"
        done = subprocess.run(
            ["bash", script, "trainer.save_freq=5"], env=env, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        head, worker, doctor, train = sorted(
            notes.read_text().splitlines(), key=lambda line: (line[0] != "s", line)
        )
        train, doctor = (doctor, train) if doctor.startswith("python") else (train, doctor)
        assert "--nodelist=first ray start --head --port=6379 --num-gpus=8 --block" in f"{head} {worker}"
        assert "--exclude=first ray start --address=first:6379 --num-gpus=8 --block" in f"{head} {worker}"
        assert doctor == "verl-stepgrpo doctor --address first:6379 --platform gpu"
        config = self.checked(*train.split()[3:])
        assert (config.trainer.nnodes, config.trainer.n_gpus_per_node, config.trainer.save_freq) == (2, 8, 5)
        assert config.ray_kwargs.ray_init.address == "auto"
        assert not list(tmp_path.glob(".ray-token-*"))

    def test_the_page_composes(self) -> None:
        (command,) = re.findall(r"main_ppo ((?:.*\\\n)*.*)", (ROOT / "docs" / "cluster.md").read_text())
        self.checked(*command.replace("\\\n", " ").replace("'", "").split())


@pytest.mark.parametrize(
    ("mode", "is_there", "verdict"),
    [(None, True, "warn"), (None, False, "ok"), ("token", True, "ok"), ("disabled", True, "ok")],
)
def test_the_doctor_tells_where_rays_token_is_left_to_chance(
    mode: str | None, is_there: bool, verdict: str
) -> None:
    line = token_line("driver", {"token": {"mode": mode, "file": is_there}})
    assert line.verdict == verdict


def test_the_lines_that_travel_are_whole(tmp_path: Path) -> None:
    sent: list[bytes] = []
    actor = SimpleNamespace(write=SimpleNamespace(remote=lambda split, step, lines: sent.extend(lines)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "get", lambda reference: tmp_path)
        cluster.RemoteWriter(actor).write("train", 1, [trace_row("8"), b"x"])
    assert gzip.decompress(sent[0]).endswith(b"}\n")
    assert sent[1] == b"x"
