"""The command ``verl-stepgrpo``, or ``python -m verl_stepgrpo``: gives data key steps, prepares it, looks through it,
judges models and single responses, and reports on runs.

A mistake of the user ends with one line on standard error and status 2; a finding (``lint``, ``prepare --strict``, rows
that a server failed, responses that were not judged) with status 1.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from verl_stepgrpo.commands.options import assigned, reward_settings, value
from verl_stepgrpo.commands.score import score
from verl_stepgrpo.counts import counted
from verl_stepgrpo.data.lint import CHECKS, Finding
from verl_stepgrpo.errors import ConfigError, DataError, EndedError
from verl_stepgrpo.files import SetAside
from verl_stepgrpo.parts import check_given, keys_with_parts

if TYPE_CHECKING:
    from verl_stepgrpo.data.key_step_files import Summary as KeyStepSummary
    from verl_stepgrpo.data.prepare import Report
    from verl_stepgrpo.evaluation.comparison import Comparison
    from verl_stepgrpo.evaluation.evaluate import Results
    from verl_stepgrpo.evaluation.intervals import Estimate
    from verl_stepgrpo.replay.replay import Replay
    from verl_stepgrpo.replay.tally import Summary
    from verl_stepgrpo.report.build import Written
    from verl_stepgrpo.serving.client import ServerOptions


ALWAYS_SHOWN = ("score", "rank_correlation", "flipped")
"""Columns of a replay's table; the others are where settings differ in them."""


MOST_KEYS = 12
"""Of those that are not read, how many are named."""


FORMAT_HELP = "Format of the responses, as algorithm.stepgrpo.format."


class Platform(str, Enum):
    """What a run is meant for."""

    CPU = "cpu"
    GPU = "gpu"


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="StepGRPO for verl: from raw data to verl's parquet, what in it would hurt training, and how good a model is.",
)


@app.command()
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
    val_share: Annotated[float, typer.Option(help="Share of the rows for validation, in [0, 1).")] = 0.02,
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
    from verl_stepgrpo.data.raw_rows import folder_of, name_of_source
    from verl_stepgrpo.data.rows import RowOptions
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
    with _goes_on(lambda: work.kept(out), "row", f"prepared and kept in {out}"), _progress() as advance:
        report = work.prepare(source, out, options, num_proc=num_proc, progress=advance)
    _show_prepared(report, out, rows.image_root)
    if strict and report.dropped:
        raise typer.Exit(1)


@app.command("key-steps")
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
            "--from", help="Mine them from responses to the rows: an evaluation's folder, or traces."
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
    from verl_stepgrpo.data import key_step_files as work

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
    cache = f"kept in {work.cache_file(out)}"
    with _goes_on(lambda: work.kept(out), "answer", cache), _progress() as advance:
        if from_ is not None:
            summary = work.by_responses(
                source, from_, out, margin=margin, prune=prune, num_proc=num_proc, progress=advance
            )
        elif model is None:
            summary = work.by_rules(source, out, progress=advance)
        else:
            options = _server_options(base_url, model, concurrency, timeout)
            summary = work.by_model(
                source, out, options, api_key=os.environ.get(api_key_env), progress=advance
            )
    _show_key_steps(summary, out)
    if price is not None:
        tokens = (summary.usage.get("tokens read", 0), summary.usage.get("tokens written", 0))
        typer.echo(f"   about ${sum(p * n for p, n in zip(price, tokens, strict=True)) / 1e6:.2f}")
    raise typer.Exit(int(summary.failed > 0))


def _show_key_steps(summary: KeyStepSummary, out: Path) -> None:
    from verl_stepgrpo.data import key_step_files as work

    typer.echo(f"{counted(summary.written, 'row', width=8)} with key steps  {out}")
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
        aside = "left without key steps" if summary.in_place else "set aside"
        typer.echo(f"{counted(summary.failed, 'row', width=8)} {aside}  {work.failed_file(out)}")
    for name, n in summary.unread.items():
        typer.echo(f"{counted(n, 'row has', 'rows have', width=8)} {name}")
    _show_other_keys(summary.others)
    for what, n in summary.usage.items():
        typer.echo(f"         {what}: {n}")
    if summary.set_aside:
        first = summary.set_aside[0]
        typer.echo(
            f"{counted(len(summary.set_aside), 'line', width=8)} of the responses set aside, the first "
            f"{first.path}:{first.line}: {first.reason}"
        )


