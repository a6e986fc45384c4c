"""Sum up one run of the ablation from its traces, in a few kB: curves, evaluations, settings, cost.

Needs examples/digits on the path, as run.sh has it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from provenance import provenance

from verl_stepgrpo.replay.replay import replay
from verl_stepgrpo.replay.variants import Variant
from verl_stepgrpo.traces.files import read_trace, steps_of

BITS = ("right", "valid", "by_steps")
"""What an evaluation has of each response; of all but the last two evaluations of a run it is not kept."""


def measures(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the means of what a run is compared by, of the components of responses.

    Validity is what StepRVR asks for, whether it is paid or not.
    """
    return {
        "accuracy": float(np.mean([c["acc"] for c in parts])),
        "validity": float(np.mean([c["complete"] * c["ordered"] for c in parts])),
        "key_step_match": float(np.mean([c["key_step_match"] for c in parts])),
    }


def evaluation(step: int, parts: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return what a validation showed, with ``BITS`` of each response, a character an image.

    They are whether it is right, whether it is valid, and whether it is right and has every key step: a right answer
    can come of steps that are not, as the sum of digits that are read in another order.
    """
    valid = [c["complete"] * c["ordered"] for c in parts]
    by_steps = [c["acc"] * (c["key_step_match"] == 1) for c in parts]
    return {
        "step": step,
        **measures(parts),
        "right_and_valid": float(np.mean([c["acc"] * v for c, v in zip(parts, valid, strict=True)])),
        "right_by_its_steps": float(np.mean(by_steps)),
        "right": _characters([c["acc"] for c in parts]),
        "valid": _characters(valid),
        "by_steps": _characters(by_steps),
    }


def _characters(of_responses: Sequence[float]) -> str:
    return "".join(str(int(one)) for one in of_responses)


def kept(evaluations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return evaluations as results have them: of all but the last two the means alone."""
    means = [{k: v for k, v in one.items() if k not in BITS} for one in evaluations[:-2]]
    return [*means, *evaluations[-2:]]


def training(
    step: int, parts: Sequence[Mapping[str, float]], advantages: Sequence[float]
) -> dict[str, float]:
    """Return what a training step's responses were like, and how much their first advantages differ."""
    spread = float(np.std(advantages))
    return {"step": step, "rollouts": len(parts), **measures(parts), "advantage_std": spread}


def evaluations_of(trace: Path) -> list[dict[str, Any]]:
    found = []
    for path in steps_of(trace, "val"):
        rows = sorted(read_trace(path), key=lambda row: row.index)
        found.append(evaluation(rows[0].step, [row.components for row in rows]))
    return kept(found)


def curve_of(trace: Path) -> list[dict[str, float]]:
    found = []
    for path in steps_of(trace, "train"):
        rows = read_trace(path)
        advantages = [row.credit.first for row in rows if row.credit is not None]
        found.append(training(rows[0].step, [row.components for row in rows], advantages))
    return found


def fingerprint(checkpoint: Path) -> str:
    """Return a digest of the warmed-up weights: arms of a seed are paired where theirs is the same."""
    digest = hashlib.sha256()
    for path in sorted((checkpoint / "huggingface").glob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trace", type=Path, required=True)
    parser.add_argument("--warm-up", type=Path, required=True, help="checkpoint that the run began with")
    parser.add_argument("--arm", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--overrides", required=True, help="what the arm adds to the common command")
    parser.add_argument("--seconds", type=float, required=True, help="wall time of the run")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    result = {
        "arm": args.arm,
        "seed": args.seed,
        "overrides": args.overrides,
        "warm_up": fingerprint(args.warm_up),
        "evaluations": evaluations_of(args.trace),
        "curve": curve_of(args.trace),
        "shares": replay(args.trace, [Variant()]).summaries[0].shares,
        "minutes": round(args.seconds / 60, 2),
        **provenance(),
    }
    text = json.dumps(result, indent=1)
    args.out.write_text(text + "\n")
    last = result["evaluations"][-1]
    print(
        f"{args.arm}, seed {args.seed}: accuracy {last['accuracy']:.1%}, validity {last['validity']:.1%}, {args.out}"
    )


if __name__ == "__main__":
    main()
