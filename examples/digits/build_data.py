"""Build the digits task: two real handwritten digits side by side, "What is the sum of the two digits?"

The images come from scikit-learn's ``load_digits`` (UCI, 1,797 digits of 8x8 pixels), so nothing is
downloaded. Digits 0-1499 are for training, 1500-1796 are held out: no held-out image shows a digit that
was trained on. Writes three parquet files in verl's own format: ``sft.parquet`` (messages and images for
verl's SFT trainer), ``train.parquet`` and ``heldout.parquet`` (prompts and images for verl's RL trainer,
with the key steps in ``extra_info``).
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn.datasets import load_digits

N_TRAIN_DIGITS = 1500
TILE = 28
"""Pixels per side of a digit: one visual token of Qwen2-VL (14-pixel patches, merged 2x2)."""
MIN_PIXELS = TILE * TILE
"""verl runs images through qwen_vl_utils, which enlarges anything under 4 visual tokens unless the image
carries its own bound."""
QUESTION = "What is the sum of the two digits?"
DATA_SOURCE = "digits_sum"


def tile_pair(first: np.ndarray, second: np.ndarray) -> bytes:
    """Return two 8x8 digits (values 0-16) as one PNG of 56x28 pixels, first digit on the left."""
    canvas = Image.new("RGB", (2 * TILE, TILE))
    for position, digit in enumerate((first, second)):
        grey = Image.fromarray((digit * (255.0 / 16.0)).astype(np.uint8)).resize((TILE, TILE), Image.BICUBIC)
        canvas.paste(grey.convert("RGB"), (position * TILE, 0))
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG")
    return buffer.getvalue()


def solution(a: int, b: int) -> str:
    """Return the reference response in the StepGRPO format."""
    return (
        "### Image Description:\nTwo handwritten digits stand side by side.\n"
        "### Rationales:\nRead each digit, then add them.\n"
        "### Let's think step by step.\n"
        f"### Step 1:\nThe first digit is {a}.\n"
        f"### Step 2:\nThe second digit is {b}.\n"
        f"### Step 3:\n{a} + {b} = {a + b}\n"
        f"### The final answer is: {a + b}"
    )


def key_steps(a: int, b: int) -> list[list[str]]:
    """Return the three key steps, each with equivalent wordings."""
    return [
        [f"first digit is {a}", f"the left digit is {a}"],
        [f"second digit is {b}", f"the right digit is {b}"],
        [f"{a} + {b} = {a + b}", f"{a} plus {b} equals {a + b}"],
    ]


def draw_pairs(rng: np.random.Generator, low: int, high: int, n: int) -> list[tuple[int, int]]:
    """Return ``n`` distinct ordered pairs of digit numbers in ``[low, high)``."""
    size = high - low
    flat = rng.choice(size * size, size=n, replace=False)
    return [(low + int(i) // size, low + int(i) % size) for i in flat]


def rl_rows(digits: Any, pairs: list[tuple[int, int]]) -> list[dict[str, Any]]:
    rows = []
    for index, (i, j) in enumerate(pairs):
        a, b = int(digits.target[i]), int(digits.target[j])
        rows.append(
            {
                "data_source": DATA_SOURCE,
                "prompt": [{"role": "user", "content": f"<image>{QUESTION}"}],
                "images": [
                    {"bytes": tile_pair(digits.images[i], digits.images[j]), "min_pixels": MIN_PIXELS}
                ],
                "reward_model": {"style": "rule", "ground_truth": str(a + b)},
                "extra_info": {"index": index, "key_steps": key_steps(a, b)},
            }
        )
    return rows


def sft_rows(digits: Any, pairs: list[tuple[int, int]]) -> list[dict[str, Any]]:
    rows = []
    for i, j in pairs:
        a, b = int(digits.target[i]), int(digits.target[j])
        rows.append(
            {
                "messages": [
                    {"role": "user", "content": f"<image>{QUESTION}"},
                    {"role": "assistant", "content": solution(a, b)},
                ],
                "images": [
                    {"bytes": tile_pair(digits.images[i], digits.images[j]), "min_pixels": MIN_PIXELS}
                ],
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1, help="seed of the training pairs")
    parser.add_argument("--sft", type=int, default=9600, help="rows for the warm-up")
    parser.add_argument("--train", type=int, default=2048, help="rows for RL")
    parser.add_argument("--heldout", type=int, default=1024, help="rows for evaluation")
    args = parser.parse_args()

    digits = load_digits()
    args.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(args.seed)
    train_pairs = draw_pairs(rng, 0, N_TRAIN_DIGITS, args.sft + args.train)
    # The held-out pairs are the same for every seed, so that runs can be compared.
    heldout_pairs = draw_pairs(np.random.default_rng(0), N_TRAIN_DIGITS, len(digits.target), args.heldout)
    files = {
        "sft.parquet": sft_rows(digits, train_pairs[: args.sft]),
        "train.parquet": rl_rows(digits, train_pairs[args.sft :]),
        "heldout.parquet": rl_rows(digits, heldout_pairs),
    }
    for name, rows in files.items():
        pq.write_table(pa.Table.from_pylist(rows), args.out / name)
    print(json.dumps({name: len(rows) for name, rows in files.items()}))


if __name__ == "__main__":
    main()