@app.command()
def lint(
    files: Annotated[list[Path], typer.Argument(help="verl's parquet for RL.")],
    model: Annotated[str | None, typer.Option(help="Model whose processor counts tokens.")] = None,
    max_prompt_length: Annotated[int | None, typer.Option(min=1, help="Longest prompt in tokens.")] = None,
    format_: Annotated[str, typer.Option("--format", help=FORMAT_HELP)] = "mulberry",
    traces: Annotated[
        Path | None,
        typer.Option(
            help="Responses to these rows, a run's or an evaluation's: which key steps teach nothing?"
        ),
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="Findings of each kind to show.")] = 3,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a finding, and nothing else.")
    ] = False,
) -> None:
    """Say what in prepared data will hurt training. Status 1 if anything was found."""
    from verl_stepgrpo.data import lint as work
    from verl_stepgrpo.data.key_step_responses import Shown
    from verl_stepgrpo.data.prompt_length import check_prompt_limit, prompt_length_of, special_tokens_of

    check_prompt_limit(max_prompt_length, model)
    counts = prompt_length_of(model) if model is not None else None
    tokens = special_tokens_of(model)
    responses = Shown(traces) if traces is not None else None
    found = False
    for file in files:
        findings = list(
            work.lint(
                file,
                prompt_length=counts,
                max_prompt_length=max_prompt_length,
                tokens=tokens,
                format_=format_,
                responses=responses,
            )
        )
        found = found or bool(findings)
        for finding in findings if as_json else ():
            typer.echo(json.dumps({"file": str(file), **dataclasses.asdict(finding)}, ensure_ascii=False))
        if not as_json:
            _show_findings(file, findings, examples)
    raise typer.Exit(int(found))


@app.command("eval")
def evaluate(
    file: Annotated[Path, typer.Argument(help="verl's parquet for RL.")],
    model: Annotated[
        str, typer.Option(help="Model folder or name; with --base-url the server's name for it.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the responses and the results.")],
    base_url: Annotated[
        str | None, typer.Option(help="An OpenAI-compatible server [one is started with vLLM].")
    ] = None,
    vllm_args: Annotated[
        str,
        typer.Option(help="Further arguments of that vllm serve, as one text: '--tensor-parallel-size 4'."),
    ] = "",
    processor: Annotated[
        str | None,
        typer.Option(
            help="Model whose image processor scales the images [--model; of a closed one, as they are]."
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Responses to each question.")] = 1,
    temperature: Annotated[
        float | None,
        typer.Option(min=0, help="Of the sampling; 0 is greedy decoding [0, or 1 for several samples]."),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest response.")] = 1024,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask the first rows only.")] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="--out of an earlier evaluation, to compare with question by question."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the rewards, as image_description=optional."),
    ] = None,
    api_key_env: Annotated[
        str, typer.Option(help="Environment variable that holds the key.")
    ] = "OPENAI_API_KEY",
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at one time.")] = 64,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for one request.")] = 600.0,
) -> None:
    """Judge a model on prepared data: accuracy and every component of the reward, with 95% intervals.

    Responses go to OUT/responses.jsonl as training's traces have them; an interrupted run goes on where it was.
    Status 1 if the server failed to answer a row.
    """
    # Before a server is started for it.
    reward = reward_settings(settings or [])
    check_given(reward.extra_weights, ())
    server = _server_options(base_url, model, concurrency, timeout)
    from verl_stepgrpo.data.rl_rows import read_rows
    from verl_stepgrpo.evaluation import evaluate as work
    from verl_stepgrpo.evaluation.comparison import check_comparable, compare
    from verl_stepgrpo.traces.header import weights_of

    next(read_rows(file))
    options = work.EvalOptions(
        model,
        processor or model,
        base_url,
        weights_of(model),
        samples,
        (1.0 if samples > 1 else 0.0) if temperature is None else temperature,
        max_tokens,
        reward=reward,
    )

    def say_reused(n: int) -> None:
        # A server's name may stand for another model by now; weights in a folder are looked at.
        doubt = f": if {model!r} is another model by now, name another folder" if base_url else ""
        if n:
            typer.echo(f"{counted(n, 'row was', 'rows were')} answered in an earlier run into {out}{doubt}")

    def say_unscaled(why: str) -> None:
        typer.echo(f"images are sent as they are, which the server scales as it likes: {why}")

    if against is not None:
        if against.resolve() == out.resolve():
            raise ConfigError("--against is --out itself; name the folder of an earlier evaluation.")
        check_comparable(against, file, dataclasses.asdict(options))
    serving = (
        contextlib.nullcontext(server)
        if base_url
        else _own_server(server, shlex.split(vllm_args), out / "vllm.log")
    )
    set_aside: list[SetAside] = []
    with (
        _goes_on(lambda: work.kept(out, samples), "row", f"answered and kept in {out}"),
        _progress() as advance,
    ):
        results = work.evaluate(
            file,
            out,
            options,
            serving,
            api_key=os.environ.get(api_key_env),
            limit=limit,
            unscaled=say_unscaled if base_url and processor is None else None,
            reused=say_reused,
            set_aside=set_aside.append,
            progress=advance,
        )
    if set_aside:
        typer.echo(
            f"of an earlier run {counted(len(set_aside), 'line')} could not be read, and what they answered is asked "
            f"anew; the first is {set_aside[0].path}:{set_aside[0].line}: {set_aside[0].reason}"
        )
    if results.failed:
        failed = counted(results.failed, "row was", "rows were")
        typer.echo(f"{failed} not answered, and in no mean: {out / work.FAILED}")
    if results.unjudged:
        typer.echo(
            f"{results.unjudged} of {counted(results.responses, 'response')} not judged, since math-verify failed: "
            "counted as wrong. Mend that (verl-stepgrpo doctor) and run this again: that judges anew, and asks nothing."
        )
    _show_results(results)
    if against is not None:
        _show_comparison(compare(against, out), against)
    typer.echo(f"Details: {out / work.RESULTS}, {out / work.RESPONSES}")
    raise typer.Exit(int(results.failed > 0 or results.unjudged > 0))


