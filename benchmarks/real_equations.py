"""How well the equations in steps are told true from false, on solutions that models wrote, by their own annotations.

The source is that of ``real_key_steps``: what a model computed stands behind the text that says it, ``48/2 =
<<48/2=24>>24``. The annotations are taken out before a solution is read. Where one is true, the equation in the text
at its place is; with another digit in its result, which is the one thing that is made here, it is false.

``benchmarks/judging.py --gsm8k FILE`` prints the table; the file is not part of this repository.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from real_key_steps import ANNOTATION, MODELS, shares

from verl_stepgrpo.judging.answers import arithmetic
from verl_stepgrpo.judging.key_steps.calculations import Equation, equations_of
from verl_stepgrpo.judging.sections import parse_sections

_RESULT = re.compile(r"\s*[$€£]?(\d[\d,]*(?:\.\d+)?|\.\d+)")
_MONEY = str.maketrans("", "", "$,")


class Place(NamedTuple):
    """Where the result of a true annotated calculation stands in a response."""

    start: int
    end: int


class Solution(NamedTuple):
    """A solution as a response in steps, without annotations, and where the results of the true ones are."""

    response: str
    results: tuple[Place, ...]


def solutions(path: Path) -> Iterator[Solution]:
    """Yield every model's solution to every problem."""
    for line in path.read_text().splitlines():
        row = json.loads(line)
        for model in MODELS:
            solution = row[model]["solution"]
            body, _, _ = solution.rpartition("\nA:")
            yield _solution(body or solution)


def _solution(body: str) -> Solution:
    response, places = "", []
    for i, line in enumerate(body.split("\n"), start=1):
        response += f"### Step {i}:\n"
        behind = 0
        for annotation in ANNOTATION.finditer(line):
            response += line[behind : annotation.start()]
            behind = annotation.end()
            result = _RESULT.match(line, behind)
            if result and _is_true(annotation[1], result[1]):
                start = len(response) + result.start(1) - behind
                places.append(Place(start, start + len(result[1])))
        response += line[behind:] + "\n"
    return Solution(response, tuple(places))


def _is_true(annotation: str, result: str) -> bool:
    """Whether an annotation is true, and the text behind it has its result."""
    left, _, right = annotation.translate(_MONEY).rpartition("=")
    value, stated = arithmetic.value(left), arithmetic.value(right)
    return None not in (value, stated) and value == stated == Fraction(result.replace(",", ""))


def read(response: str) -> tuple[Equation, ...]:
    """Return the equations of a response's steps."""
    return equations_of(parse_sections(response))


def at(place: Place, equations: Sequence[Equation]) -> Equation | None:
    """Return the equation whose end is the result at ``place``; None where none is read there."""
    return next((e for e in equations if e.start < place.start and e.end == place.end), None)


def with_another_digit(solution: Solution, place: Place) -> str:
    """Return the response with the first digit of the result at ``place`` raised by one; 9 is lowered."""
    first = next(i for i in range(place.start, place.end) if solution.response[i].isdigit())
    digit = int(solution.response[first])
    other = digit + 1 if digit < 9 else 8
    return solution.response[:first] + str(other) + solution.response[first + 1 :]


class Counts(NamedTuple):
    """What was counted.

    Attributes:
        calculations: Annotated calculations that are true.
        read: Those whose equation is read in the text.
        called_false: Those that are called false there.
        changed_called_false: Those that are called false with another digit in the result.
        equations: All equations that are read, a repeated one counted once a response.
        false: The text of each that is called false, with its line.
    """

    calculations: int
    read: int
    called_false: int
    changed_called_false: int
    equations: int
    false: tuple[str, ...]


def counts(found: Iterator[Solution]) -> Counts:
    """Return the counts over all solutions, and the text of each equation that is called false, once."""
    n = seen = wrong = caught = equations = 0
    false: dict[str, None] = {}
    for solution in found:
        own = read(solution.response)
        equations += len({e.key for e in own})
        false |= dict.fromkeys(_line(solution.response, e) for e in own if not e.is_true)
        for place in solution.results:
            here = at(place, own)
            n += 1
            seen += here is not None
            wrong += here is not None and not here.is_true
            changed = at(place, read(with_another_digit(solution, place)))
            caught += changed is not None and not changed.is_true
    return Counts(n, seen, wrong, caught, equations, tuple(false))


def _line(response: str, equation: Equation) -> str:
    start, end = response.rfind("\n", 0, equation.start) + 1, response.find("\n", equation.end)
    return f"{response[equation.start : equation.end]}  [{response[start:end]}]"


INTRODUCTION = """## Equations in steps that models wrote

The same solutions. Each annotated calculation that is true by itself and whose result the text repeats is looked up in
the text; "with another digit" raises the first digit of the result by one (9 is lowered), which is the only thing that
was made here. What is read in all of them: {equations:,} equations, a repeated one counted once a solution.
"""

READ = """The {n} different equations that are called false were read by one reader of this project: all are false as
they stand, 17 of them since a difference stands the wrong way round (`62 toys - 110 toys = 48`). They were read while
the rules were written. Where the annotation is true and the text is called false, the model did not write what it
computed (`1,500,000 + $2,000,000 = $1,700,000`).
"""


def table(path: Path) -> str:
    """Return the section of the page: how many are read, called false wrongly, and called false rightly."""
    found = counts(solutions(path))
    rows = (
        ("an annotated calculation is read in the text", found.read, found.calculations),
        ("one that is read is called false", found.called_false, found.read),
        (
            "with another digit in its result it is called false",
            found.changed_called_false,
            found.calculations,
        ),
    )
    lines = [INTRODUCTION.format(equations=found.equations), *shares(rows)]
    return "\n".join([*lines, "", READ.format(n=len({line.partition("  [")[0] for line in found.false}))])
