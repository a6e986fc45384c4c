"""Which words of the answers' rules decide a labelled answer: each is taken out in turn, and a verdict has to change.

A word of a class that patterns share is taken out of all patterns that are made of it; and each pattern has to need
the class, so that without all of its words a verdict changes, too. What changes none is listed in
``unpinned_answers.json``, which may only shrink. ``RECORD=1`` writes a table's list, but never a longer one. The key
steps' words are looked at in ``test_dead_words``.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import judging
import pytest
from taken_out import forget, in_order, made_anew, replace

from verl_stepgrpo.judging.answers.judge import judge_answer
from verl_stepgrpo.judging.answers.last_answer import judge_last_answer
from verl_stepgrpo.judging.reading import lexicon
from verl_stepgrpo.judging.sections import parse_sections

RECORD = Path(__file__).parent / "unpinned_answers.json"
ROOT = "verl_stepgrpo.judging."
WORD = re.compile(r"(?<=[|(:])([a-z]{2,}(?: [a-z]+)*)(?=[|)])")
"""A word, or a few, that is one alternative of a pattern."""
OF_WORDS = ("in_words", "equations", "numbers", "normalise", "prose", "statement", "choices")
"""Modules whose sets of words are looked at; of all modules of answers the patterns are."""
LISTS = {
    "reading.numbers": ("SMALL_NUMBERS", "TENS", "SCALES"),
    "answers.prose": ("_STATING", "_MEASURES", "_FILLERS"),
}
"""Lists of words that patterns are made of, beside the classes of the lexicon."""
NO_WORD = "\ue001"
"""Stands where a class had its words: no text has it."""

Changes = list[tuple[object, object]]
"""Tables, as they are and as they are to be."""


class Shared(NamedTuple):
    """Words that patterns are made of: a class of the lexicon, or a list of a module."""

    name: str
    words: tuple[str, ...]
    place: tuple[str, str]
    """The name of the module and the attribute under which they stand."""
    key: str = ""
    """That of the class, where classes stand there."""


class Table(NamedTuple):
    """Words, each with what is without it as it would be; a class that a pattern is made of is one word of it."""

    name: str
    words: tuple[str, ...]
    without: Callable[[str], Changes]
    roots: Callable[[str], Collection[str]]
    """What of a word a case has to have to depend on it."""


def shared() -> Iterator[Shared]:
    for attribute in ("LEXICON", "ANSWERS"):
        for name, class_ in getattr(lexicon, attribute).items():
            yield Shared(name, tuple(sorted(class_.words)), (lexicon.__name__, attribute), name)
    for of, lists in LISTS.items():
        for name in lists:
            words = getattr(importlib.import_module(ROOT + of), name)
            yield Shared(name, tuple(sorted(words)), (ROOT + of, name))


def with_only(words: Collection[str], *classes: Shared) -> dict[int, tuple[object, object]]:
    """Return what is made of some classes as it is and as it is with these words only, by the identity of the first."""
    changed: dict[tuple[str, str], object] = {}
    for class_ in classes:
        module, attribute = class_.place
        value = changed.get(class_.place, getattr(sys.modules[module], attribute))
        if class_.key:
            value = value | {class_.key: value[class_.key]._replace(words=frozenset(words))}
        elif isinstance(value, dict):
            value = {word: value.get(word, 0) for word in words}
        else:
            value = list(words)
        changed[class_.place] = value
    return {id(old): (old, new) for old, new in made_anew(changed)}


def tables() -> Iterator[Table]:
    """Yield each table once, by the first name that it has."""
    classes = list(shared())
    without = {class_.name: with_only([NO_WORD], class_) for class_ in classes}
    bare = with_only([NO_WORD], *classes)
    of_answers = {id(value) for _, _, value in _values() if isinstance(value, re.Pattern)}
    for class_ in classes:
        if of_answers & set(without[class_.name]):
            yield _of_class(class_)
    seen: set[int] = set()
    for name, module, value in _values():
        if id(value) in seen:
            continue
        seen.add(id(value))
        own = _words_of(bare[id(value)][1] if id(value) in bare else value, module)
        made_of = {c.name: without[c.name][id(value)][1] for c in classes if id(value) in without[c.name]}
        if own or (made_of and isinstance(value, re.Pattern)):
            yield _of_value(name, value, own, made_of, {c.name: c.words for c in classes})


def _of_class(class_: Shared) -> Table:
    def without(word: str) -> Changes:
        return list(with_only([w for w in class_.words if w != word], class_).values())

    return Table(f"class {class_.name}", class_.words, without, lambda word: [word.split()[0]])


def _of_value(
    name: str,
    value: object,
    own: tuple[str, ...],
    made_of: dict[str, object],
    words: dict[str, tuple[str, ...]],
) -> Table:
    def without(word: str) -> Changes:
        if word in made_of:
            return [(value, made_of[word])]
        if isinstance(value, frozenset):
            return [(value, value - {word})]
        assert isinstance(value, re.Pattern)
        less = re.sub(rf"(?<=[|(:]){re.escape(word)}(?=[|)])", NO_WORD, value.pattern)
        return [(value, re.compile(less, value.flags))]

    used = made_of if isinstance(value, re.Pattern) else {}
    return Table(name, (*used, *own), without, lambda word: words.get(word, [word.split()[0]]))


def _values() -> Iterator[tuple[str, ModuleType, object]]:
    """Yield what the modules have, with its name; first by that of the module that makes it."""
    for name in in_order():
        module = sys.modules[name]
        for attribute, value in vars(module).items():
            if isinstance(value, (re.Pattern, frozenset)):
                yield f"{name.removeprefix(ROOT)}.{attribute}", module, value


def _words_of(value: object, module: ModuleType) -> tuple[str, ...]:
    if isinstance(value, re.Pattern):
        is_of_answers = module.__name__.startswith(f"{ROOT}answers.")
        return tuple(sorted(set(WORD.findall(value.pattern)))) if is_of_answers else ()
    if isinstance(value, frozenset) and module.__name__.rpartition(".")[2] in OF_WORDS:
        are_words = all(isinstance(one, str) and one.isalpha() and len(one) > 1 for one in value)
        return tuple(sorted(value)) if are_words else ()
    return ()


TABLES = {table.name: table for table in tables()}
WORDS = judging.load("answer_words.jsonl")
"""A case for each word that has one here, in plain English, of what it does."""
CASES = [
    case
    for file in ("answers.jsonl", "attacks.jsonl", "last_answers.jsonl", "answer_words.jsonl")
    for case in judging.load(file)
    if "answer" in case or "response" in case
]


def is_right(case: dict) -> bool:
    """Return the verdict on an answer, or on the last answer of a response."""
    if "answer" in case:
        return judge_answer(case["answer"], case["gold"], choices=case.get("choices")).correct
    return judge_last_answer(case["response"], parse_sections(case["response"]), case["gold"]).correct


def unpinned(table: Table, baseline: list[bool]) -> Iterator[str]:
    """Yield the words without which every verdict is the same."""
    texts = [f"{case['gold']} {case.get('response', case.get('answer'))}".casefold() for case in CASES]
    for word in table.words:
        chosen = [i for i, text in enumerate(texts) if any(root in text for root in table.roots(word))]
        with pytest.MonkeyPatch.context() as patch:
            for old, new in table.without(word):
                replace(patch, old, new)
            forget()
            if all(is_right(CASES[i]) == baseline[i] for i in chosen):
                yield word
    forget()


@pytest.fixture(scope="module")
def baseline() -> list[bool]:
    forget()
    found = list(map(is_right, CASES))
    # What math-verify had no time for on a busy machine is asked once more.
    return [
        right or (case.get("right", False) and is_right(case))
        for case, right in zip(CASES, found, strict=True)
    ]


@pytest.mark.parametrize(
    "case", WORDS, ids=lambda case: f"{case['gold']} <- {case.get('answer', 'last answer')}"
)
def test_a_word_does_what_its_case_says(case: dict) -> None:
    assert is_right(case) is case["right"]


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
    assert listed <= known // 100
