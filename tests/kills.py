"""Kill processes of a real training job at random moments, one after another, and judge what comes of each.

    python tests/kills.py --out DIR --kills 60            # resumes: what benchmarks/faults-*.json have is not redone
    python tests/kills.py --out DIR --kills 60 --at-once  # both modes together, each on a host of its own; as root
    python tests/kills.py --table > benchmarks/FAULTS.md

A chain of runs for each trainer mode: the small job of the digits on the CPU engine, one checkpoint a step. In each run
one process of a kind gets SIGKILL (the job: SIGTERM, too) at a moment that a fixed seed chooses; the next run is the
resume, by the same command. Judged: seconds to an end that names the cause, what stays behind (processes, shared
memory, sockets), and whether the resume goes on from the last checkpoint. At the end of a chain the data order of all
steps is held against verl's own loader, which no death interrupts, and the curves against the steps: each once.
Interrupted and started again, it goes on with the kill that it was at.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from hosts import two_hosts
from test_cpu_engine import CPU, small_job

from verl_stepgrpo.traces.files import read_trace, step_of, steps_of

ROOT = Path(__file__).resolve().parents[1]

MODES = ("sync", "colocate_async")
RESULTS = {mode: ROOT / "benchmarks" / f"faults-{mode}.json" for mode in MODES}
SEED = 18
END_LIMIT = 90.0
"""Seconds in which a job has to end; 30 are asked of it on a machine that does nothing else."""
START_LIMIT = 600.0
STAY_LIMIT = 30.0
"""Seconds in which all else has to be gone then. Ray's agents look every two seconds whether their raylet is there, and
end behind five looks at which it was not."""
STEPS = 400
"""More than any chain comes to."""
PROMPTS, RESPONSES = 8, 8
IN_FLIGHT = 4 * PROMPTS
"""Prompts that an asynchronous trainer may have asked for beyond those that it has trained on."""
NOT_AT_ALL = -1
"""The step that a run resumed from which never logged one."""
CURVE = "stepgrpo/acc/mean"
"""Known before a step's checkpoint is saved; verl's own ``critic/score/mean`` is not yet."""
RUNNING = "running.json"
"""File of a chain with the process that runs it: this one may be killed itself, and leave it."""


@dataclass(frozen=True)
class Kind:
    """A process of the job: how its command line begins, and what a named end says of its death."""

    begins: str
    said: str
    signal: int = signal.SIGKILL


KINDS: Mapping[str, Kind] = {
    "EngineCore": Kind("VLLM::EngineCore", r"has lost its engine|vLLM server"),
    "vLLM worker": Kind("VLLM::Worker", r"has lost its engine|vLLM server"),
    "vLLM server": Kind("ray::vLLMHttpServer", r"vLLMHttpServer|has lost its engine"),
    "training worker": Kind("ray::WorkerDict", r"training worker"),
    "reward worker": Kind("ray::RewardLoopWorker", r"reward worker"),
    "agent-loop worker": Kind("ray::AgentLoopWorkerTQ", r"agent-loop worker"),
    "load balancer": Kind("ray::GlobalRequestLoadBalancer", r"load balancer"),
    "storage unit": Kind("ray::SimpleStorageUnit", r"storage unit of TransferQueue"),
    "queue controller": Kind("ray::TransferQueueController", r"TransferQueue's controller"),
    "trainer": Kind("ray::TaskRunnerV1", r"TaskRunner|actor died|ActorDiedError"),
    "driver": Kind("", r""),
    "SIGTERM of the job": Kind("", r"", signal.SIGTERM),
}
"""The driver's own end is at once, and a SIGTERM's too: nothing is left that could name them."""


@dataclass(frozen=True)
class Judged:
    """What came of one kill.

    Attributes:
        mode, kind: Of the run.
        number: In the chain of its mode.
        step: The step that was logged last before it.
        seconds: From the kill to the end of the job; None where it had to be ended.
        named: Whether the log names the cause.
        processes, shared_memory, sockets: What was there half a minute later at most, and not before the run.
        resumed_from: The step that the next run went on from, and ``saved``, the last that had been saved; None of the
            last run of a chain, and ``NOT_AT_ALL`` where the next run came to no step.
    """

    mode: str
    kind: str
    number: int
    step: int
    seconds: float | None
    named: bool
    processes: tuple[str, ...]
    shared_memory: int
    sockets: int
    saved: int
    resumed_from: int | None = None

    @property
    def is_well(self) -> bool:
        return (
            self.seconds is not None
            and self.named
            and not self.processes
            and self.resumed_from in (None, self.saved)
        )


HEAD = """# Faults

