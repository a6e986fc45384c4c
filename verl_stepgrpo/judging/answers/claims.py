"""What an answer says of a question's choices: which letter, and which of the texts beside it.

Pure: no I/O. Not covered: a text in other words than the choice's.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from verl_stepgrpo.judging.answers.choices import (
    CONFIRMED,
    REASON_BEHIND,
    Choice,
    choice_at_end,
    choice_named,
    read_choice,
)
from verl_stepgrpo.judging.answers.normalise import compact, normalise
from verl_stepgrpo.judging.answers.verdict import Answer, Judge
from verl_stepgrpo.judging.reading.lexicon import FUNCTION_WORDS, one_of
from verl_stepgrpo.judging.reading.quantities import parse_quantity

MAX_MENTION_WORDS = 6
"""Longest text beside a letter in which the mere words of a choice say that it is the answer."""

_SET_ASIDE = re.compile(rf"\b(?:{one_of('NEGATION', also='than unlike')})(?: \w+){{0,2}} $|n't (?:\w+ )?$")
_LEADS_ON = re.compile(rf",? (?:{one_of('CONCLUSION')})\W*$")
_AROUND = " ,;:.!\n"
_SEPARATOR = re.compile(r"^\W*[-,:;=]\s")
_JOINS = re.compile(r"\b(?:and|or)\b|\W")


def claimed_choice(stated: Answer) -> Choice | None:
    """Return the choice whose letter an answer names, wherever it stands."""
    return (
        read_choice(stated.core)
        or read_choice(stated.full)
        or choice_named(stated)
        or choice_at_end(stated.full)
    )


def beside(stated: Answer, letter: str) -> str:
    """Return what an answer says beside the letter that it names, without a reason; "" where it says no more."""
    text = REASON_BEHIND.sub("", stated.full)
    named = r"(?:\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Ll]etter) )?"
    for mention in (
        rf"{named}\((?i:{letter})\)",
        rf"{named}(?<![\w'\\]){letter}(?![\w'])\)?",
        rf"^{letter.lower()}\b\)?",
    ):
        rest = re.sub(mention, " ", text, count=1)
        if rest != text:
            text = rest
            break
    text = CONFIRMED.sub("", text.strip(" ,.:;!\n"), count=1) if CONFIRMED.match(text.strip()) else text
    text = _LEADS_ON.sub("", text)
    return normalise(_bare(text))


def _bare(text: str) -> str:
    """Return a text without punctuation around it, nor parentheses but its own: "(red)" is "red", "O(1)" stays."""
    text = text.strip(_AROUND)
    while text.startswith("(") and text.find(")") in (-1, len(text) - 1):
        text = text[1:].removesuffix(")").strip(_AROUND)
    while text.endswith(")") and text.count(")") > text.count("("):
        text = text[:-1].rstrip(_AROUND)
    return text


def texts_said(rest: str, options: Mapping[str, str], judge: Judge) -> set[str]:
    """Return the letters of the choices whose texts ``rest``, what stands beside a letter, says."""
    if not rest:
        return set()
    # "(B) - 3x": the sign is the text's, where a choice has it, and leads on to it, where none has.
    bare = _SEPARATOR.sub("", rest)
    if whole := whose_text(rest, options) or whose_text(bare, options):
        return {whole}
    rest = bare
    said = {letter: text for letter, text in options.items() if len(text) > 1 or text.isdigit()}
    if rest.count(" ") >= MAX_MENTION_WORDS:
        return {letter for letter, text in said.items() if judge.verdict_on(rest, text).correct}
    found = {
        letter for letter, text in said.items() if _has_value(text) and judge.verdict_on(rest, text).correct
    }
    folded = rest.casefold()
    for mention in _mentions(tuple(options.values())).finditer(folded):
        if not _SET_ASIDE.search(folded[: mention.start()]):
            found |= {letter for letter, text in said.items() if same_text(text, mention.group())}
    return found


def is_other_text(rest: str, option: str, options: Mapping[str, str], texts: set[str]) -> bool:
    """Whether ``rest`` cannot be ``option``: another value, or a list of several choices' texts."""
    if not texts:
        return parse_quantity(rest) is not None and parse_quantity(normalise(option)) is not None
    folded, mentions = rest.casefold(), _mentions(tuple(options.values()))
    return len(set(mentions.findall(folded))) > 1 and not _JOINS.sub("", mentions.sub("", folded))


def whose_text(text: str, options: Mapping[str, str]) -> str | None:
    """Return the letter of the one choice that has this text; None where none has it, or several have."""
    found = [letter for letter, option in options.items() if text and same_text(text, option)]
    return found[0] if len(found) == 1 else None


def same_text(one: str, other: str) -> bool:
    """Return whether two texts are one but for spelling."""
    return compact(normalise(one)) == compact(normalise(other))


def _has_value(text: str) -> bool:
    return re.search(r"\d", text) is not None


@functools.lru_cache(maxsize=1024)  # all responses of a group have the same choices
def _mentions(choices: tuple[str, ...]) -> re.Pattern[str]:
    """Return the pattern of the texts of choices that are words, the longest first."""
    texts = {normalise(text).casefold() for text in choices}
    words = [text for text in texts - FUNCTION_WORDS if len(text) > 1 and not _has_value(text)]
    alternatives = "|".join(re.escape(text) for text in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)") if words else re.compile(r"(?!)")
