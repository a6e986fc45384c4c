"""The worked example of docs/advantages.md: four responses to one prompt, and what each of their tokens gets.

    python examples/advantages.py                                  # the tables
    python examples/advantages.py --picture docs/advantages.svg    # and the picture

A token is a word here, so that it can be read; in a run the ends of the steps are found in the model's own tokens.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen is needed
import matplotlib.pyplot as plt
import torch

from verl_stepgrpo import ScoredResponse, advantage, score_response

GOLD = "2"
KEY_STEPS = [["6 apples"], ["3 children"], ["6/3 = 2"]]
HEAD = "### Image Description:\nApples and children.\n### Rationales:\nShare them out.\n### Let's think step by step.\n"
GROUP = {
    "A": "### Step 1:\nThere are 6 apples.\n### Step 2:\nThere are 3 children.\n### Step 3:\n6/3 = 2\n"
    "### The final answer is: 2",
    "B": "### Step 1:\nThere are 6 apples.\n### Step 2:\nThere are 2 children.\n### Step 3:\n6/2 = 3\n"
    "### The final answer is: 3",
    "C": "### Step 1:\nIt looks like 2 each.\n### The final answer is: 2",
    "D": "### Step 1:\nThere are 9 apples.\n### Step 2:\nThere are 3 children.\n### Step 3:\n9/3 = 3\n"
    "### The final answer is: 3",
}


def word_ends(response: str, scored: ScoredResponse) -> list[int]:
    """Return the number of words up to the end of each step."""
    return [len(response[: step.end].split()) for step in scored.steps]


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def draw(per_token: dict[str, list[list[float]]], path: Path) -> None:
    """Draw each token in the colour of its advantage, one panel a credit mode."""
    largest = max(abs(v) for rows in per_token.values() for row in rows for v in row)
    width = max(len(row) for rows in per_token.values() for row in rows)
    figure, axes = plt.subplots(len(per_token), 1, figsize=(9, 4.4), layout="constrained", sharex=True)
    for axis, (mode, rows) in zip(axes, per_token.items(), strict=True):
        grid = [row + [float("nan")] * (width - len(row)) for row in rows]
        image = axis.imshow(grid, cmap="RdBu", vmin=-2 * largest, vmax=2 * largest, aspect="auto")
        for y, row in enumerate(rows):
            starts = [0, *(x for x in range(1, len(row)) if row[x] != row[x - 1])]
            for x in starts:
                axis.text(x - 0.2, y, f"{row[x]:+.3f}", va="center", fontsize=7)
                axis.plot([x - 0.5] * 2, [y - 0.5, y + 0.5], color="black", linewidth=0.6)
        axis.set(title=f"credit={mode}", yticks=range(len(rows)), yticklabels=list(GROUP))
    axes[-1].set_xlabel("token (here: word) of the response")
    figure.colorbar(image, ax=axes, label="advantage")
    plt.rcParams["svg.hashsalt"] = "verl-stepgrpo"
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()

    responses = [HEAD + body for body in GROUP.values()]
    scored = [score_response(response, GOLD, KEY_STEPS) for response in responses]
    n_steps = max(len(s.steps) for s in scored)
    paid = [[*s.step_shares, *[0.0] * (n_steps - len(s.steps))] for s in scored]
    rewards_B = torch.tensor([s.total for s in scored], dtype=torch.float64)
    groups_B = torch.zeros(len(scored), dtype=torch.int64)
    whole_B = advantage.group_relative(rewards_B, groups_B)
    step_BS = advantage.by_step(rewards_B, torch.tensor(paid, dtype=torch.float64), groups_B)

    rows = [
        [
            name,
            str(int(s.answer.correct)),
            f"{s.key_step_share:.3f}",
            f"{s.step_rvr:.0f}",
            f"{s.total:.3f}",
            f"{a:+.3f}",
        ]
        for name, s, a in zip(GROUP, scored, whole_B.tolist(), strict=True)
    ]
    print(table(["response", "answer", "key steps", "StepRVR", "reward", "advantage"], rows), end="\n\n")
    steps = [f"step {i + 1}" for i in range(n_steps)]
    to_go = [
        [name, *(f"{sum(p[s:]):.3f}" for s in range(n_steps))] for name, p in zip(GROUP, paid, strict=True)
    ]
    means = [f"{sum(sum(p[s:]) for p in paid) / len(paid):.3f}" for s in range(n_steps)]
    print(table(["K(s)", *steps], [*to_go, ["mean", *means]]), end="\n\n")
    credit = []
    for name, s, values in zip(GROUP, scored, step_BS.tolist(), strict=True):
        own = [f"{v:+.3f}" for v in values[: len(s.steps)]] + [""] * (n_steps - len(s.steps))
        credit.append([name, *own, f"{values[-1]:+.3f}"])
    print(table(["advantage", *steps, "answer"], credit))

    if args.picture:
        lengths = [len(response.split()) for response in responses]
        mask_BT = torch.tensor([[int(t < n) for t in range(max(lengths))] for n in lengths])
        ends = [word_ends(response, s) for response, s in zip(responses, scored, strict=True)]
        tokens = {
            "trajectory": advantage.to_tokens(whole_B, mask_BT).tolist(),
            "step": advantage.steps_to_tokens(step_BS, ends, mask_BT).tolist(),
        }
        cut = {mode: [row[:n] for row, n in zip(rows, lengths, strict=True)] for mode, rows in tokens.items()}
        draw(cut, args.picture)


if __name__ == "__main__":
    main()
