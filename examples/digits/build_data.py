"""Build the digits task: real handwritten digits side by side, "What is the sum of the two digits?"

The images come from scikit-learn's ``load_digits`` (UCI, 1,797 digits of 8x8 pixels by 13 writers, one writer after the
other), so nothing is downloaded. No held-out image shows a digit that was trained on: digits 0-1499 are for training,
1500-1796 are held out. With ``--apart`` the warm-up, RL and the held-out images each have digits of their own, dealt at
random, so that RL shows what the warm-up never did, and all three show every writer. Writes three parquet files in
verl's own format: ``sft.parquet`` (messages and images for verl's SFT trainer), ``train.parquet`` and
``heldout.parquet`` (prompts and images for verl's RL trainer, with the key steps in ``extra_info``). ``--digits 3``
makes it harder, ``--flawed`` the warm-up's format imperfect.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn.datasets import load_digits

N_DIGITS = 1797
N_TRAIN_DIGITS = 1500
TILE = 28
"""Pixels per side of a digit: one visual token of Qwen2-VL (14-pixel patches, merged 2x2)."""
MIN_PIXELS = TILE * TILE
"""verl runs images through qwen_vl_utils, which enlarges anything under 4 visual tokens unless the image
carries its own bound."""
DATA_SOURCE = "digits_sum"
COUNTS = {2: "two", 3: "three"}
"""How many digits an image may show."""
ORDINALS = ("first", "second", "third")
PLACES = {2: ("left", "right"), 3: ("left", "middle", "right")}


def question(n: int) -> str:
    return f"What is the sum of the {COUNTS[n]} digits?"


def tile(digits: Sequence[np.ndarray]) -> bytes:
    """Return 8x8 digits (values 0-16) side by side as one PNG of 28 pixels a digit."""
    canvas = Image.new("RGB", (len(digits) * TILE, TILE))
    for position, digit in enumerate(digits):
        grey = Image.fromarray((digit * (255.0 / 16.0)).astype(np.uint8)).resize((TILE, TILE), Image.BICUBIC)
        canvas.paste(grey.convert("RGB"), (position * TILE, 0))
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG")
    return buffer.getvalue()


def additions(digits: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return the sums that lead to the total, as (a, b, a + b)."""
    totals = list(itertools.accumulate(digits))
    return [
        (before, digit, after) for before, digit, after in zip(totals, digits[1:], totals[1:], strict=False)
    ]


def solution(digits: Sequence[int], *, rationales: bool = True, numbered: bool = True) -> str:
    """Return the reference response in the StepGRPO format.

    Args:
        digits: What the image shows.
        rationales: False leaves the rationales out, so that the response is not complete.
        numbered: False numbers the second step 1 too, so that the response is not in order.
    """
    bodies = [f"The {name} digit is {d}." for name, d in zip(ORDINALS, digits, strict=False)]
    bodies += [f"{a} + {b} = {total}" for a, b, total in additions(digits)]
    numbers = [1, 2 if numbered else 1, *range(3, len(bodies) + 1)]
    return (
        f"### Image Description:\n{COUNTS[len(digits)].capitalize()} handwritten digits stand side by side.\n"
        + ("### Rationales:\nRead each digit, then add them.\n" if rationales else "")
        + "### Let's think step by step.\n"
        + "".join(f"### Step {i}:\n{body}\n" for i, body in zip(numbers, bodies, strict=True))
        + f"### The final answer is: {sum(digits)}"
    )


def key_steps(digits: Sequence[int]) -> list[list[str]]:
    """Return the key steps (each digit, each sum), each with equivalent wordings."""
    seen = [
        [f"{name} digit is {d}", f"the {place} digit is {d}"]
        for name, place, d in zip(ORDINALS, PLACES[len(digits)], digits, strict=False)
    ]
    return seen + [[f"{a} + {b} = {c}", f"{a} plus {b} equals {c}"] for a, b, c in additions(digits)]


