"""Kill processes of a real training job at random moments, one after another, and judge what comes of each.

    python tests/kills.py --out DIR --kills 60            # resumes: what is in benchmarks/faults.json is not done again
    python tests/kills.py --table > benchmarks/FAULTS.md

A chain of runs for each trainer mode: the small job of the digits on the CPU engine, one checkpoint a step. In each run
one process of a kind gets SIGKILL (the job: SIGTERM, too) at a moment that a fixed seed chooses; the next run is the
resume, by the same command. Judged: seconds to an end that names the cause, what stays behind (processes, shared
memory, sockets), and whether the resume goes on from the last checkpoint. At the end of the chain of ``sync`` the data
order of all steps is held against verl's own loader, which no death interrupts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from test_cpu_engine import CPU, small_job

from verl_stepgrpo.traces.files import read_trace, step_of, steps_of

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "faults.json"

MODES = ("sync", "colocate_async")
SEED = 18
END_LIMIT = 90.0
"""Seconds in which a job has to end; 30 are asked of it on a machine that does nothing else."""
START_LIMIT = 600.0
STEPS = 400
"""More than any chain comes to."""


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
        processes, shared_memory, sockets: What was there a quarter of a minute later, and not before the run.
        resumed_from: The step that the next run went on from, and ``saved``, the last that had been saved; None of the
            last run of a chain.
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

Made with `python tests/kills.py --out DIR --kills 60`, then `python tests/kills.py --table > benchmarks/FAULTS.md`, on
2 cores (x86_64) beside other work: processes of a real job (the digits on the CPU engine, a checkpoint a step) get
SIGKILL at random moments (seed 18), each run the resume of the one before. A named end is one whose log says what died.

| mode | process | kills | ended | s to the end, median and most | named | left | resumed from the last checkpoint |
|---|---|---|---|---|---|---|---|"""


class Job:
    """One run of the chain."""

    def __init__(self, folder: Path, mode: str, number: int) -> None:
        self._folder, self._log = folder, folder / f"run-{number:03d}.log"
        self._before = left_behind()
        command = [*json.loads((folder / "command.json").read_text()), f"trainer.v1.trainer_mode={mode}"]
        with self._log.open("w") as out:
            self._process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, env=CPU, cwd=folder, start_new_session=True
            )
        self._own = psutil.Process(self._process.pid)
        self._family: dict[int, psutil.Process] = {}

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def steps(self) -> list[int]:
        return [int(step) for step in re.findall(r"^.*step:(\d+) - .*critic/", self.log, flags=re.M)]

    def wait_for_steps(self, n: int) -> None:
        """Wait until it has logged ``n`` steps. Raises RuntimeError where it ends or takes too long."""
        deadline = time.monotonic() + START_LIMIT
        while len(self.steps) < n:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.end()
                raise RuntimeError(f"{self._log}: no step {n}:\n{self.log[-3000:]}")
            time.sleep(0.5)

    def kill(self, kind: Kind) -> float:
        """Send the signal; return when."""
        self._family = {one.pid: one for one in [self._own, *self._own.children(recursive=True)]}
        target = self._own
        if kind.begins:
            target = next(
                one for one in self._family.values() if " ".join(one.cmdline()).startswith(kind.begins)
            )
        target.send_signal(kind.signal)
        return time.monotonic()

    def wait_for_end(self, since: float) -> float | None:
        """Return the seconds to the end; None where it had to be ended."""
        try:
            self._process.wait(END_LIMIT)
        except subprocess.TimeoutExpired:
            return None
        return round(time.monotonic() - since, 1)

    def stays(self) -> tuple[tuple[str, ...], int, int]:
        """Return what is left behind a quarter of a minute later: processes by name, shared memory, sockets."""
        time.sleep(15)
        alive = [
            one for one in self._family.values() if one.is_running() and one.status() != psutil.STATUS_ZOMBIE
        ]
        names = tuple(sorted(" ".join(one.cmdline())[:40] for one in alive))
        now = left_behind()
        shared, sockets = (len(after - before) for after, before in zip(now, self._before, strict=True))
        return names, shared, sockets

    def end(self) -> None:
        """End whatever is left of it, by its own processes' ids."""
        for one in self._family.values():
            if one.is_running():
                one.kill()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(30)


