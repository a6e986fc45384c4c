"""The command ``eval``, and what it shows."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verl_stepgrpo.commands.options import reward_settings, server_options
from verl_stepgrpo.commands.work import goes_on, progress_bar
from verl_stepgrpo.counts import counted
from verl_stepgrpo.errors import ConfigError
from verl_stepgrpo.files import SetAside
from verl_stepgrpo.parts import check_given

if TYPE_CHECKING:
    from verl_stepgrpo.evaluation.comparison import Comparison
    from verl_stepgrpo.evaluation.evaluate import EvalOptions, Results
    from verl_stepgrpo.evaluation.intervals import Estimate
    from verl_stepgrpo.serving.client import ServerOptions


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
    server = server_options(base_url, model, concurrency, timeout)
    from verl_stepgrpo.data.rows.read import read_rows
    from verl_stepgrpo.evaluation import evaluate as work
    from verl_stepgrpo.evaluation.comparison import check_comparable
    from verl_stepgrpo.traces.header import weights_of

    next(read_rows(file))
    options = work.EvalOptions(
        model,
        processor or model,
        base_url,
        weights_of(model),
        samples,
        float(samples > 1) if temperature is None else temperature,
        max_tokens,
        reward=reward,
    )

    if against is not None:
        if against.resolve() == out.resolve():
            raise ConfigError("--against is --out itself; name the folder of an earlier evaluation.")
        check_comparable(against, file, dataclasses.asdict(options))
    serving = _served(server, shlex.split(vllm_args), out / "vllm.log")
    set_aside: list[SetAside] = []
    with (
        goes_on(lambda: work.kept(out, samples), "row", f"answered and kept in {out}"),
        progress_bar() as advance,
    ):
        results = work.evaluate(
            file,
            out,
            options,
            serving,
            api_key=os.environ.get(api_key_env),
            limit=limit,
            unscaled=_show_unscaled if base_url and processor is None else None,
            reused=lambda n: _show_reused(n, out, options),
            set_aside=set_aside.append,
            progress=advance,
        )
    _show(results, set_aside, out, against)
    raise typer.Exit(int(results.failed > 0 or results.unjudged > 0))


@contextlib.contextmanager
def _served(options: ServerOptions, arguments: list[str], log: Path) -> Iterator[ServerOptions]:
    """Give the server, which is started with vLLM where none is named."""
    if options.base_url:
        yield options
        return
    from verl_stepgrpo.data.prompts.pretrained import check_model
    from verl_stepgrpo.serving.vllm import vllm_server

    try:
        check_model(options.model)
    except ConfigError as error:
        raise ConfigError(f"--model={options.model}: it cannot be loaded: {error}") from None
    with vllm_server(options.model, arguments, log) as url:
        yield dataclasses.replace(options, base_url=url)


def _show_reused(n: int, out: Path, options: EvalOptions) -> None:
    # A server's name may stand for another model by now; weights in a folder are looked at.
    doubt = f": if {options.model!r} is another model by now, name another folder" if options.base_url else ""
    if n:
        typer.echo(f"{counted(n, 'row was', 'rows were')} answered in an earlier run into {out}{doubt}")


def _show_unscaled(why: str) -> None:
    typer.echo(f"images are sent as they are, which the server scales as it likes: {why}")


def _show(results: Results, set_aside: Sequence[SetAside], out: Path, against: Path | None) -> None:
    from verl_stepgrpo.evaluation import evaluate as work
    from verl_stepgrpo.evaluation.comparison import compare

    _show_troubles(results, set_aside, out)
    _show_results(results)
    if against is not None:
        _show_comparison(compare(against, out), against)
    typer.echo(f"Details: {out / work.RESULTS}, {out / work.RESPONSES}")


def _show_troubles(results: Results, set_aside: Sequence[SetAside], out: Path) -> None:
    from verl_stepgrpo.evaluation import evaluate as work

    if set_aside:
        typer.echo(
            f"of an earlier run {counted(len(set_aside), 'line')} could not be read, and what they answered is asked "
            f"anew; the first is {set_aside[0]}"
        )
    if results.failed:
        failed = counted(results.failed, "row was", "rows were")
        typer.echo(f"{failed} not answered, and in no mean: {out / work.FAILED}")
    if results.unjudged:
        typer.echo(
            f"{results.unjudged} of {counted(results.responses, 'response')} not judged, since math-verify failed: "
            "counted as wrong. Mend that (verl-stepgrpo doctor) and run this again: that judges anew, and asks nothing."
        )


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
