"""Find the reference's key steps in the reasoning steps of a response.

A key step is a few words or an equation that any correct solution needs, stored in several equivalent
wordings; one match among them is enough. Numbers, variables and operators have to agree exactly and on
token borders; words may differ softly (typos, plural, case). Only reasoning steps are searched, and one
stretch of text serves one key step only.

Source: Zhang et al., arXiv 2503.12937, section 3.2 (soft key-step matching). Departure: the paper does
not say how soft the match is; see ``match_key_steps``.

Pure: no I/O, no torch, no verl. Not covered: whether a step is true; only its wording is compared.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rapidfuzz import fuzz

from verl_stepgrpo.errors import DataError
from verl_stepgrpo.sections import Kind, Section

KeyStep = tuple[str, ...]
"""The equivalent wordings of one key step, none of them empty."""

MAX_STEP_CHARS = 20_000
"""Characters of one reasoning step that are searched; a longer one is a runaway generation."""

MAX_EXTRA_WORDS = 2
"""Words that a stretch of text may have beyond a wording's, before, behind and between its exact tokens."""

MAX_NAME_CHARS = 4
"""Longest run of capitals that is taken for a name, as of a line or a triangle."""

NEGATION_REACH = 3
"""Tokens before a stretch, in its sentence, among which a negation undoes it."""

_NEGATIONS = frozenset({"not", "no", "never", "cannot", "isn", "aren", "doesn", "without", "neither", "nor"})
# fmt: off
_RETRACTIONS = frozenset({"wrong", "incorrect", "false", "untrue"})
_FUNCTIONS = frozenset({"sin", "cos", "tan", "log", "ln", "exp"})
_FUNCTION_WORDS = frozenset((
    "is", "are", "was", "were", "be", "been", "has", "have", "had", "of", "to", "in", "on", "at", "by", "for",
    "so", "then", "thus", "hence", "we", "it", "its", "this", "that", "there", "and", "with", "as", "which",
))
# fmt: on
_SENTENCE_ENDS = frozenset(".!?")
_TOKEN = re.compile(
    r"\\(?:[a-zA-Z]+|%)"  # a TeX command
    r"|\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?"  # a number
    r"|[^\W\d_⁰¹²³⁴⁵⁶⁷⁸⁹]+"  # a word
    r"|\S"  # a symbol
)
_SPELLINGS = {
    "\\times": "*", "\\cdot": "*", "×": "*", "·": "*", "⋅": "*", "∗": "*",
    "\\div": "/", "÷": "/", "∕": "/", "−": "-", "–": "-",
    "\\leq": "≤", "\\le": "≤", "\\geq": "≥", "\\ge": "≥", "\\neq": "≠", "\\ne": "≠",
    "\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\circ": "°", "\\angle": "∠", "\\sqrt": "√",
    "\\pi": "π", "\\%": "%",
}  # fmt: skip
_SILENT = frozenset("$`,;:\"'“”’\\") | {"\\left", "\\right", "\\text", "\\mathrm", "\\quad"}
_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789", strict=True))
_SPOKEN = {
    ("is", "equal", "to"): "=",
    ("divided", "by"): "/",
    ("multiplied", "by"): "*",
    ("equal", "to"): "=",
    ("equals",): "=",
    ("plus",): "+",
    ("minus",): "-",
    ("times",): "*",
}


@dataclass(frozen=True)
class KeyStepMatch:
    """One key step of the reference, and where the response has it.

    Attributes:
        wordings: The equivalent wordings of the key step.
        matched: Whether one of them was found.
        wording: The wording that was found, else None.
        similarity: Similarity of the stretch that was found, in [0, 1]; 0 where there is none.
        step: Index of the reasoning step it was found in, counted from 0; None where there is none.
        start: Offset of the stretch in the response, in characters; None where there is none.
        end: Offset behind the stretch.
    """

    wordings: KeyStep
    matched: bool
    wording: str | None = None
    similarity: float = 0.0
    step: int | None = None
    start: int | None = None
    end: int | None = None

    @classmethod
    def missed(cls, wordings: KeyStep) -> KeyStepMatch:
        return cls(wordings, False)


