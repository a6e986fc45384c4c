"""How well answers that models wrote are judged, by pairs of reference and answer with a label of others.

Each line of the file is a pair: ``source``, ``gold`` (the reference), ``final`` (the answer) and ``correct`` (the
label). ``benchmarks/judging.py --answers FILE`` prints the table; the file is not part of this repository.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

INTRODUCTION = """## Answers that models wrote

{n:,} pairs of a reference and an answer, by source. The answers are of models, the labels of the sources: MathVista's
published results (extractions, and the last sentence of the response), MATH-V's published outputs, GPT-4o's outputs on
MMMU-Pro, the samples that Qwen2.5-Math publishes on MATH, OpenAI's solutions to GSM8K, and the assertions of eleven
test suites of other judges. Where a source's label differed from this judge or from math-verify it was looked at, and
corrected by hand where it was plainly wrong (a missing answer counted as right, a unit on one side as wrong); errors of
a source with which the judge happens to agree are still in. Some sources were made: the options of real questions, of
which another one is wrong and the right one is right in any usual dress, references in another spelling, references of
other questions, and the coefficient alone where the reference is a monomial.

The pairs are drawn from 66,000; those on which an earlier version of this judge erred are over-represented, so that on
all of them the agreement is higher. They were looked at while the rules were mended, so that this table is not blind.

Each cell is the agreement in percent with its 95% interval (Wilson's), and behind it how many were wrongly accepted and
wrongly refused. math-verify sees the answer as it stands and as one TeX expression, and either counts; a substring is a
reference that stands in the answer in any case.
"""

Judge = Callable[[Mapping[str, str]], bool]


class Pair(NamedTuple):
    """A reference, an answer to it, and whether the source calls it right."""

    source: str
    gold: str
    final: str
    correct: bool


def load(path: Path) -> list[Pair]:
    """Return the pairs of a file.

    Raises:
        ValueError: A line is not a pair.
    """
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        row = json.loads(line)
        if not isinstance(row, dict) or not isinstance(row.get("correct"), bool):
            raise ValueError(
                f"{path}, line {number}: expected source, gold, final and correct (true or false)"
            )
        pairs.append(Pair(str(row["source"]), str(row["gold"]), str(row["final"]), row["correct"]))
    return pairs


def wilson(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's interval of a share, in [0, 1]; all of it where there is nothing."""
    if not n:
        return 0.0, 1.0
    share, spread = right / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def cell(verdicts: Iterable[tuple[bool, bool]]) -> str:
    """Return agreement, interval, wrongly accepted and wrongly refused of pairs of (verdict, label)."""
    pairs = list(verdicts)
    accepted = sum(verdict and not label for verdict, label in pairs)
    refused = sum(label and not verdict for verdict, label in pairs)
    right = len(pairs) - accepted - refused
    low, high = wilson(right, len(pairs))
    share = right / len(pairs) if pairs else 0.0
    return f"{100 * share:.1f} [{100 * low:.1f}, {100 * high:.1f}] ({accepted}, {refused})"


def table(pairs: list[Pair], judges: Mapping[str, Judge]) -> str:
    """Return the Markdown table: a row for each source, and one for all."""
    verdicts = {name: [judge(pair._asdict()) for pair in pairs] for name, judge in judges.items()}
    lines = [f"| source | n (right) | {' | '.join(judges)} |", "|---" * (2 + len(judges)) + "|"]
    sources = {source: [] for source in sorted({pair.source for pair in pairs})} | {"**all**": []}
    for i, pair in enumerate(pairs):
        sources[pair.source].append(i)
        sources["**all**"].append(i)
    for source, members in sources.items():
        cells = (cell((verdicts[name][i], pairs[i].correct) for i in members) for name in judges)
        right = sum(pairs[i].correct for i in members)
        lines.append(f"| {source} | {len(members)} ({right}) | {' | '.join(cells)} |")
    return "\n".join(lines)


def is_substring(pair: Mapping[str, str]) -> bool:
    """Whether the reference stands in the answer, whatever the case."""
    return pair["gold"].strip().casefold() in pair["final"].casefold()


CHOICES = """
### Choices of the question

No pair has the choices of its question. In {n} a letter with its text is the reference, and another letter with another
text the answer: two choices of one real question, of which these answers were made. `with` has both choices, as where a
prompt lists them.

| reference and answer | right | agreement with | without |
|---|---|---|---|"""
_CHOICE = re.compile(r"\(([A-J])\) (.+)", re.DOTALL)
_MADE = (
    ("a letter, its text", "{a}", "{text_a}", True),
    ("a letter, the text of another", "{a}", "{text_b}", False),
    ("a letter, it with the text of another", "{a}", "({a}) {text_b}", False),
    ("a text, its letter", "{text_a}", "({a})", True),
    ("a text, the letter of another", "{text_a}", "({b})", False),
    ("a text, it with the letter of another", "{text_a}", "({b}) {text_a}", False),
)


def choices_table(pairs: Iterable[Pair], judge: Callable[[str, str, Mapping[str, str]], bool]) -> str:
    """Return the section about choices; ``judge`` gets the answer, the reference and the choices."""
    both = [
        (_CHOICE.fullmatch(p.gold.strip()), _CHOICE.fullmatch(p.final.strip()))
        for p in pairs
        if not p.correct
    ]
    known = [(one.groups(), other.groups()) for one, other in both if one and other and one[1] != other[1]]
    lines = [CHOICES.format(n=len(known))]
    for name, gold, answer, is_right in _MADE:
        cells = []
        for has_choices in (True, False):
            verdicts = []
            for (a, text_a), (b, text_b) in known:
                made = {"a": a, "text_a": text_a, "b": b, "text_b": text_b}
                choices = {a: text_a, b: text_b} if has_choices else {}
                verdicts.append((judge(answer.format(**made), gold.format(**made), choices), is_right))
            cells.append(cell(verdicts))
        lines.append(f"| {name} | {'yes' if is_right else 'no'} | {' | '.join(cells)} |")
    return "\n".join(lines)
