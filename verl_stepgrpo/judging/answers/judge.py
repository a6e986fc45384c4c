"""Judge the final answer of a response against the reference answer.

Layers, each sure of what it says, in the order of ``LAYERS``: exact text after normalisation, choices, hedges,
values in another form, numbers with or without a unit, yes/no, words, lists (tuples, intervals, sets), then
math-verify (in a process of its own) for what is left. The verdict names the layer that decided and why. Each
layer is a module, which says what it covers; what only a convention can decide stands in docs/rewards.md.

No torch, no verl. Not covered: conversion between units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from verl_stepgrpo.judging.answers import symbolic
from verl_stepgrpo.judging.answers.choices import by_choice
from verl_stepgrpo.judging.answers.details import by_detail
from verl_stepgrpo.judging.answers.equations import by_symbols, case_matters
from verl_stepgrpo.judging.answers.forms import by_form
from verl_stepgrpo.judging.answers.in_words import by_hedge, by_words, by_yes_no
from verl_stepgrpo.judging.answers.lists import by_list
from verl_stepgrpo.judging.answers.normalise import MAX_CHARS, compact, normalise
from verl_stepgrpo.judging.answers.numbers import by_number
from verl_stepgrpo.judging.answers.options import by_options
from verl_stepgrpo.judging.answers.statement import statement
from verl_stepgrpo.judging.answers.symbolic import Equality, VerifierFailedError
from verl_stepgrpo.judging.answers.times import by_time
from verl_stepgrpo.judging.answers.verdict import (
    Answer,
    Judge,
    TimedOutError,
    Verdict,
    decided,
    failed_verdict,
    shown,
    symbolic_verdict,
)
from verl_stepgrpo.judging.memo import Bounded
from verl_stepgrpo.judging.reading.quantities import parse_quantity

MAX_ANSWER_CHARS = 512
"""Longer final answers are judged by their text alone: they are not answers, and parsing them costs."""

MAX_KNOWN = 4096
"""Verdicts that are remembered."""

MAX_DEPTH = 12
"""Parts of parts of an answer that are judged: elements of lists, the text behind a letter, the value behind a name."""


def judge_answer(
    answer: str | None, gold: str, *, tolerance: float = 0.0, choices: Mapping[str, str] | None = None
) -> Verdict:
    """Return the verdict on ``answer``, the text of the final-answer section (None where there is none).

    Of two numbers of which one is a decimal, ``tolerance`` is how far the answer may be off, as a share of ``gold``.
    ``choices`` are those of the question, each text by its letter: they decide a letter against a text.

    Whatever a model wrote gets a verdict, within ``symbolic.TIME_LIMIT`` seconds of its turn where math-verify's
    process lives; nothing raises. An empty ``gold`` matches nothing.
    """
    question = (answer, gold, tolerance)
    known = None if choices else _KNOWN.get(question)
    if known is not None:
        return known
    judge = _Judge(tolerance)
    try:
        verdict = judge.verdict_on(answer, gold)
        if choices and answer and verdict.answered and len(answer) <= MAX_ANSWER_CHARS:
            return by_options(verdict, answer, gold, choices, judge)
    except TimedOutError:
        verdict = symbolic_verdict(Equality.TIMEOUT, answered=True, text="")
    except VerifierFailedError as error:
        verdict = failed_verdict(error, answered=True, text="")
    if verdict.timeout or verdict.failed:
        given = normalise(answer or "")
        return replace(verdict, text=statement(given) or given)
    if not choices and not judge.asked and len(answer or "") <= MAX_ANSWER_CHARS:
        _KNOWN.keep(question, verdict)
    return verdict


_KNOWN: Bounded[tuple[str | None, str, float], Verdict] = Bounded(MAX_KNOWN)
"""Verdicts that rest on the texts alone: the responses of a group often give the same answer."""


class _Judge:
    """Judges an answer, or a part of one, by the layers.

    Attributes:
        tolerance: As ``judge_answer`` has it.
        depth: How many parts this is a part of.
        asked: The questions that math-verify was asked about the answer.
    """

    def __init__(self, tolerance: float, depth: int = 0, asked: list[str] | None = None) -> None:
        self.tolerance = tolerance
        self.depth = depth
        self.asked: list[str] = [] if asked is None else asked

    def verdict_on(self, answer: str | None, gold: str) -> Verdict:
        """Return the verdict.

        Raises:
            TimedOutError: math-verify ran out of time over it.
            VerifierFailedError: math-verify could not be asked.
        """
        if answer is None or not answer.strip():
            return Verdict(False, False, "none", "no final answer was given")
        given, wanted = normalise(answer), normalise(gold)
        if not wanted:
            return Verdict(False, True, "none", "the reference answer is empty", given)
        if not given:
            return Verdict(False, False, "none", "the final answer holds nothing but marks")
        is_cut = max(len(answer), len(gold)) > MAX_CHARS and answer.strip() != gold.strip()
        if len(given) > MAX_ANSWER_CHARS and (given != wanted or is_cut):
            return Verdict(
                False,
                True,
                "text",
                f"too long to be an answer: {len(given)} characters",
                given[:MAX_ANSWER_CHARS],
            )
        return self.compare(Answer(given, statement(given) or given), Answer(wanted, wanted))

    def compare(self, given: Answer, wanted: Answer) -> Verdict:
        """Return the verdict on two normalised texts; raises as ``verdict_on``."""
        if self.depth > MAX_DEPTH:
            return Verdict(False, True, "text", "parts in parts of parts: not compared", given.core)
        judge_of_parts = _Judge(self.tolerance, self.depth + 1, self.asked)
        for layer in LAYERS:
            verdict = layer(given, wanted, judge_of_parts)
            if verdict is not None:
                return verdict.on(given.core)
        reason = f"the texts differ: {shown(given.core)}, {shown(wanted.full)}"
        return Verdict(False, True, "text", reason, given.core)

    def by_math_verify(self, given: str, wanted: str) -> Verdict:
        """Return what math-verify says of two expressions; raises as ``verdict_on``."""
        self.asked.append(given)
        outcome = symbolic.equal(given, wanted)
        if outcome is Equality.TIMEOUT:
            raise TimedOutError
        return symbolic_verdict(outcome, answered=True, text=given)


def by_text(given: Answer, wanted: Answer, judge: Judge) -> Verdict | None:
    return decided(True, "text", "the same text") if _same_text(given.full, wanted.full) else None


def by_text_of_statement(given: Answer, wanted: Answer, judge: Judge) -> Verdict | None:
    return decided(True, "text", "it states the same text") if _same_text(given.core, wanted.full) else None


def _same_text(given: str, wanted: str) -> bool:
    if given == wanted:
        return True
    if case_matters(wanted):
        return False
    quantity = parse_quantity(wanted)
    if quantity is not None and quantity.unit:
        return False  # mW is not MW
    return compact(given) == compact(wanted)


LAYERS: tuple[Callable[[Answer, Answer, Judge], Verdict | None], ...] = (
    by_text,
    by_choice,
    by_hedge,
    by_text_of_statement,
    by_detail,
    by_time,
    by_form,
    by_number,
    by_yes_no,
    by_words,
    by_list,
    by_symbols,
)
