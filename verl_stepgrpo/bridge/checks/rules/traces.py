"""Rules of the folder of traces."""

from __future__ import annotations

from verl_stepgrpo.bridge.checks import checkpoints, trace_folder
from verl_stepgrpo.bridge.checks.rules.rule import Rule, clash
from verl_stepgrpo.bridge.checks.run import Run
from verl_stepgrpo.settings import NODE
from verl_stepgrpo.traces.files import later_steps, step_of

TRACE_DIR = f"{NODE}.trace_dir"


def _has_scheme(run: Run) -> bool:
    return trace_folder.has_scheme(str(run.setting("trace_dir")))


def _later_steps(run: Run) -> list[str]:
    trace_dir = run.setting("trace_dir")
    start = checkpoints.start_step(run.config)
    if trace_dir is None or start is None or _has_scheme(run):
        return []
    steps = sorted(step_of(path) for path in later_steps(trace_folder.absolute(trace_dir), start))
    if not steps:
        return []
    held = f"step {steps[0]}" if len(set(steps)) == 1 else f"steps {steps[0]} to {steps[-1]}"
    return [f"{run.said(TRACE_DIR)} holds {held}, and the run goes on from step {start}"]


RULES = (
    Rule(
        when=f"`{TRACE_DIR}` with a scheme, as in `hdfs://` and `s3://`",
        why="traces are written to a file system alone, and a folder of that name would be made where the run starts",
        remedy="Name a folder, on several machines one that they share, or null",
        facts=clash(_has_scheme, TRACE_DIR),
    ),
    Rule(
        when=f"`{TRACE_DIR}` holds steps of another run, or later ones than the checkpoint that is gone on from",
        why="THEY ARE OF ANOTHER ATTEMPT, and are moved into a folder abandoned-... in it before the first step",
        remedy="Name another folder to keep them where they are",
        facts=_later_steps,
        refused=False,
    ),
)
