"""What the command ``score`` shows of a response.

What a model wrote is shown with its control characters made visible, since a terminal would obey them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from verl_stepgrpo.counts import counted
from verl_stepgrpo.judging.answers.verdict import Verdict
from verl_stepgrpo.judging.formats import FORMATS
from verl_stepgrpo.judging.key_steps.calculations import false_steps
from verl_stepgrpo.judging.key_steps.explain import Miss, explain_missed
from verl_stepgrpo.judging.key_steps.match import KeyStepMatch
from verl_stepgrpo.judging.sections import Kind, Section
from verl_stepgrpo.rewards import ScoredResponse, faults_of_form, read_text
from verl_stepgrpo.settings import EXTRA_WEIGHTS, RewardSettings

if TYPE_CHECKING:
    from verl_stepgrpo.commands.score import Asked

EXCERPT = 72
"""Characters of a section, or of an answer, that are shown beside what is said of it."""
GOOD, BAD, QUIET = "green", "red", "dim"


def shown(asked: Asked, result: ScoredResponse) -> Iterator[Text]:
    """Yield what is printed of a response and of what it was judged to be, line by line."""
    yield from _rewards(asked, result)
    yield Text()
    yield from _sections(asked, result)
    yield Text()
    yield from _key_steps(asked, result)
    yield from _visual(asked, result)
    yield Text()
    yield from _equations(asked.response, result)
    yield Text()
    yield from _answers(asked, result)
    yield Text()
    yield Text("Response", "bold")
    yield _marked(asked.response, (*result.key_steps, *result.visual))


def _rewards(asked: Asked, result: ScoredResponse) -> Iterator[Text]:
    values = dataclasses.asdict(asked.settings)
    weights = values.pop(EXTRA_WEIGHTS)
    values |= {f"{EXTRA_WEIGHTS}.{name}": weight for name, weight in weights.items()}
    known = ", ".join(f"{key}={value}" for key, value in values.items())
    yield Text.assemble((f"Reward   {result.total:.3f}", "bold"), (f"  with {known}", QUIET))
    yield Text(f"StepRAR  {result.step_rar:.3f}  {_why_rar(asked.settings, result)}")
    missing, disorder = faults_of_form(result, asked.settings)
    form = [_fault("complete", result.complete, missing), _order(result.ordered, missing, disorder)]
    yield Text.assemble(f"StepRVR  {result.step_rvr:.3f}  ", *_joined(form, ", "))
    if result.parts:
        paid = [f"{name} {weights.get(name, 0):g} x {value:g}" for name, value in result.parts.items()]
        yield Text(f"Parts    {result.parts_paid:.3f}  {' + '.join(paid)}")
    if asked.logged is not None and abs(asked.logged - result.total) > 1e-6:
        yield Text(
            f"The trace has {asked.logged:.3f}: another version of this package judged it, or math-verify did not.",
            BAD,
        )


def _why_rar(settings: RewardSettings, result: ScoredResponse) -> str:
    if result.answer.correct:
        answer = "1 for the right answer"
    else:
        answer = "0 for a wrong answer" if result.answer.answered else "0 without an answer"
    n = len(result.key_steps)
    found = sum(match.matched for match in result.key_steps)
    if not n:
        return f"{answer}; there are no key steps"
    if found and settings.alpha and not result.key_step_share:
        return f"{answer}, and key steps are not paid without one"
    return f"{answer} + {settings.alpha:g} x {found}/{n} for key steps"


def _fault(what: str, is_well: bool, reasons: Sequence[str]) -> tuple[str, str]:
    said = f" ({', '.join(reasons)})" if reasons else ""
    return (what, GOOD) if is_well else (f"not {what}{said}", BAD)


def _order(is_well: bool, missing: Sequence[str], disorder: Sequence[str]) -> tuple[str, str]:
    """Return what is said of the order; what is missing and so not in order is said once."""
    others = [one for one in disorder if one not in missing]
    follows = not is_well and bool(disorder) and not others
    return ("and so not in order", BAD) if follows else _fault("in order", is_well, others)


def _joined(parts: Sequence[tuple[str, str]], between: str) -> list[tuple[str, str] | str]:
    return [piece for part in parts for piece in (between, part)][1:]


def _sections(asked: Asked, result: ScoredResponse) -> Iterator[Text]:
    response = asked.response
    none = "Sections: none"
    if asked.settings.format == RewardSettings.format:
        none += "; no line opens with ### and a header"
    yield Text("Sections" if result.sections else none, "bold")
    yield from _read_otherwise(asked, result)
    begin = result.sections[0].start if result.sections else len(response)
    if response[:begin].strip():
        yield Text(f"  line 1     in no section: {_excerpt(response[:begin])}", QUIET)
    for section in result.sections:
        header = _excerpt(response[section.start : section.body_start])
        place = f"  line {_line(response, section.start):<4}  {header}  "
        yield Text.assemble(place, (_excerpt(section.body), QUIET), _useless(section))


def _read_otherwise(asked: Asked, result: ScoredResponse) -> Iterator[Text]:
    """Say that a draft is not read, and which format a response is in that has neither step nor answer in its own."""
    if read_text(asked.response, asked.settings) != asked.response:
        yield Text("  the draft in <think> is not read (draft=free)", QUIET)
    if any(one.kind in (Kind.STEP, Kind.FINAL_ANSWER) for one in result.sections):
        return
    others = (one for name, one in FORMATS.items() if name != asked.settings.format)
    for other in others:
        sections = other.sections(asked.response)
        if not (other.missing(sections, needs_description=False) or other.disorder(sections)):
            yield Text(f"  it is complete as {other.name}: --set format={other.name}", BAD)
            return


def _useless(section: Section) -> tuple[str, str]:
    """Return what is said of a section that counts for nothing."""
    if section.kind is Kind.OTHER:
        return "  (no header of the format: its text counts for nothing)", BAD
    if not section.says_something and section.kind is not Kind.STEP_BY_STEP:
        return "  (says nothing, and counts as missing)", BAD
    return "", ""


def _key_steps(asked: Asked, result: ScoredResponse) -> Iterator[Text]:
    matches = result.key_steps
    if not matches:
        yield Text("Key steps: none", "bold")
        return
    found = sum(match.matched for match in matches)
    yield Text(f"Key steps: {found} of {len(matches)} found", "bold")
    names = [_excerpt(match.wordings[0]) for match in matches]
    width = max(map(len, names))
    for name, match, miss in zip(names, matches, misses_of(asked, result), strict=True):
        mark = ("found  ", GOOD) if match.matched else ("missing", BAD)
        said = (
            _place(asked.response, result, match)
            if match.matched
            else _why_missed(asked.response, result, miss)
        )
        yield Text.assemble("  ", mark, f"  {name:{width}}  ", (said, QUIET))


def _visual(asked: Asked, result: ScoredResponse) -> Iterator[Text]:
    if not result.visual:
        return
    found = sum(match.matched for match in result.visual)
    yield Text(f"Visual key steps: {found} of {len(result.visual)} found in the image description", "bold")
    for match in result.visual:
        mark = ("found  ", GOOD) if match.matched else ("missing", BAD)
        place = _place(asked.response, result, match)
        yield Text.assemble("  ", mark, f"  {_excerpt(match.wordings[0])}  ", (place, QUIET))


def misses_of(asked: Asked, result: ScoredResponse) -> Sequence[Miss | None]:
    """Return why each key step was missed; None where it was not, or where the authors' rules say no more."""
    if asked.settings.mode == "reference":
        return [None] * len(result.key_steps)
    return explain_missed(
        result.sections,
        result.key_steps,
        threshold=asked.settings.match_threshold,
        left_out=false_steps(result.equations) if asked.settings.true_steps else (),
    )


