"""The command ``verl-stepgrpo``, or ``python -m verl_stepgrpo``: gives data key steps, prepares it, looks through it,
judges models and single responses, and reports on runs.

A mistake of the user ends with one line on standard error and status 2; a finding (``lint``, ``prepare --strict``, rows
that a server failed, responses that were not judged) with status 1.
"""

from __future__ import annotations

import typer

from verl_stepgrpo.commands.doctor import doctor
from verl_stepgrpo.commands.evaluate import evaluate
from verl_stepgrpo.commands.key_steps import key_steps
from verl_stepgrpo.commands.lint import lint
from verl_stepgrpo.commands.prepare import prepare
from verl_stepgrpo.commands.replay import replay
from verl_stepgrpo.commands.report import report
from verl_stepgrpo.commands.score import score
from verl_stepgrpo.errors import ConfigError, DataError, EndedError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="StepGRPO for verl: from raw data to verl's parquet, what in it would hurt training, and how good a model is.",
)

app.command()(prepare)
app.command("key-steps")(key_steps)
app.command()(lint)
app.command("eval")(evaluate)
app.command()(score)
app.command()(replay)
app.command()(report)
app.command()(doctor)


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
