"""The file of an evaluation's responses: find what an earlier run left in it, and put it in order.

Nothing is written where nothing has to change, and never in place: what was answered was paid for.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from verl_stepgrpo.errors import DataError
from verl_stepgrpo.files import SetAside, json_line, open_lines, open_whole, read_lines
from verl_stepgrpo.rewards import score_response
from verl_stepgrpo.settings import RewardSettings
from verl_stepgrpo.traces.files import iter_traces, refuse, write_rows
from verl_stepgrpo.traces.rows import TraceRow, judgement_of, parse_row

RESPONSES, SET_ASIDE = "responses.jsonl", "set_aside.jsonl"

QUESTION = ("index", "id", "data_source", "ground_truth", "choices", "prompt", "response")
"""What a row says beside what was judged."""


@dataclass(frozen=True)
class Answered:
    """What the means need of a response; a whole row has its texts too.

    Attributes:
        uid: Its question, the row's place in the data.
        data_source: verl's name of the dataset.
        defined: The components that belong in a mean.
    """

    uid: str
    data_source: str | None
    defined: Mapping[str, float]

    @classmethod
    def of(cls, row: TraceRow) -> Answered:
        """Return what the means need of a row."""
        return cls(row.uid, row.data_source, row.defined)

    @property
    def is_unjudged(self) -> bool:
        """Whether math-verify failed over it."""
        return self.defined.get("verifier_failed", 0.0) > 0


def settle(
    path: Path, samples: int, set_aside: Callable[[SetAside], None] = lambda line: None
) -> list[Answered]:
    """Return the responses to the questions that have all of theirs, and leave these alone in the file, in their order.

    A killed run leaves a torn line and a question without some of its ``samples``. A line that cannot be read goes to
    ``set_aside.jsonl`` in the same folder and is handed to ``set_aside``. The file is read once.

    Raises:
        DataError: A line is whole, and of no trace that this version reads.
    """
    if not path.exists():
        return []
    with open_lines(path):
        pass  # what a killed run left of a line is cut
    aside: list[SetAside] = []
    starts: list[int] = []
    first: dict[tuple[int, int], tuple[int, Answered]] = {}
    for place, start, answered in _located(path, aside.append):
        starts.append(start)
        first.setdefault(place, (start, answered))
    sessions = Counter(question for question, _ in first)
    whole = [first[place] for place in sorted(first) if sessions[place[0]] == samples]
    kept = [start for start, _ in whole]
    if aside or kept != starts:
        _keep_aside(path, aside)
        _keep(path, kept)
    for line in aside:
        set_aside(line)
    return [answered for _, answered in whole]


def judge_again(path: Path, reward: RewardSettings) -> list[Answered]:
    """Judge anew the responses over which math-verify failed: what it could not be asked then, it may be asked now.

    Returns:
        All responses of the file, as they are judged now.
    """
    found = []
    with open_whole(path) as file:
        for row in iter_traces([path], set_aside=refuse):
            if Answered.of(row).is_unjudged:
                row = _judged_again(row, reward)
            found.append(Answered.of(row))
            write_rows(file, [row])
    return found


def _judged_again(row: TraceRow, reward: RewardSettings) -> TraceRow:
    scored = score_response(
        row.response or "",
        row.ground_truth or "",
        row.wordings,
        reward,
        choices=row.choices,
        visual_key_steps=row.visual_wordings,
    )
    question = {key: getattr(row, key) for key in QUESTION}
    return TraceRow.of(
        judgement_of(scored, reward, **question), step=row.step, uid=row.uid, session=row.session
    )


def _located(
    path: Path, set_aside: Callable[[SetAside], None]
) -> Iterator[tuple[tuple[int, int], int, Answered]]:
    """Yield the question and session of each response, its start in the file, and what the means need of it."""
    end = 0

    def located(line: bytes) -> tuple[int, bytes]:
        nonlocal end
        end += len(line)
        json_line(line)
        return end - len(line), line

    for start, line in read_lines(path, located, set_aside=set_aside):
        try:
            row = parse_row(line)
            yield (int(row.uid), row.session), start, Answered.of(row)
        except ValueError as error:
            raise DataError(
                f"{path} cannot be gone on with: a line is of no evaluation that this version reads: {error}. Name "
                "another folder."
            ) from None


def _keep_aside(path: Path, aside: Sequence[SetAside]) -> None:
    reasons = {line.line: line.reason for line in aside}
    with path.open("rb") as lines, open_lines(path.with_name(SET_ASIDE)) as file:
        for number, line in enumerate(lines, start=1):
            if number in reasons:
                text = line.decode(errors="backslashreplace")
                file.write(json.dumps({"line": number, "reason": reasons[number], "text": text}) + "\n")


def _keep(path: Path, starts: Sequence[int]) -> None:
    with path.open("rb") as lines, open_whole(path, "wb") as file:
        for start in starts:
            lines.seek(start)
            file.write(lines.readline())
