"""StepRAR and StepRVR: the two step-wise rewards of StepGRPO, and everything they were computed from.

``score_response`` gives the full, frozen result (sections, key-step matches with their places, the
verdict on the answer); ``compute_score`` gives the same as the flat dict of numbers that verl expects.

Source: Zhang et al., arXiv 2503.12937, section 3.2. Pure: no I/O, no torch, no verl.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import NoneType
from typing import Any

from verl_stepgrpo.errors import DataError
from verl_stepgrpo.judging import authors_rules as reference
from verl_stepgrpo.judging import formats
from verl_stepgrpo.judging.answers.judge import judge_answer
from verl_stepgrpo.judging.answers.last_answer import judge_last_answer
from verl_stepgrpo.judging.answers.options import choices_of, parse_choices
from verl_stepgrpo.judging.answers.verdict import Verdict
from verl_stepgrpo.judging.key_steps.calculations import Equation, equations_of, false_steps
from verl_stepgrpo.judging.key_steps.match import KeyStepMatch, match_key_steps
from verl_stepgrpo.judging.key_steps.reference import KeyStep, parse_key_steps, parse_visual_key_steps
from verl_stepgrpo.judging.marks import without_thoughts
from verl_stepgrpo.judging.sections import Kind, Section, final_answer
from verl_stepgrpo.parts import REPETITION, VISUAL, check_given, component_of, repetition
from verl_stepgrpo.settings import RewardSettings

SCORE_KEYS = (
    "score",
    "acc",
    "acc_flexible",
    "step_rar",
    "step_rvr",
    "key_step_match",
    "equations",
    "false_equations",
    "complete",
    "ordered",
    "answered",
    "verifier_timeout",
    "verifier_failed",
    "unparseable",
)
"""Keys of every result of ``compute_score``, in this order; all values are floats. Parts that ``extra_weights`` names
follow them, as ``extra_<name>``."""

UNDEFINED_WITHOUT_KEY_STEPS = "key_step_match"
"""The component that means nothing where a prompt has no key steps. Its value is 0 there, and in no mean."""

SHARES = (
    "acc",
    "acc_flexible",
    "complete",
    "ordered",
    "answered",
    "verifier_timeout",
    "verifier_failed",
    "unparseable",
)
"""Those that are 0 or 1 under any setting."""


@dataclass(frozen=True)
class ScoredResponse:
    """One response with its rewards and what they rest on. Offsets count characters of the response.

    Attributes:
        sections: The response's sections, in the order they stand.
        key_steps: One entry for each key step of the reference, in its order.
        answer: The verdict on the final answer.
        last_answer: The verdict on the last answer given, in whatever format: a measurement, which is not paid.
        complete: All parts of the format are there, none empty: in the paper's an image description, rationales, a step
            and a final answer.
        ordered: They are in order: in the paper's background before the first step, steps numbered 1 to n, and one
            final answer behind them.
        step_rar: Step-wise accuracy reward, in [0, 1 + alpha].
        step_rvr: Step-wise validity reward, 0 or ``rvr_weight`` (1 in the paper).
        key_step_share: The part of ``step_rar`` that was paid for key steps, in [0, alpha].
        parts: The numbers of the parts beside these two rewards, by name.
        parts_paid: What they were paid in sum.
        equations: The equations of numbers that its steps state, as far as they can be checked.
        visual: One entry for each visual key step of the reference; ``step`` is None, since none is searched.
        visual_paid: The part of ``parts_paid`` that was paid for them.
    """

    sections: tuple[Section, ...]
    key_steps: tuple[KeyStepMatch, ...]
    answer: Verdict
    last_answer: Verdict
    complete: bool
    ordered: bool
    step_rar: float
    step_rvr: float
    key_step_share: float
    parts: Mapping[str, float] = field(default_factory=dict)
    parts_paid: float = 0.0
    equations: tuple[Equation, ...] = ()
    visual: tuple[KeyStepMatch, ...] = ()
    visual_paid: float = 0.0

    @property
    def steps(self) -> tuple[Section, ...]:
        """The reasoning steps, in the order they stand."""
        return tuple(section for section in self.sections if section.kind is Kind.STEP)

    @property
    def key_step_match(self) -> float:
        """Share of the reference's key steps that were matched, in [0, 1]; 0 where there are none (see ``defined``)."""
        return matched_share(self.key_steps)

    @property
    def n_equations(self) -> int:
        """How many different equations its steps state that can be checked; one that is repeated counts once."""
        return len({equation.key for equation in self.equations})

    @property
    def false_step_share(self) -> float:
        """Share of its steps that state a false equation, in [0, 1]; 0 where it has no steps."""
        return len(false_steps(self.equations)) / max(1, len(self.steps))

    @property
    def step_shares(self) -> tuple[float, ...]:
        """The part of ``key_step_share`` that was paid for what each step shows, in the order of ``steps``."""
        found = [match.step for match in self.key_steps if match.matched]
        return tuple(
            self.key_step_share * found.count(i) / max(1, len(found)) for i in range(len(self.steps))
        )

    @property
    def total(self) -> float:
        """StepRAR + StepRVR, in [0, 1 + alpha + rvr_weight], and what other parts were paid."""
        return self.step_rar + self.step_rvr + self.parts_paid

    def components(self) -> dict[str, float]:
        """Return the flat result: the keys ``SCORE_KEYS``, and behind them the parts; all floats."""
        values = (
            self.total,
            self.answer.correct,
            self.last_answer.correct,
            self.step_rar,
            self.step_rvr,
            self.key_step_match,
            self.n_equations,
            self.false_step_share,
            self.complete,
            self.ordered,
            self.answer.answered,
            self.answer.timeout,
            self.answer.failed or self.last_answer.failed,
            self.answer.unparseable,
        )
        own = {key: float(value) for key, value in zip(SCORE_KEYS, values, strict=True)}
        return own | {component_of(name): value for name, value in self.parts.items()}