app.command()(score)


@app.command()
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
    with _progress() as advance:
        found = work.replay(traces, chosen, out=out, num_proc=num_proc, progress=advance)
    _show_replay(found)
    if out is not None:
        typer.echo(f"Details: {out / work.RESULTS}, {out / work.FLIPPED}")


@app.command()
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


@app.command()
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

    lines = []
    chosen = platform.value if platform is not None else None
    examined = examine(
        address=address,
        with_worker=worker,
        platform=chosen,
        model=model,
        data=data or [],
        format_=format_,
    )
    for found in examined:
        lines.append(found)
        if as_json:
            typer.echo(json.dumps(dataclasses.asdict(found), ensure_ascii=False))
        elif everything or found.verdict != "ok":
            typer.echo(
                f"{found.verdict:4}  {found.where}: {found.what}: {found.found}  (expected: {found.expected})"
            )
            if found.remedy:
                typer.echo(f"      {found.remedy}")
    counts = {verdict: sum(one.verdict == verdict for one in lines) for verdict in ("ok", "warn", "fail")}
    if not as_json:
        looked_at = ", ".join(dict.fromkeys(one.where for one in lines))
        typer.echo(
            f"{counts['ok']} well, {counts['warn']} to know, {counts['fail']} to mend, of: {looked_at}"
        )
    raise typer.Exit(int(counts["fail"] > 0))


def _server_options(base_url: str | None, model: str, concurrency: int, timeout: float) -> ServerOptions:
    try:
        from verl_stepgrpo.serving.client import ServerOptions
    except ImportError as error:
        raise ConfigError(f"{error}. Install the client: pip install 'verl-stepgrpo[openai]'") from error
    return ServerOptions(base_url, model, concurrency, timeout)


@contextlib.contextmanager
def _own_server(options: ServerOptions, arguments: list[str], log: Path) -> Iterator[ServerOptions]:
    from verl_stepgrpo.data.pretrained import check_model
    from verl_stepgrpo.serving.vllm import vllm_server

    try:
        check_model(options.model)
    except ConfigError as error:
        raise ConfigError(f"--model={options.model}: it cannot be loaded: {error}") from None
    with vllm_server(options.model, arguments, log) as url:
        yield dataclasses.replace(options, base_url=url)


def _show_prepared(report: Report, out: Path, image_root: Path) -> None:
    typer.echo(f"{counted(report.read, 'row')} read")
    for name, n in report.written.items():
        typer.echo(f"{counted(n, 'row ', 'rows', width=8)}  {out / name}.parquet")
    if not report.written["rl-val"]:
        typer.echo("         none for validation, which training wants: raise --val-share, or change --seed")
    if report.without_images:
        remedy = (
            "train and evaluate them with image_description=optional"
            if report.without_images == report.written["rl-train"] + report.written["rl-val"]
            else "their StepRVR is 0, unless image_description=optional, which asks no row for a description"
        )
        typer.echo(f"{counted(report.without_images, 'row', width=8)} without images: {remedy}")
    _show_left_out(report, image_root)
    _show_other_keys(report.others)
    typer.echo(f"Details: {out / 'report.json'}, {out / 'dropped.jsonl'}")


def _show_other_keys(others: Mapping[str, int]) -> None:
    """Name the keys that are not read, those of most rows first: a misspelt one is easily seen, and metadata are one
    line."""
    said = [f"{key} ({counted(n, 'row')})" for key, n in sorted(others.items(), key=lambda one: -one[1])]
    if said:
        more = f" and {len(said) - MOST_KEYS} more" if len(said) > MOST_KEYS else ""
        typer.echo(f"keys that are not read: {', '.join(said[:MOST_KEYS])}{more}")


