"""Train on two nodes, each with a network of its own, and hold the result against one node's with as many ranks.

    python tests/two_nodes.py --out DIR                 # resumes: what DIR/facts.json has is not done again
    python tests/two_nodes.py --out DIR --model FOLDER  # a warmed-up model of the digits, in place of its own warm-up
    PATIENCE=5 python tests/two_nodes.py --out DIR      # five times the time for all, on a machine that has other work

Both jobs are the stock command with the digits on the CPU engine: two steps on two FSDP2 ranks, with two vLLM servers,
agent-loop workers and reward workers. On two nodes the cluster asks for a token, and its head is busy, so that the
trainer lands on the other node; the traces go where the command was started. Before, the second node has, one after
the other, no package, another version, and an older verl, and the same command has to end with its name before a model
is loaded; and so has one without the token. At last the second node is lost in the middle of a job. Needs root, for
the namespaces (``hosts.py``).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hosts import ADDRESSES, NAMES, Host, environment, two_hosts
from test_cpu_engine import CPU, digits_job

from verl_stepgrpo.traces.files import read_trace

ROOT = Path(__file__).resolve().parents[1]
PORT = 6379
CPUS = 24
"""Logical CPUs of a node."""

PORTS = (
    *("--dashboard-agent-grpc-port=52365", "--dashboard-agent-listen-port=52366"),
    *("--metrics-export-port=52367", "--runtime-env-agent-port=52368"),
)
"""Of Ray's agents, which have 15 seconds to tell theirs where they are not given: too few on a busy machine."""

STEPS, PROMPTS, RESPONSES, HELDOUT = 2, 16, 8, 64
WARM_UP = 80
"""Steps: with them the model gets some of the sums right."""

PATIENCE = float(os.environ.get("PATIENCE", "1"))
"""Factor on all limits, for a machine that has other work."""
LIMIT = 1800.0 * PATIENCE
"""Seconds of a job."""

END_LIMIT = 180.0 * PATIENCE
"""Seconds in which a job has to end whose node is lost: Ray itself takes up to a minute to find that out."""

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}


@dataclass(frozen=True)
class Node:
    """A Ray node on a host: how it is started, and stopped."""

    host: Host
    folder: Path
    env: Mapping[str, str]

    def start(self, *options: str) -> None:
        self.folder.mkdir(exist_ok=True)
        own = (f"--node-ip-address={self.host.address}", f"--num-cpus={CPUS}", "--num-gpus=1")
        self.run(["ray", "start", *options, *own, *PORTS, "--disable-usage-stats"])

    def stop(self) -> None:
        self.run(["ray", "stop", "--force"])

    def run(self, command: Sequence[str | Path], timeout: float = 300.0 * PATIENCE) -> str:
        return self.host.run(command, cwd=self.folder, env=self.env, timeout=timeout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="a Hugging Face folder of the digits example's warm-up")
    args = parser.parse_args()
    facts = run(args.out.resolve(), args.model)
    print("\n".join(table(facts)))
    if wrong := list(faults(facts)):
        sys.exit("\n".join(wrong))


def run(out: Path, model: Path | None = None) -> dict[str, Any]:
    """Do what has not been done yet, and return what came of all of it."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "facts.json"
    facts: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}

    def keep(name: str, of: Callable[..., Any], *args: Any) -> None:
        if name not in facts:
            facts[name] = of(*args)
            file.write_text(json.dumps(facts, indent=1) + "\n")

    keep("model", prepared, out, model)
    with two_hosts(out) as (first, second):
        if not {"two nodes", "named", "lost"} <= set(facts):
            head, worker = cluster(out, first, second)
            keep("named", named, out, facts["model"], head, worker)
            keep("two nodes", two_nodes, out, facts["model"], head)
            keep("lost", lost, out, facts["model"], head, worker)
    with two_hosts(out) as (first, _):
        keep("one node", one_node, out, facts["model"], first)
    return facts


def prepared(out: Path, model: Path | None) -> str:
    """Make the data, and a warmed-up model unless there is one; return the model's folder."""
    build = [
        sys.executable,
        ROOT / "examples" / "digits" / "build_data.py",
        "--out",
        out / "data",
        "--seed",
        "1",
    ]
    subprocess.run([*map(str, build), "--sft", str(32 * WARM_UP), "--heldout", str(HELDOUT)], check=True)
    if model is not None:
        return str(model.resolve())
    commands = (
        f"source {ROOT}/examples/digits/stages.sh",
        f'"$PYTHON_BIN" {ROOT}/examples/digits/build_model.py --out "$OUT/model" --seed "$SEED"',
        'mkdir -p "$OUT/logs"',
        "warm_up",
    )
    env = CPU | {"PYTHON_BIN": sys.executable, "SEED": "1", "WARMUP_STEPS": str(WARM_UP), "OUT": str(out)}
    subprocess.run(["bash", "-ec", "\n".join(commands)], env=env, cwd=ROOT, check=True)
    return str(out / "warmup" / f"global_step_{WARM_UP}" / "huggingface")


