"""What commands say alike of long work: how far it is, what is kept of it, what it did not read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from verl_stepgrpo.counts import counted
from verl_stepgrpo.errors import EndedError

MOST_KEYS = 12
"""Of those that are not read, how many are named."""


@contextlib.contextmanager
def goes_on(kept: Callable[[], int], noun: str, what: str) -> Iterator[None]:
    """Say what is kept of a run that ends before its work does, and that it can go on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, EndedError, OSError) as error:
        if n := kept():
            typer.echo(f"verl-stepgrpo: {counted(n, noun)} {what}; the same command goes on there", err=True)
        elif not isinstance(error, OSError):  # which says itself what it lacks
            typer.echo(
                f"verl-stepgrpo: ended before any {noun} was {what}; the same command begins anew", err=True
            )
        raise


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[int], None]]:
    """Show on standard error how many rows are done; how many there are is known when they have been read."""
    columns = (SpinnerColumn(), TextColumn("{task.completed:.0f} rows"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda n: bar.advance(task, n)


def show_other_keys(others: Mapping[str, int]) -> None:
    """Name the keys that are not read, those of most rows first: a misspelt one is easily seen, and metadata are one
    line."""
    said = [f"{key} ({counted(n, 'row')})" for key, n in sorted(others.items(), key=lambda one: -one[1])]
    if said:
        more = f" and {len(said) - MOST_KEYS} more" if len(said) > MOST_KEYS else ""
        typer.echo(f"keys that are not read: {', '.join(said[:MOST_KEYS])}{more}")
