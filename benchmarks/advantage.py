"""The estimator ``stepgrpo`` against verl's ``grpo`` and ``grpo_vectorized``, side by side in one run.

    python benchmarks/advantage.py
    python benchmarks/advantage.py --device cuda

Prints a Markdown table: best time of several calls and, beside it, the most memory that one call held beyond
its inputs. The three take turns, so that a slow moment of the machine meets all of them. The mask is of
int64, as verl's trainer has it. A second table has the ways to combine and to credit, on responses whose judgements are
known, as in a run; its ratio is to ``combine=sum credit=trajectory`` on the same. On a GPU it also says how far the
advantages are from those of the CPU. verl computes advantages on the CPU, in the trainer's process.
"""

from __future__ import annotations

import argparse
import functools
import random
import threading
import time
from collections.abc import Callable

import numpy as np
import psutil
import torch
from verl.trainer.ppo.core_algos import get_adv_estimator_fn

from verl_stepgrpo.bridge.estimator import compute_stepgrpo_advantage
from verl_stepgrpo.bridge.judged import Judged, provided
from verl_stepgrpo.judging.key_steps.match import KeyStepMatch
from verl_stepgrpo.traces.rows import Decision, Judgement, StepSpan

SIZES = [(64, 128), (256, 512), (1024, 1024), (4096, 1024), (16384, 2048)]
GROUP = 8
MODES: tuple[dict[str, object], ...] = (
    {},
    {"credit": "step"},
    {"credit": "value"},
    {"credit": "value", "value_lambda": 0.5},
    {"combine": "component"},
    {"combine": "answer_first"},
    {"combine": "answer_first", "credit": "value"},
)
JUDGED_SIZE = (8192, 1024)
MAX_STEPS, KEY_STEPS = 20, 8
SLOW_ROUNDS = 10
"""Rounds at the largest sizes; small ones are repeated more, for a steady best."""


def make_batch(n: int, length: int, seed: int, device: str = "cpu") -> dict:
    generator = torch.Generator().manual_seed(seed)
    rewards_BT = torch.zeros(n, length)
    rewards_BT[:, -1] = torch.randint(0, 4, (n,), generator=generator).float()
    mask_BT = (torch.rand(n, length, generator=generator) < 0.9).long()
    uids = np.array([f"uid-{i // GROUP}" for i in range(n)], dtype=object)
    return {"token_level_rewards": rewards_BT.to(device), "response_mask": mask_BT.to(device), "index": uids}


def peak_memory(call: Callable[[], object], device: str) -> float:
    """Return the most MiB held during ``call`` beyond what was held before, of the GPU's memory or the process's."""
    return peak_of_gpu(call) if device == "cuda" else peak_of_process(call)


def peak_of_gpu(call: Callable[[], object]) -> float:
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def peak_of_process(call: Callable[[], object]) -> float:
    process, done, peak = psutil.Process(), threading.Event(), [0]
    before = process.memory_info().rss

    def sample() -> None:
        while not done.is_set():
            peak[0] = max(peak[0], process.memory_info().rss - before)
            time.sleep(0.0005)

    sampler = threading.Thread(target=sample)
    sampler.start()
    result = call()
    peak[0] = max(peak[0], process.memory_info().rss - before)
    done.set()
    sampler.join()
    del result
    return peak[0] / 2**20