@dataclass(frozen=True)
class Token:
    """A word, a number or a symbol in its normalised spelling, with its place in the text.

    Attributes:
        text: The normalised spelling.
        start: Offset of the original spelling.
        end: Offset behind it.
        opens_line: Whether nothing but white space stands before it on its line.
    """

    text: str
    start: int
    end: int
    opens_line: bool = False

    @functools.cached_property
    def exact(self) -> bool:
        """Whether the token has to agree exactly: all but words of two letters and more.

        Negations count as exact too: "is not 3" differs from "is 3" in one word only. So do names in
        capitals ("AB", "ABC"), which keep their case.
        """
        is_word = len(self.text) > 1 and self.text.isalpha() and not self.text.isupper()
        return not is_word or self.text in _NEGATIONS

    @property
    def operand(self) -> bool:
        """Whether the token is a number or a variable."""
        return self.text[0].isdigit() or (
            self.exact and self.text[-1].isalpha() and self.text not in _NEGATIONS
        )


@dataclass(frozen=True)
class Wording:
    """One wording of a key step, tokenized once.

    Attributes:
        text: The wording as the dataset has it.
        exact: Its exact tokens, in order.
        words: Its content words, which may differ softly.
        gaps: Number of words before the first exact token, between each two, and behind the last.
    """

    text: str
    exact: tuple[str, ...]
    words: tuple[str, ...]
    gaps: tuple[int, ...]


@dataclass(frozen=True)
class _Stretch:
    """A run of tokens of a reasoning step that a wording matches."""

    similarity: float
    wording: str
    step: int
    start: int
    end: int


def parse_key_steps(value: Any) -> tuple[KeyStep, ...]:
    """Return the key steps that ``value`` holds, each a tuple of equivalent wordings.

    Args:
        value: A list of strings; a list of lists of equivalent strings; R1-VL-10K's object with the list
            in ``Steps``; a JSON string of any of these; the numpy arrays that parquet gives back for
            them; or None for no key steps. Blank wordings, and key steps without any other, are dropped.

    Raises:
        DataError: ``value`` is of another type, or a JSON string that cannot be read.
    """
    items = _plain(value)
    if isinstance(items, str):
        items = _from_json(items)
    if isinstance(items, Mapping):
        if "Steps" not in items:
            raise DataError(f"key_steps is an object without 'Steps'; it has {sorted(items)}")
        items = _plain(items["Steps"])
    if items is None:
        return ()
    if not isinstance(items, (list, tuple)):
        raise DataError(
            f"key_steps is {value!r} ({type(value).__name__}); expected a list of strings or of lists"
        )
    key_steps = (_wordings(item) for item in items)
    return tuple(wordings for wordings in key_steps if wordings)


def match_key_steps(
    sections: Sequence[Section], key_steps: Sequence[KeyStep], *, threshold: float
) -> tuple[KeyStepMatch, ...]:
    """Return one ``KeyStepMatch`` for each key step, in the same order.

    A wording matches a stretch of a reasoning step if the stretch has the wording's exact tokens
    (numbers, variables, operators, negations), all of them, no others and in the same order, and beside
    them, in any order, a word similar by at least ``threshold`` (normalised indel similarity, rapidfuzz's
    ``ratio``) for each content word of the wording. An expression must not go on beyond the stretch, so
    ``3 + 5 = 8`` is not found in ``2 * 3 + 5 = 8``. The best stretch that no earlier key step took counts.

    Args:
        sections: The sections of one response.
        key_steps: As ``parse_key_steps`` returns them.
        threshold: Lowest similarity, in (0, 1].
    """
    steps = [section for section in sections if section.kind is Kind.STEP]
    tokens_by_step = [_shifted(tokenize(s.body[:MAX_STEP_CHARS]), s.body_start) for s in steps]
    taken: list[tuple[int, int]] = []
    # The longest key steps choose first, so that a short one does not take the words of a long one.
    by_length = sorted(range(len(key_steps)), key=lambda i: -max(map(len, key_steps[i])))
    matches = {i: _match_one(key_steps[i], tokens_by_step, threshold, taken) for i in by_length}
    return tuple(matches[i] for i in range(len(key_steps)))