def command(out: Path, model: str, name: str, groups: str, *overrides: str) -> list[str]:
    """Return the stock command of a job, whose checkpoints go where both hosts see them."""
    rollout = "actor_rollout_ref.rollout"
    own = (
        *("data.seed=7", f"{rollout}.seed=7", f"{rollout}.n={RESPONSES}"),
        *(f"{rollout}.agent.num_workers=2", "reward.num_workers=2"),
        *(f"trainer.{key}={STEPS}" for key in ("total_training_steps", "test_freq", "save_freq")),
        *("trainer.val_before_train=True", f"trainer.default_local_dir={out}/{name}-checkpoints"),
        "algorithm.stepgrpo.trace_dir=traces",
    )
    return digits_job(out / "data", model, PROMPTS, *own, *overrides, groups=groups)


def one_node(out: Path, model: str, host: Host) -> dict[str, Any]:
    folder = out / "one"
    folder.mkdir(exist_ok=True)
    ranks = ("trainer.n_gpus_per_node=2", "ray_kwargs.ray_init.num_gpus=2")
    log = host.run(
        command(out, model, "one", "digits_cpu", *ranks), cwd=folder, env=environment(CPU), timeout=LIMIT
    )
    (folder / "log").write_text(log)
    return outcome(folder / "traces", log)


def cluster(out: Path, first: Host, second: Host) -> tuple[Node, Node]:
    """Return the head and the other node of a cluster that asks for a token; they end with their hosts."""
    env = environment(CPU | TOKEN | {"RAY_ADDRESS": f"{first.address}:{PORT}"})
    head, worker = Node(first, out / "first", env), Node(second, out / "second", env)
    head.start("--head", f"--port={PORT}", "--include-dashboard=false")
    worker.start(f"--address={first.address}:{PORT}")
    return head, worker


BUSY = f"""
import ray, sys, time
ray.init(namespace="busy", log_to_driver=False)
@ray.remote(num_cpus={CPUS * 2 // 3})
class Busy:
    def here(self):
        return None
for node in ray.nodes():
    if not node["Alive"]:
        continue
    name = node["NodeManagerAddress"]
    try:
        ray.kill(ray.get_actor(name))
    except ValueError:
        pass
    if name == sys.argv[1]:
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        busy = Busy.options(name=name, lifetime="detached", scheduling_strategy=strategy).remote()
ray.get(busy.here.remote())
time.sleep(5)  # until the nodes know of each other's load
"""
"""Ray gives an actor a node that is less than half busy, where there is one: this keeps the trainer from a node."""

PLACES = """
import collections, json, ray
from ray._private.state import actors
ray.init(log_to_driver=False)
places = collections.defaultdict(list)
for actor in actors().values():
    places[actor["ActorClassName"].rpartition(".")[2]].append(actor["Address"]["IPAddress"])
print("places " + json.dumps({name: sorted(ips) for name, ips in places.items()}))
"""


def two_nodes(out: Path, model: str, head: Node) -> dict[str, Any]:
    doctor = head.run(["verl-stepgrpo", "doctor", "--address", "auto", "--platform", "cpu"], timeout=LIMIT)
    head.run([sys.executable, "-c", BUSY, head.host.address])
    job = command(out, model, "two", "[digits_cpu,cluster]", "trainer.nnodes=2", "trainer.n_gpus_per_node=1")
    log = head.run(job, timeout=LIMIT)
    (head.folder / "log").write_text(log)
    said = head.run([sys.executable, "-c", PLACES])
    places = json.loads(next(line for line in said.splitlines() if line.startswith("places "))[7:])
    traces = sorted(str(path.relative_to(out)) for path in out.glob("*/traces*"))
    return {
        **outcome(head.folder / "traces", log),
        "places": places,
        "doctor": sorted(set(re.findall(r"worker on \w+ \([\d.]+\)", doctor))),
        "traces": traces,
        "checkpoint": sorted(path.name for path in out.glob("two-checkpoints/*/actor/model_*.pt")),
    }


