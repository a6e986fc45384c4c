"""The rows of traces: what was judged of a response, where it stands in a run, and what it was credited.

This module alone knows how a row is laid out as JSON (docs/traces.md). Pure: no I/O, no torch, no verl.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from verl_stepgrpo.data.rows.index import as_key
from verl_stepgrpo.files import json_line
from verl_stepgrpo.judging.answers.verdict import Verdict
from verl_stepgrpo.judging.key_steps.match import KeyStepMatch
from verl_stepgrpo.parts import keys_with_parts, parts_in
from verl_stepgrpo.rewards import SCORE_KEYS, ScoredResponse, defined, faults_of_form
from verl_stepgrpo.settings import RewardSettings

SCHEMA = 2
"""Version of the layout that is written. Grows when a key changes its meaning or goes; new keys may come without."""

READABLE = (1, 2)
"""Versions that are read. Schema 1 had no ``split``, ``faults`` and ``id``, and fewer components."""

LATER_COMPONENTS = ("acc_flexible", "verifier_failed", "equations", "false_equations")
FIRST_COMPONENTS = tuple(key for key in SCORE_KEYS if key not in LATER_COMPONENTS)
"""Those of schema 1, which every row has; the later ones of ``SCORE_KEYS`` are in the rows of later versions."""

TRAIN, VAL = "train", "val"
"""Splits: training steps, and validations; an evaluation is a validation at step 0."""

TRACE_KEY = "stepgrpo_trace"
"""Key of ``reward_extra_info`` that carries one judgement, as JSON, from the reward worker to the trainer."""

SCORER_KEY = "stepgrpo_scorer"
"""Key of ``reward_extra_info`` that says who judged: version and node of the reward worker, ``VERSION on NODE``."""


@dataclass(frozen=True)
class Decision:
    """What was decided on an answer, and why: ``answers.Verdict`` without what components say."""

    text: str
    layer: str
    reason: str


@dataclass(frozen=True)
class FalseEquation:
    """An equation of a step that is false.

    Attributes:
        step: Index of the step, counted from 0.
        start, end: Where it stands in the response, in characters.
        left, right: What its sides are worth.
    """

    step: int
    start: int
    end: int
    left: str
    right: str


@dataclass(frozen=True)
class StepSpan:
    """One step of a response.

    Attributes:
        number: That of its header.
        start, end: Where it stands in the response, in characters.
        token_end: Number of leading tokens that cover the response up to its end; None where tokens are not known.
        key_step_share: The part of the reward that was paid for the key steps that it shows.
    """

    number: int | None
    start: int
    end: int
    token_end: int | None
    key_step_share: float


@dataclass(frozen=True)
class Faults:
    """Why a response is not valid, in words; nothing where it is complete, or in order."""

    complete: tuple[str, ...] = ()
    ordered: tuple[str, ...] = ()


@dataclass(frozen=True)
class Credit:
    """The advantages that a training step gave to the tokens of a response.

    Attributes:
        first: That of the first token, which is the whole response's with ``credit=trajectory``.
        spans: That of each step, and last that of what follows the steps; None for one without tokens.
        mean_absolute: Of all tokens: how much the response moves the policy.
    """

    first: float
    spans: tuple[float | None, ...]
    mean_absolute: float

    @property
    def is_by_step(self) -> bool:
        """Whether tokens of the response have several advantages."""
        return len({value for value in self.spans if value is not None}) > 1


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What was judged of one response, and to which question it is one.

    Attributes:
        components: ``SCORE_KEYS`` and their values, without those that the version which wrote them did not have; and
            behind them the parts that were paid beside.
        key_step_share: The part of the reward that was paid for key steps.
        answer: What was decided on the final answer.
        key_steps: The key steps of the question, in their order, and whether each was found.
        steps: The response's steps, in their order.
        visual: The question's visual key steps, and whether the image description shows each.
        last_answer: What was decided on the last answer given, in whatever format; None where that is not known.
        faults: Why it is not valid; None where that is not known (schema 1, and ``mode=reference``).
        false_equations: The equations of its steps that are false; None where that is not known.
        format: How it was read (``RewardSettings.format``).
        index, id, data_source: The row of the data.
        ground_truth: Its reference answer.
        choices: The text of each of its choices by its letter; nothing where it has none, or they are not known.
        prompt, response: What was asked and what the model wrote; None where a run leaves no traces.
    """

    components: Mapping[str, float]
    key_step_share: float
    answer: Decision
    key_steps: tuple[KeyStepMatch, ...]
    steps: tuple[StepSpan, ...]
    last_answer: Decision | None = None
    faults: Faults | None = None
    false_equations: tuple[FalseEquation, ...] | None = None
    format: str = "mulberry"
    index: Any = None
    id: str | None = None
    data_source: str | None = None
    ground_truth: str | None = None
    choices: Mapping[str, str] = field(default_factory=dict)
    prompt: str | None = None
    response: str | None = None
    visual: tuple[KeyStepMatch, ...] = ()

    @property
    def question(self) -> tuple[str | None, Any]:
        """What tells its question from others, and can be a key: ``data_source`` and ``index``."""
        return self.data_source, as_key(self.index)

    @property
    def wordings(self) -> list[tuple[str, ...]]:
        """The wordings of each of the question's key steps."""
        return [match.wordings for match in self.key_steps]

    @property
    def visual_wordings(self) -> list[tuple[str, ...]]:
        """The wordings of each of the question's visual key steps."""
        return [match.wordings for match in self.visual]

    @property
    def defined(self) -> Mapping[str, float]:
        """The components that belong in a mean: without the key-step match of a question that has no key steps."""
        return defined(self.components, has_key_steps=bool(self.key_steps), has_visual=bool(self.visual))

    @property
    def parts(self) -> dict[str, float]:
        """The numbers of parts beside StepRAR and StepRVR, by name."""
        return parts_in(self.components)

    @property
    def total(self) -> float:
        """The reward."""
        return self.components["score"]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values, as ``from_json`` reads them."""
        return {
            "schema": SCHEMA,
            "components": dict(self.components),
            "key_step_share": self.key_step_share,
            "answer": vars(self.answer),
            "last_answer": None if self.last_answer is None else vars(self.last_answer),
            "key_steps": [_match_json(match) for match in self.key_steps],
            "steps": [vars(step) for step in self.steps],
            "visual_key_steps": [_match_json(match) for match in self.visual],
            "faults": None if self.faults is None else vars(self.faults),
            "false_equations": None
            if self.false_equations is None
            else [vars(equation) for equation in self.false_equations],
            "format": self.format,
            "index": self.index,
            "id": self.id,
            "data_source": self.data_source,
            "ground_truth": self.ground_truth,
            "choices": dict(self.choices),
            "prompt": self.prompt,
            "response": self.response,
        }

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Judgement:
        """Return the judgement that ``facts`` hold. Raises ValueError where they are not laid out as one."""
        return cls(**_checked(_judgement, facts))


@dataclass(frozen=True, kw_only=True)
class TraceRow(Judgement):
    """A judgement with its place in a run.

    Attributes:
        split: ``TRAIN`` or ``VAL``.
        step: The training step, or that at which a validation stands.
        uid: The group: the responses to one prompt in one step. In an evaluation the row of the data.
        session: Which response of the group.
        credit: What training made of it; None in a validation, and where the run ended before the step was trained.
    """

    split: str
    step: int
    uid: str
    session: int
    credit: Credit | None = None

    @classmethod
    def of(cls, judgement: Judgement, *, credit: Credit | None = None, **place: Any) -> TraceRow:
        """Return ``judgement`` at a ``step``, ``uid`` and ``session``.

        Without a ``split`` it is of training where there is a ``credit``.
        """
        split = VAL if credit is None else TRAIN
        return cls(**vars(judgement), **{"split": split, **place}, credit=credit)

    def to_json(self) -> dict[str, Any]:
        place = {"split": self.split, "step": self.step, "uid": self.uid, "session": self.session}
        return {**place, **super().to_json(), **credit_json(self.credit)}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> TraceRow:
        return cls(**_checked(_row, facts))


def judgement_of(
    result: ScoredResponse,
    settings: RewardSettings,
    *,
    step_token_ends: Sequence[int] | None = None,
    **question: Any,
) -> Judgement:
    """Return what ``result`` holds.

    Args:
        result: The scored response.
        settings: What it was scored under.
        step_token_ends: For each step, the number of leading tokens that cover the response up to its end; None
            where the response's tokens are not known.
        **question: ``index``, ``id``, ``data_source``, ``ground_truth``, ``choices``, ``prompt`` and ``response``, as
            far as known.
    """
    token_ends = [None] * len(result.steps) if step_token_ends is None else step_token_ends
    spans = zip(result.steps, token_ends, result.step_shares, strict=True)
    return Judgement(
        components=result.components(),
        key_step_share=result.key_step_share,
        answer=_decision_of(result.answer),
        last_answer=_decision_of(result.last_answer),
        key_steps=result.key_steps,
        visual=result.visual,
        steps=tuple(StepSpan(step.number, step.start, step.end, end, share) for step, end, share in spans),
        # The authors' rules ask for other things, and say nothing of what they miss.
        faults=None if settings.mode == "reference" else Faults(*faults_of_form(result, settings)),
        false_equations=tuple(
            FalseEquation(one.step, one.start, one.end, one.values[0], one.values[1])
            for one in result.equations
            if not one.is_true
        ),
        format=settings.format,
        **question,
    )


def _decision_of(verdict: Verdict) -> Decision:
    return Decision(verdict.text, verdict.layer, verdict.reason)


def parse_row(line: bytes) -> TraceRow:
    """Return the row that a line of a trace holds.

    Raises:
        ValueError: It is not JSON, or not a row of a schema that is read.
    """
    facts = json_line(line)
    if not isinstance(facts, dict) or "schema" not in facts:
        raise ValueError("not a row of a trace: it has no schema")
    if facts["schema"] not in READABLE:
        raise ValueError(f"schema {facts['schema']!r}; this version reads {', '.join(map(str, READABLE))}")
    return TraceRow.from_json(facts)


def _checked(read: Any, facts: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return read(facts)
    except KeyError as error:
        raise ValueError(f"it lacks {error.args[0]}") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:  # the last of an infinite number
        raise ValueError(f"not laid out as a row of a trace: {error}") from None


def _row(facts: Mapping[str, Any]) -> dict[str, Any]:
    credit = _credit(facts)
    # Schema 1 tells a validation by its having no advantage.
    split = facts.get("split") or (VAL if credit is None else TRAIN)
    if split not in (TRAIN, VAL):
        raise ValueError(f"its split is {split!r}, which is neither {TRAIN} nor {VAL}")
    place = {"step": int(facts["step"]), "uid": str(facts["uid"]), "session": int(facts["session"])}
    return {**place, "split": split, "credit": credit, **_judgement(facts)}


def _judgement(facts: Mapping[str, Any]) -> dict[str, Any]:
    components, last, faults = facts["components"], facts.get("last_answer"), facts.get("faults")
    false = facts.get("false_equations")
    return {
        "components": {
            key: _number(components[key])
            for key in keys_with_parts(SCORE_KEYS, [components])
            if key in FIRST_COMPONENTS or key in components
        },
        "key_step_share": _number(facts["key_step_share"]),
        "answer": _decision(facts["answer"]),
        "last_answer": None if last is None else _decision(last),
        "key_steps": tuple(map(_match, facts["key_steps"])),
        "steps": tuple(map(_span, facts["steps"])),
        "visual": tuple(map(_match, facts.get("visual_key_steps") or ())),
        "faults": faults and Faults(tuple(faults["complete"]), tuple(faults["ordered"])),
        "false_equations": None if false is None else tuple(map(_false_equation, false)),
        "format": str(facts.get("format", "mulberry")),
        "index": facts.get("index"),
        "choices": {str(letter): str(text) for letter, text in (facts.get("choices") or {}).items()},
        **{key: _text(facts.get(key)) for key in ("id", "data_source", "ground_truth", "prompt", "response")},
    }


def _decision(facts: Mapping[str, Any]) -> Decision:
    return Decision(str(facts["text"]), str(facts["layer"]), str(facts["reason"]))


def _false_equation(facts: Mapping[str, Any]) -> FalseEquation:
    step, start, end = (int(facts[key]) for key in ("step", "start", "end"))
    return FalseEquation(step, start, end, str(facts["left"]), str(facts["right"]))


def _match(facts: Mapping[str, Any]) -> KeyStepMatch:
    return KeyStepMatch(
        wordings=tuple(map(str, facts["wordings"])),
        matched=bool(facts["matched"]),
        wording=_text(facts["wording"]),
        similarity=_number(facts["similarity"]),
        step=_place(facts["step"]),
        start=_place(facts["start"]),
        end=_place(facts["end"]),
    )


def _match_json(match: KeyStepMatch) -> dict[str, Any]:
    return {**vars(match), "wordings": list(match.wordings), "similarity": round(match.similarity, 4)}


def _span(facts: Mapping[str, Any]) -> StepSpan:
    return StepSpan(
        _place(facts["number"]),
        int(facts["start"]),
        int(facts["end"]),
        _place(facts["token_end"]),
        _number(facts["key_step_share"]),
    )


def _credit(facts: Mapping[str, Any]) -> Credit | None:
    if facts.get("advantage") is None:
        return None
    first = _number(facts["advantage"])
    spans = facts.get("step_advantages") or [first]
    return Credit(
        first,
        tuple(None if value is None else _number(value) for value in spans),
        _number(facts.get("mean_absolute_advantage", abs(first))),
    )


def credit_json(credit: Credit | None) -> dict[str, Any]:
    """Return the keys of a row that hold its credit."""
    if credit is None:
        return {"advantage": None}
    return {
        "advantage": credit.first,
        "step_advantages": list(credit.spans),
        "mean_absolute_advantage": credit.mean_absolute,
    }


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is no finite number")
    return number


def _place(value: Any) -> int | None:
    return None if value is None else int(value)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
