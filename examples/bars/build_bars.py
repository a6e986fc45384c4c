"""Build the bars task: drawn bar charts and questions in words, "How much higher is the highest bar than the lowest?"

A chart has four bars of four colours in any order, one to nine high; a question asks for the sum of the first and the
last bar, or of the two in the middle, or for the difference of the highest and the lowest. So a response has to read
the bars, find those that the question means, and calculate. Every chart is drawn with other widths, shades and noise;
what a chart shows (the four heights and the order of the colours) is in one of the three files alone, so that RL and
the evaluation show charts that the warm-up never did.
Writes the three parquet files of the digits task (examples/digits/build_data.py), in the same format, and with
``--model`` the model of that task with a tokenizer for these texts.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "digits"))

from build_data import MIN_PIXELS, TILE
from build_model import save_model

DATA_SOURCE = "bars"
COLOURS = {"red": (220, 50, 47), "green": (60, 160, 60), "blue": (50, 90, 210), "yellow": (230, 190, 40)}
HIGHEST = 9
ORDERS = list(itertools.permutations(COLOURS))
CHARTS = (len(ORDERS), *(HIGHEST,) * len(COLOURS))
"""How many orders there are, and heights of each bar: a chart's number is its place among all of them."""

UNIT = 3
"""Pixels of one unit: the highest bar fills a tile of 28."""


class Kind(NamedTuple):
    """What is asked: the question, the two bars that it means, and the sign between them."""

    question: str
    bars: tuple[str, str]
    sign: str


KINDS = {
    "ends": Kind("How many do the first and the last bar show together?", ("first", "last"), "+"),
    "middle": Kind("How many do the two bars in the middle show together?", ("second", "third"), "+"),
    "range": Kind("How much higher is the highest bar than the lowest?", ("highest", "lowest"), "-"),
}
PARTS = {"sft": 0.5, "train": 0.25, "heldout": 0.25}
"""Share of the charts that each file has."""


class Item(NamedTuple):
    """A question about a chart: what is asked, and how high the bars are by colour, from left to right."""

    kind: str
    heights: dict[str, int]

    @property
    def shown(self) -> tuple[tuple[str, int], tuple[str, int]]:
        """The two bars that are asked for, each with its height."""
        first, second, third, last = heights = [*self.heights.values()]
        by_name = {"first": first, "second": second, "third": third, "last": last}
        by_name |= {"highest": max(heights), "lowest": min(heights)}
        a, b = KINDS[self.kind].bars
        return (a, by_name[a]), (b, by_name[b])

    @property
    def answer(self) -> str:
        (_, x), (_, y) = self.shown
        return str(x + y if KINDS[self.kind].sign == "+" else x - y)

    @property
    def working(self) -> str:
        (_, x), (_, y) = self.shown
        return f"{x} {KINDS[self.kind].sign} {y} = {self.answer}"


def solution(item: Item, *, rationales: bool = True, numbered: bool = True) -> str:
    """Return the reference response in the StepGRPO format; the flaws are those of the digits task."""
    bodies = [f"The {name} bar shows {height}." for name, height in item.shown] + [item.working]
    numbers = [1, 2 if numbered else 1, 3]
    return (
        f"### Image Description:\nFrom left to right: {_listed(item)}.\n"
        + ("### Rationales:\nRead the bars, then calculate.\n" if rationales else "")
        + "### Let's think step by step.\n"
        + "".join(f"### Step {i}:\n{body}\n" for i, body in zip(numbers, bodies, strict=True))
        + f"### The final answer is: {item.answer}"
    )


def _listed(item: Item) -> str:
    return ", ".join(f"{name} {height}" for name, height in item.heights.items())


def key_steps(item: Item) -> list[list[str]]:
    """Return the key steps (both bars, and what follows), each with equivalent wordings."""
    seen = [[f"{name} bar shows {height}", f"{name} bar is {height}"] for name, height in item.shown]
    return [*seen, [item.working]]


def corpus() -> list[str]:
    """Return texts that have all of the task's words and numbers, for its tokenizer."""
    heights = range(1, HIGHEST + 1)
    charts = [
        dict(zip(colours, (x, y, x, y), strict=True)) for colours in ORDERS for x in heights for y in heights
    ]
    items = [Item(kind, chart) for kind in KINDS for chart in charts]
    return [text for item in items for text in (KINDS[item.kind].question, solution(item))]


