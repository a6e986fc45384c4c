"""The command ``score``: one response in full, with all that its reward rests on.

The response comes from a file, from standard input, or from a trace, with the settings of its run. What a model wrote
is shown with its control characters made visible, since a terminal would obey them.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from verl_stepgrpo.commands.options import reward_settings
from verl_stepgrpo.counts import counted
from verl_stepgrpo.data.rl_rows import n_rows, raw_rows, row_of
from verl_stepgrpo.errors import ConfigError, DataError
from verl_stepgrpo.files import BrokenOffError, lines_of
from verl_stepgrpo.judging.answers.verdict import Verdict
from verl_stepgrpo.judging.formats import FORMATS
from verl_stepgrpo.judging.key_steps.calculations import false_steps
from verl_stepgrpo.judging.key_steps.explain import Miss, explain_missed
from verl_stepgrpo.judging.key_steps.match import KeyStepMatch
from verl_stepgrpo.judging.key_steps.reference import parse_key_steps
from verl_stepgrpo.judging.sections import Kind, Section
from verl_stepgrpo.rewards import ScoredResponse, faults_of_form, read_text, score_response
from verl_stepgrpo.settings import EXTRA_WEIGHTS, RewardSettings
from verl_stepgrpo.traces.files import iter_traces, trace_files
from verl_stepgrpo.traces.rows import TraceRow, judgement_of, parse_row

EXCERPT = 72
"""Characters of a section, or of an answer, that are shown beside what is said of it."""
GOOD, BAD, QUIET = "green", "red", "dim"


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
        logged: The reward that its trace has, or None.
        parts: The numbers that its trace has of parts beside StepRAR and StepRVR.
        visual: Visual key steps, of a trace or of data.
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
        typer.Option("--set", help="A setting of the rewards, as alpha=0.2 [of a trace, its run's]."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object, with what a trace has of it, and nothing else.")
    ] = False,
) -> None:
    """Score one response, and show what was paid, what was found where, and why the rest was not.

    Status 1 if math-verify failed, so that the answer was not judged.
    """
    texts = settings or []
    if trace is not None:
        _refuse_beside("--trace", response=response, ground_truth=ground_truth, key_step=key_step, data=data)
        asked = _of_trace(_traced(trace, line, uid, session), trace, texts)
    else:
        _refuse_without("--trace", line=line, uid=uid)
        asked = _of_options(response, ground_truth, key_step, data, row, reward_settings(texts))
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
        for shown in _shown(asked, result):
            shown.rstrip()
            console.print(shown)
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
        question = _row(data, row)
        known = {"index": question.index, "id": question.id, "data_source": question.data_source}
        return Asked(
            _read(response),
            question.ground_truth,
            question.key_steps,
            settings,
            known | {"prompt": question.text},
            question.choices,
            visual=question.visual_key_steps,
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


def _row(data: Path, number: int) -> Any:
    for place, row in raw_rows(data):
        if place == number:
            try:
                return row_of(place, row)
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


def _of_trace(row: TraceRow, trace: Path, texts: Sequence[str]) -> Asked:
    if row.response is None or row.ground_truth is None:
        raise DataError(f"{trace}: the row has no response, or no reference answer.")
    # Needs what `doctor` has to say is broken, and all commands are loaded with it.
    from verl_stepgrpo.traces.header import SettingsByStep, read_header

    steps = SettingsByStep(read_header(trace))
    if not steps.is_known:
        typer.echo(f"{trace} has no header: what is not set here has its default, not the run's.", err=True)
    known = steps.at(row.step).reward
    question = {key: getattr(row, key) for key in ("index", "id", "data_source", "prompt")}
    settings = reward_settings(texts, known)
    logged = row.total if settings == known else None
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
    misses = [None if miss is None else vars(miss) for miss in _misses(asked, result)]
    settings = dataclasses.asdict(asked.settings)
    return judgement.to_json() | {"settings": settings, "sections": sections, "missed": misses}


def _shown(asked: Asked, result: ScoredResponse) -> Iterator[Text]:
    """Yield what is printed, line by line."""
    yield from _rewards(asked, result)
    yield Text()
    yield from _sections(asked, result)
    yield Text()
    yield from _key_steps(asked, result)
    yield from _visual(asked, result)
    yield Text()
    yield from _equations(asked.response, result)
    yield Text()
    yield from _answers(asked, result)
    yield Text()
    yield Text("Response", "bold")
    yield _marked(asked.response, (*result.key_steps, *result.visual))


def _rewards(asked: Asked, result: ScoredResponse) -> Iterator[Text]:
    values = dataclasses.asdict(asked.settings)
    weights = values.pop(EXTRA_WEIGHTS)
    values |= {f"{EXTRA_WEIGHTS}.{name}": weight for name, weight in weights.items()}
    known = ", ".join(f"{key}={value}" for key, value in values.items())
    yield Text.assemble((f"Reward   {result.total:.3f}", "bold"), (f"  with {known}", QUIET))
    yield Text(f"StepRAR  {result.step_rar:.3f}  {_why_rar(asked.settings, result)}")
    missing, disorder = faults_of_form(result, asked.settings)
    form = [
        _fault("complete", result.complete, missing),
        _fault("in order", result.ordered, disorder),
    ]
    yield Text.assemble(f"StepRVR  {result.step_rvr:.3f}  ", *_joined(form, ", "))
    if result.parts:
        paid = [f"{name} {weights.get(name, 0):g} x {value:g}" for name, value in result.parts.items()]
        yield Text(f"Parts    {result.parts_paid:.3f}  {' + '.join(paid)}")
    if asked.logged is not None and abs(asked.logged - result.total) > 1e-6:
        yield Text(
            f"The trace has {asked.logged:.3f}: another version of this package judged it, or math-verify did not.",
            BAD,
        )


def _why_rar(settings: RewardSettings, result: ScoredResponse) -> str:
    if result.answer.correct:
        answer = "1 for the right answer"
    else:
        answer = "0 for a wrong answer" if result.answer.answered else "0 without an answer"
    n = len(result.key_steps)
    found = sum(match.matched for match in result.key_steps)
    if not n:
        return f"{answer}; there are no key steps"
    if found and settings.alpha and not result.key_step_share:
        return f"{answer}, and key steps are not paid without one"
    return f"{answer} + {settings.alpha:g} x {found}/{n} for key steps"


def _fault(what: str, is_well: bool, reasons: Sequence[str]) -> tuple[str, str]:
    said = f" ({', '.join(reasons)})" if reasons else ""
    return (what, GOOD) if is_well else (f"not {what}{said}", BAD)


def _joined(parts: Sequence[tuple[str, str]], between: str) -> list[tuple[str, str] | str]:
    return [piece for part in parts for piece in (between, part)][1:]


def _sections(asked: Asked, result: ScoredResponse) -> Iterator[Text]:
    response = asked.response
    none = "Sections: none"
    if asked.settings.format == RewardSettings.format:
        none += "; no line opens with ### and a header"
    yield Text("Sections" if result.sections else none, "bold")
    yield from _read_otherwise(asked, result)
    begin = result.sections[0].start if result.sections else len(response)
    if response[:begin].strip():
        yield Text(f"  line 1     in no section: {_excerpt(response[:begin])}", QUIET)
    for section in result.sections:
        header = _excerpt(response[section.start : section.body_start])
        place = f"  line {_line(response, section.start):<4}  {header}  "
        yield Text.assemble(place, (_excerpt(section.body), QUIET), _useless(section))


def _read_otherwise(asked: Asked, result: ScoredResponse) -> Iterator[Text]:
    """Say that a draft is not read, and which format a response is in that has neither step nor answer in its own."""
    if read_text(asked.response, asked.settings) != asked.response:
        yield Text("  the draft in <think> is not read (draft=free)", QUIET)
    if any(one.kind in (Kind.STEP, Kind.FINAL_ANSWER) for one in result.sections):
        return
    others = (one for name, one in FORMATS.items() if name != asked.settings.format)
    for other in others:
        sections = other.sections(asked.response)
        if not (other.missing(sections, needs_description=False) or other.disorder(sections)):
            yield Text(f"  it is complete as {other.name}: --set format={other.name}", BAD)
            return


def _useless(section: Section) -> tuple[str, str]:
    """Return what is said of a section that counts for nothing."""
    if section.kind is Kind.OTHER:
        return "  (no header of the format: its text counts for nothing)", BAD
    if not section.says_something and section.kind is not Kind.STEP_BY_STEP:
        return "  (says nothing, and counts as missing)", BAD
    return "", ""


def _key_steps(asked: Asked, result: ScoredResponse) -> Iterator[Text]:
    matches = result.key_steps
    if not matches:
        yield Text("Key steps: none", "bold")
        return
    found = sum(match.matched for match in matches)
    yield Text(f"Key steps: {found} of {len(matches)} found", "bold")
    names = [_excerpt(match.wordings[0]) for match in matches]
    width = max(map(len, names))
    for name, match, miss in zip(names, matches, _misses(asked, result), strict=True):
        mark = ("found  ", GOOD) if match.matched else ("missing", BAD)
        said = (
            _place(asked.response, result, match)
            if match.matched
            else _why_missed(asked.response, result, miss)
        )
        yield Text.assemble("  ", mark, f"  {name:{width}}  ", (said, QUIET))


def _visual(asked: Asked, result: ScoredResponse) -> Iterator[Text]:
    if not result.visual:
        return
    found = sum(match.matched for match in result.visual)
    yield Text(f"Visual key steps: {found} of {len(result.visual)} found in the image description", "bold")
    for match in result.visual:
        mark = ("found  ", GOOD) if match.matched else ("missing", BAD)
        place = _place(asked.response, result, match)
        yield Text.assemble("  ", mark, f"  {_excerpt(match.wordings[0])}  ", (place, QUIET))


def _misses(asked: Asked, result: ScoredResponse) -> Sequence[Miss | None]:
    """Return why each key step was missed; None where it was not, or where the authors' rules say no more."""
    if asked.settings.mode == "reference":
        return [None] * len(result.key_steps)
    return explain_missed(
        result.sections,
        result.key_steps,
        threshold=asked.settings.match_threshold,
        left_out=false_steps(result.equations) if asked.settings.true_steps else (),
    )


