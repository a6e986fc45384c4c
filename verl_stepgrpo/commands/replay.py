"""The command ``replay``, and its table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from verl_stepgrpo.commands.options import assigned, value
from verl_stepgrpo.commands.work import progress_bar
from verl_stepgrpo.counts import counted
from verl_stepgrpo.parts import keys_with_parts

if TYPE_CHECKING:
    from verl_stepgrpo.replay.replay import Replay
    from verl_stepgrpo.replay.tally import Summary


ALWAYS_SHOWN = ("score", "rank_correlation", "flipped")
"""Columns of the table; the others are where settings differ in them."""


def replay(
    traces: Annotated[Path, typer.Argument(help="A run's trace_dir, or a folder or file of it.")],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="A setting of algorithm.stepgrpo, or M, with its values: alpha=0,0.1,0.5."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the table as JSON and for each response that flipped.")
    ] = None,
    num_proc: Annotated[
        int, typer.Option(min=1, help="Processes.", show_default="one for each core")
    ] = os.cpu_count() or 1,
) -> None:
    """Score a run's responses under other settings, without a GPU: what would they have been paid and credited?

    Each --set gives one setting one or more values, and every combination is a row; the rest is as the run had it.
    M=4 splits the logged groups into groups of 4. "flipped" counts responses of which the run raised a part that the
    setting lowers, or the other way round.
    """
    from verl_stepgrpo.replay import replay as work
    from verl_stepgrpo.replay.variants import variants

    given = assigned(settings or [])
    chosen = variants({key: [value(one) for one in text.split(",")] for key, text in given.items()})
    with progress_bar() as advance:
        found = work.replay(traces, chosen, out=out, num_proc=num_proc, progress=advance)
    _show_replay(found)
    if out is not None:
        typer.echo(f"Details: {out / work.RESULTS}, {out / work.FLIPPED}")


def _show_replay(found: Replay) -> None:
    if not found.has_header:
        typer.echo(
            "These traces have no header, so that what is not set here has its default, not the run's, but for the "
            "format, which their rows say."
        )
    parts = keys_with_parts((), (one.components for one in found.summaries))
    rows = [_measures(one, parts) for one in found.summaries]
    # What no setting changes would only widen the table.
    same = [name for name in rows[0] if name not in ALWAYS_SHOWN and len({row[name] for row in rows}) == 1]
    shown = [name for name in rows[0] if name not in same]
    table = Table(box=box.MARKDOWN)
    for name in ("setting", *shown):
        table.add_column(name.replace("_", " "), justify="left" if name == "setting" else "right")
    for one, row in zip(found.summaries, rows, strict=True):
        table.add_row(one.label, *(row[name] for name in shown))
    # As wide as it has to be: a folded table can be neither read nor copied.
    console = Console(width=1000)
    with console.capture() as printed:
        console.print(table)
    typer.echo("\n".join(line.rstrip() for line in printed.get().strip().splitlines()))
    if same:
        typer.echo(
            "The same in all rows: " + ", ".join(f"{name.replace('_', ' ')} {rows[0][name]}" for name in same)
        )
    _show_what_replay_left_out(found)


def _show_what_replay_left_out(found: Replay) -> None:
    logged = found.summaries[0]
    for said in found.in_vain:
        typer.echo(said)
    if logged.flipped is None:
        typer.echo(
            "These responses had no advantages: what makes advantages of rewards changes nothing here."
        )
    if 0 < logged.with_key_steps < logged.responses:
        typer.echo(
            f"key step match is a mean over the responses whose prompt has key steps: {logged.with_key_steps} of "
            f"{logged.responses} as logged"
        )
    for one in found.summaries:
        if one.left_out:
            left_out = counted(one.left_out, "response")
            typer.echo(f"{one.label}: without {left_out}, too few of a group for one more of that size")
    for line in found.set_aside[:3]:
        typer.echo(f"set aside: {line}")
    if len(found.set_aside) > 3:
        typer.echo(f"set aside: {counted(len(found.set_aside), 'line')} in all")


def _measures(one: Summary, parts: Sequence[str]) -> dict[str, str]:
    """Return what the table says of a setting, by column; ``parts`` are the keys of parts that any setting has."""
    from verl_stepgrpo.curves import GROUP_CURVES, SHARE_CURVES
    from verl_stepgrpo.rewards import SCORE_KEYS

    trouble = ("verifier_timeout", "verifier_failed", "unparseable")
    components = [key for key in SCORE_KEYS if key not in trouble]
    numbers = {key: one.components.get(key) for key in (*components, *parts)}
    numbers |= {key: one.shares.get(key) for key in SHARE_CURVES.values()}
    numbers |= {key: one.groups.get(key) for key in GROUP_CURVES}
    numbers["rank_correlation"] = one.rank_correlation
    return {
        "responses": str(one.responses),
        **{key: "-" if value is None else f"{value:.3f}" for key, value in numbers.items()},
        "flipped": f"{one.flipped / one.responses:.1%}" if one.flipped is not None and one.responses else "-",
    }