def _place(response: str, result: ScoredResponse, match: KeyStepMatch | Miss) -> str:
    """Say where a key step was found, or nearly."""
    if match.start is None or match.end is None:
        return ""
    step = "" if match.step is None else f"step {result.steps[match.step].number or match.step + 1}, "
    said = f"{step}line {_line(response, match.start)}"
    if isinstance(match, Miss):
        return said
    alike = "" if match.similarity == 1 else f", {match.similarity:.0%} alike"
    return f"{said}: {_excerpt(response[match.start : match.end])}{alike}"


def _why_missed(response: str, result: ScoredResponse, miss: Miss | None) -> str:
    if miss is None:
        return ""
    place = _place(response, result, miss)
    return _visible(str(miss)) + (f" ({place})" if place else "")


def _equations(response: str, result: ScoredResponse) -> Iterator[Text]:
    false = [equation for equation in result.equations if not equation.is_true]
    n, steps = result.n_equations, len(false_steps(false))
    said = (
        f": {n} checked, false in {steps} of {counted(len(result.steps), 'step')}" if n else ": none to check"
    )
    yield Text(f"Equations{said}", "bold")
    for equation in false:
        step = result.steps[equation.step].number or equation.step + 1
        place = f"step {step}, line {_line(response, equation.start)}"
        what = f"{place}: {_excerpt(response[equation.start : equation.end])}"
        yield Text.assemble(
            "  ", ("false  ", BAD), f"  {what}  ", (f"{' is not '.join(equation.values)}", QUIET)
        )


def _answers(asked: Asked, result: ScoredResponse) -> Iterator[Text]:
    yield _verdict("Answer", result.answer)
    if result.answer.answered:
        yield Text(f"  given      {_excerpt(result.answer.text)}")
    yield Text(f"  reference  {_excerpt(asked.ground_truth)}")
    last = result.last_answer
    is_same = (last.correct, last.text) == (result.answer.correct, result.answer.text)
    if last.answered and not is_same:
        yield _verdict("Last answer, in any format, which is not paid", last)
        yield Text(f"  given      {_excerpt(last.text)}")


def _verdict(what: str, verdict: Verdict) -> Text:
    if verdict.failed:
        said = ("not judged", BAD)
    else:
        said = ("right", GOOD) if verdict.correct else ("wrong" if verdict.answered else "none", BAD)
    return Text.assemble((f"{what}: ", "bold"), said, f" ({verdict.layer}): {_visible(verdict.reason)}")


def _marked(response: str, matches: Sequence[KeyStepMatch]) -> Text:
    """Return the response with its key steps marked; offsets are those of the response."""
    text = Text(_visible(response))
    for match in matches:
        if match.start is not None and match.end is not None:
            text.stylize(f"bold {GOOD}", match.start, match.end)
    return text


def _line(response: str, offset: int) -> int:
    return response.count("\n", 0, offset) + 1


def _excerpt(text: str) -> str:
    """Return the beginning of a text on one line."""
    words = " ".join(_visible(text).split())
    return words if len(words) <= EXCERPT else f"{words[: EXCERPT - 1]}…"


def _visible(text: str) -> str:
    """Return ``text``, of the same length, with a mark in place of each character that a terminal would obey."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
