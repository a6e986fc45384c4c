"""The command ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verl_stepgrpo.counts import counted
from verl_stepgrpo.errors import ConfigError

if TYPE_CHECKING:
    from verl_stepgrpo.report.build import Written


def report(
    traces: Annotated[
        Path, typer.Argument(help="Traces: algorithm.stepgrpo.trace_dir, or the folder of an evaluation.")
    ],
    out: Annotated[Path, typer.Option(help="HTML file to write.")],
    log: Annotated[
        Path | None, typer.Option(help="verl's log: its logger file's JSONL, or what the console showed.")
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="verl's parquet of training, for images; may be given several times."),
    ] = None,
    val_data: Annotated[
        list[Path] | None, typer.Option(help="That of validation or evaluation; may be given several times.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Folder of an earlier evaluation, to hold that in TRACES against.")
    ] = None,
    rollouts: Annotated[int, typer.Option(min=1, help="Most rollouts to have in the page.")] = 5000,
) -> None:
    """Make one HTML file of a run: curves, what is paid for, and every rollout with what was judged in it.

    It opens from disk and asks no network. The curves are of all rollouts; of more than --rollouts the page shows
    whole groups, evenly spread.
    """
    try:
        from verl_stepgrpo.report import build as work
    except ImportError as error:
        raise ConfigError(
            f"{error}. Install what draws reports: pip install 'verl-stepgrpo[report]'"
        ) from error
    sources = work.Sources(traces, log, data or [], val_data or [], against)
    written = work.write_report(sources, out, max_rollouts=rollouts)
    _show_written(written)
    typer.echo(f"Report: {out} ({written.size / 1e6:.1f} MB)")


def _show_written(written: Written) -> None:
    steps = counted(written.steps, "training step", width=8)
    typer.echo(f"{steps}, {counted(written.validations, 'validation')}")
    typer.echo(counted(written.rollouts, "rollout", width=8))
    if written.shown < written.rollouts:
        typer.echo(f"{written.shown:8} of them in the page: whole groups, evenly spread (--rollouts)")
    if written.set_aside:
        lines = counted(len(written.set_aside), "line", width=8)
        typer.echo(f"{lines} set aside, the first {written.set_aside[0]}")
    if written.troubles:
        troubles = counted(len(written.troubles), "trouble", width=8)
        typer.echo(f"{troubles} with images, the first: {written.troubles[0]}")
