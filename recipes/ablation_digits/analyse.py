"""Compare the arms of the ablation: table, paired differences against plain GRPO, and a plot.

    python recipes/ablation_digits/analyse.py recipes/ablation_digits/results/sparse

What a run comes to is the mean of its last two evaluations (``--last``), each of one sampled response to every held-out
image. Intervals are Student's t over what the seeds come to: a bootstrap of 3 to 5 seeds is too narrow by a third to a
half. Differences are paired by seed. All runs of a regime have one warm-up and judge the same images, so that no
interval says what another warm-up would have done.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no screen is needed
import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

ARMS = {
    "grpo": "outcome only (GRPO)",
    "grpo_whitened": "outcome only, whitened",
    "step_rar": "+ StepRAR",
    "step_rvr": "+ StepRVR",
    "stepgrpo": "both (StepGRPO)",
    "component": "each component by itself",
    "answer_first": "answer first",
    "answer_first_gated": "answer first, nothing where none is right",
    "validity_gated": "answer first, nothing where none is right, no key steps",
    "answer_first_step_gated": "answer first, nothing where none is right, credit by step",
    "value": "outcome only, credit by value",
    "value_gains": "outcome only, credit by value, gains alone",
    "answer_first_step": "answer first, credit by step",
    "answer_first_value": "answer first, credit by value",
    "step_credit": "both, credit by step",
    "step_credit_gate": "both, credit by step, gate 0.5",
}
BASELINE = "grpo"
WHITENED = "grpo_whitened"
"""The other baseline: what whitens a batch takes larger steps, which must not pass for a better method."""

PAPER = "stepgrpo"

Measure = Callable[[dict[str, Any]], float | None]
"""What an evaluation came to, in [0, 1]; None where it was not noted."""

Runs = dict[str, dict[int, dict[str, Any]]]
"""Results by arm and seed."""


def load(folder: Path) -> Runs:
    runs: Runs = {arm: {} for arm in ARMS}
    for path in sorted(folder.glob("*-seed-*.json")):
        result = json.loads(path.read_text())
        runs[result["arm"]][result["seed"]] = result
    return {arm: by_seed for arm, by_seed in runs.items() if by_seed}


def came_to(result: dict[str, Any], measure: Measure, last: int) -> float | None:
    """Return what a run came to at its end; None where it was made before that was noted."""
    values = [measure(evaluation) for evaluation in result["evaluations"][-last:]]
    return None if None in values else float(np.mean(values))  # type: ignore[arg-type]


def share(results: Sequence[dict[str, Any]], measure: Measure, last: int) -> str:
    """Return the mean over runs of what they came to; ``-`` where not all noted it."""
    values = [came_to(result, measure, last) for result in results]
    return "-" if None in values else f"{np.mean(values):.1%}"  # type: ignore[arg-type]


def _share_of_both(evaluation: dict[str, Any]) -> float | None:
    if "right_and_valid" in evaluation:
        return float(evaluation["right_and_valid"])
    if "valid" in evaluation:
        return float(np.mean(_bits(evaluation["right"]) * _bits(evaluation["valid"])))
    return None


MEASURES: Mapping[str, Measure] = {
    "accuracy": itemgetter("accuracy"),
    "valid": itemgetter("validity"),
    "right and valid": _share_of_both,
    "right, every key step found": lambda evaluation: evaluation.get("right_by_its_steps"),
    "key steps": itemgetter("key_step_match"),
}
"""What the responses to the images held out come to, each in [0, 1]."""
COMPARED = ("accuracy", "right and valid", "right, every key step found")
"""Measures of which the table has the difference from plain GRPO, in a column behind their own."""
AGAINST, AGAINST_WHITENED, AGAINST_PAPER = (
    "{}: points against GRPO",
    "against it whitened",
    "against StepGRPO",
)
COMPONENTS = ("answer", "key_steps", "validity")
ROLLOUTS, SHARES = (
    "rollouts to GRPO's accuracy (seeds that reach it)",
    "% of the advantages: answer, key steps, validity",
)
"""Columns of the table."""


def shares(results: list[dict[str, Any]]) -> str:
    """Return how much of what advantages differed by each component made, over training; from runs that noted it.

    The first study noted how much of what *rewards* differ by is the answer's, each step; that is the same but for the
    group's std.
    """
    noted = [result["shares"] for result in results if "shares" in result]
    if noted:
        means = (np.mean([run[f"{name}_share"] for run in noted]) for name in COMPONENTS)
        return ", ".join(f"{100 * mean:.1f}" if mean < 0.0995 else f"{100 * mean:.0f}" for mean in means)
    steps = [step.get("answer_share") for result in results for step in result["curve"]]
    known = [share for share in steps if share is not None]
    return f"{100 * np.mean(known):.0f}" if known else "-"


def _bits(text: str) -> np.ndarray:
    return np.array([int(character) for character in text])


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95% interval of the mean over seeds; one seed has none."""
    if len(values) < 2:
        return None
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    return float(low), float(high)