def _place(response: str, result: ScoredResponse, match: KeyStepMatch | Miss) -> str:
    """Say where a key step was found, or nearly."""
    if match.start is None or match.end is None:
        return ""
    step = "" if match.step is None else f"step {result.steps[match.step].number or match.step + 1}, "
    said = f"{step}line {_line(response, match.start)}"
    if isinstance(match, Miss):
        return said
    alike = "" if match.similarity == 1 else f", {match.similarity:.0%} alike"
    return f"{said}: {_excerpt(response[match.start : match.end])}{alike}"


def _why_missed(response: str, result: ScoredResponse, miss: Miss | None) -> str:
    if miss is None:
        return ""
    place = _place(response, result, miss)
    return _visible(str(miss)) + (f" ({place})" if place else "")


def _equations(response: str, result: ScoredResponse) -> Iterator[Text]:
    false = [equation for equation in result.equations if not equation.is_true]
    n, steps = result.n_equations, len(false_steps(false))
    said = (
        f": {n} checked, false in {steps} of {counted(len(result.steps), 'step')}" if n else ": none to check"
    )
    yield Text(f"Equations{said}", "bold")
    for equation in false:
        step = result.steps[equation.step].number or equation.step + 1
        place = f"step {step}, line {_line(response, equation.start)}"
        what = f"{place}: {_excerpt(response[equation.start : equation.end])}"
        yield Text.assemble(
            "  ", ("false  ", BAD), f"  {what}  ", (f"{' is not '.join(equation.values)}", QUIET)
        )


