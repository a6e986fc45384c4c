"""Make the report of a run: read its traces twice (all for the curves, a sample for the browser), write one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from verl_stepgrpo.errors import ConfigError
from verl_stepgrpo.evaluation.comparison import check_alike, compare
from verl_stepgrpo.files import SetAside, write_whole
from verl_stepgrpo.report import charts, outcome
from verl_stepgrpo.report.collect import (
    GroupKey,
    Question,
    Run,
    read_run,
    rollout_of,
    sample,
)
from verl_stepgrpo.report.images import Images
from verl_stepgrpo.report.page import MARK, Page, render
from verl_stepgrpo.report.rollouts import group_view
from verl_stepgrpo.report.verl_log import Metrics, read_log
from verl_stepgrpo.traces.files import iter_traces, no_rows, trace_files
from verl_stepgrpo.traces.header import SettingsByStep, read_header
from verl_stepgrpo.traces.rows import TRAIN, VAL, TraceRow


@dataclass(frozen=True)
class Sources:
    """What a report is made from.

    Attributes:
        traces: A folder or file of traces.
        log: verl's log, for what the traces do not hold.
        data: verl's parquet that the training rollouts come from, for their images.
        val_data: The one that validation or evaluation comes from. Rows are told apart by their index, which both
            files may count from 0.
        against: Folder of an earlier evaluation, where ``traces`` is one of the same questions.
    """

    traces: Path
    log: Path | None = None
    data: Sequence[Path] = ()
    val_data: Sequence[Path] = ()
    against: Path | None = None


@dataclass(frozen=True)
class Written:
    """What a report holds.

    Attributes:
        steps: Training steps.
        validations: Validations, or 1 for an evaluation.
        rollouts: Rollouts that were read.
        shown: Those of them that the browser has.
        set_aside: Lines that could not be read.
        troubles: Images that were not found or could not be opened.
        size: Of the file, in bytes.
    """

    steps: int
    validations: int
    rollouts: int
    shown: int
    set_aside: list[SetAside]
    troubles: list[str]
    size: int


def write_report(sources: Sources, out: Path, *, max_rollouts: int) -> Written:
    """Write the report of ``sources`` to ``out``, at most ``max_rollouts`` rollouts in its browser.

    Raises:
        DataError: There are no traces, no row in them, another source cannot be read, or the evaluations are of other
            questions.
        ConfigError: ``out`` is a file that is no report, or two evaluations were not made alike.
    """
    _check_out(out)
    if sources.against is not None:
        check_alike(sources.against, sources.traces)
    files = trace_files(sources.traces)
    aside: dict[tuple[Path, int], SetAside] = {}  # both readings meet the same lines

    def set_aside(line: SetAside) -> None:
        aside[line.path, line.line] = line

    run = read_run(files, set_aside=set_aside)
    if not run.steps:
        raise no_rows(sources.traces, list(aside.values()))
    log: Metrics = {} if sources.log is None else read_log(sources.log, set_aside=set_aside)
    chosen = sample(run.groups, max_rollouts)
    rows = _rows_of(chosen, files, set_aside)
    images = Images()
    by_group = _with_images(images, rows, sources)
    starts = read_header(sources.traces, set_aside=set_aside)
    settings = SettingsByStep(starts)
    shown = sum(map(len, rows.values()))
    page = Page(
        title=_title(sources.traces),
        run=run,
        starts=starts,
        charts=_charts(run, log),
        comparison=_comparison(run)
        if sources.against is None
        else _evaluations(sources.traces, sources.against),
        groups=[group_view(own, by_group[key], settings=settings) for key, own in rows.items()],
        images=images,
        shown=shown,
        set_aside=list(aside.values()),
        has_log=sources.log is not None,
    )
    return _written(page, out)


def _written(page: Page, out: Path) -> Written:
    out.parent.mkdir(parents=True, exist_ok=True)
    html = render(page)
    write_whole(out, html)
    steps, validations = (len(page.run.of(split)) for split in (TRAIN, VAL))
    return Written(
        steps, validations, page.run.rollouts, page.shown, page.set_aside, page.images.troubles, len(html)
    )


def _check_out(out: Path) -> None:
    """A report may be made anew over an older one, but not over anything else."""
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder; name the file to write, as in {out / 'report.html'}")
    if out.exists():
        with out.open("rb") as file:
            if MARK.encode() not in file.read(1000):
                raise ConfigError(f"--out {out} is there and is no report of this command; name another file")


def _title(traces: Path) -> str:
    """The folder's name says little where it is what the examples call it."""
    place = traces.resolve()
    folder = place.parent if place.is_file() else place
    return folder.parent.name if folder.name in ("trace", "traces") else folder.name


def _rows_of(
    chosen: Set[GroupKey], files: Sequence[Path], set_aside: Callable[[SetAside], None]
) -> dict[GroupKey, list[TraceRow]]:
    """Return the rows of the chosen groups, in the order in which they stand."""
    rows: dict[GroupKey, list[TraceRow]] = {}
    for row in iter_traces(files, set_aside=set_aside):
        if (key := rollout_of(row).key) in chosen:
            rows.setdefault(key, []).append(row)
    return rows


def _with_images(
    images: Images, rows: Mapping[GroupKey, Sequence[TraceRow]], sources: Sources
) -> dict[GroupKey, list[int]]:
    """Return the places in ``images`` of the images of each group, read from the files of its split."""
    found: dict[GroupKey, list[int]] = {}
    for split, files in ((TRAIN, sources.data), (VAL, sources.val_data)):
        questions = {key: own[0].question for key, own in rows.items() if key.split == split}
        wanted: dict[Question, str] = {
            question: str(rows[key][0].ground_truth)
            for key, question in questions.items()
            if question[1] is not None
        }
        of = images.add(list(files), wanted)
        found |= {key: of.get(question, []) for key, question in questions.items()}
    return found


def _charts(run: Run, log: Metrics) -> dict[str, list[charts.Chart]]:
    """Return the charts of each part of the page; none of a lone evaluation, which has no course."""
    if not run.of(TRAIN) and len(run.steps) == 1:
        return {}
    return {
        "learning": charts.learning_charts(run),
        "components": charts.component_charts(run),
        "warnings": charts.warning_charts(run, log),
        "distributions": charts.distribution_charts(run),
        "optimiser": charts.optimiser_charts(log),
    }


def _comparison(run: Run) -> outcome.Comparison | None:
    if run.first_validation is None or run.last_validation is None:
        return None
    return outcome.compare(run.first_validation, run.last_validation)


def _evaluations(after: Path, before: Path) -> outcome.Comparison:
    return outcome.of_evaluations(compare(before, after), before, after)
