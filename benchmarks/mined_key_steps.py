"""How well key steps that are mined from a few responses are those that a reference solution has.

Source: ``example_model_solutions.jsonl`` of OpenAI's grade-school-math repository (``real_key_steps.py`` says what it
is): of each of GSM8K's test problems the solutions of four models, each labelled right or wrong, and a reference whose
calculations are annotated. Key steps are mined from the four, with all annotations taken out, as
``verl-stepgrpo key-steps --from`` mines them; the annotated calculations of the reference are what should come out.
The file is not part of this repository.

    python benchmarks/mined_key_steps.py example_model_solutions.jsonl
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from real_key_steps import MODELS, equations, response_of, shares, stripped

from verl_stepgrpo.data.key_steps.mining import Mined, Response, mine
from verl_stepgrpo.data.key_steps.rules import as_step
from verl_stepgrpo.judging.formats import FORMATS
from verl_stepgrpo.judging.key_steps.match import shown
from verl_stepgrpo.judging.key_steps.reference import KeyStep
from verl_stepgrpo.settings import RewardSettings

THRESHOLD = RewardSettings.match_threshold


class Problem(NamedTuple):
    """A problem with its responses, and the calculations of its reference."""

    question: str
    reference: str
    answer: str
    wanted: list[KeyStep]
    responses: list[Response]

    @property
    def n_right(self) -> int:
        return sum(response.is_right for response in self.responses)


def problems(path: Path) -> Iterator[Problem]:
    """Yield the problems of the file."""
    for line in path.read_text().splitlines():
        row = json.loads(line)
        responses = []
        for model in MODELS:
            text = response_of(row[model]["solution"])
            sections = FORMATS["mulberry"].sections(text)
            responses.append(Response(text, sections, bool(row[model]["is_correct"])))
        reference = row["ground_truth"]
        wanted = list(dict.fromkeys((equation.key_step,) for equation in equations(reference)))
        answer = reference.rpartition("A:")[2].strip()
        yield Problem(row["question"], stripped(reference), answer, wanted, responses)


def measure(path: Path) -> Counter[str]:
    """Return counts of problems, of wanted calculations, and of mined key steps."""
    counts: Counter[str] = Counter()
    for problem in problems(path):
        counts["problems"] += 1
        if problem.n_right < 2:
            continue
        mined = mine(problem.question, problem.answer, problem.responses)
        counts["with two right"] += 1
        counts["with mined"] += bool(mined)
        counts.update(_of_mined(problem, mined))
        counts.update(_of_wanted(problem, mined))
    return counts


def _of_mined(problem: Problem, mined: list[Mined]) -> Counter[str]:
    """Of the mined equations, how many stand in the reference."""
    own = [one.wordings for one in mined if "=" in one.wordings[0]]
    return Counter(mined=len(own), stands=sum(shown(as_step(problem.reference), own, threshold=THRESHOLD)))


def _of_wanted(problem: Problem, mined: list[Mined]) -> Counter[str]:
    """Of the reference's calculations, how many were mined, of all and of those that two right responses have."""
    own, counts = [one.wordings for one in mined], Counter(wanted=len(problem.wanted))
    for key_step in problem.wanted:
        is_mined = any(shown(as_step(key_step[0]), own, threshold=THRESHOLD))
        in_right = sum(
            one.is_right and shown(one.sections, [key_step], threshold=THRESHOLD)[0]
            for one in problem.responses
        )
        counts["wanted, mined"] += is_mined
        counts["there"] += in_right >= 2
        counts["there, mined"] += is_mined and in_right >= 2
    return counts


def table(counts: Counter[str]) -> str:
    rows = (
        ("problems with two right solutions that get key steps", "with mined", "with two right"),
        ("mined equations that the reference has", "stands", "mined"),
        ("the reference's calculations that are mined", "wanted, mined", "wanted"),
        ("of those that two right solutions show", "there, mined", "there"),
    )
    return "\n".join(shares((name, counts[k], counts[n]) for name, k, n in rows))


if __name__ == "__main__":
    print(table(measure(Path(sys.argv[1]))))