def draw(rng: np.random.Generator, low: int, high: int, n: int, n_digits: int) -> list[tuple[int, ...]]:
    """Return ``n`` distinct tuples of numbers in ``[low, high)``."""
    size = high - low
    flat = rng.choice(size**n_digits, size=n, replace=False)
    return [tuple(low + int(i) // size**k % size for k in reversed(range(n_digits))) for i in flat]


class Drawn(NamedTuple):
    """Which digits the images show, by their numbers in ``load_digits``: a tuple an image."""

    sft: list[tuple[int, ...]]
    train: list[tuple[int, ...]]
    heldout: list[tuple[int, ...]]


def draw_all(
    rng: np.random.Generator, sft: int, train: int, heldout: int, n_digits: int, *, apart: bool = False
) -> Drawn:
    """Return so many images for the warm-up, RL and evaluation. ``apart`` is what ``--apart`` says above.

    What is held out is the same for every ``rng``, so that runs can be compared.
    """
    held_out = draw(np.random.default_rng(0), N_TRAIN_DIGITS, N_DIGITS, heldout, n_digits)
    if not apart:
        drawn = draw(rng, 0, N_TRAIN_DIGITS, sft + train, n_digits)
        return Drawn(drawn[:sft], drawn[sft:], held_out)
    half = N_TRAIN_DIGITS // 2
    for_sft, for_rl = draw(rng, 0, half, sft, n_digits), draw(rng, half, N_TRAIN_DIGITS, train, n_digits)
    dealt = np.random.default_rng(0).permutation(N_DIGITS).tolist()
    parts = ([tuple(dealt[i] for i in numbers) for numbers in part] for part in (for_sft, for_rl, held_out))
    return Drawn(*parts)


def image_of(digits: Any, numbers: Sequence[int]) -> list[dict[str, Any]]:
    return [{"bytes": tile([digits.images[i] for i in numbers]), "min_pixels": MIN_PIXELS}]


def values_of(digits: Any, numbers: Sequence[int]) -> list[int]:
    return [int(digits.target[i]) for i in numbers]


def rl_rows(digits: Any, drawn: list[tuple[int, ...]]) -> list[dict[str, Any]]:
    rows = []
    for index, numbers in enumerate(drawn):
        values = values_of(digits, numbers)
        rows.append(
            {
                "data_source": DATA_SOURCE,
                "prompt": [{"role": "user", "content": f"<image>{question(len(values))}"}],
                "images": image_of(digits, numbers),
                "reward_model": {"style": "rule", "ground_truth": str(sum(values))},
                "extra_info": {"index": index, "key_steps": key_steps(values)},
            }
        )
    return rows


def sft_rows(digits: Any, drawn: list[tuple[int, ...]], flaws: np.ndarray) -> list[dict[str, Any]]:
    """Return rows for the warm-up; ``flaws``, (n, 2) of bool: without rationales, and with a step misnumbered."""
    rows = []
    for numbers, (no_rationales, misnumbered) in zip(drawn, flaws, strict=True):
        values = values_of(digits, numbers)
        response = solution(values, rationales=not no_rationales, numbered=not misnumbered)
        rows.append(
            {
                "messages": [
                    {"role": "user", "content": f"<image>{question(len(values))}"},
                    {"role": "assistant", "content": response},
                ],
                "images": image_of(digits, numbers),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1, help="seed of what is drawn for training")
    parser.add_argument("--digits", type=int, default=2, choices=COUNTS, help="digits an image shows")
    parser.add_argument(
        "--flawed", type=float, default=0.0, help="share of warm-up rows with each flaw of format"
    )
    parser.add_argument("--apart", action="store_true", help="RL shows no digit of the warm-up's")
    parser.add_argument("--sft", type=int, default=9600, help="rows for the warm-up")
    parser.add_argument("--train", type=int, default=2048, help="rows for RL")
    parser.add_argument("--heldout", type=int, default=1024, help="rows for evaluation")
    args = parser.parse_args()

    digits = load_digits()
    args.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(args.seed)
    drawn = draw_all(rng, args.sft, args.train, args.heldout, args.digits, apart=args.apart)
    flaws = rng.random((args.sft, 2)) < args.flawed
    files = {
        "sft.parquet": sft_rows(digits, drawn.sft, flaws),
        "train.parquet": rl_rows(digits, drawn.train),
        "heldout.parquet": rl_rows(digits, drawn.heldout),
    }
    for name, rows in files.items():
        pq.write_table(pa.Table.from_pylist(rows), args.out / name)
    print(json.dumps({name: len(rows) for name, rows in files.items()}))


if __name__ == "__main__":
    main()
