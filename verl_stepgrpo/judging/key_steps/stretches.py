"""The stretches of a sentence that say what a wording says.

Numbers, variables and operators have to agree exactly and on token borders; words may differ softly. What stands
around a stretch is judged by ``rules``.

Pure: no I/O.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from verl_stepgrpo.judging.key_steps import rules
from verl_stepgrpo.judging.key_steps.chains import Chain
from verl_stepgrpo.judging.key_steps.sentences import Segment, Sentence
from verl_stepgrpo.judging.key_steps.wordings import Wording
from verl_stepgrpo.judging.reading.lexicon import COPULAS, FUNCTION_WORDS
from verl_stepgrpo.judging.reading.tokens import UNITS, Token
from verl_stepgrpo.judging.reading.words import similarity_of

MAX_EXTRA_WORDS = 2
"""Words that a stretch of text may have beyond a wording's, before, behind and between its exact tokens."""


class Stretch(NamedTuple):
    """A stretch of a reasoning step that a wording matches, from ``start`` to ``end`` in the response."""

    similarity: float
    wording: Wording
    step: int
    start: int
    end: int
    numbers: tuple[str, ...]

    def overlaps(self, other: Stretch) -> bool:
        return self.start < other.end and other.start < self.end


class Fault(NamedTuple):
    """Why a stretch is no match.

    Attributes:
        rule: The name of the rule.
        stretch: Indices of the tokens that have what the wording has.
        words: Indices of the tokens that made it; empty where it is the stretch itself.
    """

    rule: str
    stretch: range
    words: range = range(0)


def stretches_of(
    wording: Wording, segment: Segment, threshold: float, *, any_number: bool
) -> Iterator[Stretch]:
    """Yield the stretches of one sentence that match."""
    tokens = segment.sentence.tokens
    for places, window in _places(wording, segment.sentence, threshold, any_number):
        found = words_found(wording, tokens, window, threshold)
        if found is None:
            continue
        similarity, words = found
        core = [*places, *words.values()]
        first, last = min(core), max(core)
        if fault_of_words(wording, tokens, places, words):
            continue
        numbers = tuple(tokens[place].text for place in places if tokens[place].number) if any_number else ()
        numbers = numbers[wording.shift :] + numbers[: wording.shift]
        start, end = segment.place(first, last)
        yield Stretch(similarity, wording, segment.step, start, end, numbers)


def fault_of_words(
    wording: Wording, tokens: list[Token], places: tuple[int, ...], words: dict[int, int]
) -> Fault | None:
    """Return why the sentence does not state what has all parts of a wording, or None where it does.

    Args:
        wording: The wording.
        tokens: Those of the sentence.
        places: The indices of the exact tokens.
        words: For each content word of the wording, by its index there, the index of its match.
    """
    core = [*places, *words.values()]
    first, last = min(core), max(core)
    stretch = range(first, last + 1)
    if not _in_order(wording, tokens, places, words):
        return Fault("another order", stretch)
    if not (wording.exact or _is_short(wording, tokens[first : last + 1])):
        return Fault("too far apart", stretch)
    if wording.content and _crosses_clauses(wording, tokens[first + 1 : last + 1]):
        return Fault("two clauses", stretch)
    if _modifies(wording, tokens, words):
        return Fault("describes another noun", stretch, range(last, last + 2))
    joined = _joins(wording, tokens, first, last)
    if joined is not None:
        return Fault("joined with another", stretch, range(joined, joined + 1))
    counted = _counts_another(wording, tokens, places, words)
    if counted is not None:
        return Fault("describes another noun", stretch, range(counted, counted + 1))
    return _fault(
        stretch,
        rules.ends_later(tokens, last, rules.WORDS)
        or rules.refused(tokens, first, last, rules.WORDS, wording.own),
    )


