"""Look at what a run is given: the model's folder and a sample of the data, scored end to end."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from verl_stepgrpo.data.prompts.images import is_url, mended, name_of, opened, scaled
from verl_stepgrpo.data.prompts.pretrained import load
from verl_stepgrpo.data.prompts.text import other_format
from verl_stepgrpo.data.rows.read import RLRow, read_rows
from verl_stepgrpo.doctor.checks import Line, line
from verl_stepgrpo.errors import ConfigError, DataError
from verl_stepgrpo.rewards import score_response

PATCH_SIZE = 14
"""Of the image processors of Qwen2-VL and 2.5-VL, in pixels; whether an image can be scaled does not depend on it."""
SAMPLE = 20
"""Rows of each file that are scored."""
IDEAL = """### Image Description:
what is to be seen
### Rationales:
what it rests on
{steps}
### The final answer is: {answer}"""
"""The response that has all of a row's key steps and its answer, which has to score full marks."""


def model_lines(model: str) -> Iterator[Line]:
    """Yield lines on a model's configuration and processor."""
    from transformers import AutoConfig, AutoProcessor

    for what, auto in (("configuration", AutoConfig), ("processor", AutoProcessor)):
        try:
            found, is_well = type(load(auto, model)).__name__, True
        except ConfigError as error:
            found, is_well = str(error), False
        remedy = "Name a folder that has config.json and the processor's files, or a model of the hub."
        yield line(model, what, found, "can be loaded", is_well, remedy)


def data_lines(file: Path, format_: str = "mulberry") -> Iterator[Line]:
    """Yield lines on a parquet file: its first rows are read, their images opened, ideal responses scored.

    ``format_`` is the one that will be paid, which the prompts should ask for.
    """
    where = str(file)
    try:
        rows = list(itertools.islice(read_rows(file), SAMPLE))
    except DataError as error:
        is_empty = str(error).endswith("has no rows")
        remedy = (
            "prepare's --val-share says how many rows are for validation."
            if is_empty
            else "Prepare it first: verl-stepgrpo prepare SOURCE --out FOLDER, and name FOLDER/rl-train.parquet."
        )
        yield line(where, "rows", error, "can be read", False, remedy)
        return
    yield line(where, "rows", f"{len(rows)} read", "can be read", True, "")
    looks = [_looked_at(row) for row in rows]
    wanting = [look.row for look in looks if not look.scores_full_marks]
    yield line(
        where,
        "ideal responses",
        f"{len(rows) - len(wanting)} of {len(rows)} score full marks",
        "all",
        not wanting,
        f"Rows {wanting[:5]}: no response could earn all of the reward; verl-stepgrpo lint says why.",
        bad="warn",
    )
    others = Counter(filter(None, (other_format(row.text, format_) for row in rows)))
    for name, count in others.items():
        remedy = "Ask for the one that is paid (prepare --format), or pay the one that is asked for (format)."
        asked = f"{count} of {len(rows)} prompts ask for {name}"
        yield line(where, "format", asked, format_, False, remedy, bad="warn")
    broken = next((look.broken for look in looks if look.broken), None)
    yield line(where, "images", broken or "can be opened", "can be opened", broken is None, "Mend the image.")
    other = next((look.other for look in looks if look.other), None)
    if other is not None:
        remedy = "prepare stores such images as a viewer shows them; verl-stepgrpo lint lists all of them."
        yield line(where, "what a model sees", other, "what a viewer shows", False, remedy, bad="warn")


@dataclass(frozen=True)
class _Look:
    """What is wrong with a row: the first image that cannot be used, and the first that a model sees otherwise."""

    row: int
    scores_full_marks: bool
    broken: str | None = None
    other: str | None = None


def _looked_at(row: RLRow) -> _Look:
    other = None
    try:
        full = _scores_full_marks(row)
        for image in row.images:
            if is_url(image):
                scaled(image, patch_size=PATCH_SIZE)
            elif (redrawn := mended(opened(image), image)) is not None:
                other = other or f"row {row.row}: {name_of(image)}: {redrawn.why}"
    except DataError as error:
        return _Look(row.row, full, f"row {row.row}: {error}", other)
    except Exception as error:  # Pillow raises what it likes; one row must not end the doctor's round
        return _Look(row.row, False, f"row {row.row}: {type(error).__name__}: {error}", other)
    return _Look(row.row, full, None, other)


def _scores_full_marks(row: RLRow) -> bool:
    steps = [wordings[0] for wordings in row.key_steps] or ["what follows"]
    body = "\n".join(f"### Step {i}:\n{text}" for i, text in enumerate(steps, start=1))
    result = score_response(
        IDEAL.format(steps=body, answer=row.ground_truth), row.ground_truth, row.key_steps
    )
    return (
        result.answer.correct
        and result.complete
        and result.ordered
        and all(m.matched for m in result.key_steps)
    )