Made with `python tests/kills.py --out DIR --kills 60 --at-once`, then
`python tests/kills.py --table > benchmarks/FAULTS.md`, on 2 cores (x86_64) for the jobs of both modes, beside other
work: processes of a real job (the digits on the CPU engine, a checkpoint a step) get SIGKILL at random moments (seed
18), each run the resume of the one before. A named end is one whose log says what died (the command itself has nothing
to say of its own); left is what is there half a minute later.

| mode | process | kills | ended | s to the end, median and most | named | left | resumed from the last checkpoint |
|---|---|---|---|---|---|---|---|"""


class Job:
    """One run of the chain."""

    def __init__(self, folder: Path, mode: str, number: int) -> None:
        self._folder, self._log = folder, folder / f"run-{number:03d}.log"
        end_earlier(folder)
        self._tmp = folder / "tmp"
        self._tmp.mkdir(exist_ok=True)
        self._before = left_behind(self._tmp)
        command = [*json.loads((folder / "command.json").read_text()), f"trainer.v1.trainer_mode={mode}"]
        with self._log.open("w") as out:
            self._process = subprocess.Popen(
                command,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**CPU, "TMPDIR": str(self._tmp)},
                cwd=folder,
                start_new_session=True,
            )
        self._own = psutil.Process(self._process.pid)
        self._family: dict[int, psutil.Process] = {}
        facts = {"pid": self._own.pid, "created": self._own.create_time()}
        (folder / RUNNING).write_text(json.dumps(facts))

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def steps(self) -> list[int]:
        return [int(step) for step in re.findall(r"^.*step:(\d+) - .*critic/", self.log, flags=re.M)]

    def wait_for_steps(self, n: int) -> None:
        """Wait until it has logged ``n`` steps. Raises RuntimeError where it ends or takes too long."""
        deadline = time.monotonic() + START_LIMIT
        while len(self.steps) < n:
            if not self.is_running or time.monotonic() > deadline:
                self.end()
                raise RuntimeError(f"{self._log}: no step {n}:\n{self.log[-3000:]}")
            time.sleep(0.5)

    def kill(self, kind: Kind) -> float:
        """Send the signal; return when."""
        self._look_around()
        targets = [one for one in self._family.values() if name_of(one).startswith(kind.begins)]
        if not targets:
            raise RuntimeError(f"{self._log}: there is no process {kind.begins}")
        target = targets[0] if kind.begins else self._own
        target.send_signal(kind.signal)
        return time.monotonic()

    def wait_for_end(self, since: float) -> float | None:
        """Return the seconds to the end; None where it had to be ended."""
        while self.is_running:
            if time.monotonic() > since + END_LIMIT:
                return None
            self._look_around()
            time.sleep(0.5)
        return round(time.monotonic() - since, 1)

    def _look_around(self) -> None:
        """Note the processes of the job: once its first has ended nobody could tell which were."""
        self._family |= {one.pid: one for one in family(self._own)}

    def stays(self) -> tuple[tuple[str, ...], int, int]:
        """Return what is left behind once all has ended, or at the limit: processes by name, shared memory, sockets."""
        deadline = time.monotonic() + STAY_LIMIT
        while (names := self._left()) and time.monotonic() < deadline:
            time.sleep(1)
        now = left_behind(self._tmp)
        shared, sockets = (len(after - before) for after, before in zip(now, self._before, strict=True))
        return names, shared, sockets

    def _left(self) -> tuple[str, ...]:
        # One that has ended, or ends meanwhile, has no name.
        return tuple(sorted(filter(None, (name_of(one)[:40] for one in self._family.values()))))

    def end(self) -> None:
        """End whatever is left of it, by its own processes' ids."""
        self._look_around()
        end(self._family.values())
        self._process.wait(30)