def charts_by_part() -> dict[str, np.ndarray]:
    """Return the numbers of the charts that each file has; none is in two."""
    n_charts = math.prod(CHARTS)
    shuffled = np.random.default_rng(0).permutation(n_charts)
    ends = np.cumsum([round(share * n_charts) for share in PARTS.values()])[:-1]
    return dict(zip(PARTS, np.split(shuffled, ends), strict=True))


def heights_of(number: int) -> dict[str, int]:
    """Return the heights by colour, from left to right, of a chart by its number."""
    order, *heights = np.unravel_index(number, CHARTS)
    return {name: 1 + int(height) for name, height in zip(ORDERS[order], heights, strict=True)}


def draw_item(rng: np.random.Generator, charts: np.ndarray) -> Item:
    return Item(str(rng.choice(list(KINDS))), heights_of(int(rng.choice(charts))))


def chart(item: Item, rng: np.random.Generator) -> bytes:
    """Return the chart as a PNG, one tile a bar: another width, place and shade each, on a ground with noise."""
    canvas = Image.new("RGB", (TILE * len(item.heights), TILE), (245, 245, 245))
    pen = ImageDraw.Draw(canvas)
    for place, (name, height) in enumerate(item.heights.items()):
        width = int(rng.integers(12, 21))
        left = place * TILE + int(rng.integers(2, TILE - width - 1))
        shade = tuple(int(np.clip(v + rng.integers(-20, 21), 0, 255)) for v in COLOURS[name])
        pen.rectangle((left, TILE - UNIT * height, left + width, TILE), fill=shade)
    noisy = np.asarray(canvas, dtype=np.int16) + rng.integers(-8, 9, size=(TILE, canvas.width, 3))
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def images(item: Item, rng: np.random.Generator) -> list[dict[str, Any]]:
    return [{"bytes": chart(item, rng), "min_pixels": MIN_PIXELS}]


def rl_row(index: int, item: Item, rng: np.random.Generator) -> dict[str, Any]:
    return {
        "data_source": DATA_SOURCE,
        "prompt": [{"role": "user", "content": f"<image>{KINDS[item.kind].question}"}],
        "images": images(item, rng),
        "reward_model": {"style": "rule", "ground_truth": item.answer},
        "extra_info": {"index": index, "key_steps": key_steps(item)},
    }


def sft_row(item: Item, rng: np.random.Generator, flawed: float) -> dict[str, Any]:
    no_rationales, misnumbered = rng.random(2) < flawed
    response = solution(item, rationales=not no_rationales, numbered=not misnumbered)
    return {
        "messages": [
            {"role": "user", "content": f"<image>{KINDS[item.kind].question}"},
            {"role": "assistant", "content": response},
        ],
        "images": images(item, rng),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="folder to write an untrained model for the task into")
    parser.add_argument("--seed", type=int, default=1, help="seed of what is drawn for training")
    parser.add_argument(
        "--flawed", type=float, default=0.0, help="share of warm-up rows with each flaw of format"
    )
    parser.add_argument("--sft", type=int, default=9600, help="rows for the warm-up")
    parser.add_argument("--train", type=int, default=2048, help="rows for RL")
    parser.add_argument("--heldout", type=int, default=2048, help="rows for evaluation")
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    charts = charts_by_part()
    rng = np.random.default_rng(args.seed)
    # What is held out is the same for every seed, so that runs can be compared.
    apart = np.random.default_rng(0)
    files = {
        "sft": [sft_row(draw_item(rng, charts["sft"]), rng, args.flawed) for _ in range(args.sft)],
        "train": [rl_row(i, draw_item(rng, charts["train"]), rng) for i in range(args.train)],
        "heldout": [rl_row(i, draw_item(apart, charts["heldout"]), apart) for i in range(args.heldout)],
    }
    for name, rows in files.items():
        pq.write_table(pa.Table.from_pylist(rows), args.out / f"{name}.parquet")
    print(json.dumps({name: len(rows) for name, rows in files.items()}))
    if args.model is not None:
        print(save_model(args.model, corpus(), args.seed))


if __name__ == "__main__":
    main()
