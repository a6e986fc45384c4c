"""The command ``key-steps``, and what it shows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verl_stepgrpo.commands.options import server_options
from verl_stepgrpo.commands.work import goes_on, progress_bar, show_other_keys
from verl_stepgrpo.counts import counted
from verl_stepgrpo.errors import ConfigError

if TYPE_CHECKING:
    from verl_stepgrpo.data.key_steps.files import Summary as KeyStepSummary


def key_steps(
    source: Annotated[
        Path,
        typer.Argument(
            help="The dataset, as for prepare, or verl's parquet; its rows need solutions, or --from."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="JSONL file to write, which prepare reads; of verl's parquet a parquet.")
    ],
    rules: Annotated[bool, typer.Option("--rules", help="Take them by rules; no model is asked.")] = False,
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Mine them from responses to the rows: an evaluation's folder, traces, or JSONL with id and response.",
        ),
    ] = None,
    margin: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="With --from: how much likelier in a right response than in a wrong one."
        ),
    ] = 0.1,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="With --from: leave out key steps that the responses show to teach nothing."
        ),
    ] = False,
    num_proc: Annotated[
        int, typer.Option(min=1, help="With --from: processes.", show_default="one for each core")
    ] = os.cpu_count() or 1,
    model: Annotated[str | None, typer.Option(help="The server's name of the model.")] = None,
    base_url: Annotated[str | None, typer.Option(help="An OpenAI-compatible server [OpenAI's own].")] = None,
    visual: Annotated[
        bool, typer.Option("--visual", help="With --model: those of the image description, too.")
    ] = False,
    api_key_env: Annotated[
        str, typer.Option(help="Environment variable that holds the key.")
    ] = "OPENAI_API_KEY",
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at one time.")] = 16,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for one request.")] = 120.0,
    price: Annotated[
        tuple[float, float] | None, typer.Option(help="Dollars for a million tokens read, and written.")
    ] = None,
) -> None:
    """Give questions their key steps, with equivalent wordings: of their solutions by a model or by rules, or --from
    the model's own right responses.

    What a server answered is kept beside OUT, so that an interrupted run pays for nothing twice. Rows that keep failing
    go to a file beside it, .failed.jsonl, with their error; status 1 if there are any.
    """
    from verl_stepgrpo.data.key_steps import files as work

    ways = [
        name for name, is_given in (("--rules", rules), ("--model", model), ("--from", from_)) if is_given
    ]
    if len(ways) != 1:
        several = f"{' and '.join(ways)} are two ways to find key steps; take one." if ways else ""
        raise ConfigError(
            several
            or "Name the model to ask (--model, and --base-url for a server of yours), or say --rules, or name "
            "responses to mine them from (--from)."
        )
    if prune and from_ is None:
        raise ConfigError("--prune goes by the responses that --from names; name them, too.")
    if visual and model is None:
        raise ConfigError("--visual asks the model that --model names; name it, too.")
    cache = f"kept in {work.cache_file(out)}"
    with goes_on(lambda: work.kept(out), "answer", cache), progress_bar() as advance:
        if from_ is not None:
            summary = work.by_responses(
                source, from_, out, margin=margin, prune=prune, num_proc=num_proc, progress=advance
            )
        elif model is None:
            summary = work.by_rules(source, out, progress=advance)
        else:
            options = server_options(base_url, model, concurrency, timeout)
            key = os.environ.get(api_key_env)
            summary = work.by_model(source, out, options, api_key=key, visual=visual, progress=advance)
    _show_key_steps(summary, out)
    if price is not None:
        tokens = (summary.usage.get("tokens read", 0), summary.usage.get("tokens written", 0))
        typer.echo(f"   about ${sum(p * n for p, n in zip(price, tokens, strict=True)) / 1e6:.2f}")
    raise typer.Exit(int(summary.failed > 0))


def _show_key_steps(summary: KeyStepSummary, out: Path) -> None:
    from verl_stepgrpo.data.key_steps import files as work

    typer.echo(f"{counted(summary.written, 'row', width=8)} with key steps  {out}")
    if summary.visual:
        typer.echo(f"{counted(summary.visual, 'row', width=8)} with visual key steps")
    if summary.mined:
        typer.echo(f"{summary.mined:8} of them mined; what speaks for each  {work.support_file(out)}")
    if summary.pruned:
        typer.echo(f"{counted(summary.pruned, 'key step', width=8)} left out  {work.support_file(out)}")
    for why, n in summary.without.items():
        typer.echo(f"{counted(n, 'row', width=8)} without key steps: {why}")
    if summary.passed_on and not summary.without:
        passed_on = counted(summary.passed_on, "row", width=8)
        typer.echo(f"{passed_on} without a solution, passed on without key steps")
    if summary.failed:
        aside = "left as before" if summary.in_place else "set aside"
        typer.echo(f"{counted(summary.failed, 'row', width=8)} {aside}  {work.failed_file(out)}")
    for name, n in summary.unread.items():
        typer.echo(f"{counted(n, 'row has', 'rows have', width=8)} {name}")
    show_other_keys(summary.others)
    for what, n in summary.usage.items():
        typer.echo(f"         {what}: {n}")
    _show_responses_left_out(summary)


def _show_responses_left_out(summary: KeyStepSummary) -> None:
    for why, n in summary.left_out.items():
        typer.echo(f"{counted(n, 'response', width=8)} left out: {why}")
    if summary.set_aside:
        lines = counted(len(summary.set_aside), "line", width=8)
        typer.echo(f"{lines} of the responses set aside, the first {summary.set_aside[0]}")
