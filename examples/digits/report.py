"""Compare the model before and after RL on the held-out images, from the traces of the run.

Both validations judged the same images with greedy decoding; the rows are paired by ``extra_info.index``.
The exported checkpoint is loaded and has to write what the trained model wrote. Writes ``results.json`` and
``curves.png`` and prints the table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no screen is needed
import matplotlib.pyplot as plt
import numpy as np
import pyarrow.parquet as pq
from greedy import respond
from provenance import provenance

from verl_stepgrpo.evaluation.summary import changes
from verl_stepgrpo.traces.files import read_trace, step_of, steps_of
from verl_stepgrpo.traces.rows import TraceRow

MEASURES = {"accuracy": "acc", "key_step_match": "key_step_match", "validity": "step_rvr"}
"""Name in the results by the component that it is the mean of."""

N_EXPORT_CHECKED = 64
LEAST_EXPORTED = 0.5
"""Least share of those images on which transformers has to write what vLLM wrote: near ties fall either way, of a model
that has learnt little one in five. A vLLM that saw noise for its images left 2 of 64."""


def by_index(path: Path) -> dict[int, TraceRow]:
    """Return the rows of a trace by the index of their dataset row."""
    rows = read_trace(path)
    indexed = {row.index: row for row in rows}
    if len(indexed) != len(rows):
        raise SystemExit(f"{path}: an index stands in several rows; the validation has one response a row")
    return indexed


def summary(rows: list[TraceRow]) -> dict[str, float]:
    means = {name: float(np.mean([r.components[key] for r in rows])) for name, key in MEASURES.items()}
    return {**means, "n": len(rows)}


def paired_difference(before: list[TraceRow], after: list[TraceRow]) -> tuple[float, list[float]]:
    """Return the difference in accuracy and its 95% interval, which ``verl-stepgrpo report`` gives of the same rows."""
    by_image = [{i: [row.defined] for i, row in enumerate(rows)} for rows in (before, after)]
    found = changes(*by_image)["acc"].difference
    # Where all images are alike there is no interval.
    return found.mean, list(found.interval or (found.mean, found.mean))


def draw_curves(trace: Path, path: Path) -> None:
    """Draw the mean of each component of the training responses, step by step."""
    steps = [read_trace(file) for file in steps_of(trace, "train")]
    numbers = [rows[0].step for rows in steps]
    figure, (rewards, shares) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for key, axis in (
        ("score", rewards),
        ("step_rar", rewards),
        ("step_rvr", shares),
        ("acc", shares),
        ("key_step_match", shares),
    ):
        axis.plot(
            numbers, [np.mean([r.components[key] for r in rows]) for rows in steps], marker=".", label=key
        )
    for axis, label in ((rewards, "mean reward"), (shares, "share of responses")):
        axis.set(xlabel="training step", ylabel=label)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.suptitle("Sampled responses during RL")
    figure.savefig(path, dpi=120)


def exported_model_agrees(model_folder: Path, heldout: Path, after: dict[int, TraceRow]) -> tuple[int, int]:
    """Return on how many held-out images the exported checkpoint writes what the trained model wrote."""
    rows = pq.read_table(heldout).slice(0, N_EXPORT_CHECKED).to_pylist()
    responses = respond(model_folder, rows)
    same = sum(
        text == after[row["extra_info"]["index"]].response for row, text in zip(rows, responses, strict=True)
    )
    return same, len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rl-steps", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="wall time of the whole command")
    args = parser.parse_args()

    validations = {step_of(path): path for path in steps_of(args.out / "trace", "val")}
    before_by, after_by = by_index(validations[0]), by_index(validations[args.rl_steps])
    shared = sorted(before_by.keys() & after_by.keys())
    before, after = [before_by[i] for i in shared], [after_by[i] for i in shared]
    difference, interval = paired_difference(before, after)
    draw_curves(args.out / "trace", args.out / "curves.png")
    same, checked = exported_model_agrees(
        args.out / "model-rl", args.out / "data" / "heldout.parquet", after_by
    )

    results = {
        "before": summary(before),
        "after": summary(after),
        "difference": difference,
        "difference_ci95": interval,
        "seed": args.seed,
        "minutes": round(args.seconds / 60, 2),
        "warmup": json.loads((args.out / "warmup" / "stopped.json").read_text()),
        "settings": {"rl_steps": args.rl_steps, "group": "digits_cpu"},
        "exported_model": {"same_responses": same, "n": checked},
        **provenance(),
    }
    (args.out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print_table(results, args.out)
    if same < LEAST_EXPORTED * checked:
        raise SystemExit(
            "The exported model does not write what was judged: vLLM and transformers do not agree on the same "
            "weights and images, so that the table says nothing of the model. See docs/troubleshooting.md, 'When "
            "rollout and actor are apart'."
        )


def print_table(results: dict[str, Any], out: Path) -> None:
    low, high = results["difference_ci95"]
    export = results["exported_model"]
    print(f"\nHeld-out images, greedy decoding (n = {results['before']['n']}, seed {results['seed']})\n")
    print(f"{'':16} {'before RL':>10} {'after RL':>10}")
    for name in MEASURES:
        print(f"{name:16} {results['before'][name]:>10.1%} {results['after'][name]:>10.1%}")
    print(
        f"\naccuracy {results['difference']:+.1%}, 95% interval {low:+.1%} to {high:+.1%} (paired bootstrap)"
    )
    print(
        f"the exported model writes the same response on {export['same_responses']} of {export['n']} images"
    )
    print(f"{results['minutes']:.1f} minutes; {out / 'results.json'}, {out / 'curves.png'}")


if __name__ == "__main__":
    main()
