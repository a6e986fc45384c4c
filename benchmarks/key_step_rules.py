"""What ``key-steps --rules`` takes from a step, measured on the labelled key steps, and whether it keeps the rules.

    python benchmarks/key_step_rules.py

The labelled set (tests/data/key_steps.jsonl) has key steps that people would name, each with a step in which it stands.
Recall is the share of them that one of the taken key steps is equivalent to. The wording rules are those of R1-VL's own
prompt for the extraction: each stands in the step as the text has it, a phrase that is no equation has at most three
words ("is" before a number is its "=", and none of them), none comes twice.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from verl_stepgrpo.data.key_steps.rules import MAX_WORDS, rule_key_steps
from verl_stepgrpo.judging.key_steps.match import match_key_steps
from verl_stepgrpo.judging.reading.reader import tokenize
from verl_stepgrpo.judging.sections import parse_sections
from verl_stepgrpo.settings import RewardSettings

LABELLED = Path(__file__).resolve().parents[1] / "tests" / "data" / "key_steps.jsonl"
MIN_LABELLED = 20
"""Smaller kinds are counted together."""
RELATIONS = frozenset("=<>≤≥≠≈∥⊥≅")


def says_the_same(taken: str, labelled: list[str]) -> bool:
    sections = parse_sections(f"### Step 1:\n{taken}.")
    return match_key_steps(sections, [tuple(labelled)], threshold=RewardSettings.match_threshold)[0].matched


def is_equation(text: str) -> bool:
    return any(token.text in RELATIONS for token in tokenize(text))


def n_words(text: str) -> int:
    return len([word for word in text.split() if word not in ("is", "equals", "=")])


def main() -> None:
    cases = [json.loads(line) for line in LABELLED.open(encoding="utf-8")]
    found: dict[str, list[bool]] = defaultdict(list)
    n_taken = broken = 0
    for case in (case for case in cases if case["found"]):
        solution = f"### Step 1:\n{case['step']}"
        taken = [wordings[0] for wordings in rule_key_steps(solution)]
        found[case["kind"]].append(any(says_the_same(text, case["key_step"]) for text in taken))
        n_taken += len(taken)
        too_long = [text for text in taken if n_words(text) > MAX_WORDS and not is_equation(text)]
        elsewhere = [text for text in taken if text not in solution]
        broken += len(too_long) + len(elsewhere) + len(taken) - len(set(taken))

    print("| kind | labelled | found by rules |\n|---|---|---|")
    large = {kind: hits for kind, hits in found.items() if len(hits) >= MIN_LABELLED}
    large["others"] = [hit for kind, hits in found.items() if kind not in large for hit in hits]
    for kind, hits in large.items():
        print(f"| {kind} | {len(hits)} | {sum(hits) / len(hits):.0%} |")
    everything = [hit for hits in found.values() for hit in hits]
    print(f"| all | {len(everything)} | {sum(everything) / len(everything):.0%} |")
    print(
        f"\n{n_taken} key steps taken, {n_taken / len(everything):.1f} a step; {broken} break a wording rule."
    )


if __name__ == "__main__":
    main()
