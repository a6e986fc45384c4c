"""Look at what a run is given: the model's folder and a sample of the data, scored end to end."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from verl_stepgrpo.data.images import scaled
from verl_stepgrpo.data.pretrained import load
from verl_stepgrpo.doctor.checks import Line, line
from verl_stepgrpo.errors import ConfigError, DataError
from verl_stepgrpo.evaluation.questions import Question, read_questions
from verl_stepgrpo.rewards import score_response

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


def data_lines(file: Path) -> Iterator[Line]:
    """Yield lines on a parquet file: its first rows are read, their images opened, ideal responses scored."""
    where = str(file)
    try:
        questions = list(itertools.islice(read_questions(file), SAMPLE))
    except DataError as error:
        remedy = (
            "verl-stepgrpo prepare writes such files; its --val-share says how many rows are for validation."
        )
        yield line(where, "rows", error, "can be read", False, remedy)
        return
    yield line(where, "rows", f"{len(questions)} read", "can be read", True, "")
    wanting = [question.row for question in questions if not _scores_full_marks(question)]
    yield line(
        where,
        "ideal responses",
        f"{len(questions) - len(wanting)} of {len(questions)} score full marks",
        "all",
        not wanting,
        f"Rows {wanting[:5]}: no response could earn all of the reward; verl-stepgrpo lint says why.",
        bad="warn",
    )
    broken = [problem for question in questions for problem in _unreadable_images(question)]
    yield line(
        where,
        "images",
        broken[0] if broken else "can be opened",
        "can be opened",
        not broken,
        "Mend the paths.",
    )


def _scores_full_marks(question: Question) -> bool:
    steps = [wordings[0] for wordings in question.key_steps] or ["what follows"]
    body = "\n".join(f"### Step {i}:\n{text}" for i, text in enumerate(steps, start=1))
    result = score_response(
        IDEAL.format(steps=body, answer=question.ground_truth), question.ground_truth, question.key_steps
    )
    return (
        result.answer.correct
        and result.complete
        and result.ordered
        and all(m.matched for m in result.key_steps)
    )


def _unreadable_images(question: Question) -> Iterator[str]:
    for image in question.images:
        try:
            scaled(image, patch_size=14)
        except (OSError, ValueError) as error:
            yield f"row {question.row}: {error}"
