"""The command ``prepare``, and what it shows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verl_stepgrpo.commands.options import FORMAT_HELP
from verl_stepgrpo.commands.work import goes_on, progress_bar, show_other_keys
from verl_stepgrpo.counts import counted

if TYPE_CHECKING:
    from verl_stepgrpo.data.prepare import Report
    from verl_stepgrpo.data.rows.build import RowOptions


def prepare(
    source: Annotated[
        Path,
        typer.Argument(
            help="JSON, JSONL, parquet, a folder of parquet shards, or owner/name[:split] on the Hugging Face hub."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the parquet files and the report.")],
    image_root: Annotated[
        Path | None, typer.Option(help="Where relative image paths start [the source's folder].")
    ] = None,
    embed_images: Annotated[
        bool, typer.Option(help="Put the images' bytes into the rows, or their paths.")
    ] = True,
    max_pixels: Annotated[
        int | None, typer.Option(min=3136, help="Scale larger images down to this.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model whose processor counts tokens.")] = None,
    max_prompt_length: Annotated[
        int | None, typer.Option(min=1, help="Drop prompts with more tokens, image tokens included.")
    ] = None,
    val_share: Annotated[
        float, typer.Option(help="Share of the rows for validation, in [0, 1); above 0 one at least.")
    ] = 0.02,
    seed: Annotated[int, typer.Option(help="Decides which rows those are.")] = 0,
    data_source: Annotated[
        str | None, typer.Option(help="verl's name of the dataset [the row's own, or the source's name].")
    ] = None,
    num_proc: Annotated[
        int, typer.Option(min=1, help="Processes.", show_default="one for each core")
    ] = os.cpu_count() or 1,
    format_: Annotated[str, typer.Option("--format", help=FORMAT_HELP)] = "mulberry",
    strict: Annotated[bool, typer.Option("--strict", help="End with status 1 if a row was dropped.")] = False,
) -> None:
    """Make verl's files for RL and for the warm-up, and check every row.

    A row is kept if its images open, its answer is there, its prompt is short enough and its own solution scores full
    marks. An interrupted run goes on where it was.
    """
    from verl_stepgrpo.data import prepare as work
    from verl_stepgrpo.data.rows.build import RowOptions
    from verl_stepgrpo.data.sources.raw_rows import folder_of, name_of_source
    from verl_stepgrpo.settings import RewardSettings

    rows = RowOptions(
        data_source=data_source or name_of_source(source),
        keeps_data_source=data_source is None,
        image_root=(image_root or folder_of(source)).resolve(),
        embed_images=embed_images,
        max_pixels=max_pixels,
        max_prompt_length=max_prompt_length,
        reward=RewardSettings(format=format_),
    )
    options = work.PrepareOptions(rows, val_share, seed, model)
    with goes_on(lambda: work.kept(out), "row", f"prepared and kept in {out}"), progress_bar() as advance:
        report = work.prepare(source, out, options, num_proc=num_proc, progress=advance)
    _show_prepared(report, out, rows)
    if strict and report.dropped:
        raise typer.Exit(1)


def _show_prepared(report: Report, out: Path, options: RowOptions) -> None:
    from verl_stepgrpo.judging import formats

    typer.echo(f"{counted(report.read, 'row')} read")
    for name, n in report.written.items():
        typer.echo(f"{counted(n, 'row ', 'rows', width=8)}  {out / name}.parquet")
    if not report.written["rl-val"]:
        typer.echo("         none for validation, which training wants: raise --val-share, or change --seed")
    if report.without_images and formats.find(options.reward.format).has_description:
        remedy = (
            "train and evaluate them with image_description=optional"
            if report.without_images == report.written["rl-train"] + report.written["rl-val"]
            else "their StepRVR is 0, unless image_description=optional, which asks no row for a description"
        )
        typer.echo(f"{counted(report.without_images, 'row', width=8)} without images: {remedy}")
    _show_left_out(report, options.image_root)
    show_other_keys(report.others)
    typer.echo(f"Details: {out / 'report.json'}, {out / 'dropped.jsonl'}")


def _show_left_out(report: Report, image_root: Path) -> None:
    from verl_stepgrpo.data.rows.build import NO_WARMUP, REASONS

    for name, n in report.unread.items():
        typer.echo(f"{counted(n, 'row has', 'rows have', width=8)} {name}")
    if report.redrawn_images:
        redrawn = counted(report.redrawn_images, "image", width=8)
        typer.echo(f"{redrawn} stored as a viewer shows: upright, on white, with 8 bits a channel")
    for reason, n in report.dropped.items():
        typer.echo(f"{n:8} dropped  {reason}: {REASONS[reason]}")
    if report.dropped.get("image", 0) > report.read / 2:
        typer.echo(f"         most images are missing: relative paths start at {image_root} (--image-root)")
    for reason, n in report.no_warmup.items():
        typer.echo(f"{n:8} not in the warm-up  {reason}: {NO_WARMUP[reason]}")
    if report.key_steps["removed"]:
        removed = counted(report.key_steps["removed"], "key step", width=8)
        typer.echo(f"{removed} left out, not found in the row's own solution")
