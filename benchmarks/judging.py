"""Agreement of the judgements with real answers and with the labelled set in ``tests/data``, beside other ways.

    python benchmarks/judging.py --answers PAIRS.jsonl --gsm8k SOLUTIONS.jsonl > benchmarks/JUDGING.md

Without the files the labelled set alone; ``real_key_steps.py`` and ``real_answers.py`` say what they hold.

Beside ours: math-verify alone, the rules of the authors' code (``mode=reference``), and rapidfuzz's
``partial_ratio`` alone, with the threshold that agrees best with this very set.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import real_answers
import real_equations
import real_key_steps
from rapidfuzz import fuzz

from verl_stepgrpo import compute_score
from verl_stepgrpo.judging import authors_rules as reference
from verl_stepgrpo.judging.answers import symbolic
from verl_stepgrpo.judging.answers.judge import judge_answer
from verl_stepgrpo.judging.answers.symbolic import Equality
from verl_stepgrpo.judging.formats import FORMATS
from verl_stepgrpo.judging.key_steps.match import match_key_steps
from verl_stepgrpo.judging.sections import parse_sections
from verl_stepgrpo.settings import RewardSettings

DATA = Path(__file__).parent.parent / "tests" / "data"
RESPONSE = """### Image Description:
A picture.
### Rationales:
A reason.
### Let's think step by step.
### Step 1:
{step}
### The final answer is: {answer}"""
HEAD = """# How well answers, key steps and formats are judged

Made with `python benchmarks/judging.py --answers PAIRS.jsonl --gsm8k SOLUTIONS.jsonl > benchmarks/JUDGING.md`
({versions}).
"""
LABELLED = """## The labelled set

Agreement with the labelled set in `tests/data`, written for this purpose. In each kind about half of the cases are
to be refused, and those are hard: one digit off, another sign, order, unit or bracket, a hedge, a denial. Cases that
one could argue about were left out. The development set was looked at while the rules were written; the withheld one
was written from a description of the task alone. Its misses have been looked at since, so that it is blind no longer.
Cases that stand in both count as development. `tests/data/attacks.jsonl` holds, besides, what was found by attacking
the rules; a test has it refused.

The columns: `ours` is `mode=paper`, `reference` is `mode=reference`, the rules of the authors' code.
Each cell is the agreement in percent, and behind it how many cases were wrongly accepted and wrongly refused.
math-verify sees the answer as it stands and as one TeX expression, and either counts; `partial_ratio` has the
threshold that agrees best with this very set.
"""

NOTATION = """Agreement in percent, behind it in square brackets its 95% interval and in round ones how many were
wrongly accepted and wrongly refused."""

Judge = Callable[[dict], bool]


@dataclass(frozen=True)
class Task:
    """One of the judgements: its labelled cases, the label, and the ways to judge them by name."""

    title: str
    file: str
    label: str
    judges: dict[str, Judge]


@dataclass(frozen=True)
class Agreement:
    """How a judge agrees with labels: cases, wrongly accepted ones, wrongly refused ones."""

    n: int
    accepted: int
    refused: int

    @property
    def share(self) -> float:
        return 1 - (self.accepted + self.refused) / self.n if self.n else 0.0

    def __str__(self) -> str:
        return f"{100 * self.share:.1f} ({self.accepted}, {self.refused})"


def load(file: str) -> list[dict]:
    return [json.loads(line) for line in (DATA / file).read_text().splitlines()]


def agreement(verdicts: Iterable[tuple[bool, bool]]) -> Agreement:
    """Return the agreement of pairs of (verdict, label)."""
    pairs = list(verdicts)
    accepted = sum(verdict and not label for verdict, label in pairs)
    refused = sum(label and not verdict for verdict, label in pairs)
    return Agreement(len(pairs), accepted, refused)


def judges_answer(case: dict) -> bool:
    return judge_answer(case["answer"], case["gold"]).correct


def matches_key_step(case: dict) -> bool:
    sections = parse_sections(RESPONSE.format(step=_inside(case["step"]), answer="x"))
    threshold = RewardSettings().match_threshold
    return match_key_steps(sections, [tuple(case["key_step"])], threshold=threshold)[0].matched


def _inside(step: str) -> str:
    """Return a step whose own headers do not open sections."""
    return step.replace("###", "##")


def _math_verify(case: dict) -> bool:
    """Whether math-verify accepts the answer as it stands or as one TeX expression, whichever is kinder."""
    spellings = (case["answer"], f"${case['answer']}$")
    return any(symbolic.verify_plainly(text, case["gold"]) is Equality.EQUAL for text in spellings)


def _reference_answer(case: dict) -> bool:
    response = RESPONSE.format(step="So we have it.", answer=case["answer"])
    return reference.judge_answer(response, case["gold"]).correct


def _reference_key_step(case: dict) -> bool:
    response = RESPONSE.format(step=_inside(case["step"]), answer="x")
    extra = {"key_steps": [case["key_step"]]}
    return compute_score("judging", response, "y", extra, mode="reference")["key_step_match"] == 1.0


def _reference_format(case: dict) -> bool:
    return compute_score("judging", case["response"], "y", mode="reference")["step_rvr"] == 1.0