def with_interval(values: Sequence[float], form: str) -> str:
    """Return the mean of some shares and its interval in percent, each as ``form`` has it."""
    found = interval(values)
    bounds = "one seed" if found is None else " to ".join(format(100 * bound, form) for bound in found)
    return f"{format(100 * np.mean(values), form)} ({bounds})"


def difference(runs: Runs, arm: str, baseline: str, last: int, measure: Measure) -> str:
    """Return the points between an arm and a baseline over the seeds that both have; ``-`` where there is none."""
    shared = sorted(runs[arm].keys() & runs.get(baseline, {}).keys()) if arm != baseline else []
    for seed in shared:
        if runs[arm][seed]["warm_up"] != runs[baseline][seed]["warm_up"]:
            raise SystemExit(f"{arm}, seed {seed}: not the warm-up that {baseline} began with; run both anew")
    pairs = [[came_to(runs[one][seed], measure, last) for one in (arm, baseline)] for seed in shared]
    if not pairs or any(None in pair for pair in pairs):
        return "-"
    return with_interval([ours - theirs for ours, theirs in pairs], "+.1f")  # type: ignore[operator]


def points(
    result: dict[str, Any], start: dict[str, Any], measure: Callable[[dict[str, Any]], float]
) -> list[tuple[int, float]]:
    """Return (rollouts, measure) of each evaluation of a run, that of the warmed-up model first."""
    spent = {0: 0}
    for step in result["curve"]:
        spent[step["step"]] = spent[step["step"] - 1] + step["rollouts"]
    evaluations = [e for e in result["evaluations"] if e["step"] > 0]
    return [(0, measure(start)), *((spent[e["step"]], measure(e)) for e in evaluations)]


def rollouts_to_reach(target: float, curve: list[tuple[int, float]]) -> float:
    """Return after how many rollouts a curve reaches ``target``, by straight lines between evaluations; else inf."""
    for (x0, y0), (x1, y1) in itertools.pairwise(curve):
        if y0 >= target:
            return x0
        if y1 >= target:
            return x0 + (x1 - x0) * (target - y0) / (y1 - y0)
    return float("inf")


def median_rollouts(runs: Runs, arm: str, last: int) -> str:
    """Return after how many rollouts an arm was as accurate as the baseline at its end, the median over seeds."""
    needed = []
    for seed, result in runs[arm].items():
        if seed in runs[BASELINE]:
            baseline = runs[BASELINE][seed]
            start = baseline["evaluations"][0]
            target = float(np.mean([e["accuracy"] for e in baseline["evaluations"][-last:]]))
            needed.append(rollouts_to_reach(target, points(result, start, itemgetter("accuracy"))))
    median = statistics.median(needed)
    reached = sum(n < float("inf") for n in needed)
    return (
        f"{median:,.0f} ({reached} of {len(needed)})"
        if median < float("inf")
        else f"never ({reached} of {len(needed)})"
    )