def left_behind() -> tuple[set[str], set[str]]:
    """Return the names of shared memory, and of sockets of ZeroMQ in the temporary folder."""
    return set(os.listdir("/dev/shm")), {path.name for path in Path("/tmp").iterdir() if path.is_socket()}


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
            job.wait_for_steps(1 + rng.randrange(2))
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


def data_order(folder: Path) -> str:
    """Return how the rows of the steps of a ``sync`` chain agree with verl's own loader, which nothing interrupts."""
    expected = uninterrupted(folder)
    held = wrong = 0
    for path in steps_of(folder / "trace", "train"):
        rows = read_trace(path)
        held += 1
        wrong += sorted({row.index for row in rows}) != sorted(expected[step_of(path) - 1]) or len(rows) != 64
    return f"{held - wrong} of {held} steps have the rows of an uninterrupted run, each once"


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


def run(out: Path, kills: int, modes: Sequence[str]) -> None:
    """Do what is not in the results yet, and write them behind each kill."""
    facts: dict[str, Any] = (
        json.loads(RESULTS.read_text()) if RESULTS.exists() else {"kills": [], "data_order": {}}
    )
    for mode in modes:
        done = sum(one["mode"] == mode for one in facts["kills"])
        for judged in chain(out / mode, mode, plan(kills)[mode], done):
            facts["kills"].append(asdict(judged))
            print(judged, flush=True)
            RESULTS.write_text(json.dumps(facts, indent=1) + "\n")
        if mode == "sync" and (out / mode).exists():
            facts["data_order"][mode] = data_order(out / mode)
            RESULTS.write_text(json.dumps(facts, indent=1) + "\n")


def table(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of ``benchmarks/FAULTS.md``."""
    yield HEAD
    kills = [Judged(**{**one, "processes": tuple(one["processes"])}) for one in facts["kills"]]
    for mode in MODES:
        for kind in KINDS:
            own = [one for one in kills if (one.mode, one.kind) == (mode, kind)]
            if not own:
                continue
            times = sorted(one.seconds for one in own if one.seconds is not None)
            spread = f"{times[len(times) // 2]:.1f}, {times[-1]:.1f}" if times else "-"
            followed = [one for one in own if one.resumed_from is not None]
            right = sum(one.resumed_from == one.saved for one in followed)
            left = sum(len(one.processes) for one in own)
            named = sum(one.named for one in own)
            cells = (mode, kind, len(own), len(times), spread, named, left, f"{right} of {len(followed)}")
            yield f"| {' | '.join(map(str, cells))} |"
    yield ""
    for mode, said in facts["data_order"].items():
        yield f"Data order in `{mode}`: {said}."
    shared, sockets = (
        max((getattr(one, key) for one in kills), default=0) for key in ("shared_memory", "sockets")
    )
    left = f"{shared} pieces of shared memory and {sockets} sockets"
    yield f"A run left at most {left} behind; so does one that ends well."


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="folder for the runs; given again, their chains go on")
    parser.add_argument("--kills", type=int, default=60, help="in all, half of them in each mode")
    parser.add_argument("--mode", choices=MODES, action="append", help="one of the two alone")
    parser.add_argument("--table", action="store_true", help="print the page of what is in the results")
    args = parser.parse_args()
    if args.table:
        print("\n".join(table(json.loads(RESULTS.read_text()))))
        return
    if args.out is None:
        parser.error("--out says where the runs go")
    sys.path.insert(0, str(ROOT / "tests"))
    run(args.out.resolve(), args.kills, args.mode or MODES)


if __name__ == "__main__":
    main()