def tokenize(text: str) -> list[Token]:
    """Return the tokens of ``text`` with spellings of one expression made the same.

    TeX (``\\frac{a}{b}``, ``\\times``), Unicode (``×``, ``−``, ``²``) and spoken operators ("divided by",
    "equals") become plain operators. Case, articles, quotation marks, commas and TeX spacing go.
    """
    tokens: list[Token] = []
    behind = 0
    for match in _TOKEN.finditer(text):
        between = text[behind : match.start()]
        opens_line = behind == 0 or "\n" in between or "\r" in between
        behind = match.end()
        for spelling in _normalised(match.group()):
            tokens.append(Token(spelling, match.start(), match.end(), opens_line))
    return _without_articles(_spoken_operators(_fractions(tokens)))


@functools.lru_cache(maxsize=65536)
def analyse(wording: str) -> Wording:
    """Return ``wording`` tokenized, without full stops at its end."""
    tokens = tokenize(wording)
    while tokens and tokens[-1].text in _SENTENCE_ENDS:
        tokens.pop()
    gaps, words = [0], []
    for token in tokens:
        if token.exact:
            gaps.append(0)
        else:
            gaps[-1] += 1
            if token.text not in _FUNCTION_WORDS:
                words.append(token.text)
    exact = tuple(token.text for token in tokens if token.exact)
    return Wording(wording, exact, tuple(words), tuple(gaps))