def columns(runs: Runs) -> list[str]:
    """Return the names of the table's columns; what no run noted has none."""
    names = ["arm", "seeds"]
    for name, measure in MEASURES.items():
        if _is_noted(runs, measure):
            names.append(name)
            names += [AGAINST.format(name)] if name in COMPARED else []
            if name == "accuracy":
                names += [AGAINST_WHITENED] if WHITENED in runs else []
                names += [AGAINST_PAPER] if PAPER in runs else []
    return [*names, ROLLOUTS, SHARES]


def _is_noted(runs: Runs, measure: Measure) -> bool:
    return any(measure(r["evaluations"][-1]) is not None for by in runs.values() for r in by.values())


def row(runs: Runs, arm: str, last: int) -> dict[str, str]:
    """Return the cells of an arm by column."""
    results = list(runs[arm].values())
    cells = {"arm": ARMS[arm], "seeds": str(len(results))}
    for name, measure in MEASURES.items():
        cells[name] = share(results, measure, last)
    for name in COMPARED:
        cells[AGAINST.format(name)] = difference(runs, arm, BASELINE, last, MEASURES[name])
    for column, baseline in ((AGAINST_WHITENED, WHITENED), (AGAINST_PAPER, PAPER)):
        cells[column] = difference(runs, arm, baseline, last, MEASURES["accuracy"])
    cells[ROLLOUTS] = median_rollouts(runs, arm, last)
    cells[SHARES] = shares(results)
    return cells


def table(runs: Runs, last: int) -> str:
    names = columns(runs)
    start = [{"evaluations": result["evaluations"][:1]} for result in runs[BASELINE].values()]
    warmed_up = {"arm": "warmed up", "seeds": str(len(start))}
    warmed_up |= {name: share(start, measure, 1) for name, measure in MEASURES.items()}
    rows = [warmed_up, *(row(runs, arm, last) for arm in runs)]
    lines = [names, *([cells.get(name, "-") for name in names] for cells in rows)]
    head, *rest = ["| " + " | ".join(cells) + " |" for cells in lines]
    return "\n".join([head, "|" + "---|" * len(names), *rest])


def draw(runs: Runs, path: Path) -> None:
    """Draw the means over seeds of what the held-out images showed, by rollouts."""
    drawn = (name for name in MEASURES if name != "key steps")
    titles = {name: MEASURES[name] for name in drawn if _is_noted(runs, MEASURES[name])}
    n_axes = len(titles)
    figure, axes = plt.subplots(1, n_axes, figsize=(4 * n_axes, 3.6), layout="constrained", sharex=True)
    for axis, (title, measure) in zip(axes, titles.items(), strict=True):
        for arm in runs:
            seeds = runs[arm].keys() & runs[BASELINE].keys()
            lines = [
                points(runs[arm][s], runs[BASELINE][s]["evaluations"][0], measure) for s in sorted(seeds)
            ]
            values = np.array([[y for _, y in line] for line in lines])
            axis.plot(
                [x for x, _ in lines[0]], values.mean(axis=0), marker=".", label=f"{ARMS[arm]} ({len(lines)})"
            )
        axis.set(title=title, xlabel="rollouts")
        axis.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0, decimals=0))
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    figure.suptitle("Responses to held-out images, mean over seeds (number of seeds in brackets)")
    plt.rcParams["svg.hashsalt"] = "verl-stepgrpo"  # so that the same results make the same file
    figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--last", type=int, default=2, help="evaluations at the end that are taken together")
    parser.add_argument("--plot", type=Path, help="where to draw the curves")
    args = parser.parse_args()

    runs = load(args.results)
    if BASELINE not in runs:
        raise SystemExit(f"{args.results} has no run of {BASELINE}, which the others are compared with")
    print(table(runs, args.last))
    if args.plot:
        draw(runs, args.plot)


if __name__ == "__main__":
    main()