def score_response(
    response: str,
    ground_truth: str,
    key_steps: Any = (),
    settings: RewardSettings | None = None,
    parts: Mapping[str, float] | None = None,
    *,
    choices: Any = None,
    visual_key_steps: Any = None,
    **named: Any,
) -> ScoredResponse:
    """Return the rewards of ``response``, with everything they rest on.

    Args:
        response: What the model wrote, without special tokens. Any text is scored; none raises.
        ground_truth: The reference answer.
        key_steps: The reference's key steps, in any form that ``parse_key_steps`` takes.
        settings: Defaults to ``RewardSettings()``.
        parts: The numbers of parts that ``settings.extra_weights`` pays, by name, but for those of ``parts.KNOWN``.
        choices: Those of the question, in any form that ``parse_choices`` takes; ``choices_of`` finds them in a row.
            They decide a letter against a text.
        visual_key_steps: Key steps of the image description, in any form that ``parse_key_steps`` takes; where None,
            those that ``key_steps`` has by section.
        **named: Fields of ``RewardSettings``, over those of ``settings``: ``format="think"`` and the like.

    Raises:
        ConfigError: A named setting is unknown or out of range, or a part has a weight and is not given.
        DataError: ``response`` is no text, ``ground_truth`` is empty, or the key steps or the choices are of a wrong
            type.

    Source: equations 3 (StepRAR) and 4 (StepRVR). In ``reference`` mode, the rules of the authors' code.
    """
    if not isinstance(response, str):
        raise DataError(f"the response is {response!r:.60} ({type(response).__name__}); expected text")
    settings = settings or RewardSettings()
    if named:
        settings = RewardSettings.from_mapping(vars(settings) | named)
    visual_key_steps = parse_visual_key_steps(visual_key_steps, key_steps)
    ground_truth, key_steps = check_ground_truth(ground_truth), parse_key_steps(key_steps)
    sections = sections_of(response, settings)
    visual = match_visual(sections, visual_key_steps, threshold=settings.match_threshold)
    given = _parts_of(response, visual, settings, parts or {})
    judged = _judged(response, sections, ground_truth, key_steps, settings, parse_choices(choices))
    return paid(replace(judged, parts=given, visual=visual), settings)