def seconds(call: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    args = parser.parse_args()
    estimators = {
        "stepgrpo": compute_stepgrpo_advantage,
        "grpo": get_adv_estimator_fn("grpo"),
        "grpo_vectorized": get_adv_estimator_fn("grpo_vectorized"),
    }
    device = torch.cuda.get_device_name() if args.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {device}, seed {args.seed}\n")
    print("| responses x tokens | stepgrpo ms | grpo ms | vectorized ms | ratio | peak MiB (same order) |")
    print("|---|---|---|---|---|---|")
    for n, length in SIZES:
        print(measure(estimators, n, length, args.seed, args.device), flush=True)
    print("\nratio: stepgrpo / vectorized\n")
    print(f"| settings, {JUDGED_SIZE[0]} x {JUDGED_SIZE[1]}, judged | ms | ratio |")
    print("|---|---|---|")
    print(measure_modes(args.seed, args.device), flush=True)
    if args.device == "cuda":
        print(f"\nfurthest from the CPU's advantages: {furthest_from_cpu(args.seed):.1e}")


def judged_rows(n: int, length: int, seed: int) -> list[Judged]:
    """Return responses of 5 to MAX_STEPS steps that find about half of their question's key steps."""
    rng = random.Random(seed)
    return [_judged(rng, i, length) for i in range(n)]


def _judged(rng: random.Random, i: int, length: int) -> Judged:
    n_steps = rng.randint(5, MAX_STEPS)
    found = [rng.choice([None, rng.randrange(n_steps)]) for _ in range(KEY_STEPS)]
    shares = [0.1 * found.count(s) / KEY_STEPS for s in range(n_steps)]
    ends = sorted(rng.sample(range(1, length), n_steps))
    judgement = Judgement(
        components={},
        key_step_share=sum(shares),
        answer=Decision("", "text", ""),
        key_steps=tuple(KeyStepMatch(("k",), step is not None, step=step) for step in found),
        steps=tuple(StepSpan(s + 1, 0, 0, end, shares[s]) for s, end in enumerate(ends)),
    )
    components = {"acc": float(rng.random() < 0.4), "step_rvr": float(rng.random() < 0.5)}
    return Judged(f"{i // GROUP}_{i % GROUP}_0", components, judgement)


def furthest_from_cpu(seed: int) -> float:
    """Return the largest difference of an advantage on the GPU from the CPU's, over all settings of the table."""
    rows, furthest = judged_rows(*JUDGED_SIZE, seed), 0.0
    with provided(rows):
        for mode in MODES:
            on_cpu, on_gpu = (
                compute_stepgrpo_advantage(
                    **make_batch(*JUDGED_SIZE, seed, device), config={"stepgrpo": mode}
                )[0]
                for device in ("cpu", "cuda")
            )
            furthest = max(furthest, (on_gpu.cpu() - on_cpu).abs().max().item())
    return furthest


def measure_modes(seed: int, device: str) -> str:
    """Return the rows of the second table."""
    batch, rows = make_batch(*JUDGED_SIZE, seed, device), judged_rows(*JUDGED_SIZE, seed)
    times = [float("inf")] * len(MODES)
    with provided(rows):
        for _ in range(SLOW_ROUNDS):
            for place, mode in enumerate(MODES):
                call = functools.partial(compute_stepgrpo_advantage, **batch, config={"stepgrpo": mode})
                times[place] = min(times[place], 1e3 * seconds(call, device))
    named = [" ".join(f"{key}={value}" for key, value in mode.items()) or "the paper's" for mode in MODES]
    pairs = zip(named, times, strict=True)
    return "\n".join(f"| {name} | {ms:.0f} | {ms / times[0]:.2f} |" for name, ms in pairs)


def measure(estimators: dict[str, Callable], n: int, length: int, seed: int, device: str) -> str:
    """Return one row of the table."""
    batch = make_batch(n, length, seed, device)
    calls = {name: functools.partial(estimator, **batch) for name, estimator in estimators.items()}
    times = dict.fromkeys(calls, float("inf"))
    for _ in range(min(200, max(SLOW_ROUNDS, 2**26 // (n * length)))):
        for name, call in calls.items():
            call()  # what the one before left of caches and free memory shall not count
            times[name] = min(times[name], 1e3 * seconds(call, device))
    memory = "/".join(f"{peak_memory(call, device):.0f}" for call in calls.values())
    cells = " | ".join(f"{times[name]:.2f}" for name in calls)
    ratio = times["stepgrpo"] / times["grpo_vectorized"]
    return f"| {n} x {length} | {cells} | {ratio:.2f} | {memory} |"


if __name__ == "__main__":
    main()