def _format(case: dict) -> bool:
    sections = parse_sections(case["response"])
    mulberry = FORMATS["mulberry"]
    return not mulberry.missing(sections, needs_description=True) and not mulberry.disorder(sections)


def _partial_ratio(cases: list[dict], label: str, texts: Callable[[dict], tuple[list[str], str]]) -> Judge:
    """Return the judge "similar by at least t", with the t that agrees best with ``cases``."""

    def similarity(case: dict) -> float:
        wanted, given = texts(case)
        return max(fuzz.partial_ratio(text.casefold(), given.casefold()) for text in wanted)

    scores = [(similarity(case), case[label]) for case in cases]
    best = max(range(1, 101), key=lambda t: agreement((s >= t, wanted) for s, wanted in scores).share)
    return lambda case: similarity(case) >= best


def tasks() -> list[Task]:
    answers, key_steps = load("answers.jsonl"), load("key_steps.jsonl")
    return [
        Task(
            "Answers",
            "answers.jsonl",
            "right",
            {
                "ours": judges_answer,
                "math-verify": _math_verify,
                "reference": _reference_answer,
                "partial_ratio": _partial_ratio(answers, "right", lambda c: ([c["gold"]], c["answer"])),
            },
        ),
        Task(
            "Key steps",
            "key_steps.jsonl",
            "found",
            {
                "ours": matches_key_step,
                "reference (substring)": _reference_key_step,
                "partial_ratio": _partial_ratio(key_steps, "found", lambda c: (c["key_step"], c["step"])),
            },
        ),
        Task(
            "Validity (complete and ordered)",
            "validity.jsonl",
            "valid",
            {"ours": _format, "reference": _reference_format},
        ),
    ]


def cases_of(task: Task) -> list[dict]:
    """Return the labelled cases; of the format, the label is whether it is complete and ordered."""
    cases = load(task.file)
    for case in cases:
        if "complete" in case:
            case["valid"] = case["complete"] and case["ordered"]
    return cases


def groups(cases: list[dict]) -> dict[str, list[int]]:
    """Return the indices of the cases of each kind and of each set."""
    members: dict[str, list[int]] = {}
    for i, case in enumerate(cases):
        kind = case["kind"] if case["set"] == "development" else f"{case['set']}: {case['kind']}"
        members.setdefault(kind, []).append(i)
    for name in dict.fromkeys(case["set"] for case in cases):
        members[f"**all {name}**"] = [i for i, case in enumerate(cases) if case["set"] == name]
    return members


def table(task: Task) -> str:
    """Return the Markdown table of one task: a row for each kind and for each set."""
    cases = cases_of(task)
    verdicts = {name: [judge(case) for case in cases] for name, judge in task.judges.items()}
    lines = [f"| kind | n | {' | '.join(task.judges)} |", "|---" * (2 + len(task.judges)) + "|"]
    for kind, members in groups(cases).items():
        cells = (
            str(agreement((verdicts[name][i], bool(cases[i][task.label])) for i in members))
            for name in task.judges
        )
        lines.append(f"| {kind} | {len(members)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def real_table(path: Path) -> str:
    """Return the section about answers that models wrote."""
    pairs = real_answers.load(path)
    judges: dict[str, Judge] = {
        "ours": lambda pair: judge_answer(pair["final"], pair["gold"]).correct,
        "math-verify": lambda pair: _math_verify({"answer": pair["final"], "gold": pair["gold"]}),
        "substring": real_answers.is_substring,
    }
    choices = real_answers.choices_table(
        pairs, lambda a, gold, own: judge_answer(a, gold, choices=own).correct
    )
    table_ = real_answers.table(pairs, judges)
    return f"{real_answers.INTRODUCTION.format(n=len(pairs))}\n{table_}\n{choices}\n"


def in_short(sections: Iterable[str]) -> str:
    """Return what the tables of the page come to: of each section's first one the row of all, or else every row."""
    lines = []
    for section in sections:
        title = section.splitlines()[0].lstrip("# ")
        start = section.index("\n| ") + 1
        names, _, *rows = (
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in itertools.takewhile(lambda line: line.startswith("|"), section[start:].splitlines())
        )
        if names[2] == "share":
            said = [f"{what} {share} ({interval}) of {n}" for what, n, share, interval in rows]
        else:
            said = [
                f"{what.strip('*')} {n}: "
                + ", ".join(f"{name} {cell}" for name, cell in zip(names[2:], cells, strict=True))
                for what, n, *cells in rows
                if what.startswith("**all")
            ]
        lines.append(f"- {title}: {'; '.join(said)}")
    return "\n".join(["## In short", "", NOTATION, "", *lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--answers", type=Path, help="a JSONL file of pairs that models answered")
    parser.add_argument("--gsm8k", type=Path, help="example_model_solutions.jsonl of grade-school-math")
    arguments = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("math-verify", "rapidfuzz"))
    real = [real_table(arguments.answers)] if arguments.answers else []
    if arguments.gsm8k:
        real += [real_key_steps.table(arguments.gsm8k), real_equations.table(arguments.gsm8k)]
    labelled = [f"### {task.title}\n\n{table(task)}\n" for task in tasks()]
    print(HEAD.format(versions=versions))
    print("\n".join([in_short([*real, *labelled]), *real, LABELLED, *labelled]))


if __name__ == "__main__":
    main()
