"""Every row of the rules of matching refuses its example and keeps its neighbour; every word class has a sentence."""

from __future__ import annotations

import re

import pytest

from verl_stepgrpo.judging.key_steps import rules
from verl_stepgrpo.judging.key_steps.rules import RULES, Refusal, Rule
from verl_stepgrpo.judging.reading.lexicon import LEXICON
from verl_stepgrpo.judging.reading.reader import tokenize

KINDS = (rules.WORDS, rules.RELATION, rules.COMPUTATION)


def refusal(example: str, rule: Rule) -> Refusal | None:
    before, stretch, behind = re.fullmatch(r"(.*)\[(.*)\](.*)", example).groups()
    tokens = tokenize(before + stretch + behind)
    inside = [i for i, t in enumerate(tokens) if len(before) <= t.start < len(before + stretch)]
    first, last = inside[0], inside[-1]
    of = next(kind for kind in KINDS if kind in rule.of)
    return (
        rules.begins_earlier(tokens, first, of)
        or rules.ends_later(tokens, last, of)
        or rules.refused(tokens, first, last, of)
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.name}: {rule.refuses}")
def test_a_rule_refuses_its_example(rule: Rule) -> None:
    found = refusal(rule.refuses, rule)
    assert found is not None
    assert found.rule is rule


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.name}: {rule.keeps}")
def test_a_rule_keeps_its_neighbour(rule: Rule) -> None:
    assert refusal(rule.keeps, rule) is None


@pytest.mark.parametrize("name", LEXICON)
def test_a_word_class_has_one_of_its_words_in_its_example(name: str) -> None:
    assert {token.text for token in tokenize(LEXICON[name].example)} & LEXICON[name].words


@pytest.mark.parametrize("name", LEXICON)
def test_a_word_class_is_named_by_a_rule(name: str) -> None:
    patterns = " ".join(f"{rule.pattern} {rule.unless}" for rule in RULES)
    assert name == "REFERRING" or re.search(rf"\b{name}\b", patterns), "no rule asks for it"
