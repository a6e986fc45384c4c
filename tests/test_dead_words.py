"""No word and no rule of matching without a case: each is taken out in turn, and a labelled verdict has to change.

What changes none is listed in ``unpinned.json``, which may only shrink: ``RECORD=1`` writes a table's list, but never a
longer one. ``slow.sh`` runs it, in less than a minute.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import judging
import pytest
from taken_out import forget, replace
from test_key_steps import FOUND, NOT_FOUND
from test_relations import OTHER, SAME

from verl_stepgrpo.judging.key_steps import rules, runs
from verl_stepgrpo.judging.key_steps.match import match_key_steps
from verl_stepgrpo.judging.reading import formulas, lexicon, phrases
from verl_stepgrpo.judging.sections import parse_sections

RECORD = Path(__file__).parent / "unpinned.json"
TABLES: dict[str, tuple[ModuleType, str]] = {
    "words between operator and number": (runs, "_NO_LEAD"),
    "words of another value": (runs, "_OTHER_VALUE"),
    "words that say equal": (runs, "SAYS_EQUAL"),
    "words that are no variables": (formulas, "_NOT_VARIABLES"),
    "usual units": (formulas, "_USUAL_UNITS"),
    "axes": (formulas, "AXES"),
    "no number behind": (phrases, "_NOT_A_NUMBER_BEHIND"),
    "verbs behind a variable": (phrases, "_VERBS"),
    "function words": (lexicon, "FUNCTION_WORDS"),
}
NAMES = [*(f"class {name}" for name in lexicon.LEXICON), "rules", *TABLES]


def cases() -> list[tuple[tuple[str, ...], str]]:
    """Return every labelled key step with the text of its step."""
    labelled = [
        *judging.load("key_steps.jsonl"),
        *WORDS,
        *(c for c in judging.load("attacks.jsonl") if "step" in c),
    ]
    tables = [*((w, s) for s, w in (*FOUND, *NOT_FOUND)), *SAME, *OTHER]
    return [(tuple(c["key_step"]), c["step"].replace("###", "##")) for c in labelled] + [
        ((w,), s) for w, s in tables
    ]


WORDS = judging.load("words.jsonl")
"""One case for each word, in plain English, of what it does."""
CASES = cases()


def found(case: tuple[tuple[str, ...], str]) -> bool:
    sections = parse_sections(f"### Step 1:\n{case[1]}\n### The final answer is: 0")
    return match_key_steps(sections, [case[0]], threshold=0.8)[0].matched


def entries_of(name: str) -> list[str]:
    if name == "rules":
        return [f"{i}: {rule.name} {rule.refuses}" for i, rule in enumerate(rules.RULES)]
    if name.startswith("class "):
        return sorted(lexicon.LEXICON[name.removeprefix("class ")].words)
    module, attribute = TABLES[name]
    return sorted(getattr(module, attribute))


@contextmanager
def without(name: str, entry: str) -> Iterator[None]:
    """Take one entry out of its table, and out of whatever was made of it."""
    with pytest.MonkeyPatch.context() as patch:
        if name == "rules":
            compiled = [row for i, row in enumerate(rules.COMPILED) if i != int(entry.split(":")[0])]
            _recompile(patch, tuple(compiled))
        elif name.startswith("class "):
            _without_word(patch, name.removeprefix("class "), entry)
        else:
            module, attribute = TABLES[name]
            replace(patch, getattr(module, attribute), getattr(module, attribute) - {entry})
        forget()
        yield
    forget()


def _without_word(patch: pytest.MonkeyPatch, name: str, word: str) -> None:
    words = lexicon.LEXICON[name].words
    less = lexicon.LEXICON[name]._replace(words=words - {word})
    patch.setitem(lexicon.LEXICON, name, less)
    replace(patch, words, less.words)
    compile_ = rules._pattern
    _recompile(
        patch,
        tuple(
            row._replace(
                pattern=compile_(row.rule.pattern),
                unless=tuple(compile_(u) for u in row.rule.unless.split(", ") if u.strip()),
            )
            for row in rules.COMPILED
        ),
    )


def _recompile(patch: pytest.MonkeyPatch, compiled: tuple) -> None:
    patch.setattr(rules, "COMPILED", compiled)
    patch.setattr(rules, "_WITHIN", tuple(row for row in compiled if row.pattern.side == "within"))


def unpinned(name: str, baseline: dict[int, bool]) -> Iterable[str]:
    """Yield the entries of a table without which every verdict is the same."""
    texts = [f"{' '.join(wordings)} {step}".casefold() for wordings, step in CASES]
    for entry in entries_of(name):
        chosen = range(len(CASES))
        if name != "rules":
            chosen = [i for i, text in enumerate(texts) if _root(entry) in text]
        with without(name, entry):
            if all(found(CASES[i]) == baseline[i] for i in chosen):
                yield entry


def _root(word: str) -> str:
    """Return what a text has that is read as the word: "not" may stand as "n't"."""
    return {"not": "t", "-": "", "=": ""}.get(word, word)


@pytest.fixture(scope="module")
def baseline() -> dict[int, bool]:
    return {i: found(case) for i, case in enumerate(CASES)}


@pytest.mark.parametrize("case", WORDS, ids=lambda case: f"{case['key_step'][0]} <- {case['step']}")
def test_a_word_does_what_its_case_says(case: dict) -> None:
    assert judging.matches_key_step(case) is case["found"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_entry_decides_a_case(name: str, baseline: dict[int, bool]) -> None:
    recorded = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    now = list(unpinned(name, baseline))
    more = set(now) - set(recorded.get(name, now))
    assert not more, "pin them by a case, or drop them"
    if os.environ.get("RECORD"):
        recorded[name] = now
        RECORD.write_text(json.dumps(recorded, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def test_nine_in_ten_entries_decide_a_case() -> None:
    recorded = json.loads(RECORD.read_text())
    assert set(recorded) == set(NAMES)
    entries = sum(len(entries_of(name)) for name in NAMES)
    assert sum(len(set(recorded[name]) & set(entries_of(name))) for name in NAMES) <= 0.1 * entries
