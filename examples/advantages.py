"""The worked example of docs/advantages.md: four responses to one prompt, each given twice, and what their tokens get.

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

from verl_stepgrpo import RunSettings, ScoredResponse, advantage, score_response
from verl_stepgrpo.earned import Earned

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

NONE_RIGHT = {
    "B": GROUP["B"],
    "E": "### Step 1:\nIt looks like 3 each.\n### The final answer is: 3",
}
"""A group without a right answer."""

TIMES = 2
"""How often each was given: what to expect of a state is told by the others that pass through it."""

COMBINES = ("sum", "component", "answer_first")
CREDITS = {
    "step": {"credit": "step"},
    "value": {"credit": "value"},
    "value, value_lambda=0": {"credit": "value", "value_lambda": 0.0},
}


def word_ends(response: str, scored: ScoredResponse) -> list[int]:
    """Return the number of words up to the end of each step."""
    return [len(response[: step.end].split()) for step in scored.steps]


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def advantages(scored: list[ScoredResponse], **node: object) -> torch.Tensor:
    """Return what each response, or each of its steps and its answer, is given under some settings."""
    given = [one for one in scored for _ in range(TIMES)]
    scores, steps = advantage.as_tensors([Earned.by(one) for one in given])
    rewards_B = torch.tensor([one.total for one in given], dtype=torch.float64)
    groups_B = torch.zeros(len(given), dtype=torch.int64)
    settings = RunSettings.from_mapping(node)
    found = advantage.advantages(rewards_B, groups_B, settings, scores=scores, steps=steps)
    return found.values[::TIMES]


def draw(per_token: dict[str, list[list[float]]], path: Path) -> None:
    """Draw each token in the colour of its advantage, one panel a credit mode."""
    largest = max(abs(v) for rows in per_token.values() for row in rows for v in row)
    width = max(len(row) for rows in per_token.values() for row in rows)
    figure, axes = plt.subplots(
        len(per_token), 1, figsize=(9, 2.2 * len(per_token)), layout="constrained", sharex=True
    )
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


def combined_table(scored: list[ScoredResponse]) -> str:
    """What each response is paid, and the advantage that each way to combine makes of that."""
    whole = {combine: advantages(scored, combine=combine).squeeze(1).tolist() for combine in COMBINES}
    rows = [
        [
            name,
            str(int(one.answer.correct)),
            f"{one.key_step_share:.3f}",
            f"{one.step_rvr:.0f}",
            f"{one.total:.3f}",
            *(f"{whole[combine][place]:+.3f}" for combine in COMBINES),
        ]
        for place, (name, one) in enumerate(zip(GROUP, scored, strict=True))
    ]
    return table(["response", "answer", "key steps", "StepRVR", "reward", *COMBINES], rows)


def gated_table() -> str:
    """What a group without a right answer is given, by what ``outcome_gate`` lets through of it."""
    scored = [score_response(HEAD + body, GOLD, KEY_STEPS) for body in NONE_RIGHT.values()]
    nodes = {"sum": {}, "answer_first": {"combine": "answer_first"}}
    nodes |= {f"{name}, outcome_gate=0": node | {"outcome_gate": 0.0} for name, node in nodes.items()}
    whole = {name: advantages(scored, **node).squeeze(1).tolist() for name, node in nodes.items()}
    rows = [
        [name, f"{one.key_step_share:.3f}", *(f"{whole[head][place] + 0.0:+.3f}" for head in nodes)]
        for place, (name, one) in enumerate(zip(NONE_RIGHT, scored, strict=True))
    ]
    return table(["none is right", "key steps", *nodes], rows)


def to_go_table(scored: list[ScoredResponse], n_steps: int) -> str:
    """K(s): what each response is paid for the key steps of step s and later."""
    to_go = [[sum(one.step_shares[s:]) for s in range(n_steps)] for one in scored]
    means = [sum(column) / len(column) for column in zip(*to_go, strict=True)]
    rows = [
        [name, *(f"{v:.3f}" for v in row)]
        for name, row in zip([*GROUP, "mean"], [*to_go, means], strict=True)
    ]
    return table(["K(s)", *(f"step {s + 1}" for s in range(n_steps))], rows)


def credit_table(mode: str, scored: list[ScoredResponse], n_steps: int) -> str:
    """What each step, and the answer after the steps, is given."""
    values_BS = advantages(scored, **CREDITS[mode]).tolist()
    rows = []
    for name, one, values in zip(GROUP, scored, values_BS, strict=True):
        own = [f"{v:+.3f}" for v in values[: len(one.steps)]] + [""] * (n_steps - len(one.steps))
        rows.append([name, *own, f"{values[-1]:+.3f}"])
    return table([f"credit={mode}", *(f"step {s + 1}" for s in range(n_steps)), "answer"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()

    responses = [HEAD + body for body in GROUP.values()]
    scored = [score_response(response, GOLD, KEY_STEPS) for response in responses]
    n_steps = max(len(one.steps) for one in scored)
    tables = [combined_table(scored), gated_table(), to_go_table(scored, n_steps)]
    print("\n\n".join([*tables, *(credit_table(mode, scored, n_steps) for mode in CREDITS)]))

    if args.picture:
        lengths = [len(response.split()) for response in responses]
        mask_BT = torch.tensor([[int(t < n) for t in range(max(lengths))] for n in lengths])
        ends = [word_ends(response, one) for response, one in zip(responses, scored, strict=True)]
        tokens = {"trajectory": advantage.to_tokens(advantages(scored).squeeze(1), mask_BT).tolist()} | {
            mode: advantage.steps_to_tokens(advantages(scored, **node), ends, mask_BT).tolist()
            for mode, node in CREDITS.items()
        }
        draw(
            {mode: [row[:n] for row, n in zip(rows, lengths, strict=True)] for mode, rows in tokens.items()},
            args.picture,
        )


if __name__ == "__main__":
    main()
