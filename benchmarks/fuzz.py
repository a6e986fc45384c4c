"""Score mutated responses by the million: no exception, no NaN, every key there, every score in range.

    python benchmarks/fuzz.py                       # a million responses on all cores
    python benchmarks/fuzz.py --responses 20000     # a quick look

Each process has its own seed, printed; ``--seed`` and ``--start`` repeat one. A response that breaks a rule is printed
with the seed and the number that make it again, and the command ends with status 1.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from verl_stepgrpo import SCORE_KEYS, compute_score

DATA = Path(__file__).parent.parent / "tests" / "data"
BATCH = 1_000
TOP_SCORE = 2.1 + 1e-9
TOPS = {"score": TOP_SCORE, "step_rar": TOP_SCORE, "equations": 100_000.0}
"""Highest value of a component, where it is not 1."""
SLOW_SECONDS = 3.0
FRAGMENTS = (
    *(
        "\n",
        "\r\n",
        " ",
        "\t",
        "\x00",
        "\u202e",
        "\u0301",
        "😀",
        "∞",
        "½",
        "²",
        "√",
        "±",
        "$",
        "$$",
        "|",
        "\\\\",
        "&",
        "_",
        "'",
    ),
    *(
        "###",
        "### Step 1:",
        "### Step 2:",
        "### Image Description:",
        "### Rationales:",
        "### The final answer is: ",
    ),
    *(
        "\\(",
        "\\)",
        "\\frac{",
        "}",
        "{",
        "\\sqrt{",
        "^",
        "^{",
        "^{9^{9",
        "(",
        ")",
        "[",
        "]",
        "\\boxed{",
        "\\left(",
        "\\text{",
    ),
    *(
        "**",
        "~~",
        "```\n",
        "`",
        "<|im_end|>",
        "=",
        "==",
        "<",
        "%",
        ",",
        ".",
        "...",
        "!",
        "!!",
        "; ",
        "-",
        "--",
        "1e9",
        "9" * 30,
    ),
    *(
        "not ",
        " or ",
        "either ",
        "wait, ",
        "A",
        "(B)",
        "yes",
        "no",
        "1",
        "0",
        " is ",
        "because ",
        "\\int ",
        "\\sum_{n=1}^{",
    ),
)


@dataclass
class Tally:
    """What came of some responses."""

    scored: int = 0
    broken: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0


def load(name: str) -> list[dict]:
    return [json.loads(line) for line in (DATA / name).read_text().splitlines()]


ANSWERS, KEY_STEPS, RESPONSES = (load(f"{name}.jsonl") for name in ("answers", "key_steps", "validity"))


def mutated(rng: random.Random, text: str) -> str:
    """Return ``text`` with a few cuts, copies, swaps and foreign fragments."""
    for _ in range(rng.choice((0, 1, 1, 2, 3, 6))):
        i, j = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
        change = rng.randrange(5)
        if change == 0:
            text = text[:i] + rng.choice(FRAGMENTS) * rng.choice((1, 1, 1, 2, 50)) + text[i:]
        elif change == 1:
            text = text[:i] + text[min(j, i + 20) :]
        elif change == 2:
            text = text[:j] + text[i : i + 40] + text[j:]
        elif change == 3 and text:
            k = rng.randrange(len(text))
            text = (
                text[:k]
                + chr(rng.choice((rng.randrange(32, 127), rng.randrange(160, 0x2FFF))))
                + text[k + 1 :]
            )
        else:
            text = text[j:] + text[:i]
    return text


def make(rng: random.Random) -> tuple[str, str, list[list[str]], dict]:
    """Return a response, its reference answer and key steps, and settings."""
    answer, key_steps = rng.choice(ANSWERS), [rng.choice(KEY_STEPS) for _ in range(rng.randint(0, 4))]
    response = mutated(rng, rng.choice(RESPONSES)["response"])
    steps = "\n".join(
        f"### Step {i}:\n{mutated(rng, case['step'])}" for i, case in enumerate(key_steps, start=1)
    )
    response = f"{response}\n{steps}\n### The final answer is: {mutated(rng, answer['answer'])}"
    wordings = [[mutated(rng, text) for text in case["key_step"]] for case in key_steps]
    settings = (
        {"mode": "reference"}
        if rng.random() < 0.01
        else {"match_threshold": rng.choice((0.5, 0.8, 1.0)), "true_steps": rng.random() < 0.1}
    )
    return response, answer["gold"].strip() or "1", wordings, settings


def fault(result: dict[str, float]) -> str | None:
    """Return what is wrong with a result, or None."""
    if tuple(result) != SCORE_KEYS:
        return f"keys {sorted(result)}"
    for key, value in result.items():
        top = TOPS.get(key, 1.0)
        if not isinstance(value, float) or not math.isfinite(value) or not 0.0 <= value <= top:
            return f"{key} is {value!r}"
    return None


def fuzz(job: tuple[int, int, int]) -> Tally:
    """Score the responses ``start`` to ``start + n`` of a seed."""
    seed, start, n = job
    tally = Tally()
    for number in range(start, start + n):
        response, gold, key_steps, settings = make(random.Random(f"{seed} {number}"))
        begun = time.perf_counter()
        try:
            result = compute_score("fuzz", response, gold, {"key_steps": key_steps}, **settings)
            wrong = fault(result)
            tally.counts.update(
                key
                for key in ("acc", "complete", "unparseable", "verifier_timeout", "verifier_failed")
                if result[key]
            )
        except Exception as error:  # whatever is raised is what this looks for
            wrong = f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - begun
        if seconds > SLOW_SECONDS:
            wrong = wrong or f"took {seconds:.1f} s"
        tally.scored += 1
        tally.slowest = max(tally.slowest, seconds)
        if wrong:
            tally.broken.append(
                f"--seed {seed} --start {number}: {wrong}; answer {response[-200:]!r}, reference {gold!r}"
            )
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--responses", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first response")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    args = parser.parse_args()
    print(
        f"seed {args.seed}, responses {args.start} to {args.start + args.responses}, {args.processes} processes"
    )
    end = args.start + args.responses
    jobs = [(args.seed, i, min(BATCH, end - i)) for i in range(args.start, end, BATCH)]
    total, begun = Tally(), time.time()
    with multiprocessing.Pool(args.processes) as pool:
        for i, tally in enumerate(pool.imap_unordered(fuzz, jobs), start=1):
            total.scored += tally.scored
            total.counts += tally.counts
            total.slowest = max(total.slowest, tally.slowest)
            total.broken += tally.broken
            for line in tally.broken:
                print(line, flush=True)
            if i % 50 == 0 or i == len(jobs):
                rate = total.scored / (time.time() - begun)
                print(
                    f"{total.scored} scored, {rate:.0f}/s, slowest {total.slowest:.2f} s, {dict(total.counts)}",
                    flush=True,
                )
    print(f"{len(total.broken)} broke a rule")
    sys.exit(bool(total.broken))


if __name__ == "__main__":
    main()