def fault_of_run(wording: Wording, tokens: list[Token], places: Sequence[int]) -> Fault | None:
    """Return why a run of tokens is not that of the wording though it has its exact tokens, or None where it is."""
    stretch = range(places[0], places[-1] + 1)
    between = (b - a - 1 for a, b in itertools.pairwise(places))
    if any(words > gap + MAX_EXTRA_WORDS for words, gap in zip(between, wording.gaps[1:-1], strict=True)):
        return Fault("too far apart", stretch)
    return _fault(
        stretch,
        rules.begins_earlier(tokens, places[0], rules.WORDS)
        or rules.ends_later(tokens, places[-1], rules.WORDS),
    )


def fault_of_match(chain: Chain, tokens: list[Token], first: int, last: int) -> Fault | None:
    """Return why the relation from ``first`` to ``last`` of a chain is no match, or None where it is one."""
    if chain.contradicts_itself:
        return Fault("contradicts itself", range(chain.first, chain.last + 1))
    return fault_of_relation(chain, tokens, first, last)


def fault_of_relation(chain: Chain, tokens: list[Token], first: int, last: int) -> Fault | None:
    """Return why the sentence does not state the relation from ``first`` to ``last``, or None where it does."""
    kind = chain.kind
    refusal = (
        rules.begins_earlier(tokens, first, kind)
        or rules.ends_later(tokens, last, kind)
        or rules.refused(tokens, first, last, kind)
    )
    if refusal is None:
        return None
    return _fault(range(first, last + 1), refusal)


def _fault(stretch: range, refusal: rules.Refusal | None) -> Fault | None:
    if refusal is None:
        return None
    return Fault(refusal.rule.name, stretch, range(refusal.start, refusal.stop))


def relations_of(wording: Wording, wanted: Chain, segment: Segment) -> Iterator[Stretch]:
    """Yield the stretches of one sentence that state the equation or inequality ``wanted``."""
    tokens = segment.sentence.tokens
    for chain in segment.sentence.chains:
        for first, last in chain.occurrences(wording.readings, wanted.units):
            if fault_of_match(chain, tokens, first, last) is None:
                start, end = segment.place(first, last)
                yield Stretch(1.0, wording, segment.step, start, end, ())


def _places(
    wording: Wording, sentence: Sentence, threshold: float, any_number: bool
) -> Iterator[tuple[tuple[int, ...], range]]:
    """Yield the indices of the exact tokens, and the window that may hold the words, of each possible match."""
    if not wording.exact:
        yield from word_windows(wording, sentence, threshold)
        return
    for k in _runs(sentence.exact_texts, wording.exact, any_number):
        places = sentence.exact[k : k + len(wording.exact)]
        if fault_of_run(wording, sentence.tokens, places) is None:
            yield tuple(places), window_of(wording, sentence.tokens, places[0], places[-1])


def _runs(texts: tuple[str, ...], wanted: tuple[str, ...], any_number: bool) -> Iterator[int]:
    """Yield where ``wanted`` stands in ``texts``, in one piece; with ``any_number``, whatever its numbers are."""
    n = len(wanted)
    for k in range(len(texts) - n + 1):
        here = texts[k : k + n]
        if here == wanted or (
            any_number
            and all(a == b or (a[0].isdigit() and b[0].isdigit()) for a, b in zip(here, wanted, strict=True))
        ):
            yield k


def window_of(wording: Wording, tokens: list[Token], first: int, last: int) -> range:
    """Return the indices around the exact tokens, up to the next exact token, among which the words may stand.

    On a side where the wording has no word they may stand only behind a copula: "3 is the first digit".
    """
    left, right = wording.gaps[0], wording.gaps[-1]
    words = len(wording.tokens) - len(wording.exact)
    if words and any(token.text in COPULAS for token in tokens[max(0, first - left - 1) : first]):
        left = words + 1
    if words and any(token.text in COPULAS for token in tokens[last + 1 : last + 2 + right]):
        right = words + 1
    lowest, highest = first - (left + MAX_EXTRA_WORDS if left else 0), last + 1
    highest += right + MAX_EXTRA_WORDS if right else 0
    return _same_clause(tokens, first, last, lowest, highest)


