"""Which words of the answers' rules decide a labelled answer: each is taken out in turn, and a verdict has to change.

What changes none is listed in ``unpinned_answers.json``, which may only shrink: most of the words stand there still.
``RECORD=1`` writes a table's list, but never a longer one. The key steps' words are looked at in ``test_dead_words``.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import judging
import pytest
from taken_out import forget, replace

from verl_stepgrpo.judging import answers, reading
from verl_stepgrpo.judging.answers.judge import judge_answer

RECORD = Path(__file__).parent / "unpinned_answers.json"
WORD = re.compile(r"(?<=[|(:])([a-z]{2,}(?: [a-z]+)*)(?=[|)])")
"""A word, or a few, that is one alternative of a pattern."""
OF_WORDS = ("in_words", "equations", "numbers", "normalise", "prose", "statement", "choices")
"""Modules whose sets of words are looked at; of all modules of answers the patterns are."""


class Table(NamedTuple):
    """A pattern with alternatives, or a set of words, and the words."""

    name: str
    value: re.Pattern[str] | frozenset[str]
    words: tuple[str, ...]

    def without(self, word: str) -> re.Pattern[str] | frozenset[str]:
        if isinstance(self.value, frozenset):
            return self.value - {word}
        less = re.sub(rf"(?<=[|(:]){re.escape(word)}(?=[|)])", r"\\x00", self.value.pattern)
        return re.compile(less, self.value.flags)


def tables() -> Iterator[Table]:
    """Yield each table once, by the first name that it has."""
    seen: set[int] = set()
    for package in (answers, reading):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(found.name)
            for attribute, value in vars(module).items():
                words = _words_of(value, module)
                if words and id(value) not in seen:
                    seen.add(id(value))
                    name = f"{found.name.removeprefix('verl_stepgrpo.judging.')}.{attribute}"
                    yield Table(name, value, words)


def _words_of(value: object, module: ModuleType) -> tuple[str, ...]:
    if isinstance(value, re.Pattern):
        is_of_answers = module.__name__.startswith(answers.__name__)
        return tuple(sorted(set(WORD.findall(value.pattern)))) if is_of_answers else ()
    if isinstance(value, frozenset) and module.__name__.rpartition(".")[2] in OF_WORDS:
        are_words = all(isinstance(one, str) and one.isalpha() and len(one) > 1 for one in value)
        return tuple(sorted(value)) if are_words else ()
    return ()


TABLES = {table.name: table for table in tables()}
WORDS = judging.load("answer_words.jsonl")
"""A case for each word that has one here, in plain English, of what it does."""
CASES = [
    (case["gold"], case["answer"])
    for case in (*judging.load("answers.jsonl"), *judging.load("attacks.jsonl"), *WORDS)
    if "answer" in case
]


def verdicts(chosen: list[int]) -> list[bool]:
    return [judge_answer(answer, gold).correct for gold, answer in (CASES[i] for i in chosen)]


def unpinned(table: Table, baseline: list[bool]) -> Iterator[str]:
    """Yield the words without which every verdict is the same."""
    texts = [f"{gold} {answer}".casefold() for gold, answer in CASES]
    for word in table.words:
        chosen = [i for i, text in enumerate(texts) if word.split()[0] in text]
        with pytest.MonkeyPatch.context() as patch:
            replace(patch, table.value, table.without(word))
            forget()
            if all(now == baseline[i] for i, now in zip(chosen, verdicts(chosen), strict=True)):
                yield word
    forget()


@pytest.fixture(scope="module")
def baseline() -> list[bool]:
    forget()
    return verdicts(list(range(len(CASES))))


@pytest.mark.parametrize("case", WORDS, ids=lambda case: f"{case['gold']} <- {case['answer']}")
def test_a_word_does_what_its_case_says(case: dict) -> None:
    assert judge_answer(case["answer"], case["gold"]).correct is case["right"]


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_no_word_of_answers_is_newly_without_a_case(name: str, baseline: list[bool]) -> None:
    recorded = json.loads(RECORD.read_text())
    now = list(unpinned(TABLES[name], baseline))
    assert not set(now) - set(recorded.get(name, ())), "pin them by a case, or drop them"
    if os.environ.get("RECORD"):
        RECORD.write_text(json.dumps(recorded | {name: now}, indent=1, sort_keys=True) + "\n")


def test_the_list_is_of_the_tables_that_there_are() -> None:
    recorded = json.loads(RECORD.read_text())
    assert set(recorded) == set(TABLES)
    assert all(set(words) <= set(TABLES[name].words) for name, words in recorded.items())
    listed, known = sum(map(len, recorded.values())), sum(len(table.words) for table in TABLES.values())
    assert listed < known
