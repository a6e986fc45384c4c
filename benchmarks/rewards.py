"""Scores a second, the slowest scores, and cost and memory as the number of responses grows; on one core.

    python benchmarks/rewards.py              # 2,000 responses, and up to 100,000; about 10 minutes
    python benchmarks/rewards.py --quick      # up to 10,000

The responses are in the paper's format, 8 to a prompt, right and wrong ones mixed, each with 4 key steps. Ours and
``mode=reference`` (math-verify over the whole response, as the authors' code has it) take turns in one process, chunk
by chunk, so that a slow moment of the machine meets both.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import psutil

from verl_stepgrpo.judging.answers import symbolic
from verl_stepgrpo.rewards import score_response
from verl_stepgrpo.settings import RewardSettings

GROUP = 8
CHUNK = 100
KINDS = ("number", "choice", "text", "symbolic")
SIZES = (100, 1_000, 10_000, 100_000)
DESCRIPTIONS = (
    "The image shows a bar chart with two bars, one labelled Monday and one labelled Tuesday.",
    "A right triangle is drawn with its legs along the grid lines, and the lengths of two sides are given.",
    "The table has three columns: the name of the product, its price in dollars, and how many were sold.",
    "There is a circle with centre O, and a chord divides it into two regions of different colour.",
    "The vertical axis is labelled with the number of visitors, and the horizontal axis with the months.",
    "Several coins and a price tag lie on a wooden counter next to a small paper bag.",
)
RATIONALES = (
    "The question asks for a quantity that can be read from the figure and then combined by simple arithmetic.",
    "To answer it, the relevant values have to be identified first, and the rest of the figure can be ignored.",
    "The key idea is to translate the words of the question into an equation and to solve it step by step.",
    "It involves comparing the given options with what the figure shows.",
)
SENTENCES = (
    "Let us look at the labels of the figure and write down what is given.",
    "The bar for Monday reaches up to ${a}$ on the vertical axis, while the other one ends at ${b}$.",
    "According to the legend, the dark colour stands for the first half of the year.",
    "We can now substitute these values into the formula \\( P = \\frac{{{a}}}{{{b}}} \\) from above.",
    "This means that the remaining part has to be found by subtraction.",
    "Since both sides of the equation are positive, we may take the square root.",
    "Therefore, the second quantity follows directly from the first one.",
    "Before going on, it is worth checking whether the units agree.",
    "Looking at the options again, only one of them is consistent with this observation.",
    "Here $x$ stands for the unknown length, so that $x + {b} = y$ by the drawing.",
    "That leaves us with a single unknown, which is what the question asks for.",
    "In other words, nothing else in the picture changes the result.",
)
OPENERS = (
    "Now,",
    "Next,",
    "Here,",
    "Indeed,",
    "Clearly,",
    "In this case,",
    "Looking closer,",
    "With this,",
    "Hence,",
)
"""Before each sentence, so that the responses to one prompt do not simply repeat each other."""


@dataclass(frozen=True)
class Sample:
    """One response with what it is scored against."""

    kind: str
    response: str
    gold: str
    key_steps: list[list[str]]


def samples(n: int, kinds: tuple[str, ...], seed: int) -> Iterator[Sample]:
    """Yield ``n`` responses, ``GROUP`` to a prompt, the kinds in turn."""
    rng = random.Random(seed)
    for i in range(0, n, GROUP):
        kind = kinds[(i // GROUP) % len(kinds)]
        a, b = rng.randint(2, 999), rng.randint(2, 999)
        gold, right, wrong = ANSWERS[kind](rng, a, b)
        key_steps = [
            [f"{a} + {b} = {a + b}", f"{a} plus {b} equals {a + b}"],
            [f"first value is {a}", f"value of the first bar is {a}"],
            [f"\\frac{{{a * b}}}{{{b}}} = {a}", f"{a * b}/{b} = {a}", f"{a * b} divided by {b} equals {a}"],
            ["add the two values", "sum of the two values"],
        ]
        for _ in range(min(GROUP, n - i)):
            answer = rng.choice(right) if rng.random() < 0.5 else rng.choice(wrong)
            yield Sample(kind, _response(rng, a, b, key_steps, answer), gold, key_steps)


def _number(rng: random.Random, a: int, b: int) -> tuple[str, list[str], list[str]]:
    n = a * b
    return (
        str(n),
        [str(n), f"{n:,}", f"{n}.0", f"{n} cm", f"\\boxed{{{n}}}"],
        [str(n + 1), str(-n), f"{n / 10}"],
    )


def _choice(rng: random.Random, a: int, b: int) -> tuple[str, list[str], list[str]]:
    gold = rng.choice("ABCD")
    other = rng.choice([letter for letter in "ABCD" if letter != gold])
    return (
        gold,
        [gold, f"({gold})", f"{gold}. {a}", f"Option {gold}"],
        [other, f"({other})", f"{gold} or {other}"],
    )


def _text(rng: random.Random, a: int, b: int) -> tuple[str, list[str], list[str]]:
    gold, other = rng.sample(
        ["blue bar", "red line", "Monday", "isosceles triangle", "photosynthesis", "yes"], 2
    )
    return gold, [gold, f"The {gold}.", gold.upper()], [other, f"{gold} or {other}", f"not {gold}"]


def _symbolic(rng: random.Random, a: int, b: int) -> tuple[str, list[str], list[str]]:
    a, b = a % 50 + 2, b % 50 + 2
    return rng.choice([
        (f"x^2 + {a + b}x + {a * b}", [f"(x+{a})(x+{b})"], [f"(x+{a})(x-{b})", f"x^2 + {a + b}x + {a * b + 1}"]),
        (f"{a}\\sqrt{{{b}}}", [f"\\sqrt{{{a * a * b}}}"], [f"\\sqrt{{{a * b}}}", f"{b}\\sqrt{{{a}}}"]),
        (f"\\frac{{{a}\\pi}}{{{b}}}", [f"{a}\\pi/{b}"], [f"\\frac{{{b}\\pi}}{{{a + 1}}}", f"{a}\\pi"]),
        (f"y = {a}x + {b}", [f"{a}x + {b}", f"{a}x - y + {b} = 0"], [f"y = {b}x + {a + 1}", f"y = {a}x - {b}"]),
    ])  # fmt: skip


ANSWERS: dict[str, Callable[[random.Random, int, int], tuple[str, list[str], list[str]]]] = {
    "number": _number, "choice": _choice, "text": _text, "symbolic": _symbolic,
}  # fmt: skip


def _response(rng: random.Random, a: int, b: int, key_steps: list[list[str]], answer: str) -> str:
    lines = [
        "### Image Description:",
        *rng.sample(DESCRIPTIONS, 2),
        "### Rationales:",
        *rng.sample(RATIONALES, 2),
    ]
    lines.append("### Let's think step by step.")
    for number, wordings in enumerate(key_steps, start=1):
        sentences = (sentence.format(a=a, b=b) for sentence in rng.sample(SENTENCES, 3))
        body = [f"{rng.choice(OPENERS)} {sentence[0].lower()}{sentence[1:]}" for sentence in sentences]
        if rng.random() < 0.6:
            body.insert(rng.randint(0, 3), f"So we have {rng.choice(wordings)}.")
        lines += [f"### Step {number}:", " ".join(body)]
    return "\n".join([*lines, f"### The final answer is: {answer}"])


def seconds_each(batch: list[Sample], settings: RewardSettings) -> list[float]:
    times = []
    for sample in batch:
        start = time.perf_counter()
        score_response(sample.response, sample.gold, sample.key_steps, settings)
        times.append(time.perf_counter() - start)
    return times


def side_by_side(kinds: tuple[str, ...], n: int, seed: int) -> str:
    """Return one row of the first table: both ways on the same responses, in turns."""
    batch = list(samples(n, kinds, seed))
    times: dict[str, list[float]] = {"paper": [], "reference": []}
    for i in range(0, n, CHUNK):
        for mode in times:
            times[mode] += seconds_each(batch[i : i + CHUNK], RewardSettings(mode=mode))
    rates = {mode: n / sum(values) for mode, values in times.items()}
    p50, p99, p999 = np.percentile(1e3 * np.array(times["paper"]), [50, 99, 99.9])
    name = "mixed" if len(kinds) == len(KINDS) else ", ".join(kinds)
    return (
        f"| {name} | {rates['paper']:.0f} | {rates['reference']:.1f} | {rates['paper'] / rates['reference']:.0f} "
        f"| {p50:.2f} | {p99:.2f} | {p999:.2f} |"
    )


def growth(n: int, seed: int) -> str:
    """Return one row of the second table: ``n`` responses to prompts of which no two are the same."""
    spent = 0.0
    for sample in samples(n, KINDS, seed):
        spent += seconds_each([sample], RewardSettings())[0]
    process = psutil.Process()
    memory = [
        process.memory_info().rss,
        *(psutil.Process(pid).memory_info().rss for pid in symbolic.worker_pids()),
    ]
    return f"| {n:,} | {1e3 * spent / n:.2f} | {' + '.join(f'{rss / 2**20:.0f}' for rss in memory)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="stop at 10,000 responses")
    args = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core, the worker's included
    for mode in ("paper", "reference"):  # starts the worker
        score_response("### The final answer is: $x+1$", "1+x", (), RewardSettings(mode=mode))
    print(f"one core of {platform.machine()}, Python {platform.python_version()}, seed {args.seed}\n")
    print("| answers | scores/s | reference scores/s | ratio | p50 ms | p99 ms | p99.9 ms |")
    print("|---|---|---|---|---|---|---|")
    for kinds in (KINDS, ("number", "choice", "text"), *((kind,) for kind in KINDS)):
        print(side_by_side(kinds, 2_000, args.seed), flush=True)
    print("\n| responses (mixed) | ms a score | memory MiB: scorer + worker |")
    print("|---|---|---|")
    for n in SIZES[: -1 if args.quick else None]:
        print(growth(n, args.seed + n), flush=True)


if __name__ == "__main__":
    main()
