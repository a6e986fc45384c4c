"""Judge an answer where the reference, or the answer, is the letter of a choice.

Pure: no I/O.
"""

from __future__ import annotations

import re
from dataclasses import replace

from verl_stepgrpo.judging.answers.in_words import HEDGE, ends_with
from verl_stepgrpo.judging.answers.normalise import normalise
from verl_stepgrpo.judging.answers.statement import DENIALS
from verl_stepgrpo.judging.answers.verdict import Answer, Judge, Verdict, decided

_LETTER = r"\(?(?P<letter>[a-j])(?:\)|\.|:|$| (?=\())"
_CHOICE = re.compile(
    r"(?:(?:option|choice|answer|letter) )?"
    rf"(?:{_LETTER}|(?P<bare>[b-hj])[ ,-] ?(?=[^\s=+*/^<>\\])|(?P<a>a),? (?=\d)|(?P<dash>a) - )"
    r"(?P<text>.*)",
    re.DOTALL,
)
MARKED_CHOICE = re.compile(r"\(?[A-Ja-j](?:\)|$|[.:](?: |$))")
"""How a reference says that it is a choice; "F = ma" and "b - 1" are none."""
_CHOICE_BEHIND = re.compile(
    r"(?P<text>.*?)[ ,]*(?:\((?:option |choice )?(?P<inside>[a-j])\)"
    r"|\b(?:option|choice|select|choose|pick) \(?(?P<named>[a-j])\)?)",
    re.DOTALL,
)
_ANOTHER_CHOICE = re.compile(
    r"(?:^|[\s(,/&])(?:[b-hj]|\([a-j]\)|a(?=[).:,]|$))(?=[\s).,:;/]|$)"
    r"|\b(?:wrong|incorrect|false|rejected|eliminated|excluded)\b|\.\.|(?:is|are|it's|,) not\b|\bno(?:,| wait|$)"
    r"|^(?:is|was|does|did|can|could|would|will)(?:n't| ?not)\b"
)
_LETTERS = re.compile(r"\(?[a-j]\)?(?:(?:,? and |, ?|; ?| ?& ?|/| )\(?[a-j]\)?)*|[a-j]{2,8}")


def by_choice(given: Answer, wanted: Answer, judge: Judge) -> Verdict | None:
    """A reference that is a letter, or a letter with its text, is met by that letter with or without its text."""
    gold = _choice(wanted.folded) if MARKED_CHOICE.match(wanted.core) else None
    if gold is None:
        return _by_several_choices(given, wanted) or _by_text_of_choice(given, wanted, judge)
    letter, text = gold
    choice = (
        _choice(given.folded) or _choice_behind(given.folded) or _choice_named_right(given.full.casefold())
    )
    if choice is None:
        if not text:
            return None
        # The text alone.
        return replace(judge.compare(given, Answer(text, text)), layer="choice")
    if _names_another(choice[1], text):
        return decided(False, "hedge", "the answer names more than one choice, or takes it back")
    correct = choice[0] == letter and (
        not text
        or not choice[1]
        or ends_with(choice[1], text)
        or _explained(choice[1], text)
        or judge.verdict_on(choice[1], text).correct
    )
    return decided(correct, "choice", f"choice {choice[0]} against {letter}")


def _names_another(behind: str, text: str) -> bool:
    """Whether the text behind a choice names another one, or takes the choice back."""
    rest = behind.removeprefix(text)
    return bool(_ANOTHER_CHOICE.search(rest) or HEDGE.search(rest)) and behind != text


def _explained(behind: str, text: str) -> bool:
    """Whether the text behind a choice is the reference's, and an explanation without other values."""
    rest = behind.removeprefix(text)
    return (
        rest != behind
        and re.match(r"[:;,(] ?(?:[^\W\d_]+ ){2,}", rest) is not None
        and not re.search(r"\d", rest)
    )


def _by_several_choices(given: Answer, wanted: Answer) -> Verdict | None:
    """A reference of several letters in alphabetical order ("ACD", "A, C") is a set of choices."""
    if not (_LETTERS.fullmatch(wanted.folded) and (wanted.core.isupper() or "," in wanted.core)):
        return None
    letters = re.findall("[a-j]", wanted.folded.replace("and", ","))
    if len(letters) < 2 or letters != sorted(set(letters)) or not _LETTERS.fullmatch(given.folded):
        return None
    ours = sorted(re.findall("[a-j]", given.folded.replace("and", ",")))
    return decided(ours == letters, "choice", f"choices {ours} against {letters}")


def _by_text_of_choice(given: Answer, wanted: Answer, judge: Judge) -> Verdict | None:
    """A reference without a letter is met by the text behind a letter: "(B) blue" is "blue"."""
    choice = _CHOICE.fullmatch(given.folded)
    text = choice["text"].strip() if choice and choice["letter"] else ""
    verdict = judge.compare(Answer(text, text), wanted) if text else None
    return verdict if verdict is not None and verdict.correct else None


def _choice(text: str) -> tuple[str, str] | None:
    match = _CHOICE.fullmatch(text)
    if not match:
        return None
    if not match["letter"] and len(match["text"].strip()) < 2:
        return None  # "a - b" is a difference
    letter = match["letter"] or match["bare"] or match["a"] or match["dash"]
    return letter, normalise(match["text"].strip(" ():,")).casefold()


def _choice_behind(text: str) -> tuple[str, str] | None:
    match = _CHOICE_BEHIND.fullmatch(text)
    if not match or DENIALS.search(match["text"]):
        return None
    return match["inside"] or match["named"], normalise(match["text"]).casefold()


def _choice_named_right(text: str) -> tuple[str, str] | None:
    match = re.fullmatch(
        r"(?:option |choice |answer )?\(?([a-j])\)? is (?:the )?(?:correct|right|best)(?: \w+)?", text
    )
    return (match[1], "") if match else None
