"""The file of an evaluation's responses: find what an earlier run left in it, and put it in order.

Nothing is written where nothing has to change, and never in place: what was answered was paid for.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from verl_stepgrpo.errors import DataError
from verl_stepgrpo.files import SetAside, json_line, open_lines, open_whole, read_lines
from verl_stepgrpo.rewards import score_response
from verl_stepgrpo.settings import RewardSettings
from verl_stepgrpo.traces.files import read_trace, write_rows
from verl_stepgrpo.traces.rows import TraceRow, judgement_of, parse_row

RESPONSES, SET_ASIDE = "responses.jsonl", "set_aside.jsonl"

QUESTION = ("index", "id", "data_source", "ground_truth", "prompt", "response")
"""What a row says beside what was judged."""


def settle(path: Path, samples: int, set_aside: Callable[[SetAside], None] = lambda line: None) -> set[str]:
    """Return the questions that have all their responses, and leave these alone in the file, in their order.

    A killed run leaves a torn line and a question without some of its ``samples``. A line that cannot be read goes to
    ``set_aside.jsonl`` in the same folder and is handed to ``set_aside``.

    Raises:
        DataError: A line is whole, and of no trace that this version reads.
    """
    if not path.exists():
        return set()
    with open_lines(path):
        pass  # what a killed run left of a line is cut
    aside: list[SetAside] = []
    found = list(_located(path, aside.append))
    starts: dict[tuple[int, int], int] = {}
    for question, session, start in found:
        starts.setdefault((question, session), start)
    sessions = Counter(question for question, _ in starts)
    whole = [place for place in sorted(starts) if sessions[place[0]] == samples]
    kept = [starts[place] for place in whole]
    if aside or kept != [start for *_, start in found]:
        _keep_aside(path, aside)
        _keep(path, kept)
    for line in aside:
        set_aside(line)
    return {str(question) for question, _ in whole}


def judge_again(path: Path, reward: RewardSettings) -> None:
    """Judge anew the responses over which math-verify failed: what it could not be asked then, it may be asked now."""
    rows = read_trace(path) if path.exists() else []
    if any(map(_is_unjudged, rows)):
        with open_whole(path) as file:
            write_rows(file, (_judged_again(row, reward) if _is_unjudged(row) else row for row in rows))


def _is_unjudged(row: TraceRow) -> bool:
    return row.components.get("verifier_failed", 0.0) > 0


def _judged_again(row: TraceRow, reward: RewardSettings) -> TraceRow:
    scored = score_response(row.response or "", row.ground_truth or "", row.wordings, reward)
    question = {key: getattr(row, key) for key in QUESTION}
    return TraceRow.of(
        judgement_of(scored, reward, **question), step=row.step, uid=row.uid, session=row.session
    )


def _located(path: Path, set_aside: Callable[[SetAside], None]) -> Iterator[tuple[int, int, int]]:
    """Yield the question, the session and the start in the file of each response."""
    end = 0

    def located(line: bytes) -> tuple[int, bytes]:
        nonlocal end
        end += len(line)
        json_line(line)
        return end - len(line), line

    for start, line in read_lines(path, located, set_aside=set_aside):
        try:
            row = parse_row(line)
            yield int(row.uid), row.session, start
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
