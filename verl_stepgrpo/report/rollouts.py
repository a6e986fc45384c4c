"""What the browser of rollouts shows of each group, as plain JSON values. Pure.

Texts are cut here where a highlight begins and ends: offsets of traces count Unicode code points, those of a browser
UTF-16 units, and pieces need neither.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from verl_stepgrpo.curves import GroupState, group_states
from verl_stepgrpo.judging import formats
from verl_stepgrpo.judging.key_steps.explain import explain_missed
from verl_stepgrpo.judging.key_steps.match import KeyStepMatch
from verl_stepgrpo.judging.sections import Kind, Section
from verl_stepgrpo.report.collect import rollout_of
from verl_stepgrpo.rewards import sections_of
from verl_stepgrpo.settings import RewardSettings
from verl_stepgrpo.traces.header import SettingsByStep
from verl_stepgrpo.traces.rows import Faults, TraceRow

Span = tuple[int, int, int]
"""Start, end and number of a key step that was found."""


def group_view(
    rows: Sequence[TraceRow], images: Sequence[int] = (), settings: SettingsByStep | None = None
) -> dict[str, Any]:
    """Return a group, of at least one row, with all its responses.

    Args:
        rows: Its rows.
        images: The numbers of its images.
        settings: Those of the run; None where they are not known.
    """
    rollouts = [rollout_of(row) for row in rows]
    first, facts = rows[0], rollouts[0]
    (state,) = group_states(r.outcome for r in rollouts).values()
    return {
        "split": facts.key.split,
        "step": facts.key.step,
        "uid": facts.key.uid,
        "source": facts.question[0],
        "index": None if facts.question[1] is None else str(facts.question[1]),
        "prompt": first.prompt or "",
        "truth": first.ground_truth or "",
        "images": list(images),
        "outcome": _outcome(state),
        "isEqual": state.is_equal and state.size > 1,
        "isMoving": state.is_moving_all_wrong,
        "keySteps": [list(wordings) for wordings in (*first.wordings, *first.visual_wordings)],
        "rollouts": [rollout_view(row, settings) for row in rows],
    }


def rollout_view(row: TraceRow, settings: SettingsByStep | None = None) -> dict[str, Any]:
    """Return one response: its numbers, the decision on its answer, its key steps, and its text in sections."""
    response, credit = row.response or "", row.credit
    scored_by = _settings(row, settings)
    sections = sections_of(response, scored_by)
    spans: list[Span] = [
        (match.start, match.end, number)
        for number, match in enumerate((*row.key_steps, *row.visual))
        if match.matched and match.start is not None and match.end is not None
    ]
    return {
        "session": row.session,
        "components": dict(row.defined),
        "advantage": None if credit is None else credit.first,
        "answer": vars(row.answer),
        "lastAnswer": _another_answer(row),
        "found": [_found(match) for match in (*row.key_steps, *row.visual)],
        "misses": [*_misses(row, sections, scored_by), *(_missed_visual(match) for match in row.visual)],
        "falseEquations": [
            {"step": one.step, "text": response[one.start : one.end], "values": [one.left, one.right]}
            for one in row.false_equations or ()
        ],
        "faults": vars(row.faults or _guessed_faults(response, row.components)),
        "sections": sections_view(
            response, sections, spans, credit.spans if credit and credit.is_by_step else ()
        ),
    }


def _another_answer(row: TraceRow) -> dict[str, str] | None:
    """Return the decision on the last answer given, where it is not the one that was paid."""
    last = row.last_answer
    is_same = last == row.answer and row.components.get("acc_flexible") == row.components["acc"]
    return None if last is None or is_same or last.layer == "none" else vars(last)


def _guessed_faults(response: str, components: Mapping[str, float]) -> Faults:
    """Return why a response was judged incomplete or out of order, where its trace does not say so.

    That is schema 1, where a run asked for an image description if nothing else is missing, and the rules of
    ``mode=reference``, which may be others.
    """
    mulberry = formats.find("mulberry")
    sections = mulberry.sections(response)
    missing = [] if components["complete"] else mulberry.missing(sections, needs_description=False)
    if not components["complete"] and not missing:
        missing = mulberry.missing(sections, needs_description=True)
    return Faults(tuple(missing), () if components["ordered"] else tuple(mulberry.disorder(sections)))


def sections_view(
    response: str, sections: Sequence[Section], spans: Sequence[Span], credit: Sequence[float | None] = ()
) -> list[dict[str, Any]]:
    """Return a response in its sections, which together hold all of its text.

    Args:
        response: What the model wrote.
        sections: Its sections.
        spans: The key steps that were found.
        credit: The advantage of each step and of what follows the steps; or nothing.
    """
    n_steps = sum(section.kind is Kind.STEP for section in sections)
    # Of another length they are not this text's, as in a session with several outputs.
    credits = list(credit) if len(credit) == n_steps + 1 else [None] * (n_steps + 1)
    begin = sections[0].start if sections else len(response)
    views = [_view("", "", pieces(response, 0, begin, spans), None)] if response[:begin].strip() else []
    steps_before = 0
    for section in sections:
        is_step, is_final = section.kind is Kind.STEP, section.kind is Kind.FINAL_ANSWER
        own = credits[steps_before] if is_step else credits[-1] if is_final else None
        views.append(_section_view(response, section, spans, own))
        steps_before += is_step
    return views


def _section_view(
    response: str, section: Section, spans: Sequence[Span], credit: float | None
) -> dict[str, Any]:
    header = response[section.start : section.body_start].strip()
    return _view(section.kind.value, header, pieces(response, section.body_start, section.end, spans), credit)


def _view(kind: str, header: str, own: list[list[Any]], credit: float | None) -> dict[str, Any]:
    return {"kind": kind, "header": header, "pieces": own, "credit": credit}


def pieces(text: str, start: int, end: int, spans: Iterable[Span]) -> list[list[Any]]:
    """Return ``text[start:end]`` in pieces: ``[text]``, or ``[text, numbers]`` where key steps were found.

    Stretches of the reference mode may overlap; a piece then has several numbers.
    """
    own = [(max(s, start), min(e, end), number) for s, e, number in spans if s < end and e > start]
    bounds = sorted({start, end, *(bound for s, e, _ in own for bound in (s, e))})
    made: list[list[Any]] = []
    for a, b in itertools.pairwise(bounds):
        numbers = [number for s, e, number in own if s <= a and b <= e]
        made.append([text[a:b], numbers] if numbers else [text[a:b]])
    return made


def _outcome(state: GroupState) -> str:
    return "wrong" if state.is_all_wrong else "right" if state.right == state.size else "mixed"


def _settings(row: TraceRow, settings: SettingsByStep | None) -> RewardSettings:
    """Return what a row was scored by, as far as it is known."""
    if settings is not None and settings.is_known:
        return dataclasses.replace(settings.at(row.step).reward, format=row.format)
    # Without faults it is a row of ``mode=reference``, which reads drafts too, or of a schema that knew no formats.
    return RewardSettings(format=row.format, draft="judged" if row.faults is None else "free")


def _misses(row: TraceRow, sections: Sequence[Section], settings: RewardSettings) -> list[str | None]:
    """Return why each key step was missed, by the rules of today; None where it was found, or by other rules."""
    if row.faults is None or not row.response:
        return [None] * len(row.key_steps)
    misses = explain_missed(
        sections,
        row.key_steps,
        threshold=settings.match_threshold,
        left_out={one.step for one in row.false_equations or ()} if settings.true_steps else (),
    )
    return [None if miss is None else str(miss) for miss in misses]


def _missed_visual(match: KeyStepMatch) -> str | None:
    return None if match.matched else "not in the image description"


def _found(match: KeyStepMatch) -> dict[str, Any] | None:
    """Return how a key step was found; None where it was missed."""
    if not match.matched:
        return None
    return {"wording": match.wording, "similarity": match.similarity, "step": match.step}