def _parts_of(
    response: str, visual: Sequence[KeyStepMatch], settings: RewardSettings, given: Mapping[str, float]
) -> dict[str, float]:
    """Return the numbers of the parts: those given, and those of ``parts.KNOWN`` that have a weight."""
    check_given(settings.extra_weights, given)
    known = {}
    if REPETITION in settings.extra_weights:
        known[REPETITION] = repetition(response)
    if VISUAL in settings.extra_weights:
        known[VISUAL] = matched_share(visual)
    return {**given, **known}


def _judged(
    response: str,
    sections: tuple[Section, ...],
    ground_truth: str,
    key_steps: tuple[KeyStep, ...],
    settings: RewardSettings,
    choices: Mapping[str, str],
) -> ScoredResponse:
    """Return what a response shows, before it is paid; in ``reference`` mode the authors' rules say what is paid."""
    equations, tolerance = equations_of(sections), settings.answer_tolerance
    strict = None
    if settings.mode == "reference":
        answer = reference.judge_answer(response, ground_truth)
        matches = reference.match_key_steps(response, sections, key_steps)
        complete, ordered = reference.is_complete(response), reference.is_ordered(sections)
    else:
        answer = strict = judge_answer(
            final_answer(sections), ground_truth, tolerance=tolerance, choices=choices
        )
        matches = match_key_steps(
            sections,
            key_steps,
            threshold=settings.match_threshold,
            left_out=false_steps(equations) if settings.true_steps else (),
        )
        complete = not _missing(sections, settings)
        ordered = not formats.find(settings.format).disorder(sections)
    last_answer = judge_last_answer(
        response, sections, ground_truth, tolerance=tolerance, choices=choices, strict=strict
    )
    unpaid = (0.0, 0.0, 0.0)
    return ScoredResponse(
        sections, matches, answer, last_answer, complete, ordered, *unpaid, equations=equations
    )


def paid(judged: ScoredResponse, settings: RewardSettings) -> ScoredResponse:
    """Return ``judged`` with the rewards that ``settings`` pay for what it was judged to be.

    Only ``alpha``, ``rvr_weight``, ``extra_weights`` and whether key steps are paid without an answer matter here;
    ``score_response`` judges. Source: equations 3 and 4.
    """
    # The authors' code pays key steps without an answer, too.
    pays_key_steps = judged.answer.answered or settings.mode == "reference"
    key_step_share = settings.alpha * judged.key_step_match if pays_key_steps else 0.0
    return replace(
        judged,
        step_rar=float(judged.answer.correct) + key_step_share,
        step_rvr=float(settings.rvr_weight * (judged.complete and judged.ordered)),
        key_step_share=key_step_share,
        parts_paid=sum(weight * judged.parts[name] for name, weight in settings.extra_weights.items()),
        visual_paid=settings.extra_weights.get(VISUAL, 0.0) * judged.parts.get(VISUAL, 0.0),
    )


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None = None,
    **settings: Any,
) -> dict[str, float]:
    """Score one response with verl's own signature for reward functions.

    Args:
        data_source: Name of the dataset; does not change the score.
        solution_str: What the model wrote.
        ground_truth: The reference answer.
        extra_info: The row's ``extra_info``; ``extra_info["key_steps"]`` in any form that
            ``parse_key_steps`` takes. Without it the key-step match is 0. ``extra_info["visual_key_steps"]`` are those
            of the image description. The question's choices decide a letter against a text:
            ``extra_info["choices"]``, or those that ``extra_info["question"]`` lists.
        **settings: Fields of ``RewardSettings``: ``alpha``, ``rvr_weight``, ``match_threshold`` and so on.

    Returns:
        The keys ``SCORE_KEYS``, always all of them, all floats, and ``extra_repetition`` where that has a weight.
        ``score`` is the total reward. ``key_step_match`` is
        0 where there are no key steps, which belongs in no mean of it.

    Raises:
        ConfigError: A setting is unknown or out of range, or gives a weight to a part that is not known here.
        DataError: ``solution_str`` is no text, ``ground_truth`` is empty or the key steps are of a wrong type.
    """
    if not isinstance(extra_info, (Mapping, NoneType)):
        raise DataError(f"extra_info is {extra_info!r}; expected an object with key_steps, or nothing")
    known = extra_info or {}
    return score_response(
        solution_str,
        ground_truth,
        known.get("key_steps"),
        RewardSettings.from_mapping(settings),
        choices=choices_of(extra_info),
        visual_key_steps=known.get("visual_key_steps"),
    ).components()