def _plain(value: Any) -> Any:
    """Return numpy arrays (which parquet gives for lists) as lists; anything else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def _from_json(text: str) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"key_steps is text that is not JSON ({error}): {text[:60]!r}") from None


def _wordings(item: Any) -> KeyStep:
    item = _plain(item)
    wordings = [item] if isinstance(item, str) else item
    if not isinstance(wordings, (list, tuple)) or not all(isinstance(w, str) for w in wordings):
        raise DataError(
            f"a key step is {item!r} ({type(item).__name__}); expected a string or a list of strings"
        )
    return tuple(w for w in wordings if w.strip())


def _normalised(spelling: str) -> tuple[str, ...]:
    if spelling in _SILENT:
        return ()
    if spelling in _SUPERSCRIPTS:
        return ("^", _SUPERSCRIPTS[spelling])
    plain = unicodedata.normalize("NFKC", _SPELLINGS.get(spelling, spelling))
    if plain.removeprefix("\\") in _FUNCTIONS:
        plain = plain.removeprefix("\\")
    if not (plain.isupper() and 2 <= len(plain) <= MAX_NAME_CHARS):
        plain = plain.casefold()
    return (plain.replace(",", ""),) if plain.strip() else ()


def _shifted(tokens: list[Token], by: int) -> list[Token]:
    return [Token(t.text, t.start + by, t.end + by, t.opens_line) for t in tokens]


def _fractions(tokens: list[Token]) -> list[Token]:
    r"""Turn ``\frac{a}{b}`` with one token each into ``a / b``, and drop the other braces."""
    out: list[Token] = []
    i = 0
    while i < len(tokens):
        shape = [t.text for t in tokens[i : i + 7]]
        if shape[:2] == ["\\frac", "{"] and shape[3:5] == ["}", "{"] and shape[6:] == ["}"]:
            slash = Token("/", tokens[i + 3].start, tokens[i + 4].end)
            numerator = Token(shape[2], tokens[i].start, tokens[i + 3].start, tokens[i].opens_line)
            out += [numerator, slash, Token(shape[5], tokens[i + 5].start, tokens[i + 6].end)]
            i += 7
        else:
            if tokens[i].text not in "{}":
                out.append(tokens[i])
            i += 1
    return out


def _spoken_operators(tokens: list[Token]) -> list[Token]:
    out: list[Token] = []
    i = 0
    while i < len(tokens):
        for phrase, operator in _SPOKEN.items():
            stretch = tokens[i : i + len(phrase)]
            if tuple(t.text for t in stretch) == phrase:
                out.append(Token(operator, stretch[0].start, stretch[-1].end, stretch[0].opens_line))
                i += len(phrase)
                break
        else:
            out.append(tokens[i])
            i += 1
    return out


def _without_articles(tokens: list[Token]) -> list[Token]:
    """Drop "the", "an", and "a" before a word (elsewhere it is a variable)."""
    kept = []
    for token, following in itertools.zip_longest(tokens, tokens[1:]):
        before_word = following is not None and following.text.isalpha() and not following.exact
        if token.text not in ("the", "an") and not (token.text == "a" and before_word):
            kept.append(token)
    return kept


def _match_one(
    key_step: KeyStep, tokens_by_step: list[list[Token]], threshold: float, taken: list[tuple[int, int]]
) -> KeyStepMatch:
    best: _Stretch | None = None
    for step, tokens in enumerate(tokens_by_step):
        for text in key_step:
            for stretch in _stretches(analyse(text), step, tokens, threshold):
                free = all(stretch.end <= start or end <= stretch.start for start, end in taken)
                if free and (best is None or stretch.similarity > best.similarity):
                    best = stretch
    if best is None:
        return KeyStepMatch.missed(key_step)
    taken.append((best.start, best.end))
    return KeyStepMatch(key_step, True, best.wording, best.similarity, best.step, best.start, best.end)


def _stretches(wording: Wording, step: int, tokens: list[Token], threshold: float) -> Iterable[_Stretch]:
    """Yield the stretches of one step that match ``wording``."""
    for first, last in _places(wording, tokens):
        left = _words_before(tokens, first, wording.gaps[0])
        right = _words_behind(tokens, last, wording.gaps[-1] if wording.exact else 0)
        window = tokens[left:right]
        similarity, used = _words_found(wording.words, window, threshold)
        if similarity >= threshold:
            core = [*tokens[first : last + 1], *used] if wording.exact else used
            yield _Stretch(
                similarity, wording.text, step, min(t.start for t in core), max(t.end for t in core)
            )


def _places(wording: Wording, tokens: list[Token]) -> Iterable[tuple[int, int]]:
    """Yield first and last index of each run of tokens that has exactly the wording's exact tokens."""
    if not wording.exact:
        yield from _word_runs(wording, tokens)
        return
    at = [i for i, token in enumerate(tokens) if token.exact]
    n = len(wording.exact)
    inner = wording.gaps[1:-1]
    for k in range(len(at) - n + 1):
        places = at[k : k + n]
        if any(tokens[i].text != text for i, text in zip(places, wording.exact, strict=True)):
            continue
        between = [b - a - 1 for a, b in itertools.pairwise(places)]
        if all(have <= want + MAX_EXTRA_WORDS for have, want in zip(between, inner, strict=True)) and not (
            _goes_on_before(tokens, places[0])
            or _goes_on_behind(tokens, places[-1])
            or _taken_back(tokens, places[0], places[-1])
        ):
            yield places[0], places[-1]


def _word_runs(wording: Wording, tokens: list[Token]) -> Iterable[tuple[int, int]]:
    """Yield windows of words alone, for a wording that has no exact token."""
    if not wording.words:
        return
    width = wording.gaps[0] + MAX_EXTRA_WORDS
    for i, token in enumerate(tokens):
        if not token.exact:
            end = i
            while end + 1 < len(tokens) and end + 1 < i + width and not tokens[end + 1].exact:
                end += 1
            yield i, end


