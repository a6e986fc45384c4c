"""Which rows are for validation: by their question and images and a seed alone, and of two questions at least one."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import pyarrow.parquet as pq

from verl_stepgrpo.data.sources.items import Item, read_items
from verl_stepgrpo.errors import ConfigError
from verl_stepgrpo.files import write_whole

SHARE = "val_share"
"""File beside the parts of a run that has another share than the options, where theirs gave validation no row."""


def split_of(item: Item, seed: int, val_share: float) -> str:
    """Return ``train`` or ``val``; items with one question and the same images are never split apart."""
    return "val" if _place_of(item, seed) < val_share else "train"


def _place_of(item: Item, seed: int) -> float:
    """Return where an item stands among all, in [0, 1); below the share for validation it is in that."""
    name = json.dumps([seed, item.question, item.images])
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def choose_one(source: Path, parts: Path, seed: int) -> bool:
    """Note a share for validation that one question is in, and return whether there is one.

    Training wants a row for validation, which 2% of a few are not. It is the question with the lowest place, unless
    there is no other. What was finished of the parts is removed.
    """
    kept = {
        row["extra_info"]["index"]
        for file in parts.glob("[0-9]*-rl-train.parquet")
        for row in pq.ParquetFile(file).read(["extra_info.index"]).to_pylist()
    }
    items = (item for number, item in read_items(source) if isinstance(item, Item) and number in kept)
    places = {_place_of(item, seed) for item in items}
    if len(places) < 2:
        return False
    for pattern in ("[0-9]*.json", "[0-9]*"):  # a chunk with its mark is finished
        for path in list(parts.glob(pattern)):
            path.unlink()
    write_whole(parts / SHARE, json.dumps(math.nextafter(min(places), 1)))
    return True


def noted_share(parts: Path, val_share: float) -> float:
    """Return the share that is noted beside the parts, or ``val_share`` where none is."""
    try:
        return float((parts / SHARE).read_text())
    except FileNotFoundError:
        return val_share


def check_split(report: Path, split: dict[str, float]) -> None:
    """Raise ConfigError where ``report`` is of files of another split: a model that trained on them has seen its rows.

    Other options change rows, but move none from one file to the other.
    """
    try:
        before = json.loads(report.read_text())["split"]
    except (OSError, ValueError, KeyError):
        return
    if before != split:
        said = [" ".join(f"--{k.replace('_', '-')} {v}" for k, v in one.items()) for one in (before, split)]
        raise ConfigError(
            f"{report.parent} was split with {said[0]}; {said[1]} would move rows between training and validation. "
            "Name another folder, or remove that one."
        )
