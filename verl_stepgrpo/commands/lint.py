"""The command ``lint``, and what it shows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from verl_stepgrpo.commands.options import FORMAT_HELP
from verl_stepgrpo.counts import counted
from verl_stepgrpo.data.lint import CHECKS, Finding


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
    from verl_stepgrpo.data.key_steps.responses import Shown
    from verl_stepgrpo.data.prompts.length import check_prompt_limit, prompt_length_of, special_tokens_of

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
    if responses is not None and responses.set_aside:
        lines = counted(len(responses.set_aside), "line")
        typer.echo(f"{lines} of {traces} set aside, the first {responses.set_aside[0]}", err=True)
    raise typer.Exit(int(found))


def _show_findings(file: Path, findings: list[Finding], examples: int) -> None:
    typer.echo(f"{file}: {counted(len(findings), 'finding')}")
    for check, meaning in CHECKS.items():
        own = [finding for finding in findings if finding.check == check]
        if own:
            typer.echo(f"{len(own):8}  {check}: {meaning}")
        for finding in own[:examples]:
            typer.echo(f"          {finding.place}: {finding.detail}")
