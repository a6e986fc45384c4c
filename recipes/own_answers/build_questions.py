"""Build the digits task as a dataset of the hub: images, questions and short answers, no solutions and no key steps.

Writes ``questions.parquet`` with geometry3k's columns (``images`` with their bytes, ``problem``, ``answer``). The
problem asks for ``<think>`` and ``\\boxed{}``, as the prompts of GRPO jobs do. Beside it, what stands in for a model
that answers so already: ``model``, untrained, and ``sft.parquet`` for its warm-up, on other digits. ``given.json``
has the key steps that the digits example gives, by place in ``questions.parquet``; none of the walk reads them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn.datasets import load_digits

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "digits"))

import build_data
from build_model import save_model

SIDE = 56
"""Pixels per side of an image. Smaller ones are enlarged where no row says otherwise, as none of the hub's does."""

PROBLEM = "<image>What is the sum of the two digits? Reason in <think></think>, then answer in \\boxed{}."


def picture(digits: Sequence[np.ndarray]) -> bytes:
    """Return digits side by side in the upper half of an image, as PNG."""
    import io

    row = Image.open(io.BytesIO(build_data.tile(digits)))
    canvas = Image.new("RGB", (SIDE, SIDE))
    canvas.paste(row, (0, 0))
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG")
    return buffer.getvalue()


def response(digits: Sequence[int]) -> str:
    """Return a response in the format ``think``."""
    bodies = [f"The {name} digit is {d}." for name, d in zip(build_data.ORDINALS, digits, strict=False)]
    bodies += [f"{a} + {b} = {total}" for a, b, total in build_data.additions(digits)]
    return "<think>\n" + "\n\n".join(bodies) + f"\n</think>\n\\boxed{{{sum(digits)}}}"


def question(digits: Any, numbers: Sequence[int]) -> dict[str, Any]:
    return {
        "images": [{"bytes": picture([digits.images[i] for i in numbers]), "path": None}],
        "problem": PROBLEM,
        "answer": str(sum(build_data.values_of(digits, numbers))),
    }


def sft_row(digits: Any, numbers: Sequence[int]) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": PROBLEM},
            {"role": "assistant", "content": response(build_data.values_of(digits, numbers))},
        ],
        "images": [{"bytes": picture([digits.images[i] for i in numbers])}],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--questions", type=int, default=640, help="rows of the dataset")
    parser.add_argument("--sft", type=int, default=9600, help="rows for the warm-up")
    args = parser.parse_args()

    digits = load_digits()
    args.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(args.seed)
    drawn = build_data.draw_all(rng, args.sft, args.questions, 0, 2, apart=True)
    files = {
        "questions.parquet": [question(digits, numbers) for numbers in drawn.train],
        "sft.parquet": [sft_row(digits, numbers) for numbers in drawn.sft],
    }
    for name, rows in files.items():
        pq.write_table(pa.Table.from_pylist(rows), args.out / name)
    given = [build_data.key_steps(build_data.values_of(digits, numbers)) for numbers in drawn.train]
    (args.out / "given.json").write_text(json.dumps(given) + "\n")
    print(json.dumps({name: len(rows) for name, rows in files.items()}))
    texts = [PROBLEM, *(response(pair) for pair in itertools.product(range(10), repeat=2))]
    print(save_model(args.out / "model", texts, args.seed))


if __name__ == "__main__":
    main()
