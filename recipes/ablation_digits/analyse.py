"""Compare the arms of the ablation: table, paired differences against plain GRPO, and a plot.

    python recipes/ablation_digits/analyse.py recipes/ablation_digits/results/sparse

What a run comes to is the mean of its last two evaluations (``--last``), each of one sampled response to every held-out
image. Intervals are percentile bootstraps (10,000 resamples) on two levels, seeds and within them held-out images,
since the same images are judged in every run. Differences are paired by seed and by image; all runs of a regime have
one warm-up.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no screen is needed
import matplotlib.pyplot as plt
import numpy as np

ARMS = {
    "grpo": "outcome only (GRPO)",
    "grpo_whitened": "outcome only, whitened",
    "step_rar": "+ StepRAR",
    "step_rvr": "+ StepRVR",
    "stepgrpo": "both (StepGRPO)",
    "component": "each component by itself",
    "answer_first": "answer first",
    "answer_first_gated": "answer first, nothing where none is right",
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
N_RESAMPLES = 10_000

Runs = dict[str, dict[int, dict[str, Any]]]
"""Results by arm and seed."""


def load(folder: Path) -> Runs:
    runs: Runs = {arm: {} for arm in ARMS}
    for path in sorted(folder.glob("*-seed-*.json")):
        result = json.loads(path.read_text())
        runs[result["arm"]][result["seed"]] = result
    return {arm: by_seed for arm, by_seed in runs.items() if by_seed}


def often(result: dict[str, Any], bits: str, last: int) -> np.ndarray:
    """Return how often responses to each held-out image had what ``bits`` says (``right``), (n,) in [0, 1]."""
    return np.mean([_bits(evaluation[bits]) for evaluation in result["evaluations"][-last:]], axis=0)


def share(evaluations: list[dict[str, Any]], measure: Callable[[dict[str, Any]], float | None]) -> str:
    """Return the mean of a measure; runs from before it was noted do not have it."""
    shares = [measure(evaluation) for evaluation in evaluations]
    return "-" if None in shares else f"{np.mean(shares):.1%}"  # type: ignore[arg-type]


def _right_by_its_steps(evaluation: dict[str, Any]) -> float | None:
    return evaluation.get("right_by_its_steps")


def _share_of_both(evaluation: dict[str, Any]) -> float | None:
    if "right_and_valid" in evaluation:
        return float(evaluation["right_and_valid"])
    if "valid" in evaluation:
        return float(np.mean(_bits(evaluation["right"]) * _bits(evaluation["valid"])))
    return None


def answer_share(results: list[dict[str, Any]]) -> str:
    """Return how much of what advantages differed by was the answer's doing, over training; from runs that noted it.

    The first study noted how much of what *rewards* differ by, each step; that is the same but for the group's std.
    """
    shares = [result["shares"]["answer_share"] for result in results if "shares" in result]
    shares += [step.get("answer_share") for result in results for step in result["curve"]]
    known = [share for share in shares if share is not None]
    return f"{np.mean(known):.0%}" if known else "-"


def _bits(text: str) -> np.ndarray:
    return np.array([int(character) for character in text])


def interval(by_seed: list[np.ndarray]) -> tuple[float, float]:
    """Return the 95% interval of the mean over seeds and images of some values, one array a seed."""
    rng = np.random.default_rng(0)
    values = np.stack(by_seed)
    n_seeds, n_images = values.shape
    means = []
    for _ in range(N_RESAMPLES):
        seeds = rng.integers(n_seeds, size=n_seeds)
        images = rng.integers(n_images, size=n_images)
        by_image = np.bincount(seeds, minlength=n_seeds) @ values / n_seeds
        means.append(by_image[images].mean())
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def differences(runs: Runs, arm: str, baseline: str, last: int, bits: str = "right") -> list[np.ndarray]:
    """Return for each seed that both have the differences in what ``bits`` says, image by image."""
    shared = sorted(runs[arm].keys() & runs[baseline].keys())
    for seed in shared:
        if runs[arm][seed]["warm_up"] != runs[baseline][seed]["warm_up"]:
            raise SystemExit(f"{arm}, seed {seed}: not the warm-up that {baseline} began with; run both anew")
    return [often(runs[arm][seed], bits, last) - often(runs[baseline][seed], bits, last) for seed in shared]


def difference(runs: Runs, arm: str, baseline: str, last: int, bits: str = "right") -> str:
    """Return the points between an arm and a baseline, with their interval; ``-`` where no seed has both."""
    paired = differences(runs, arm, baseline, last, bits) if baseline in runs and arm != baseline else []
    if not paired:
        return "-"
    low, high = interval(paired)
    return f"{100 * np.mean(paired):+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


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


def row(runs: Runs, arm: str, last: int) -> str:
    results = list(runs[arm].values())
    ended = [e for r in results for e in r["evaluations"][-last:]]
    low, high = interval([often(r, "right", last) for r in results])
    cells = [
        ARMS[arm],
        str(len(results)),
        f"{np.mean([e['accuracy'] for e in ended]):.1%} ({low:.1%} to {high:.1%})",
        difference(runs, arm, BASELINE, last),
        *([difference(runs, arm, WHITENED, last)] if WHITENED in runs else []),
        f"{np.mean([e['validity'] for e in ended]):.1%}",
        share(ended, _share_of_both),
        *_by_steps(runs, arm, last),
        f"{np.mean([e['key_step_match'] for e in ended]):.1%}",
        median_rollouts(runs, arm, last),
        answer_share(results),
        f"{np.mean([r['minutes'] for r in results]):.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _noted(runs: Runs) -> bool:
    """Whether every run noted which right answers have every key step; the first study did not."""
    return all(
        "right_by_its_steps" in e for by in runs.values() for r in by.values() for e in r["evaluations"]
    )


def _by_steps(runs: Runs, arm: str, last: int) -> list[str]:
    if not _noted(runs):
        return []
    ended = [e for result in runs[arm].values() for e in result["evaluations"][-last:]]
    return [share(ended, _right_by_its_steps), difference(runs, arm, BASELINE, last, "by_steps")]


def table(runs: Runs, last: int) -> str:
    start = [r["evaluations"][0] for r in runs[BASELINE].values()]
    means = {m: np.mean([e[m] for e in start]) for m in ("accuracy", "validity", "key_step_match")}
    against = ["points against GRPO (paired)", *(["against it whitened"] if WHITENED in runs else [])]
    names = ["arm", "seeds", "accuracy (95% interval)", *against, "valid", "right and valid"]
    by_steps = [share(start, _right_by_its_steps), "-"] if _noted(runs) else []
    names += ["right, every key step found", "points against GRPO"] if by_steps else []
    names += ["key steps", "rollouts to GRPO's accuracy (seeds that reach it)", "answer's share", "minutes"]
    warmed_up = ["warmed up", str(len(start)), f"{means['accuracy']:.1%}", *("-" for _ in against)]
    warmed_up += [f"{means['validity']:.1%}", share(start, _share_of_both), *by_steps]
    warmed_up += [f"{means['key_step_match']:.1%}", "-", "-", "-"]
    head = ["| " + " | ".join(cells) + " |" for cells in (names, warmed_up)]
    head.insert(1, "|" + "---|" * len(names))
    return "\n".join([*head, *(row(runs, arm, last) for arm in runs)])


def draw(runs: Runs, path: Path) -> None:
    """Draw the means over seeds of what the held-out images showed, by rollouts."""
    titles: dict[str, Callable[[dict[str, Any]], float | None]] = {
        "right": itemgetter("accuracy"),
        "valid": itemgetter("validity"),
        "right and valid": _share_of_both,
    }
    if _noted(runs):
        titles["right, every key step found"] = _right_by_its_steps
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