def end_the_job_when_ended() -> None:
    """Have a SIGTERM of this process end its job, too: Python alone would leave it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def end_earlier(folder: Path) -> None:
    """End a job that is left of a harness that was killed."""
    if not (folder / RUNNING).exists():
        return
    facts = json.loads((folder / RUNNING).read_text())
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(facts["pid"])
        if process.create_time() == facts["created"]:
            end(family(process))


def family(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and all below it; none where it is gone."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def end(processes: Iterable[psutil.Process]) -> None:
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()  # psutil sees to it that the id is still that of this process


def name_of(process: psutil.Process) -> str:
    """Return the command line of a process, which a title may have taken the place of; "" where it has ended."""
    try:
        return " ".join(process.cmdline()) if process.is_running() else ""
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def left_behind(tmp: Path) -> tuple[set[str], set[str]]:
    """Return the names of shared memory, and of sockets of ZeroMQ in the temporary folder."""
    return set(os.listdir("/dev/shm")), {path.name for path in tmp.iterdir() if path.is_socket()}


def saved(folder: Path) -> int:
    tracker = folder / "rl" / "latest_checkpointed_iteration.txt"
    return int(tracker.read_text() or 0) if tracker.exists() else 0


def begin(folder: Path) -> None:
    """Make the data and the model of a chain, and its command."""
    if (folder / "command.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    options = ["trainer.save_freq=1", f"trainer.total_training_steps={STEPS}", "trainer.total_epochs=100"]
    options += [
        f"algorithm.stepgrpo.trace_dir={folder}/trace",
        "trainer.max_actor_ckpt_to_keep=3",
        "data.seed=7",
    ]
    options += ["trainer.logger=[console,tensorboard]"]
    (folder / "command.json").write_text(json.dumps(small_job(folder, *options)))


def chain(folder: Path, mode: str, kinds: Sequence[str], done: int) -> Iterator[Judged]:
    """Yield what came of each kill behind the first ``done``, which were judged before."""
    begin(folder)
    last: Judged | None = None
    for number, name in enumerate(kinds):
        if number < done:
            continue
        rng = random.Random(f"{SEED} {mode} {number}")
        expected, job = saved(folder), Job(folder, mode, number)
        try:
            try:
                job.wait_for_steps(1 + rng.randrange(2))
            except RuntimeError:
                if last is not None:
                    yield resumed(last, job.steps[0] - 1 if job.steps else NOT_AT_ALL)
                raise
            if last is not None:
                yield resumed(last, job.steps[0] - 1)
            time.sleep(rng.random() * 6)  # a step takes about so long
            seconds = job.wait_for_end(job.kill(KINDS[name]))
            stays = job.stays()
        finally:
            job.end()
        is_named = not KINDS[name].said or re.search(KINDS[name].said, job.log) is not None
        steps = job.steps or [expected]
        last = Judged(mode, name, number, steps[-1], seconds, is_named, *stays, saved(folder))
    if last is not None:
        yield last


def resumed(one: Judged, step: int) -> Judged:
    return Judged(**{**asdict(one), "resumed_from": step})


def data_order(folder: Path, mode: str) -> str:
    """Return how the rows of the saved steps of a chain agree with verl's own loader, which nothing interrupts.

    In ``sync`` each step has the rows of the loader's batch. An asynchronous trainer takes what is finished first, so
    that there the steps together have the loader's prompts up to those in flight, none left out.
    """
    steps = {
        step_of(path): read_trace(path)
        for path in steps_of(folder / "trace", "train")
        if step_of(path) <= saved(folder)  # one that is to be made again may be torn
    }
    whole = sum(len(rows) == PROMPTS * RESPONSES for rows in steps.values())
    trained = {step: sorted({row.index for row in rows}) for step, rows in steps.items()}
    expected = uninterrupted(folder)
    if mode == "sync":
        held = sum(trained[step] == sorted(expected[step - 1]) for step in steps)
        return f"{min(held, whole)} of {len(steps)} steps have the rows of an uninterrupted run, each once"
    times = Counter(index for indices in trained.values() for index in indices)
    stream = [index for batch in expected for index in batch]
    again = sum(n - 1 for n in times.values())
    left_out = len(set(stream[: max(0, len(times) - IN_FLIGHT)]) - set(times))
    early = len(set(times) - set(stream[: len(times) + IN_FLIGHT]))
    return (
        f"{whole} of {len(steps)} steps have all their rows; of {len(times)} prompts {again} were trained on twice, "
        f"{left_out} left out and {early} not due yet"
    )


def curves_once(folder: Path) -> str:
    """Return how many of the saved steps of a chain TensorBoard has once, over all runs."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    times: Counter[int] = Counter()
    for events in folder.glob("tensorboard_log/**/events*"):
        drawn = EventAccumulator(str(events)).Reload()
        if CURVE in drawn.Tags()["scalars"]:
            times.update(point.step for point in drawn.Scalars(CURVE))
    steps = range(1, saved(folder) + 1)
    return f"{sum(times[step] == 1 for step in steps)} of {len(steps)} steps are in the curves, each once"


