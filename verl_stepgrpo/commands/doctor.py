"""The command ``doctor``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verl_stepgrpo.commands.options import FORMAT_HELP

if TYPE_CHECKING:
    from verl_stepgrpo.doctor.checks import Line


class Platform(str, Enum):
    """What a run is meant for."""

    CPU = "cpu"
    GPU = "gpu"


def doctor(
    model: Annotated[str | None, typer.Option(help="Model folder or name that the run is to have.")] = None,
    data: Annotated[
        list[Path] | None, typer.Option(help="verl's parquet for RL; may be given several times.")
    ] = None,
    format_: Annotated[str, typer.Option("--format", help=FORMAT_HELP)] = "mulberry",
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster, as auto or host:port [a worker on this machine].")
    ] = None,
    worker: Annotated[bool, typer.Option(help="Look at Ray's workers too.")] = True,
    platform: Annotated[Platform | None, typer.Option(help="What the run is meant for [either].")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show what is well, too.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, all of them, and nothing else.")
    ] = False,
) -> None:
    """Say whether a run will find the plugin, and why not. Status 1 if something has to be mended."""
    from verl_stepgrpo.doctor.run import examine

    examined = examine(
        address=address,
        with_worker=worker,
        platform=platform.value if platform is not None else None,
        model=model,
        data=data or [],
        format_=format_,
    )
    lines = []
    for found in examined:
        lines.append(found)
        if as_json:
            typer.echo(json.dumps(dataclasses.asdict(found), ensure_ascii=False))
        elif everything or found.verdict != "ok":
            _show(found)
    if not as_json:
        _show_counts(lines)
    raise typer.Exit(int(any(one.verdict == "fail" for one in lines)))


def _show(found: Line) -> None:
    typer.echo(f"{found.verdict:4}  {found.where}: {found.what}: {found.found}  (expected: {found.expected})")
    if found.remedy:
        typer.echo(f"      {found.remedy}")


def _show_counts(lines: Sequence[Line]) -> None:
    well, to_know, to_mend = (
        sum(one.verdict == verdict for one in lines) for verdict in ("ok", "warn", "fail")
    )
    looked_at = ", ".join(dict.fromkeys(one.where for one in lines))
    typer.echo(f"{well} well, {to_know} to know, {to_mend} to mend, of: {looked_at}")