def _answers(asked: Asked, result: ScoredResponse) -> Iterator[Text]:
    yield _verdict("Answer", result.answer)
    if result.answer.answered:
        yield Text(f"  given      {_excerpt(result.answer.text)}")
    yield Text(f"  reference  {_excerpt(asked.ground_truth)}")
    last = result.last_answer
    is_same = (last.correct, last.text) == (result.answer.correct, result.answer.text)
    if last.answered and not is_same:
        yield _verdict("Last answer, in any format, which is not paid", last)
        yield Text(f"  given      {_excerpt(last.text)}")


def _verdict(what: str, verdict: Verdict) -> Text:
    if verdict.failed:
        said = ("not judged", BAD)
    else:
        said = ("right", GOOD) if verdict.correct else ("wrong" if verdict.answered else "none", BAD)
    return Text.assemble((f"{what}: ", "bold"), said, f" ({verdict.layer}): {_visible(verdict.reason)}")


def _marked(response: str, matches: Sequence[KeyStepMatch]) -> Text:
    """Return the response with its key steps marked; offsets are those of the response."""
    text = Text(_visible(response))
    for match in matches:
        if match.start is not None and match.end is not None:
            text.stylize(f"bold {GOOD}", match.start, match.end)
    return text


def _line(response: str, offset: int) -> int:
    return response.count("\n", 0, offset) + 1


def _excerpt(text: str) -> str:
    """Return the beginning of a text on one line."""
    words = " ".join(_visible(text).split())
    return words if len(words) <= EXCERPT else f"{words[: EXCERPT - 1]}…"


def _visible(text: str) -> str:
    """Return ``text``, of the same length, with a mark in place of each character that a terminal would obey."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
