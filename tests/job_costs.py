"""What StepGRPO costs a real job beside verl's GRPO, and whether the memory of any of its processes grows.

    python tests/job_costs.py overhead --out DIR --steps 30     # three jobs, one after the other
    python tests/job_costs.py soak --out DIR --steps 200        # two jobs, one of them verl's
    ... --model FOLDER                                          # a warmed-up model of the digits, not its own warm-up

The stock command with the digits on the CPU engine, 8 responses to each prompt, the same data and seeds. Beside
it stands verl's GRPO with its ``naive`` manager and the cheapest reward, a look at the end of the text. Memory is
what a process has for itself (USS), every few seconds; CPU time is counted from the second step on.
"""

from __future__ import annotations

import argparse
import itertools
import re
import statistics
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from kills import end, family, name_of
from scipy.stats import theilslopes
from test_cpu_engine import CPU, MICRO_BATCHES, digits_job
from two_nodes import RESPONSES, prepared

PROMPTS = {"overhead": 16, "soak": 4}
"""Prompts a step."""
SAMPLE_SECONDS = 3.0
WARM = 2
"""Steps before the CPU time is counted."""
SETTLED = 50
"""Steps before growth is looked for: caches fill up to their bound."""
MIB = 2**20

KINDS = {
    "ray::TaskRunner": "trainer",
    "ray::RewardLoopWorker": "reward workers",
    "ray::AgentLoopWorker": "agent-loop workers",
    "ray::WorkerDict": "training worker",
    "VLLM::": "vLLM's engine",
    "ray::vLLMHttpServer": "vLLM's server",
    "ray::SimpleStorageUnit": "TransferQueue",
    "ray::TransferQueueController": "TransferQueue",
    f"{sys.executable} -X faulthandler -c": "math-verify's process",
}
"""The processes of a job by how their command lines begin; all others are Ray's own, but for the command itself."""
COMMAND, OTHERS = "the command", "Ray's own"
ALL_KINDS = (*dict.fromkeys(KINDS.values()), COMMAND, OTHERS)

EXACT = """
def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    return float(solution_str.rstrip().endswith(ground_truth))
"""
"""verl's naive manager with the least that a reward can do."""

VERLS = (
    "algorithm.adv_estimator=grpo",
    "reward.reward_manager.name=naive",
    "reward.reward_manager.source=register",
)
GRPO, WITH_ALL = "verl's GRPO", "StepGRPO, credit by step and traces"
JOBS: Mapping[str, Sequence[str]] = {
    GRPO: (*VERLS, "reward.custom_reward_function.path={folder}/exact.py"),
    "StepGRPO": (),
    WITH_ALL: ("algorithm.stepgrpo.credit=step", "algorithm.stepgrpo.trace_dir={folder}/trace"),
}


@dataclass
class Samples:
    """What a job's processes had at each look.

    Attributes:
        steps: How many steps were logged.
        memory: MiB of each kind, all its processes together.
        cpu: Seconds of each kind since they began.
    """

    steps: list[int] = field(default_factory=list)
    memory: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    cpu: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def from_step(self, step: int) -> int:
        """Return the first look at which ``step`` was logged."""
        return next(i for i, steps in enumerate(self.steps) if steps >= step)

    def seconds_a_step(self, kind: str) -> float:
        """Return the CPU seconds of a kind in one step, all its processes together.

        A look at the end may find some of them ended, and their time gone with them.
        """
        first = self.from_step(WARM)
        last = max(range(first + 1, len(self.steps)), key=self.cpu[kind].__getitem__)
        return (self.cpu[kind][last] - self.cpu[kind][first]) / max(1, self.steps[last] - self.steps[first])


@dataclass(frozen=True)
class Job:
    """A job that has run: its log and its samples."""

    log: str
    samples: Samples

    def timing(self, name: str) -> float:
        """Return the median of one of verl's timings over the steps behind the first ones, in seconds."""
        return statistics.median(map(float, re.findall(rf"timing_s/{name}:([0-9.e-]+)", self.log)[WARM:]))


def command(
    folder: Path, data: Path, model: str, prompts: int, steps: int, overrides: Sequence[str]
) -> list[str]:
    own = (
        *("data.seed=1", "trainer.val_before_train=False", "trainer.save_freq=-1", "trainer.test_freq=-1"),
        *(f"trainer.total_training_steps={steps}", "trainer.total_epochs=100"),
        *(f"trainer.default_local_dir={folder}/rl", "trainer.logger=[console]"),
        *(f"{key}={min(64, prompts * RESPONSES)}" for key in MICRO_BATCHES),
    )
    return digits_job(data, model, prompts, *own, *(override.format(folder=folder) for override in overrides))


