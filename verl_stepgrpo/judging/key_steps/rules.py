"""What refuses a stretch of text that has all of a key step: that it begins earlier or ends later, is compared, is
doubted, denied or taken back. One row a rule, with a text that it refuses and a neighbour that it keeps; a test
holds every row to both.

In a pattern ``[`` and ``]`` are the ends of the stretch, and the items stand outside of it or, on the other side of the
bracket, at its end. An item is a word, words with ``|``, a class of ``reading.lexicon`` or a kind of token
(``token_patterns.KINDS``); ``..3`` are up to 3 tokens of any kind, ``·`` before an item says that it is attached, ``~``
that it is not, ``!`` that it is something else. ``[* item *]`` stands within the stretch. The end of a line stands for
a full stop.

Pure: no I/O.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from verl_stepgrpo.judging.memo import Memo
from verl_stepgrpo.judging.reading.lexicon import FUNCTION_WORDS, LEXICON
from verl_stepgrpo.judging.reading.tokens import EXACT, SENTENCE_ENDS, UNITS, Token
from verl_stepgrpo.judging.token_patterns import KINDS, Item, Pattern
from verl_stepgrpo.judging.token_patterns import pattern as _pattern

EXTENT, STANCE = "extent", "stance"
"""Groups of rules: whether the expression goes on, and what the text says of it."""

WORDS, RELATION, COMPUTATION = "words", "relation", "computation"
"""What a stretch is: a wording with words, a relation with variables, the result of an operation with numbers."""

_ALL = frozenset({WORDS, RELATION, COMPUTATION})
_STATED = frozenset({WORDS, RELATION})
_EQUATIONS = frozenset({RELATION, COMPUTATION})
_COMPUTED = frozenset({COMPUTATION})


@dataclass(frozen=True)
class Rule:
    """One reason for which a stretch is no match.

    Attributes:
        name: What it is called where a missed key step is explained.
        pattern: What has to stand around the stretch.
        refuses: An example, the stretch in brackets.
        keeps: A neighbour that it does not refuse.
        unless: Patterns that lift it, separated by commas: with a bracket from the stretch on, else where it ended.
        group: ``EXTENT`` or ``STANCE``.
        of: What the stretch is.
        across: Whether commas may stand in between.
    """

    name: str
    pattern: str
    refuses: str
    keeps: str
    unless: str = ""
    group: str = STANCE
    of: frozenset[str] = _ALL
    across: bool = False


RULES = (
    # The expression begins earlier.
    Rule("begins earlier", "PART of [VALUE", "half of [x = 3]", "of [x = 3]", group=EXTENT),
    Rule("begins earlier", "SPOKEN_MINUS [VALUE", "minus [x = 3]", "- [x = 3]", "OPERAND -", group=EXTENT),
    Rule("begins earlier", "<|>|≤|≥|≠ [NUMBER", "so < [3 = y]", "x < [3 = y]", "EXACT <|>|≤|≥|≠", group=EXTENT),
    Rule(
        "begins earlier", "FUNCTION|√|∛|∠|△|± [VALUE", r"\sin [x = 3]", "so [x = 3]", group=EXTENT
    ),
    Rule("begins earlier", "OPERAND|)|_ [·VALUE", "2[x = 3]", "2 and [x = 3]", group=EXTENT),
    Rule("begins earlier", "NUMBER [NUMBER /", "1 [3/4 cups]", "in 1 day [3 cups]", group=EXTENT),
    Rule("begins earlier", "- [·VALUE", "so -[3 apples]", "- [3 apples]", group=EXTENT),
    Rule("begins earlier", "EXACT INFIX [VALUE", "x + [3 = y]", "sum - [3 = y]", group=EXTENT),
    Rule(
        "begins earlier", "JOINS [VALUE", "apples + [3 = y]", "apples - [3 = y]", group=EXTENT, of=_EQUATIONS
    ),
    # The expression ends later.
    Rule("ends later", "UNIT] ·^|/", "[5 cm]^2", "[5 cm] / day", group=EXTENT),
    Rule("ends later", "ENDS] %|^|√|_|′", "[x = 3]%", "[x = 3] and 5%", "%] %|^|√|_|′", group=EXTENT),
    Rule("ends later", "ENDS] ·OPERAND|(|!", "[x = 3]y", "[x = 3] metres", group=EXTENT, of=_STATED),
    Rule("ends later", "NUMBER] x|y|z|MULTIPLE", "[x = 3] dozen", "[x = 3] apples", group=EXTENT),
    Rule("ends later", "NUMBER] DIFFERENCE", "[x = 3] more than y", "[x = 3] and more", group=EXTENT, of=_STATED),
    Rule("ends later", "NUMBER] NUMBER", "[x = 2] 1/2", "[x = 2] and 1", group=EXTENT, of=_STATED),
    Rule("ends later", "NUMBER] SCALE", "[1 + 1 = 2] 100", "[1 + 1 = 2] 10", group=EXTENT, of=_COMPUTED),
    Rule("ends later", "ENDS] INFIX OPERAND|(|√|∛", "[x = 3] + y", "[x = 3] - that is it", group=EXTENT),
    # It is compared, not stated.
    Rule(
        "compared", "COMPARISON [", "There are fewer [3 children].",
        "There are [3 children].", of=_STATED,
    ),
    Rule("compared", "NEARLY [", "rather than [6/3 = 2]", "at least [6/3 = 2]", of=_COMPUTED),
    Rule(
        "compared", "[* COMPARISON|HEDGE|POSSIBILITY *]", "[3 fewer children]", "[3 small children]",
        of=frozenset({WORDS}),
    ),
    # It is denied or doubted.
    Rule(
        "denied", "~NEGATION ..3 [", "We would not get [x = 3].", "There is no doubt that [x = 3].",
        "NEGATION HARMLESS, NEGATION DENIAL", of=_STATED,
    ),
    Rule(
        "denied", "~NEGATION ..3 [", "We would not get [6/3 = 2].", "Those who are not here are [9 - 3 = 6].",
        "NEGATION HARMLESS, NEGATION DENIAL, RELATIVE ..1 NEGATION !TRUTH ..1 COPULA [, "
        "RELATIVE ..1 NEGATION COPULA [, without ..2 COPULA [",
        of=_COMPUTED,
    ),
    Rule(
        "doubted", "DENIAL ..3 [", "I strongly doubt that [6/3 = 2].", "We cannot deny that [6/3 = 2].",
        "NEGATION DENIAL",
    ),
    Rule("doubted", "HEDGE ..3 [", "Perhaps then [6/3 = 2].", "Perhaps not all, but [6/3 = 2]."),
    Rule("doubted", "POSSIBILITY be [", "There could be [3 children].", "We may use [x = 3].", of=_STATED),
    Rule("doubted", "guess ..2 [", "I guess there are [3 children].", "My guess was low; [x = 3]."),
    Rule("denied", "non [", "It is a non [right triangle].", "It is a [right triangle]."),
    Rule("denied", "RETRACTION that|to ..2 [", "It is wrong that [6/3 = 2].", "That was wrong: [6/3 = 2]."),
    # It is taken back.
    Rule("taken back", "] ..3 ? no|wrong|incorrect|false", "Is [6/3 = 2]? No.", "Is [6/3 = 2]? Yes.", across=True),
    Rule(
        "taken back", "] ..4 RETRACTION", "[6/3 = 2] is clearly wrong.",
        "[6/3 = 2]. Next, 4 + 1 = 6 is wrong.", across=True,
    ),
    Rule(
        "taken back", "] ..1 . CORRECTION", "[3 children]. Actually, there are 4.",
        "[3 children]. There are 4 adults.", across=True,
    ),
    Rule(
        "taken back", "] ..1 not|cannot", "[x = 3] is not so.", "[x = 3] (not 5).", "] ..1 not OPERAND", of=_STATED
    ),
    Rule(
        "taken back", "] ..1 not|cannot", "[6/3 = 2] is not so.", "[9 - 3 = 6] did not come.",
        "] AUXILIARY not !TRUTH, ] CONTRACTED !TRUTH, ] !COPULA CONTRACTED !TRUTH", of=_COMPUTED,
    ),
    Rule(
        "taken back", "] ..3 not TRUTH", "[9 - 3 = 6] children is not true.",
        "[9 - 3 = 6] children did not come.", of=_COMPUTED,
    ),
    Rule(
        "taken back", "] which COPULA ..2 not|cannot ..1 TRUTH", "[6/3 = 2], which is surely not so.",
        "[6/3 = 2], which is not 5.", across=True,
    ),
    Rule("taken back", "] ..4 REJECTION", "[x = 4] is then rejected.", "[x = 4] and y is rejected."),
    Rule(
        "taken back", "] which COPULA ..1 REJECTION", "[x = 4], which is extraneous.",
        "[x = 4], since y is extraneous.", across=True,
    ),
    Rule("taken back", "] ..3 ruled|thrown|crossed out", "[x = 4] is ruled out.", "[x = 4] is worked out."),
    Rule("taken back", "] COPULA too", "[x = 4] is too large.", "[x = 4] is large, too."),
    Rule("taken back", "] ..1 ✗|✘|❌", "[x = 4] ✗", "[x = 4] ✓"),
    Rule("taken back", "] ( no )", "[x = 4] (no)", "[x = 4] (no unit)", of=_EQUATIONS),
    Rule(
        "taken back", "] wait|oops|sorry|scratch", "[x = 4], wait, x = 5.", "[x = 4] and wait.", of=_EQUATIONS,
        across=True,
    ),
    Rule("taken back", "] ..1 . REVISION", "[x = 4]. Scratch that.", "[x = 4]. Use that.", across=True),
    Rule(
        "taken back", "] ..1 . hmm|no that ..2 not|cannot", "[x = 4]. No, that's not right.",
        "[x = 4]. No, that's all.", across=True,
    ),
    Rule("denied", "DISCARDING ..1 [", "We exclude [x = 4].", "We exclude y, so [x = 4]."),
    Rule("denied", "rule|rules|ruled out ..1 [", "We rule out [x = 4].", "We find out [x = 4]."),
    Rule("denied", "instead of [", "Instead of [x = 4], use 5.", "Instead [x = 4]."),
    Rule("denied", "contrary to [", "Contrary to [x = 4], it is 5.", "Due to [x = 4], it is 5."),
    Rule("denied", "far from [", "It is far from [x = 4].", "It is clear from [x = 4]."),
    # It is supposed or asked.
    Rule("supposed", "SUPPOSITION ..2 [", "Suppose that [x = 4].", "Suppose y is 1, then [x = 4]."),
    Rule("supposed", "what if ..1 [", "What if [x = 4]", "What then, if not this? [x = 4]."),
    Rule("supposed", "to show|prove ..1 [", "We want to show that [x = 4].", "These show that [x = 4]."),
    Rule("asked", "] ..4 ?", "Does [x = 4] hold?", "Is [x = 4]? Yes.", "] ..4 ? yes", of=_EQUATIONS),
    # It is said of another.
    Rule("another role", "[* by *]", "[dog is chased by the cat]", "[dog is chasing the cat]", of=frozenset({WORDS})),
    Rule("another role", "[* LOSS *]", "[Tom has lost 5 apples]", "[Tom has got 5 apples]", of=frozenset({WORDS})),
)  # fmt: skip
"""All of them, in the order in which they are asked."""


class Refusal(NamedTuple):
    """A rule that refused a stretch, and the tokens that made it: from ``start`` to before ``stop``."""

    rule: Rule
    start: int
    stop: int


class _Compiled(NamedTuple):
    rule: Rule
    pattern: Pattern
    unless: tuple[Pattern, ...]


COMPILED = tuple(
    _Compiled(rule, _pattern(rule.pattern), tuple(_pattern(u) for u in rule.unless.split(", ") if u.strip()))
    for rule in RULES
)


REACH = 6
"""Tokens on either side of a stretch in which the rules look for their words."""


def begins_earlier(tokens: Sequence[Token], first: int, of: str) -> Refusal | None:
    """Return the rule by which an expression that begins at ``first`` really begins earlier, or None."""
    if first == 0 or tokens[first].mark:
        return None
    rows = _NEAR[tokens[first - 1].text]["before", EXTENT, of]
    return _first_refusal(rows, tokens, first, first) if rows else None


def ends_later(tokens: Sequence[Token], last: int, of: str) -> Refusal | None:
    """Return the rule by which an expression that ends at ``last`` really ends later, or None."""
    if last + 1 >= len(tokens) or tokens[last + 1].mark:
        return None
    rows = _NEAR[tokens[last + 1].text]["behind", EXTENT, of]
    return _first_refusal(rows, tokens, last, last) if rows else None


def refused(
    tokens: Sequence[Token], first: int, last: int, of: str, own: Collection[str] = ()
) -> Refusal | None:
    """Return the rule by which the sentence does not state what stands from ``first`` to ``last``, or None.

    Args:
        tokens: Those of the sentence.
        first: Index of the first token of the stretch.
        last: Index of its last token.
        of: ``WORDS``, ``RELATION`` or ``COMPUTATION``.
        own: Words of the key step itself, with which the text compares nothing.
    """
    rows: list[_Compiled] = []
    if first:
        rows += _NEAR[tokens[first - 1].text]["before", STANCE, of]
        rows += _far("before", of, tokens[max(0, first - REACH) : first])
    if of == WORDS:
        rows += _WITHIN
    if last + 1 < len(tokens):
        rows += _NEAR[tokens[last + 1].text]["behind", STANCE, of]
        rows += _far("behind", of, tokens[last + 1 : last + 1 + REACH])
    return _first_refusal(rows, tokens, first, last, own) if rows else None


def _rows_near(text: str) -> dict[tuple[str, str, str], tuple[_Compiled, ...]]:
    """Return, by side, group and kind of stretch, the rows whose item next to it may be a token with this text."""
    alike = _like(text)
    if alike != text:
        return _NEAR[alike]
    spellings = (Token(text, 0, 1), Token(text, 0, len(text) + 9), Token(text, 0, 1, attached=True))
    takers = [
        row
        for row in COMPILED
        if row.pattern.side in ("before", "behind")
        and not row.pattern.outside[0].gap
        and any(row.pattern.outside[0].takes(token) for token in spellings)
    ]
    return {
        (side, group, of): tuple(
            row
            for row in takers
            if row.pattern.side == side and row.rule.group == group and of in row.rule.of
        )
        for side in ("before", "behind")
        for group in (EXTENT, STANCE)
        for of in _ALL
    }


def _like(text: str) -> str:
    """Return a text that the items take alike: all numbers are, and all words that no item names."""
    if text[0].isdigit():
        return text if KINDS["SCALE"](Token(text, 0, 1)) else "0"
    return text if EXACT[text] or text in UNITS or text in _named() else "word"


@functools.cache
def _named() -> frozenset[str]:
    """Return the words that an item next to a stretch names."""
    return frozenset().union(*(row.pattern.outside[0].words for row in COMPILED if row.pattern.outside))


_NEAR = Memo(_rows_near)


@functools.lru_cache(maxsize=64)
def _with_gap(side: str, of: str) -> tuple[dict[str, list[int]], frozenset[str]]:
    """Return the rows with a gap next to the stretch, by their index, for each word without which they do not apply."""
    by_cue: dict[str, list[int]] = {}
    for i, row in enumerate(COMPILED):
        if row.pattern.side == side and of in row.rule.of and row.pattern.outside[0].gap:
            for word in _cue(row.pattern.outside[1:]):
                by_cue.setdefault(word, []).append(i)
    return by_cue, frozenset(by_cue)


def _cue(items: Sequence[Item]) -> frozenset[str]:
    """Return the words of one item: the first of which none is frequent in any text."""
    rare = (item.words for item in items if item.words.isdisjoint(FUNCTION_WORDS | SENTENCE_ENDS))
    return next(rare, items[0].words)


def _far(side: str, of: str, around: Sequence[Token]) -> list[_Compiled]:
    by_cue, cues = _with_gap(side, of)
    if cues.isdisjoint([token.text for token in around]):
        return []
    rows = {i for token in around for i in by_cue.get(token.text, ())}
    return [COMPILED[i] for i in sorted(rows)]


_WITHIN = tuple(row for row in COMPILED if row.pattern.side == "within")


def _first_refusal(
    rows: Sequence[_Compiled], tokens: Sequence[Token], first: int, last: int, own: Collection[str] = ()
) -> Refusal | None:
    for row in rows:
        place = _place(row.pattern, tokens, first, last, row.rule.across, own)
        if place is not None and not _lifted(row, tokens, first, last, place):
            around = {"before": (place, first), "behind": (last + 1, place + 1)}
            return Refusal(row.rule, *around.get(row.pattern.side, (place, place + 1)))
    return None


def _place(
    pattern: Pattern, tokens: Sequence[Token], first: int, last: int, across: bool, own: Collection[str] = ()
) -> int | None:
    """Return the token at which a pattern around a stretch ends, or None where it does not stand there."""
    if pattern.side == "within":
        return next((i for i in range(first, last + 1) if pattern.inside[0].takes(tokens[i], own)), None)
    if pattern.side == "before":
        inside = all(
            first + k < len(tokens) and item.takes(tokens[first + k]) for k, item in enumerate(pattern.inside)
        )
        if not (inside and pattern.outside):
            return first if inside else None
        return _follow(pattern.outside, tokens, first - 1, _wall_before, own)
    inside = all(last - k >= 0 and item.takes(tokens[last - k]) for k, item in enumerate(pattern.inside))
    wall = _wall_behind if across else _wall_of_clause
    return _follow(pattern.outside, tokens, last + 1, wall, own) if inside else None


def _follow(
    items: Sequence[Item],
    tokens: Sequence[Token],
    i: int,
    wall: Callable[[Sequence[Token], int], bool],
    own: Collection[str],
) -> int | None:
    """Return where ``items`` end if they begin at ``i``, away from the stretch; a gap ends at a wall."""
    step = -1 if wall is _wall_before else 1
    gap = 0
    if items[0].gap:
        gap, items = items[0].gap, items[1:]
    for _ in range(gap + 1):
        if not 0 <= i < len(tokens) or _is_cut(tokens, i, wall):
            return None
        if tokens[i].mark == "\n" and items[0].words == _FULL_STOP and items[1:]:
            end = _follow(items[1:], tokens, i, wall, own)  # the end of a line stands for it
            if end is not None:
                return end
        if items[0].takes(tokens[i], own):
            end = i if len(items) == 1 else _follow(items[1:], tokens, i + step, wall, own)
            if end is not None:
                return end
        if wall(tokens, i):
            return None
        i += step
    return None


_FULL_STOP = frozenset(".")


def _is_cut(tokens: Sequence[Token], i: int, wall: Callable[[Sequence[Token], int], bool]) -> bool:
    """Whether a comma or the like stands between ``i`` and the stretch, where none may."""
    if wall is _wall_before:
        return i + 1 < len(tokens) and bool(tokens[i + 1].mark)
    return wall is _wall_of_clause and bool(tokens[i].mark)


def _wall_before(tokens: Sequence[Token], i: int) -> bool:
    """Whether nothing that stands before token ``i`` reaches the stretch; "not x = 3 but x = 4" states the second."""
    if tokens[i].text in SENTENCE_ENDS:
        return True
    return tokens[i].text in ("but", "so") and not (i and tokens[i - 1].text == "anything")


def _wall_behind(tokens: Sequence[Token], i: int) -> bool:
    """Whether nothing that stands behind token ``i`` reaches the stretch, unless it refers back: "That is wrong"."""
    if tokens[i].operand and tokens[i].text not in UNITS:
        return True
    refers = i + 1 < len(tokens) and tokens[i + 1].text in LEXICON["REFERRING"].words
    return tokens[i].text in SENTENCE_ENDS and not refers


def _wall_of_clause(tokens: Sequence[Token], i: int) -> bool:
    return _wall_behind(tokens, i) or tokens[i].text in ("and", "but", "so")


def _lifted(row: _Compiled, tokens: Sequence[Token], first: int, last: int, place: int) -> bool:
    for pattern in row.unless:
        if pattern.side:
            if _place(pattern, tokens, first, last, row.rule.across) is not None:
                return True
        elif any(_stands(pattern.outside, tokens, k) for k in (place, place - 1)):
            return True
    return False


def _stands(items: Sequence[Item], tokens: Sequence[Token], i: int) -> bool:
    return i >= 0 and all(i + k < len(tokens) and item.takes(tokens[i + k]) for k, item in enumerate(items))
