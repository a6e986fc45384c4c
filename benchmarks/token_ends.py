"""What it costs to find where steps end among a response's tokens, beside what its score costs; on one core.

    python benchmarks/token_ends.py

Responses of growing length with more and more steps, in the paper's format, and a byte-level BPE tokenizer of 8,000
tokens that is trained on such responses. The score, the one pass with the incremental decoder, and the search over
whole prefixes that serves tokenizers without one take turns on each response, so that a slow moment meets all; each
has its best of them.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rewards import DESCRIPTIONS, KINDS, RATIONALES, SENTENCES, samples
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from verl_stepgrpo.bridge.token_ends import Decoding, token_end, token_ends
from verl_stepgrpo.judging.sections import Kind, parse_sections
from verl_stepgrpo.rewards import score_response

STEPS = (4, 10, 20, 40)
SENTENCES_OF_A_STEP = 12
"""With these 20 steps are about 4,700 tokens."""
ROUNDS = 25


def tokenizer(seed: int) -> Any:
    """Return a tokenizer of transformers for texts like these."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=8_000, initial_alphabet=alphabet, show_progress=False)
    raw.train_from_iterator((one.response for one in samples(2_000, KINDS, seed)), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw)


def response(n_steps: int, rng: random.Random) -> str:
    lines = ["### Image Description:", *DESCRIPTIONS[:2], "### Rationales:", *RATIONALES[:2]]
    for number in range(1, n_steps + 1):
        sentences = (rng.choice(SENTENCES) for _ in range(SENTENCES_OF_A_STEP))
        said = " ".join(one.format(a=rng.randint(2, 999), b=rng.randint(2, 999)) for one in sentences)
        lines += [f"### Step {number}:", said]
    return "\n".join([*lines, "### The final answer is: 12"])


def milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - start)


def row(n_steps: int, decoding: Decoding, encode: Callable[[str], list[int]], rng: random.Random) -> str:
    """Return the row of one length: the best of ``ROUNDS`` responses."""
    times: list[tuple[float, float, float]] = []
    for _ in range(ROUNDS):
        ids = encode(response(n_steps, rng))
        text = decoding.decode(ids)
        ends = [section.end for section in parse_sections(text) if section.kind is Kind.STEP]
        once = token_ends(decoding, ids, text, ends)
        if once != [token_end(decoding.decode, ids, text, end) for end in ends] or len(ends) != n_steps:
            raise SystemExit(f"the two ways disagree: {once} of {text!r}")
        works = (
            lambda text=text: score_response(text, "12", [["12 = 12"], ["2 plus 2"]]),
            lambda ids=ids, text=text, ends=ends: token_ends(decoding, ids, text, ends),
            lambda ids=ids, text=text, ends=ends: [
                token_end(decoding.decode, ids, text, end) for end in ends
            ],
        )
        times.append(tuple(milliseconds(work) for work in works))
    score, one_pass, search = np.min(times, axis=0)
    return (
        f"| {len(ids):,} | {n_steps} | {score:.1f} | {one_pass:.1f} | {search:.0f} | {search / one_pass:.0f} "
        f"| {one_pass / score:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rng = random.Random(args.seed)
    fast = tokenizer(args.seed)
    decoding = Decoding.of(fast)
    print(f"one core of {platform.machine()}, Python {platform.python_version()}, seed {args.seed}\n")
    print("| tokens | steps | score ms | one pass ms | search ms | search / one pass | one pass / score |")
    print("|---|---|---|---|---|---|---|")
    for n_steps in STEPS:
        print(row(n_steps, decoding, lambda text: fast.backend_tokenizer.encode(text).ids, rng), flush=True)


if __name__ == "__main__":
    main()
