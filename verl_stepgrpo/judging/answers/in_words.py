"""Judge an answer in words: hedges, yes and no, and words that agree but for articles, hyphens and plural.

Pure: no I/O.
"""

from __future__ import annotations

import re

from verl_stepgrpo.judging.answers.doubts import DENIALS, HEDGE
from verl_stepgrpo.judging.answers.lists import Elements, elements
from verl_stepgrpo.judging.answers.numbers import quantity_in_prose, quantity_of
from verl_stepgrpo.judging.answers.verdict import Answer, Judge, Verdict, decided
from verl_stepgrpo.judging.reading.lexicon import one_of
from verl_stepgrpo.judging.reading.quantities import parse_quantity
from verl_stepgrpo.judging.reading.words import SPELLINGS

_SOFT = frozenset(("or", "but", "either"))
_SAYS = re.compile(rf"\b(?:{one_of('COPULA')}|of)\b|[:=]")
OPPOSITES = {"yes": "no", "no": "yes", "true": "false", "false": "true"}
_IN_CHINESE = {"是": "yes", "对": "yes", "否": "no", "不是": "no"}
"""Yes and no as the whole of an answer."""
_TAKES_BACK = {
    answer: re.compile(
        rf"(?<!not )\b(?:{other})(?!\w)|\({opposite}\)|\bactually,? (?:it is |it's )?{opposite}\b"
        r"|\b(?:wait|sorry|correction|scratch)\b|^[^\w']*(?:actually|wrong|incorrect|not really)\W*$"
        r"|^[.!]? (?:(?:that|this) )?(?:is|would be) (?:wrong|incorrect|false)|^ (?:idea|doubt|answer|clue|way)\b"
    )
    for answer, opposite, other in (
        (
            "yes",
            "no",
            r"no(?=[.,;!]|$| otherwise)|(?:and|or|but) no|nope|(?<=[,.;:] )false|this is (?:false|wrong)",
        ),
        ("no", "yes", "yes|yep"),
        ("true", "false", "false"),
        ("false", "true", "true"),
    )
}
"""How the rest of an answer that opens with yes takes it back: "yes and no", but not "yes, no two sides are equal"."""
_CONDITION = re.compile(
    r"\b(?:only (?:if|when|for|in)|but not|unless|except|provided|in (?:certain|some)"
    r"|under (?:certain|some)|sometimes)\b"
)
"""What makes of a yes one that holds in part."""

_PLAIN_WORDS = re.compile(r"(?=.*[^\W\d_]{2})[^\W\d_]+(?:(?:['’.,-]|, | |; |: |\. )[^\W\d_]+)*")
"""Words without signs; "x - y" and "Cl-" are none."""
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_PRONOUNS = frozenset("they he she this that".split())
_LINKS = frozenset("will it on in at called named".split())
_PART_OF = re.compile(r"(?:an?|some|one|any|part|half) (?:\w+ ){1,3}(?:in|on|at)\b")
"""How an answer names something inside of what the reference names: "a ray in the first quadrant"."""

CLASS_NOUNS = frozenset(
    "bar line color one region segment slice category group shape side object box car ball triangle".split()
)


def by_hedge(given: Answer, wanted: Answer, judge: Judge) -> Verdict | None:
    """An answer that leaves a choice is wrong; several solutions of which the reference has several are none."""
    for hedge in HEDGE.finditer(given.full.casefold()):
        if not _is_harmless(hedge, given, wanted):
            return decided(False, "hedge", f"the answer leaves a choice ({hedge.group()!r})")
    return None


def _is_harmless(hedge: re.Match[str], given: Answer, wanted: Answer) -> bool:
    """Whether a hedge belongs to the question, or joins what the reference has, too."""
    word = hedge.group()
    if word in wanted.folded:
        return True
    if word in _SOFT and _is_of_the_question(given.full, hedge.end()) and parse_quantity(wanted.core):
        return True
    if word == "or" and (quantity_of(given.core) is not None or _is_set_of_values(elements(wanted.folded))):
        return True  # "1/2 or 0.5"
    return _first_word(wanted.folded) in OPPOSITES and word not in ("or", "maybe", "perhaps", "depends")


