"""How well the state before a step tells whether the answer will be right: what ``credit=value`` rests on.

    python benchmarks/states.py examples/digits/out/seed-*/trace

For every response of the training steps and every state behind its first step, the squared error of what the other
responses of its group say of its answer (1 or 0): by the mean of them all, which is what the trajectory's advantage
rests on, and by those that pass through the same state (``advantage.credit.outcome_to_go``). Where no other passes
the state before counts, as there. Lower is better; the ratio is how much of the variance of advantages is left.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch

from verl_stepgrpo.advantage import as_tensors, group_ids
from verl_stepgrpo.advantage.credit import outcome_to_go
from verl_stepgrpo.earned import Earned, steps_found
from verl_stepgrpo.traces.files import read_trace, steps_of
from verl_stepgrpo.traces.rows import TraceRow


def errors(rows: list[TraceRow]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return a - V by the group's others, (B,), and by the state behind each step, (B, S); and its steps, (B,)."""
    earned = [
        Earned(row.components["acc"] > 0, 0.0, 0.0, [0.0] * len(row.steps), steps_found(row.key_steps))
        for row in rows
    ]
    scores, steps = as_tensors(earned)
    groups_B = group_ids([row.uid for row in rows])
    ahead_BS = outcome_to_go(scores.correct_B, groups_B, steps)
    # The credit is scaled so that it starts as the trajectory's; a - V itself is not.
    size_B = torch.bincount(groups_B)[groups_B].double()
    ahead_BS = ahead_BS * (size_B / (size_B - 1).clamp(min=1)).unsqueeze(1)
    return ahead_BS[:, 0], ahead_BS[:, 1:], steps.count_B


def by_step(folders: list[Path]) -> Iterator[tuple[int, int, float, float]]:
    """Yield for each step the responses that have it, and the mean squared errors by the group and by the state."""
    group: dict[int, list[float]] = {}
    state: dict[int, list[float]] = {}
    for path in (path for folder in folders for path in steps_of(folder, "train")):
        mean_B, ahead_BS, count_B = errors(read_trace(path))
        for s in range(ahead_BS.shape[1]):
            has_B = count_B > s
            group.setdefault(s, []).extend(mean_B[has_B].square().tolist())
            state.setdefault(s, []).extend(ahead_BS[has_B, s].square().tolist())
    for s, own in group.items():
        if own:
            yield s + 1, len(own), sum(own) / len(own), sum(state[s]) / len(own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("traces", type=Path, nargs="+", help="folders of traces (trace_dir)")
    args = parser.parse_args()

    print("| state after step | responses | by the group | by the state | ratio |")
    print("|---|---|---|---|---|")
    for step, n, by_group, by_state in by_step(args.traces):
        print(f"| {step} | {n:,} | {by_group:.3f} | {by_state:.3f} | {by_state / by_group:.2f} |")


if __name__ == "__main__":
    main()
