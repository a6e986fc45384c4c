"""How well key steps that are equations are found in solutions that models wrote, by the solutions' own annotations.

Source: ``example_model_solutions.jsonl`` of OpenAI's grade-school-math repository, solutions of four models to GSM8K's
test problems. Each calculation in them is annotated, ``<<48/2=24>>``: by the reference's authors, and by the models,
which were trained to do so. A key step is an annotated equation of the reference; the annotations are taken out of a
solution before it is searched, and what they say was computed is the truth: the same equation, the same with its
operands in another order, or none of both.

``benchmarks/judging.py --gsm8k FILE`` prints the table; the file is not part of this repository.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from verl_stepgrpo.judging.key_steps.match import match_key_steps
from verl_stepgrpo.judging.sections import parse_sections
from verl_stepgrpo.settings import RewardSettings

MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
SAME, COMMUTED, ABSENT, STATED = "same", "commuted", "absent", "stated"
ANNOTATION = re.compile(r"<<([^<>]*)>>")
_MONEY = str.maketrans("", "", " $%,")


class Equation(NamedTuple):
    """An annotated calculation: the expression and the value as they are written."""

    expression: str
    value: str

    @property
    def key_step(self) -> str:
        """As one would write it: "48 / 2 = 24"."""
        return re.sub(r"([*+/-])", r" \1 ", self.expression) + f" = {self.value}"


class Question(NamedTuple):
    """One solution with the key steps of its problem, and for each of them what the annotations say."""

    response: str
    gold: str
    key_steps: tuple[str, ...]
    truths: tuple[str, ...]


def equations(solution: str) -> list[Equation]:
    """Return the annotated calculations of a solution."""
    found = (annotation.rpartition("=") for annotation in ANNOTATION.findall(solution))
    return [Equation(_plain(left), _plain(right)) for left, _, right in found if left and right]


def questions(path: Path) -> Iterator[Question]:
    """Yield every model's solution to every problem whose reference has a calculation."""
    for line in path.read_text().splitlines():
        row = json.loads(line)
        wanted = list(dict.fromkeys(equations(row["ground_truth"])))
        gold = row["ground_truth"].rpartition("A:")[2].strip()
        for model in MODELS if wanted else ():
            solution = row[model]["solution"]
            yield Question(
                response_of(solution),
                gold,
                tuple(equation.key_step for equation in wanted),
                tuple(_truths(wanted, _split(solution)[0])),
            )


def stripped(text: str) -> str:
    """Return a solution without its annotations."""
    return ANNOTATION.sub("", text)


def _split(solution: str) -> tuple[str, str]:
    body, _, final = solution.rpartition("\nA:")
    return (body, final) if body else (solution, "")


def response_of(solution: str) -> str:
    """Return a model's solution in the paper's format, a line a step, without its annotations."""
    body, final = _split(solution)
    steps = enumerate(stripped(body).split("\n"), start=1)
    text = "\n".join(f"### Step {i}:\n{step}" for i, step in steps)
    return (
        f"### Image Description:\nNone.\n### Rationales:\nCompute.\n### Let's think step by step.\n{text}"
        f"\n### The final answer is: {final.strip()}"
    )


def _truths(wanted: Iterable[Equation], body: str) -> Iterator[str]:
    mine = equations(body)
    written = {(e.expression, _number(e.value)) for e in mine}
    computed = {(in_any_order(e.expression), _number(e.value)) for e in mine}
    plain = _plain(re.sub(r"(?<=[\d)])\s*[x×]\s*(?=[$\d(])", "*", ANNOTATION.sub("", body)))
    for equation in wanted:
        value = _number(equation.value)
        if (equation.expression, value) in written:
            yield SAME
        elif (in_any_order(equation.expression), value) in computed:
            yield COMMUTED
        else:
            yield STATED if f"{equation.expression}={equation.value}" in plain else ABSENT