def check_ground_truth(ground_truth: object, name: str = "reward_model.ground_truth") -> str:
    """Return ``ground_truth`` as text.

    Args:
        ground_truth: The reference answer.
        name: Where it stands in the user's data, for messages.

    Raises:
        DataError: It is empty, or neither text nor a number.
    """
    if isinstance(ground_truth, (int, float)) and not isinstance(ground_truth, bool):
        if math.isfinite(ground_truth):  # pandas gives NaN for a missing one
            return str(ground_truth)
        raise DataError(f"{name} is {ground_truth!r}; expected the reference answer")
    if not isinstance(ground_truth, str):
        raise DataError(
            f"{name} is {ground_truth!r} ({type(ground_truth).__name__}); expected the reference answer as text or a "
            "number"
        )
    if not ground_truth.strip():
        raise DataError(f"{name} is empty; expected the reference answer")
    return ground_truth


def defined(
    components: Mapping[str, float], *, has_key_steps: bool, has_visual: bool = True
) -> dict[str, float]:
    """Return the components that mean something for a prompt: all but the matches of key steps that it has not."""
    undefined = {
        *([] if has_key_steps else [UNDEFINED_WITHOUT_KEY_STEPS]),
        *([] if has_visual else [component_of(VISUAL)]),
    }
    return {key: value for key, value in components.items() if key not in undefined}


def matched_share(matches: Sequence[KeyStepMatch]) -> float:
    """Return the share of key steps that were matched, k in equation 3, in [0, 1]; 0 where there are none."""
    return sum(match.matched for match in matches) / len(matches) if matches else 0.0


def match_visual(
    sections: Sequence[Section], key_steps: Sequence[KeyStep], *, threshold: float
) -> tuple[KeyStepMatch, ...]:
    """Return where the image description shows each of ``key_steps``, as ``match_key_steps`` where steps do."""
    described = [replace(one, kind=Kind.STEP) for one in sections if one.kind is Kind.DESCRIPTION]
    matches = match_key_steps(described, key_steps, threshold=threshold) if key_steps else ()
    return tuple(replace(match, step=None) for match in matches)


def sections_of(response: str, settings: RewardSettings) -> tuple[Section, ...]:
    """Return the sections of ``response`` in the format of ``settings``; those of a draft that is free are left out."""
    return formats.find(settings.format).sections(read_text(response, settings))


def read_text(response: str, settings: RewardSettings) -> str:
    """Return what is read of ``response``, every offset kept: all of it, or all but a draft that is free."""
    # The authors' rules read all of a response.
    thinks = formats.find(settings.format).thinks
    leaves_out = settings.draft == "free" and not thinks and settings.mode == "paper"
    return without_thoughts(response) if leaves_out else response


def faults_of_form(
    scored: ScoredResponse, settings: RewardSettings
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return why a response is not complete, and why it is not in order; both in words, and empty where it is.

    For the rules of the paper; the authors' (``mode=reference``) name nothing.
    """
    missing = () if scored.complete else _missing(scored.sections, settings)
    disorder = () if scored.ordered else formats.find(settings.format).disorder(scored.sections)
    return tuple(missing), tuple(disorder)


def _missing(sections: Sequence[Section], settings: RewardSettings) -> list[str]:
    needs_description = settings.image_description == "required"
    return formats.find(settings.format).missing(sections, needs_description=needs_description)
