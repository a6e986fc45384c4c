"""What a model answers to rows of a task with one image a question, by greedy decoding with transformers: no engine.

    python examples/digits/greedy.py train.parquet [FORMAT]

reads folders of models from standard input, a line each, and answers each with its accuracy on the first N_IMAGES rows.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from verl_stepgrpo import compute_score

N_IMAGES = 256
"""A share of one half of so many is off by 3 points (its standard error)."""
MAX_NEW_TOKENS = 128
"""More than a response of any task here has."""


def respond(folder: Path, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the response of the model in ``folder`` to each row.

    Args:
        folder: A Hugging Face folder, processor included.
        rows: Rows for verl's RL trainer, one image each; they are one batch.
    """
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    prompts = []
    for row in rows:
        question = row["prompt"][0]["content"].removeprefix("<image>")
        content = [{"type": "image"}, {"type": "text", "text": question}]
        asked = [{"role": "user", "content": content}]
        prompts.append(processor.apply_chat_template(asked, add_generation_prompt=True))
    images = [Image.open(io.BytesIO(row["images"][0]["bytes"])) for row in rows]
    inputs = processor(text=prompts, images=images, padding=True, padding_side="left", return_tensors="pt")
    with torch.no_grad():
        outputs = model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
    return processor.batch_decode(outputs[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def accuracy(folder: Path, rows: Sequence[dict[str, Any]], format_: str = "mulberry") -> float:
    """Return on which share of ``rows`` the model in ``folder`` gives the right answer, in a format."""
    return fmean(
        compute_score(row["data_source"], text, row["reward_model"]["ground_truth"], format=format_)["acc"]
        for row, text in zip(rows, respond(folder, rows), strict=True)
    )


def main(images: Path, format_: str = "mulberry") -> None:
    rows = pq.read_table(images).slice(0, N_IMAGES).to_pylist()
    for line in sys.stdin:
        print(accuracy(Path(line.rstrip("\n")), rows, format_), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