def _plain(text: str) -> str:
    """Return text without blanks and signs of money, each number in one spelling."""

    def number(match: re.Match[str]) -> str:
        value = float(match.group())
        return str(int(value)) if value.is_integer() else repr(value)

    return re.sub(r"\d+\.?\d*|\.\d+", number, text.translate(_MONEY))


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def in_any_order(expression: str) -> str:
    """Return one spelling for all orders of an expression's terms and factors, brackets of the same value aside."""
    try:
        return _ordered(ast.parse(expression, mode="eval").body)
    except (SyntaxError, ValueError):
        return expression


def _ordered(node: ast.expr) -> str:
    for low, high in ((ast.Add, ast.Sub), (ast.Mult, ast.Div)):
        if isinstance(node, ast.BinOp) and isinstance(node.op, (low, high)):
            parts = Counter(_operands(node, low, high, inverse=False))
            return f"({low.__name__} {sorted(parts.items())})"
    return ast.unparse(node)


def _operands(node: ast.expr, low: type, high: type, *, inverse: bool) -> Iterator[tuple[str, bool]]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, (low, high)):
        yield from _operands(node.left, low, high, inverse=inverse)
        yield from _operands(node.right, low, high, inverse=inverse != isinstance(node.op, high))
    else:
        yield _ordered(node), inverse


def measure(path: Path) -> tuple[Counter, int]:
    """Return how many key steps of each truth were found and not, as (truth, found), and of how many solutions."""
    counts: Counter = Counter()
    n = 0
    for question in questions(path):
        n += 1
        wordings = [(key_step,) for key_step in question.key_steps]
        sections = parse_sections(question.response)
        matches = match_key_steps(sections, wordings, threshold=RewardSettings().match_threshold)
        counts.update((truth, m.matched) for truth, m in zip(question.truths, matches, strict=True))
    return counts, n


def wilson(k: int, n: int) -> tuple[float, float]:
    """Return the 95% interval of a share, by Wilson's score."""
    if not n:
        return 0.0, 1.0
    z, share = 1.96, k / n
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)


INTRODUCTION = """## Key steps in solutions that models wrote

Solutions of four models to GSM8K's test problems, `example_model_solutions.jsonl` of OpenAI's grade-school-math
repository: {n:,} of them, to {problems:,} problems. A key step is a calculation that the authors of the reference
solution annotated (`<<48/2=24>>`). What a model computed is said by its own annotations, which it was trained to
write; they are taken out before the solution is searched. So all labels are the source's:
nobody of this project labelled a case. The problems of this table were looked at while the rules were written.

"Another order" is the same calculation but for the order of terms and factors and for brackets that keep the value.
"""


def shares(rows: Iterable[tuple[str, int, int]]) -> list[str]:
    """Return the lines of a table of shares with their intervals; a row: what of it, how many have it, of how many."""
    lines = ["| | of | share | 95% interval |", "|---|---|---|---|"]
    for name, k, n in rows:
        low, high = wilson(k, n)
        lines.append(
            f"| {name} | {n:,} | {100 * k / max(1, n):.1f}% | {100 * low:.1f} to {100 * high:.1f}% |"
        )
    return lines


def table(path: Path) -> str:
    """Return the section of the page: recall of the same and of commuted equations, and precision."""
    counts, n = measure(path)
    right = counts[SAME, True] + counts[COMMUTED, True]
    rows = (
        ("the same calculation is found", counts[SAME, True], counts[SAME, True] + counts[SAME, False]),
        (
            "in another order it is found",
            counts[COMMUTED, True],
            counts[COMMUTED, True] + counts[COMMUTED, False],
        ),
        ("what is found was computed, by annotation", right, right + counts[ABSENT, True]),
    )
    lines = [
        INTRODUCTION.format(n=n, problems=n // len(MODELS)),
        *shares(rows),
    ]
    lines.append(
        f"\n{counts[STATED, True]} more that were found stand in so many characters, without an annotation.\n"
    )
    lines.append(REST)
    return "\n".join(lines)


REST = """What is not found: a number that is said as a measure ("4 dozen eggs * 12", "5 quarters"), an annotation of
something that the text does not say, a result with a percent sign that the key step does not have, and a second key
step with the same calculation that stands there once. What is found without an annotation of it: the same value with a
percent written as a decimal (`50 * 20%` for `0.2 * 50`), or a calculation that the model wrote and did not annotate.
"""
