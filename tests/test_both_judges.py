"""What a sentence denies or doubts counts neither as an answer nor as a key step: both judges say the same."""

from __future__ import annotations

import pytest

from verl_stepgrpo import compute_score

STATED = [
    "{}.",
    "So {}.",
    "Clearly, {}.",
    "There is no doubt that {}.",
]
NOT_STATED = [
    "Perhaps {}.",
    "Maybe {}.",
    "I guess {}.",
    "I doubt that {}.",
    "It is unlikely that {}.",
    "It is false that {}.",
    "Nobody says {}.",
    "Someone denies that {}.",
    "Unless {}.",
    "{}. That is wrong.",
    "{}. That is impossible.",
    "{}, which is impossible.",
]
VERBS = [
    "could be",
    "may be",
    "might be",
    "are not",
    "are never",
    "cannot be",
    "are hardly",
    "are nearly",
    "are almost",
    "are more than",
    "are fewer than",
    "are at least",
]
CASES = [
    *((frame, said, True) for frame in STATED for said in ("there are 3 children", "the area is 24")),
    *((frame, said, False) for frame in NOT_STATED for said in ("there are 3 children", "the area is 24")),
    *((f"There {verb} 3 children.", "", False) for verb in VERBS),
    ("There are 3 children. Actually, there are 4.", "", False),
    ("The area is 24. Actually, it is 25.", "", False),
]


@pytest.mark.parametrize(("frame", "said", "counts"), CASES)
def test_an_answer_and_a_key_step_are_stated_alike(frame: str, said: str, counts: bool) -> None:
    sentence = frame.format(said)
    sentence = sentence[0].upper() + sentence[1:]
    gold, key_step = ("3", "3 children") if "3" in sentence else ("24", "area is 24")
    response = f"### Step 1:\n{sentence}\n### The final answer is: {sentence}"
    found = compute_score("x", response, gold, {"key_steps": [key_step]})
    assert (found["acc"], found["key_step_match"]) == (float(counts), float(counts))