def outcome(traces: Path, log: str) -> dict[str, Any]:
    """Return what a job came to: of each step from its traces and its log, and of its validations."""
    found: dict[str, Any] = {"steps": [], "right": []}
    for step in range(1, STEPS + 1):
        rows = read_trace(traces / "train" / f"step-{step:06d}.jsonl.gz")
        totals = [row.total for row in rows]
        (line,) = re.findall(rf"step:{step} - (.*)", log)
        logged = {
            name: float(value) for name, value in re.findall(r"(\S+?):(-?[\d.]+(?:e[-+]\d+)?) -", line + " -")
        }
        found["steps"].append(
            {
                "prompts": sorted({row.index for row in rows}),
                "rows": len(rows),
                "reward": statistics.fmean(totals),
                "error": statistics.stdev(totals) / len(totals) ** 0.5,
                "grad_norm": logged["actor/grad_norm"],
                "probs_diff": logged["training/rollout_probs_diff_mean"],
                "missing": logged["stepgrpo/missing_sessions/mean"],
            }
        )
    for step in (0, STEPS):
        rows = read_trace(traces / "val" / f"step-{step:06d}.jsonl.gz")
        found["right"].append(statistics.fmean(row.components["acc"] for row in rows))
    return found


def named(out: Path, model: str, head: Node, worker: Node) -> dict[str, str]:
    """Return how the command ends where the second node, or the driver, lacks something: its last lines."""
    job = command(out, model, "none", "[digits_cpu,cluster]", "trainer.nnodes=2", "trainer.n_gpus_per_node=1")
    ends = {}
    for name, change in (
        ("no package", no_package),
        ("another version", another_version),
        ("an older verl", older_verl),
    ):
        worker.stop()
        with change(out, worker) as changed:
            changed.start(f"--address={head.host.address}:{PORT}")
            ends[name] = refused(head, job)
            changed.stop()
    worker.start(f"--address={head.host.address}:{PORT}")
    home = out / "no-home"
    home.mkdir(exist_ok=True)
    env = {name: value for name, value in head.env.items() if name not in TOKEN} | {"HOME": str(home)}
    ends["no token"] = refused(Node(head.host, head.folder, env), job)
    return ends


