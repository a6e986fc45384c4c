"""The command ``score``: one response in full, with all that its reward rests on.

The response comes from a file, from standard input, or from a trace, with the settings of its run.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from verl_stepgrpo.commands.options import assigned, function_in, settings_of
from verl_stepgrpo.commands.score_shown import misses_of, shown
from verl_stepgrpo.counts import counted
from verl_stepgrpo.data.rows.read import RLRow, n_rows, raw_rows, row_of
from verl_stepgrpo.errors import ConfigError, DataError
from verl_stepgrpo.files import BrokenOffError, lines_of
from verl_stepgrpo.judging.key_steps.reference import parse_key_steps
from verl_stepgrpo.parts.function import tried
from verl_stepgrpo.rewards import ScoredResponse, score_response
from verl_stepgrpo.settings import RewardSettings
from verl_stepgrpo.traces.files import iter_traces, trace_files
from verl_stepgrpo.traces.rows import TraceRow, judgement_of, parse_row


@dataclass(frozen=True)
class Asked:
    """A response, and what it is scored by.

    Attributes:
        response: What the model wrote.
        ground_truth: The reference answer.
        key_steps: The reference's key steps, in any form that ``parse_key_steps`` takes.
        settings: Those of the rewards.
        question: What else is known of the question, by the names of a trace.
        choices: The text of each of its choices by its letter.
        logged: The reward that its trace has, which these settings should give; None where they need not.
        parts: The numbers that its trace has of parts beside StepRAR and StepRVR.
        visual: Visual key steps, of a trace or of data.
        extra_info: What the data has in the column of that name, or of it the trace.
    """

    response: str
    ground_truth: str
    key_steps: Any
    settings: RewardSettings
    question: Mapping[str, Any] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)
    logged: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    visual: Any = None
    extra_info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def row(self) -> dict[str, Any]:
        """The row as verl hands it to a reward manager, as far as known; a prompt and a response are two turns."""
        return {
            "data_source": self.question.get("data_source"),
            "reward_model": {"ground_truth": self.ground_truth},
            "extra_info": self.extra_info,
            "__num_turns__": 2,
        }


def score(
    response: Annotated[
        Path | None, typer.Argument(help="File with the response; - reads it from standard input.")
    ] = None,
    ground_truth: Annotated[str | None, typer.Option(help="The reference answer.")] = None,
    key_step: Annotated[
        list[str] | None,
        typer.Option(help='A key step, or its wordings as JSON: ["6/3 = 2", "6 : 3 = 2"]; several times.'),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="verl's parquet for RL that has both, in place of them.")
    ] = None,
    row: Annotated[int, typer.Option(min=0, help="Which row of it, counted from 0.")] = 0,
    trace: Annotated[
        Path | None,
        typer.Option(help="A trace, or a folder of traces, that has the response and all else."),
    ] = None,
    line: Annotated[int | None, typer.Option(min=1, help="Which line of the trace, counted from 1.")] = None,
    uid: Annotated[str | None, typer.Option(help="Which group of the traces.")] = None,
    session: Annotated[int, typer.Option(min=0, help="Which response of the group.")] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting of the rewards, as alpha=0.2 [of a trace, its run's], or a reward function of yours, "
            "reward.custom_reward_function.path=FILE.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object, with what a trace has of it, and nothing else.")
    ] = False,
) -> None:
    """Score one response, and show what was paid, what was found where, and why the rest was not.

    Status 1 if math-verify failed, so that the answer was not judged.
    """
    given = assigned(settings or [])
    function = function_in(given)
    if trace is not None:
        _refuse_beside("--trace", response=response, ground_truth=ground_truth, key_step=key_step, data=data)
        asked = _of_trace(_traced(trace, line, uid, session), trace, given)
    else:
        _refuse_without("--trace", line=line, uid=uid)
        asked = _of_options(response, ground_truth, key_step, data, row, settings_of(given))
    if function:
        own = tried(function, asked.settings.extra_weights, asked.row, asked.response)
        asked = dataclasses.replace(asked, parts={**asked.parts, **own}, logged=None)
    result = score_response(
        asked.response,
        asked.ground_truth,
        asked.key_steps,
        asked.settings,
        asked.parts,
        choices=asked.choices,
        visual_key_steps=asked.visual,
    )
    if as_json:
        typer.echo(json.dumps(_facts(asked, result), ensure_ascii=False))
    else:
        console = Console(highlight=False, soft_wrap=True)
        for said in shown(asked, result):
            said.rstrip()
            console.print(said)
    raise typer.Exit(int(result.components()["verifier_failed"] > 0))


def _refuse_beside(option: str, **others: object) -> None:
    for name, value in others.items():
        if value is not None:
            raise ConfigError(f"{_option(name)} and {option} name two of the same thing; leave one out.")


def _refuse_without(option: str, **others: object) -> None:
    for name, value in others.items():
        if value is not None:
            raise ConfigError(f"{_option(name)} says which row of {option}; name that, too.")


def _option(name: str) -> str:
    return "RESPONSE" if name == "response" else f"--{name.replace('_', '-')}"


def _of_options(
    response: Path | None,
    ground_truth: str | None,
    key_step: Sequence[str] | None,
    data: Path | None,
    row: int,
    settings: RewardSettings,
) -> Asked:
    if response is None:
        raise ConfigError("Name the file with the response, or - for standard input, or a --trace.")
    if data is not None:
        _refuse_beside("--data", ground_truth=ground_truth, key_step=key_step)
        question, extra_info = _row(data, row)
        known = {"index": question.index, "id": question.id, "data_source": question.data_source}
        return Asked(
            _read(response),
            question.ground_truth,
            question.key_steps,
            settings,
            known | {"prompt": question.text},
            question.choices,
            visual=question.visual_key_steps,
            extra_info=extra_info,
        )
    if ground_truth is None:
        raise ConfigError("Name the reference answer: --ground-truth, or --data with its --row.")
    return Asked(_read(response), ground_truth, [_wordings(text) for text in key_step or ()], settings)


def _read(path: Path) -> str:
    """Return the text of a file; bytes that are no UTF-8 are what a model wrote, too."""
    content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    return content.decode(errors="replace")


def _wordings(text: str) -> list[str]:
    if not text.lstrip().startswith("["):
        return [text]
    (wordings,) = parse_key_steps(f"[{text}]") or ((),)
    return list(wordings)


def _row(data: Path, number: int) -> tuple[RLRow, Mapping[str, Any]]:
    for place, row in raw_rows(data):
        if place == number:
            try:
                return row_of(place, row), row.get("extra_info") or {}
            except DataError as error:
                raise DataError(f"{data}, row {place}: {error}") from None
    raise ConfigError(f"--row {number} is not in {data}, which has {counted(n_rows(data), 'row')}.")


def _traced(trace: Path, line: int | None, uid: str | None, session: int) -> TraceRow:
    """Return the row of a trace that ``--line``, or ``--uid`` and ``--session``, name.

    Raises:
        ConfigError: They name none, or several.
        DataError: There are no traces, or the line is no row of one.
    """
    if (line is None) == (uid is None):
        raise ConfigError("Say which response of the trace: --line, or --uid and --session.")
    files = trace_files(trace)
    if line is not None:
        if len(files) > 1:
            raise ConfigError(f"--line {line} of which file? {trace} has {len(files)} traces; name one.")
        return _at_line(files[0], line)
    found = [
        row
        for row in iter_traces(files, set_aside=lambda aside: None)
        if row.uid == uid and row.session == session
    ]
    if len(found) != 1:
        several = f"stands {len(found)} times in" if found else "is not in"
        raise ConfigError(
            f"--uid {uid} with --session {session} {several} {trace}; name a file and its --line."
        )
    return found[0]


def _at_line(file: Path, line: int) -> TraceRow:
    try:
        found = next(itertools.islice(lines_of(file), line - 1, None), None)
    except BrokenOffError as error:
        raise DataError(f"{file}: {error}") from None
    if found is None:
        raise ConfigError(f"--line {line} is not in {file}; it has fewer.")
    try:
        return parse_row(found)
    except ValueError as error:
        raise DataError(f"{file}:{line}: {error}") from None


def _of_trace(row: TraceRow, trace: Path, given: Mapping[str, str]) -> Asked:
    if row.response is None or row.ground_truth is None:
        raise DataError(f"{trace}: the row has no response, or no reference answer.")
    # Needs what `doctor` has to say is broken, and all commands are loaded with it.
    from verl_stepgrpo.traces.header import SettingsByStep, read_header

    steps = SettingsByStep(read_header(trace), row.format)
    if not steps.is_known:
        typer.echo(
            f"{trace} has no header: what is not set here has its default, not the run's, but for format={row.format}, "
            "which the row says.",
            err=True,
        )
    known = steps.at(row.step).reward
    question = {key: getattr(row, key) for key in ("index", "id", "data_source", "prompt")}
    settings = settings_of(given, known)
    logged = row.total if settings == known and steps.is_known else None
    return Asked(
        row.response,
        row.ground_truth,
        row.wordings,
        settings,
        question,
        row.choices,
        logged=logged,
        parts=row.parts,
        visual=row.visual_wordings,
        extra_info={key: one for key, one in question.items() if key in ("index", "id")},
    )


def _facts(asked: Asked, result: ScoredResponse) -> dict[str, Any]:
    """Return what a row of a trace has of a response, and beside it the settings, the sections and what was missed."""
    judgement = judgement_of(
        result,
        asked.settings,
        **asked.question,
        ground_truth=asked.ground_truth,
        choices=asked.choices,
        response=asked.response,
    )
    sections = [
        {"kind": one.kind.value, "number": one.number, "start": one.start, "end": one.end}
        for one in result.sections
    ]
    misses = [None if miss is None else vars(miss) for miss in misses_of(asked, result)]
    settings = dataclasses.asdict(asked.settings)
    return judgement.to_json() | {"settings": settings, "sections": sections, "missed": misses}