def _is_of_the_question(text: str, end: int) -> bool:
    """Whether "or" stands in front of what a sentence says of a number, as in "36 is the count of A or B"."""
    said = max((match.end() for match in _SAYS.finditer(text)), default=0)
    return said > end and quantity_in_prose(text) is not None


def _is_set_of_values(gold: Elements) -> bool:
    """Whether a reference has several solutions, which "or" may join: "x = 2 or x = 3", but not "(2, 3)" or "A, C"."""
    values = all(re.search(r"[\d<>]|\\[lg]e", item) for item in gold.items)
    return len(gold.items) > 1 and gold.opening in ("", "{") and values


def by_yes_no(given: Answer, wanted: Answer, judge: Judge) -> Verdict | None:
    gold = _IN_CHINESE.get(wanted.folded, wanted.folded)
    if gold not in OPPOSITES:
        return None
    if said := _IN_CHINESE.get(given.folded):
        return decided(said == gold, "yes_no", f"it says {said}")
    if _CONDITION.search(given.full.casefold()):
        return decided(False, "yes_no", f"{gold} under a condition only")
    first, rest = _first_word(given.full.casefold()), given.full.casefold()[len(gold) :]
    if first == OPPOSITES[gold]:
        return decided(False, "yes_no", f"it says {first}, the reference {gold}")
    if first == gold:
        takes_back = re.search(_TAKES_BACK[gold], rest)
        return decided(not takes_back, "yes_no", f"{gold} is taken back" if takes_back else f"it says {gold}")
    words = _WORD.findall(given.folded)
    last = words[-1:] == [gold] and (len(words) == 1 or words[-2] in _LINKS)
    return decided(
        last and not DENIALS.search(given.folded[: -len(gold)]),
        "yes_no",
        f"it ends in {gold}" if last else f"it does not clearly say {gold}",
    )


def by_words(given: Answer, wanted: Answer, judge: Judge) -> Verdict | None:
    """Words agree up to hyphens, articles and plural, alone or at the end of a sentence that states them."""
    if not (_PLAIN_WORDS.fullmatch(wanted.folded) and _PLAIN_WORDS.fullmatch(given.folded)):
        return None
    gold, words = _words(wanted.folded), _words(given.folded)
    if gold and "".join(gold) == "".join(words):
        return decided(True, "text", "the same words")
    if gold and _states(words, gold) and not _PART_OF.match(given.folded):
        return decided(True, "text", "a sentence that states it")
    return None


def _words(text: str) -> list[str]:
    # "a" before a comma is a letter.
    text = re.sub(r"\b(?:an?|the) (?=\w)", "", text)
    words = (SPELLINGS.get(word, word) for word in _WORD.findall(text))
    return [word.removesuffix("s") if len(word) > 4 and not word.endswith("ss") else word for word in words]


def _states(words: list[str], gold: list[str]) -> bool:
    """Whether ``words`` are a lead-in that ends in a linking word, ``gold``, and at most its class ("bar")."""
    if len(words) > 12 + len(gold) or set(words) & {"and", "but"} - set(gold):
        return False
    if words[-1:] and words[-1] in CLASS_NOUNS and len(words) > len(gold):
        words = words[:-1]
    before = words[: -len(gold)]
    clear = not DENIALS.search(" ".join(before))
    return words[-len(gold) :] == gold and clear and (not before or before[-1] in _LINKS)


def ends_with(text: str, gold: str) -> bool:
    """Whether ``text`` is ``gold`` behind a pronoun, as in "it increases"."""
    ours, words = _words(text), _words(gold)
    return ours[-len(words) :] == words and set(ours[: -len(words)]) <= _PRONOUNS


def _first_word(text: str) -> str:
    match = _WORD.search(text)
    return match.group() if match else ""