def _words_before(tokens: list[Token], first: int, wanted: int) -> int:
    limit = max(0, first - wanted - MAX_EXTRA_WORDS) if wanted else first
    while first > limit and not tokens[first - 1].exact:
        first -= 1
    return first


def _words_behind(tokens: list[Token], last: int, wanted: int) -> int:
    limit = min(len(tokens), last + 1 + wanted + MAX_EXTRA_WORDS) if wanted else last + 1
    end = last + 1
    while end < limit and not tokens[end].exact:
        end += 1
    return end


def _words_found(words: tuple[str, ...], window: list[Token], threshold: float) -> tuple[float, list[Token]]:
    """Return the lowest of the words' best similarities in the window, in [0, 1], and the words found."""
    candidates = [token for token in window if not token.exact]
    lowest, used = 1.0, []
    for word in words:
        if not candidates:
            return 0.0, []
        best = max(candidates, key=lambda token: _similarity(word, token.text))
        similarity = _similarity(word, best.text)
        if similarity < threshold:
            return 0.0, []
        candidates.remove(best)
        used.append(best)
        lowest = min(lowest, similarity)
    return lowest, used


def _similarity(word: str, other: str) -> float:
    """Return the normalised indel similarity of two words, in [0, 1].

    0 where the first letters differ: "regular" and "irregular" are opposites, and few typos stand there.
    """
    return fuzz.ratio(word, other) / 100.0 if word[0] == other[0] else 0.0


def _taken_back(tokens: list[Token], first: int, last: int) -> bool:
    """Whether the sentence denies what stands from ``first`` to ``last``: "not 3", "3 is wrong"."""
    before = _in_sentence(reversed(tokens[max(0, first - NEGATION_REACH) : first]))
    behind = _in_sentence(tokens[last + 1 : last + 1 + NEGATION_REACH])
    return any(t.text in _NEGATIONS for t in before) or any(t.text in _RETRACTIONS for t in behind)


def _in_sentence(tokens: Iterable[Token]) -> Iterable[Token]:
    """Return the tokens up to the first end of a sentence."""
    return itertools.takewhile(lambda token: token.text not in _SENTENCE_ENDS, tokens)


def _goes_on_before(tokens: list[Token], first: int) -> bool:
    """Whether an expression that begins at ``first`` really begins earlier: ``2 * 3`` before ``3``."""
    if first == 0 or not (tokens[first].operand or tokens[first].text in "(√"):
        return False
    before, earlier = tokens[first - 1], tokens[first - 2] if first > 1 else None
    glued = before.end == tokens[first].start
    if before.text in _FUNCTIONS or (glued and (before.operand or before.text in (")", "√", "_"))):
        return True
    if before.text not in ("+", "-", "*", "/", "^"):
        return False
    if before.text == "-" and glued:
        return True  # a sign
    # A bullet or a dash stands at the line's start or behind a word; an operator behind an operand.
    return not before.opens_line and earlier is not None and earlier.exact


def _goes_on_behind(tokens: list[Token], last: int) -> bool:
    """Whether an expression that ends at ``last`` really ends later: ``* 2``, ``y`` or ``%`` behind ``3``."""
    if last + 1 >= len(tokens) or not (tokens[last].operand or tokens[last].text in ")°"):
        return False
    behind = tokens[last + 1]
    glued = behind.start == tokens[last].end
    if behind.text in ("%", "percent", "^", "√"):
        return True
    if glued and (behind.operand or behind.text in ("(", "_", "!")):
        return True
    following = tokens[last + 2] if last + 2 < len(tokens) else None
    return (
        behind.text in ("+", "-", "*", "/")
        and not behind.opens_line
        and following is not None
        and (following.operand or following.text in "(√")
    )
