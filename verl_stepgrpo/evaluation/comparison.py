"""Compare two evaluations of the same questions, question by question. Reads their folders, writes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verl_stepgrpo.data.rows.read import read_rows
from verl_stepgrpo.errors import ConfigError, DataError
from verl_stepgrpo.evaluation.evaluate import RESPONSES, RESULTS
from verl_stepgrpo.evaluation.summary import Change, changes
from verl_stepgrpo.traces.files import iter_traces, refuse

COMPARABLE = ("reward", "samples", "temperature", "max_tokens")
"""Options that have to be the same; models and servers may differ."""


@dataclass(frozen=True)
class Comparison:
    """How one evaluation differs from another.

    Attributes:
        rows: Questions that both have.
        unpaired: Questions that only one has; they are in no mean.
        changes: Of each component, in the order in which to read them.
    """

    rows: int
    unpaired: int
    changes: dict[str, Change]


def check_comparable(before: Path, file: Path, options: Mapping[str, Any]) -> None:
    """Make sure that an evaluation of ``file`` with ``options`` can be compared with the one in ``before``.

    Raises:
        DataError: ``before`` has no finished evaluation, or one of other questions.
        ConfigError: It was made with other options.
    """
    _check_options(before, _options_of(before), options)
    ours = {str(q.row): _question(q.data_source, q.text, q.ground_truth) for q in read_rows(file)}
    _shared(before, file, _asked(before)[0], ours)


def check_alike(before: Path, after: Path) -> None:
    """Make sure that two evaluations were made with the same options.

    Raises:
        DataError: One of them has no finished evaluation.
        ConfigError: They were not.
    """
    theirs, ours = _options_of(before), _options_of(after)
    _check_options(before, theirs, {name: ours.get(name) for name in COMPARABLE})


def _options_of(folder: Path) -> Mapping[str, Any]:
    try:
        options = json.loads((folder / RESULTS).read_text())["options"]
    except (OSError, ValueError, KeyError, TypeError):
        options = None
    if not isinstance(options, Mapping):
        raise DataError(
            f"{folder} has no finished evaluation; expected the --out folder of verl-stepgrpo eval"
        )
    return options


def _check_options(before: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    for name in COMPARABLE:
        if theirs.get(name) != ours[name]:
            raise ConfigError(
                f"{before} was evaluated with {name}={theirs.get(name)!r}, this run with {ours[name]!r}: their "
                "difference would not be the model's. Evaluate both alike."
            )


def compare(before: Path, after: Path) -> Comparison:
    """Return how the evaluation in the folder ``after`` differs from that in ``before``.

    Raises:
        DataError: The folders are of other questions.
    """
    (questions_before, theirs), (questions_after, ours) = _asked(before), _asked(after)
    shared = _shared(before, after, questions_before, questions_after)
    return Comparison(len(shared), len(ours.keys() ^ theirs.keys()), changes(theirs, ours))


def _shared(before: Path, after: Path, theirs: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    """Return the rows that both have, given each one's question by row; raise DataError where one differs."""
    shared = [uid for uid in ours if uid in theirs]
    other = [uid for uid in shared if ours[uid] != theirs[uid]]
    if other or not shared:
        where = f"row {other[0]} is another question" if other else "they have no row in common"
        raise DataError(f"{before} and {after} are of different data: {where}")
    return shared


def _question(data_source: str | None, prompt: str | None, ground_truth: str | None) -> str:
    return json.dumps([data_source, prompt, ground_truth])


def _asked(folder: Path) -> tuple[dict[str, str], dict[str, list[Mapping[str, float]]]]:
    """Return, by row, what was asked, and the components of each response to it."""
    questions: dict[str, str] = {}
    responses: dict[str, list[Mapping[str, float]]] = {}
    for row in iter_traces([folder / RESPONSES], set_aside=refuse):
        questions[row.uid] = _question(row.data_source, row.prompt, row.ground_truth)
        responses.setdefault(row.uid, []).append(row.defined)
    return questions, responses