def uninterrupted(folder: Path) -> list[list[int]]:
    """Return the indices of the rows of each step, from verl's own dataset, sampler and loader."""
    import verl  # noqa: F401
    from hydra import compose, initialize_config_module
    from torchdata.stateful_dataloader import StatefulDataLoader
    from transformers import AutoProcessor, AutoTokenizer
    from verl.trainer.ppo.utils import create_rl_dataset, create_rl_sampler
    from verl.utils.dataset.rl_dataset import collate_fn

    command = json.loads((folder / "command.json").read_text())
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", overrides=command[3:])
    tokenizer, processor = (one.from_pretrained(folder / "model") for one in (AutoTokenizer, AutoProcessor))
    dataset = create_rl_dataset(config.data.train_files, config.data, tokenizer, processor, is_train=True)
    loader = StatefulDataLoader(
        dataset,
        batch_size=config.data.train_batch_size,
        num_workers=0,
        drop_last=True,
        collate_fn=collate_fn,
        sampler=create_rl_sampler(config.data, dataset),
    )
    found: list[list[int]] = []
    while len(found) < STEPS:
        found += [[info["index"] for info in batch["extra_info"]] for batch in loader]
    return found


def plan(kills: int) -> dict[str, list[str]]:
    """Return the kinds of each mode's chain, every kind as often as the others, in an order that a seed chooses."""
    found = {}
    for mode in MODES:
        rng = random.Random(f"{SEED} {mode}")
        kinds: list[str] = []
        while len(kinds) < kills // len(MODES):
            kinds += rng.sample(list(KINDS), len(KINDS))
        found[mode] = kinds[: kills // len(MODES)]
    return found


def results(mode: str) -> dict[str, Any]:
    return (
        json.loads(RESULTS[mode].read_text()) if RESULTS[mode].exists() else {"kills": [], "data_order": ""}
    )


def run(out: Path, kills: int, mode: str) -> None:
    """Do what is not in the results of a mode yet, and write them behind each kill."""
    facts = results(mode)
    for judged in chain(out / mode, mode, plan(kills)[mode], len(facts["kills"])):
        facts["kills"].append(asdict(judged))
        print(judged, flush=True)
        write(mode, facts)
    if (out / mode).exists():
        facts["data_order"] = f"{data_order(out / mode, mode)}; {curves_once(out / mode)}"
        write(mode, facts)


def write(mode: str, facts: Mapping[str, Any]) -> None:
    RESULTS[mode].write_text(json.dumps(facts, indent=1) + "\n")


def at_once(out: Path, kills: int) -> int:
    """Run both modes at the same time, and return 0 where both came to their end.

    Each has a host of its own, or what is left behind of one would count as the other's.
    """
    out.mkdir(parents=True, exist_ok=True)
    with two_hosts(out) as hosts:
        command = [sys.executable, Path(__file__).resolve(), "--out", out, "--kills", str(kills), "--mode"]
        both = [host.start([*command, mode]) for host, mode in zip(hosts, MODES, strict=True)]
        return max(one.wait() for one in both)


def table(facts: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of ``benchmarks/FAULTS.md``, of the results of each mode."""
    yield HEAD
    kills = [
        Judged(**{**one, "processes": tuple(one["processes"])})
        for own in facts.values()
        for one in own["kills"]
    ]
    for mode in MODES:
        for kind in KINDS:
            own = [one for one in kills if (one.mode, one.kind) == (mode, kind)]
            if not own:
                continue
            times = sorted(one.seconds for one in own if one.seconds is not None)
            spread = f"{statistics.median(times):.1f}, {times[-1]:.1f}" if times else "-"
            followed = [one for one in own if one.resumed_from is not None]
            right = sum(one.resumed_from == one.saved for one in followed)
            left = sum(len(one.processes) for one in own)
            named = sum(one.named for one in own) if KINDS[kind].said else "-"
            cells = (mode, kind, len(own), len(times), spread, named, left, f"{right} of {len(followed)}")
            yield f"| {' | '.join(map(str, cells))} |"
    yield ""
    for mode, own in facts.items():
        if own["data_order"]:
            yield f"Data order in `{mode}`: {own['data_order']}."
    shared, sockets = (
        max((getattr(one, key) for one in kills), default=0) for key in ("shared_memory", "sockets")
    )
    left = f"{shared} pieces of shared memory and {sockets} sockets"
    yield f"A run left at most {left} behind."


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="folder for the runs; given again, their chains go on")
    parser.add_argument("--kills", type=int, default=60, help="in all, half of them in each mode")
    parser.add_argument("--mode", choices=MODES, help="one of the two alone")
    parser.add_argument(
        "--at-once", action="store_true", help="both at the same time, each on a host of its own"
    )
    parser.add_argument("--table", action="store_true", help="print the page of what is in the results")
    args = parser.parse_args()
    if args.table:
        print("\n".join(table({mode: results(mode) for mode in MODES})))
        return
    if args.out is None:
        parser.error("--out says where the runs go")
    end_the_job_when_ended()
    if args.at_once:
        sys.exit(at_once(args.out.resolve(), args.kills))
    for mode in [args.mode] if args.mode else MODES:
        run(args.out.resolve(), args.kills, mode)


if __name__ == "__main__":
    main()