def run(folder: Path, words: Sequence[str]) -> Job:
    """Run a job to its end. Raises RuntimeError where it ends badly."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "exact.py").write_text(EXACT)
    log, samples, stop = folder / "log", Samples(), threading.Event()
    with log.open("w") as out:
        process = subprocess.Popen(
            words, stdout=out, stderr=subprocess.STDOUT, env=CPU, cwd=folder, start_new_session=True
        )
    own = psutil.Process(process.pid)
    looks = threading.Thread(target=watch, args=(own, log, samples, stop))
    looks.start()
    try:
        status = process.wait()
    finally:
        stop.set()
        looks.join()
        end(family(own))
    if status:
        raise RuntimeError(f"{log}: status {status}:\n{log.read_text(errors='replace')[-3000:]}")
    return Job(log.read_text(errors="replace"), samples)


def watch(own: psutil.Process, log: Path, samples: Samples, stop: threading.Event) -> None:
    while not stop.wait(SAMPLE_SECONDS):
        steps = len(re.findall(r"step:\d+ - ", log.read_text(errors="replace")))
        memory, cpu = look(own)
        if steps and "trainer" in memory:  # not once its end has begun
            samples.steps.append(steps)
            for kind in ALL_KINDS:
                samples.memory[kind].append(memory[kind])
                samples.cpu[kind].append(cpu[kind])


def look(own: psutil.Process) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """Return the MiB and the CPU seconds of each kind of process of a job, whose first is given."""
    memory: dict[str, float] = defaultdict(float)
    cpu: dict[str, float] = defaultdict(float)
    for one in family(own):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            name = name_of(one)
            other = COMMAND if one == own else OTHERS
            kind = next((kind for begins, kind in KINDS.items() if name.startswith(begins)), other)
            memory[kind] += one.memory_full_info().uss / MIB
            times = one.cpu_times()
            cpu[kind] += times.user + times.system
    return memory, cpu


def overhead(jobs: Mapping[str, Job]) -> Iterator[str]:
    """Yield the lines of a table, a column each job."""
    yield f"| | {' | '.join(jobs)} |"
    yield "|---|" + "---|" * len(jobs)
    step = {name: job.timing("step") for name, job in jobs.items()}
    advantage = {name: job.timing("adv") for name, job in jobs.items()}
    responses = PROMPTS["overhead"] * RESPONSES
    rewards = {name: job.samples.seconds_a_step("reward workers") / responses for name, job in jobs.items()}
    trainer = {name: job.samples.seconds_a_step("trainer") for name, job in jobs.items()}
    yield row("a step, s (median)", (f"{step[name]:.2f}" for name in jobs))
    yield row("advantage, ms (median)", (f"{1e3 * advantage[name]:.0f}" for name in jobs))
    yield row("advantage, % of a step", (f"{100 * advantage[name] / step[name]:.1f}" for name in jobs))
    yield row("reward workers, CPU ms a response", (f"{1e3 * rewards[name]:.1f}" for name in jobs))
    yield row("trainer, CPU s a step", (f"{trainer[name]:.2f}" for name in jobs))
    for kind in ALL_KINDS:
        cells = (f"{statistics.median(job.samples.memory[kind]):.0f}" for job in jobs.values())
        yield row(f"{kind}, MiB", cells)


def growth(job: Job, steps: int) -> Iterator[str]:
    """Yield the lines of a table, a row each kind of process: MiB in quarters of the run, and the slope over them."""
    bounds = [SETTLED + (steps - SETTLED) * k // 4 for k in range(5)]
    quarters = [f"steps {low} to {high}" for low, high in itertools.pairwise(bounds)]
    yield f"| process | {' | '.join(quarters)} | MiB in 100 steps (95%) |"
    yield "|---|" + "---|" * 5
    settled = slice(job.samples.from_step(SETTLED), None)
    at = job.samples.steps[settled]
    for kind in ALL_KINDS:
        memory = job.samples.memory[kind][settled]
        medians = [
            statistics.median([m for s, m in zip(at, memory, strict=True) if low <= s <= high])
            for low, high in itertools.pairwise(bounds)
        ]
        slope = theilslopes(memory, at)
        low, middle, high = (100 * value for value in (slope.low_slope, slope.slope, slope.high_slope))
        yield row(kind, [*(f"{m:.0f}" for m in medians), f"{middle:+.1f} ({low:+.1f} to {high:+.1f})"])


def row(name: str, cells: Iterator[str] | Sequence[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("overhead", "soak"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--model", type=Path, help="a Hugging Face folder of the digits example's warm-up")
    args = parser.parse_args()
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    model = prepared(out, args.model)

    def made(name: str) -> Job:
        folder = out / re.sub(r"\W+", "-", name)
        return run(folder, command(folder, out / "data", model, PROMPTS[args.what], args.steps, JOBS[name]))

    if args.what == "overhead":
        print("\n".join(overhead({name: made(name) for name in JOBS})))
        return
    for name in (GRPO, WITH_ALL):
        print(f"\n{name}:\n")
        print("\n".join(growth(made(name), args.steps)), flush=True)


if __name__ == "__main__":
    main()
