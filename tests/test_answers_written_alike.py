"""An expression as an answer meets itself in any spelling, and never another one's value."""

from __future__ import annotations

import random
import re

import pytest
from test_written_alike import Tree, expression, in_tex, plain, value

from verl_stepgrpo.judging.answers.judge import judge_answer

TREES = 150


def is_answer(tree: Tree) -> bool:
    """Whether it may be one: no number alone, nothing divided by 0, and no chain that may be a date, "1 / 9 / 14"."""
    if tree[0] in "nv~" or re.search(r"\d / \d+ / \d", plain(tree)):
        return False
    try:
        value(tree)
    except ZeroDivisionError:
        return False
    return True


def has_root(tree: Tree) -> bool:
    """Whether a root stands in it, of which ``value`` gives no true one."""
    return "√" in plain(tree)


@pytest.mark.parametrize("seed", range(2))
def test_an_answer_meets_itself_in_any_spelling_and_no_other_value(seed: int) -> None:
    rng = random.Random(seed)
    trees = [tree for tree in (expression(rng, rng.randint(1, 3)) for _ in range(TREES)) if is_answer(tree)]
    assert len(trees) > TREES // 2
    for tree, other in zip(trees, [*trees[1:], trees[0]], strict=True):
        written, spelled = plain(tree), in_tex(tree, rng)
        for answer, gold in ((spelled, written), (written, spelled), (f"${spelled}$", spelled)):
            verdict = judge_answer(answer, gold)
            # What would be too much work is refused, whatever it is.
            assert verdict.correct or "too much work" in verdict.reason, (answer, gold, verdict)
        if not (has_root(tree) or has_root(other)) and value(tree) != value(other):
            assert not judge_answer(spelled, plain(other)).correct, (spelled, plain(other))