def _same_clause(tokens: list[Token], first: int, last: int, lowest: int, highest: int) -> range:
    """Return the words around ``first`` to ``last``, up to an exact token or the next clause; a colon opens none."""
    start, end = first, last + 1
    while start > max(0, lowest) and not tokens[start - 1].exact and tokens[start].mark in ("", ":"):
        start -= 1
    while end < min(len(tokens), highest) and not tokens[end].exact and tokens[end].mark in ("", ":"):
        end += 1
    return range(start, end)


def word_windows(
    wording: Wording, sentence: Sentence, threshold: float
) -> Iterator[tuple[tuple[int, ...], range]]:
    """Yield windows of words alone around each place of the first content word, for a wording of words alone."""
    if not wording.content:
        return
    tokens, word = sentence.tokens, wording.tokens[wording.content[0]].text
    reach = len(wording.tokens) + MAX_EXTRA_WORDS
    for i, token in enumerate(tokens):
        if token.exact or not _alike(word, token.text, tokens, i, threshold):
            continue
        yield (), _same_clause(tokens, i, i, i - reach, i + reach)


def _alike(word: str, other: str, tokens: list[Token], i: int, threshold: float) -> bool:
    joined = other + tokens[i + 1].text if i + 1 < len(tokens) else other
    return similarity_of(word, other) >= threshold or joined == word or other.startswith(word)


def words_found(
    wording: Wording, tokens: list[Token], window: range, threshold: float
) -> tuple[float, dict[int, int]] | None:
    """Return the lowest similarity, in [0, 1], and for each content word the place of its match in the window.

    None where a word has no match. A compound may be written in one word or in two.
    """
    free = [i for i in window if not tokens[i].exact]
    lowest, places = 1.0, {}
    content = iter(range(len(wording.content)))
    for k in content:
        word = wording.tokens[wording.content[k]].text
        best = max(free, key=lambda i: similarity_of(word, tokens[i].text), default=None)
        if best is not None and similarity_of(word, tokens[best].text) >= threshold:
            lowest = min(lowest, similarity_of(word, tokens[best].text))
            used = {best}
        else:
            best, used, both = _compound(wording, k, tokens, free)
            if best is None:
                return None
            if both:
                places[wording.content[next(content)]] = best
        places[wording.content[k]] = best
        free = [i for i in free if i not in used]
    return lowest, places


def _compound(
    wording: Wording, k: int, tokens: list[Token], free: list[int]
) -> tuple[int | None, set[int], bool]:
    """Return where word ``k`` stands in two words, or together with the next one in one word (then True)."""
    word = wording.tokens[wording.content[k]].text
    for i in free:
        if i + 1 in free and tokens[i].text + tokens[i + 1].text == word:
            return i, {i, i + 1}, False
    if k + 1 < len(wording.content):
        joined = word + wording.tokens[wording.content[k + 1]].text
        for i in free:
            if similarity_of(joined, tokens[i].text) == 1.0:
                return i, {i}, True
    return None, set(), False


def _is_short(wording: Wording, stretch: list[Token]) -> bool:
    """Whether a stretch of words has at most ``MAX_EXTRA_WORDS`` content words more than the wording."""
    extra = sum(token.text not in FUNCTION_WORDS for token in stretch) - len(wording.content)
    return extra <= MAX_EXTRA_WORDS and len(stretch) <= 2 * len(wording.tokens) + MAX_EXTRA_WORDS