def lost(out: Path, model: str, head: Node, worker: Node) -> dict[str, Any]:
    """Cut the power of the second node, when a job with its trainer on the first has made a step."""
    head.run([sys.executable, "-c", BUSY, worker.host.address])
    long = ("trainer.total_training_steps=100", "trainer.test_freq=-1", "trainer.val_before_train=False")
    job = command(
        out, model, "lost", "[digits_cpu,cluster]", "trainer.nnodes=2", "trainer.n_gpus_per_node=1", *long
    )
    log = head.folder / "lost.log"
    with log.open("w") as file:
        process = head.host.start(job, cwd=head.folder, env=head.env, stdout=file, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + LIMIT
    while "step:1 - " not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{log}: no step:\n{log.read_text()[-3000:]}")
        time.sleep(1)
    worker.host.end()
    begun = time.monotonic()
    try:
        process.wait(END_LIMIT)
        seconds = round(time.monotonic() - begun, 1)
    except subprocess.TimeoutExpired:
        process.kill()
        seconds = None
    text = log.read_text()
    said = text.rfind("WorkerDiedError: ")
    return {"seconds": seconds, "said": text[said : said + 1500] if said >= 0 else text[-3000:]}


def refused(head: Node, job: Sequence[str]) -> str:
    """Return what the job says, which has to fail before a model is loaded."""
    try:
        printed = head.run(job, timeout=LIMIT)
    except RuntimeError as error:
        printed = str(error)
    else:
        return f"it did not fail:\n{printed[-2000:]}"
    loaded = re.findall(r"WorkerDict|vLLMHttpServer", printed)
    return f"it had begun to load ({loaded[0]})" if loaded else printed[-3000:]


@contextmanager
def no_package(out: Path, worker: Node) -> Iterator[Node]:
    """The environment of the second node as one without the package."""
    nothing = out / "nothing"
    nothing.mkdir(exist_ok=True)
    (site,) = {Path(str(one._path)).parent for one in [importlib.metadata.distribution("verl-stepgrpo")]}
    covered = [path for path in site.iterdir() if "verl_stepgrpo" in path.name]
    for path in covered:
        worker.host.cover(path, nothing if path.is_dir() else Path("/dev/null"))
    env = {name: value for name, value in worker.env.items() if name != "PYTHONPATH"}
    yield Node(worker.host, worker.folder, env)
    for path in covered:
        worker.host.uncover(path)


@contextmanager
def another_version(out: Path, worker: Node) -> Iterator[Node]:
    """The package of the second node with a line more."""
    other = out / "other"
    shutil.copytree(ROOT / "verl_stepgrpo", other / "verl_stepgrpo", dirs_exist_ok=True)
    with (other / "verl_stepgrpo" / "rewards.py").open("a") as file:
        file.write("# Another rule.\n")
    yield Node(worker.host, worker.folder, {**worker.env, "PYTHONPATH": str(other)})


@contextmanager
def older_verl(out: Path, worker: Node) -> Iterator[Node]:
    """The verl of the second node with another version's number."""
    metadata = Path(str(importlib.metadata.distribution("verl")._path)) / "METADATA"
    (out / "METADATA").write_text(
        re.sub(r"(?m)^Version: .*$", "Version: 0.8.0", metadata.read_text(), count=1)
    )
    worker.host.cover(metadata, out / "METADATA")
    yield worker
    worker.host.uncover(metadata)


SAID = {
    "no package": r"node second \(10\.77\.0\.2\) has no verl-stepgrpo",
    "another version": r"node second \(10\.77\.0\.2\) has verl-stepgrpo \S+, the driver \S+:",
    "an older verl": r"node second \(10\.77\.0\.2\) has verl 0\.8\.0",
    "no token": r"RAY_AUTH_MODE",
}


def faults(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is not as it should be."""
    one, two = facts["one node"], facts["two nodes"]
    for n, (ours, theirs) in enumerate(zip(two["steps"], one["steps"], strict=True), start=1):
        yield from (f"step {n}: {said}" for said in step_faults(ours, theirs))
    # The first validation is greedy and of the same weights; the second of weights that other samples taught.
    for ours, theirs, tolerance in zip(two["right"], one["right"], (2 / HELDOUT, 0.1), strict=True):
        if abs(ours - theirs) > tolerance:
            yield f"right on {ours:.3f}, on one node {theirs:.3f}"
    yield from place_faults(two)
    named = re.search(
        rf"WorkerDiedError: .*{re.escape(ADDRESSES[1])}", facts["lost"]["said"], flags=re.DOTALL
    )
    if facts["lost"]["seconds"] is None or named is None:
        yield f"a lost node: {facts['lost']}"
    for name, said in facts["named"].items():
        if not re.search(SAID[name], said):
            yield f"{name}: {said}"


def step_faults(two: Mapping[str, Any], one: Mapping[str, Any]) -> Iterator[str]:
    """Yield how a step on two nodes differs from the same on one by more than the drawing of samples explains."""
    if two["prompts"] != one["prompts"] or {two["rows"], one["rows"]} != {PROMPTS * RESPONSES}:
        yield "other prompts or rows"
    if abs(two["reward"] - one["reward"]) > 4 * (two["error"] ** 2 + one["error"] ** 2) ** 0.5:
        yield f"a mean reward of {two['reward']:.3f}, on one node {one['reward']:.3f}"
    if max(two["probs_diff"], one["probs_diff"]) > 1e-4:
        yield f"rollout and actor differ by {two['probs_diff']:.1e}, on one node {one['probs_diff']:.1e}"
    if not 0.25 < two["grad_norm"] / one["grad_norm"] < 4:
        yield f"a gradient of {two['grad_norm']:.3f}, on one node {one['grad_norm']:.3f}"
    if two["missing"] or one["missing"]:
        yield "sessions are missing"


def place_faults(two: Mapping[str, Any]) -> Iterator[str]:
    """Yield what of the job on two nodes is in the wrong place."""
    nodes = [*ADDRESSES]
    expected = {"TaskRunnerV1": nodes[1:]} | {
        kind: nodes for kind in ("WorkerDict", "vLLMHttpServer", "AgentLoopWorkerTQ", "RewardLoopWorker")
    }
    for kind, addresses in expected.items():
        ran_on = two["places"].get(kind, [])
        if sorted(set(ran_on)) != addresses:
            yield f"{kind} ran on {ran_on}"
    if two["traces"] != ["first/traces"]:
        yield f"traces lie in {two['traces']}"
    seen = [f"worker on {name} ({address})" for name, address in zip(NAMES, ADDRESSES, strict=True)]
    if two["doctor"] != seen:
        yield f"the doctor saw {two['doctor']}"
    if len(two["checkpoint"]) != 2:
        yield f"the checkpoint has {two['checkpoint']}"


def table(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table of ``benchmarks/README.md``."""
    yield "| | one node | two nodes |"
    yield "|---|---|---|"
    both = [facts["one node"], facts["two nodes"]]
    for n in range(STEPS):
        for key, label, form in (
            ("reward", "mean reward", ".3f"),
            ("error", "its standard error", ".3f"),
            ("grad_norm", "gradient norm", ".3f"),
            ("probs_diff", "rollout and actor apart", ".0e"),
        ):
            yield f"| step {n + 1}: {label} | {' | '.join(format(one['steps'][n][key], form) for one in both)} |"
    for n, label in enumerate(("before", f"after {STEPS} steps")):
        yield f"| held-out sums right {label}, greedy | {' | '.join(format(one['right'][n], '.1%') for one in both)} |"


if __name__ == "__main__":
    main()
