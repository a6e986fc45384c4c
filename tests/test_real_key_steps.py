"""The measure of key steps in real solutions says of a solution what its annotations say."""

from __future__ import annotations

import json
from pathlib import Path

import real_key_steps

SOLUTIONS = {
    "6b_finetuning": "He has 2 pens * $3/pen = $<<2*3=6>>6.\nA: 6",
    "6b_verification": "That is 3 * 2 = <<3*2=6>>6.\nA: 6",
    "175b_finetuning": "That is 3 + 2 = <<3+2=5>>5.\nA: 5",
    "175b_verification": "He pays 2*3=6 for them.\nA: 6",
}


def test_key_steps_of_real_solutions_are_measured_by_their_annotations(tmp_path: Path) -> None:
    row = {"ground_truth": "It is 2*3=<<2*3=6>>6.\nA: 6"} | {m: {"solution": s} for m, s in SOLUTIONS.items()}
    path = tmp_path / "solutions.jsonl"
    path.write_text(json.dumps(row))
    truths = [question.truths for question in real_key_steps.questions(path)]
    assert truths == [("same",), ("commuted",), ("absent",), ("stated",)]
    counts, n = real_key_steps.measure(path)
    assert n == 4
    assert counts == {("same", True): 1, ("commuted", True): 1, ("absent", False): 1, ("stated", True): 1}
    assert "| the same calculation is found | 1 | 100.0% |" in real_key_steps.table(path)


def test_brackets_and_order_that_keep_the_value_are_one_calculation() -> None:
    same = ("12*1/3", "1/3*12", "12/3*1", "(1*12)/3")
    assert len({real_key_steps.in_any_order(text) for text in same}) == 1
    other = ("12-3-1", "12-(3-1)", "12/3/1", "12/(3/1)", "3-12", "12*3")
    assert len({real_key_steps.in_any_order(text) for text in other}) == len(other)