def _in_order(wording: Wording, tokens: list[Token], exact: tuple[int, ...], words: dict[int, int]) -> bool:
    """Whether at most one part, or one block, stands elsewhere than in the wording.

    A run of exact tokens is one part.

    Function words count where the stretch has them: "every square is a rectangle" is not "every rectangle is
    a square", while "parallel lines" is "the lines are parallel".
    """
    core = [*exact, *words.values()]
    free = [i for i in range(min(core), max(core)) if i not in set(core) and not tokens[i].exact]
    order: list[int] = []
    copulas: list[int] = []
    places = iter(exact)
    previous_exact = False
    for i, token in enumerate(wording.tokens):
        if token.exact:
            place = next(places)
            if not previous_exact:
                order.append(place)
        elif i in words:
            order.append(words[i])
        else:
            same = next((j for j in free if tokens[j].text == token.text), None)
            if same is not None:
                order.append(same)
                free.remove(same)
                copulas += [same] if token.text in COPULAS else []
        previous_exact = token.exact
    if _longest_rising(order) >= len(order) - 1 or _is_rotation(order):
        return True
    # "45 dollars is the total cost": where one side of the copula is a value, the sides may change places.
    return (
        len(copulas) == 1
        and _is_rotation([i for i in order if i not in copulas])
        and _value_on_one_side(wording)
    )


def _value_on_one_side(wording: Wording) -> bool:
    copula = next(i for i, token in enumerate(wording.tokens) if token.text in COPULAS)
    sides = wording.tokens[:copula], wording.tokens[copula + 1 :]
    return [any(token.exact for token in side) for side in sides].count(True) == 1


def _is_rotation(order: list[int]) -> bool:
    """Whether ``order`` rises but for one place, where it starts again from below its first: one block moved."""
    falls = sum(a > b for a, b in itertools.pairwise(order))
    return falls == 0 or (falls == 1 and order[-1] < order[0] and len(order) > 2)


def _longest_rising(values: list[int]) -> int:
    """Return the length of the longest non-decreasing subsequence."""
    tails: list[int] = []
    for value in values:
        k = bisect.bisect_right(tails, value)
        tails[k : k + 1] = [value]
    return len(tails)


def _crosses_clauses(wording: Wording, behind_first: list[Token]) -> bool:
    """Whether a stretch with words runs into another clause, as its wording does not: "A, so B is a subset"."""
    marks = [
        token for token in behind_first if token.mark not in ("", ":") and token.text not in ("and", "with")
    ]
    return bool(marks) and not any(token.mark for token in wording.tokens[1:])


def _joins(wording: Wording, tokens: list[Token], first: int, last: int) -> int | None:
    """Return where "and" stands within the stretch and not in the wording: "3 apples and children"."""
    if not wording.content or "and" in wording.own:
        return None
    return next((i for i in range(first, last + 1) if tokens[i].text == "and"), None)


def _modifies(wording: Wording, tokens: list[Token], words: dict[int, int]) -> bool:
    """Whether the wording's last noun only describes another one in the text: "12 egg cartons" for "12 eggs"."""
    last = len(wording.tokens) - 1
    place = words.get(last)
    if place is None or place + 1 >= len(tokens) or not wording.tokens[last].text.endswith("s"):
        return False
    found, behind = tokens[place], tokens[place + 1]
    singular = wording.tokens[last].text in (found.text + "s", found.text + "es")
    return singular and not behind.exact and not behind.mark and behind.text not in FUNCTION_WORDS


_IRREGULAR_PLURALS = frozenset("people children men women".split())


def _counts_another(
    wording: Wording, tokens: list[Token], exact: tuple[int, ...], words: dict[int, int]
) -> int | None:
    """Return where another noun stands that a number counts in the text: "6 baskets of apples" for "6 apples"."""
    places = iter(exact)
    for k, token in enumerate(wording.tokens):
        if not token.exact:
            continue
        place = next(places)
        noun, behind = words.get(k + 1), place + 1
        if not token.number or noun is None or noun < place + 3 or behind in words.values():
            continue
        if _is_plural(tokens[behind].text) or tokens[behind].text in UNITS:
            return behind
    return None


def _is_plural(text: str) -> bool:
    return text in _IRREGULAR_PLURALS or (len(text) > 3 and text.endswith("s") and text[-2] not in "sui")