def _show_left_out(report: Report, image_root: Path) -> None:
    from verl_stepgrpo.data.rows import NO_WARMUP, REASONS

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


def _show_results(results: Results) -> None:
    from verl_stepgrpo.evaluation.summary import ALMOST_ALL, on_format

    for name, scores in results.scores.items():
        rows = (
            f"{counted(results.rows, 'row')}, {counted(results.responses, 'response')}"
            if name == "all"
            else name
        )
        _show_estimates(rows, scores, "mean", "")
    answered = results.scores["all"]["answered"] if results.scores else None
    if answered is not None and answered.mean < ALMOST_ALL:
        typer.echo(on_format([answered], has_flexible="acc_flexible" in results.scores["all"]))


def _show_comparison(found: Comparison, before: Path) -> None:
    from verl_stepgrpo.evaluation.summary import depends_on_format, on_format

    unpaired = f", {found.unpaired} in one evaluation alone" if found.unpaired else ""
    title = f"Against {before}: {counted(found.rows, 'row')}{unpaired}"
    _show_estimates(title, {key: one.difference for key, one in found.changes.items()}, "change", "+")
    if depends_on_format(found.changes):
        answered = found.changes["answered"]
        both = [answered.before, answered.after]
        typer.echo(on_format(both, has_flexible="acc_flexible" in found.changes))


def _show_estimates(title: str, estimates: dict[str, Estimate], mean: str, sign: str) -> None:
    typer.echo(f"{title}\n  {'':18} {mean:>7}   95% interval")
    most = max((found.questions for found in estimates.values()), default=0)
    for component, found in estimates.items():
        interval = (
            "-" if found.interval is None else " to ".join(f"{end:{sign}.3f}" for end in found.interval)
        )
        # The others do not have it, as the key-step match of a prompt without key steps.
        of = f"  (of {counted(found.questions, 'row')})" if found.questions < most else ""
        typer.echo(f"  {component:18} {found.mean:>{sign}7.3f}   {interval}{of}")
    if any(found.interval is None for found in estimates.values()):
        typer.echo("  -: one question, or all alike, which tells no interval")


def _show_written(written: Written) -> None:
    steps = counted(written.steps, "training step", width=8)
    typer.echo(f"{steps}, {counted(written.validations, 'validation')}")
    typer.echo(counted(written.rollouts, "rollout", width=8))
    if written.shown < written.rollouts:
        typer.echo(f"{written.shown:8} of them in the page: whole groups, evenly spread (--rollouts)")
    if written.set_aside:
        first = written.set_aside[0]
        typer.echo(
            f"{counted(len(written.set_aside), 'line', width=8)} set aside, the first {first.path}:{first.line}: "
            f"{first.reason}"
        )
    if written.troubles:
        troubles = counted(len(written.troubles), "trouble", width=8)
        typer.echo(f"{troubles} with images, the first: {written.troubles[0]}")


def _show_replay(found: Replay) -> None:
    if not found.has_header:
        typer.echo(
            "These traces have no header, so that what is not set here has its default, not the run's."
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
        typer.echo(f"set aside: {line.path}:{line.line}: {line.reason}")
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


@contextlib.contextmanager
def _goes_on(kept: Callable[[], int], noun: str, what: str) -> Iterator[None]:
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
def _progress() -> Iterator[Callable[[int], None]]:
    """Show on standard error how many rows are done; how many there are is known when they have been read."""
    columns = (SpinnerColumn(), TextColumn("{task.completed:.0f} rows"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda n: bar.advance(task, n)


def _show_findings(file: Path, findings: list[Finding], examples: int) -> None:
    typer.echo(f"{file}: {counted(len(findings), 'finding')}")
    for check, meaning in CHECKS.items():
        own = [finding for finding in findings if finding.check == check]
        if own:
            typer.echo(f"{len(own):8}  {check}: {meaning}")
        for finding in own[:examples]:
            typer.echo(f"          {finding.place}: {finding.detail}")


def main() -> None:
    """Run the command; a mistake of the user is one line, not a traceback."""
    try:
        app()
    except (ConfigError, DataError) as error:
        typer.echo(f"verl-stepgrpo: {error}", err=True)
        raise SystemExit(2) from None
    except OSError as error:
        if error.filename is None:  # not about a file
            raise
        typer.echo(f"verl-stepgrpo: {error.filename} cannot be used: {error.strerror}", err=True)
        raise SystemExit(2) from None
    except EndedError as error:
        typer.echo(f"verl-stepgrpo: {error}", err=True)
        raise SystemExit(1) from None
