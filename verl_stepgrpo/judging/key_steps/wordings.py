"""A wording of a key step, read once: its tokens, or the relation that it is.

Pure: no I/O.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from verl_stepgrpo.judging.key_steps.chains import FLIPPED, Chain, Reading
from verl_stepgrpo.judging.key_steps.reference import KeyStep
from verl_stepgrpo.judging.key_steps.relations import as_chain
from verl_stepgrpo.judging.key_steps.sentences import Anchors
from verl_stepgrpo.judging.lazy import lazy
from verl_stepgrpo.judging.reading.formulas import RELATED
from verl_stepgrpo.judging.reading.lexicon import FUNCTION_WORDS
from verl_stepgrpo.judging.reading.reader import tokenize
from verl_stepgrpo.judging.reading.tokens import Token, without_end

MAX_WORDING_CHARS = 2_000
"""Longer wordings are no key step, and never match."""


@dataclass(frozen=True)
class Wording:
    """One wording of a key step, tokenized once.

    Attributes:
        text: The wording as the dataset has it.
        tokens: Its tokens.
        exact: Texts of its exact tokens, in order.
        gaps: Number of words before the first exact token, between each two, and behind the last.
        shift: Where the sides were swapped, how many numbers now stand before those that stood first.
        chain: The equation or inequality that it is, None where it is something else.
    """

    text: str
    tokens: tuple[Token, ...]
    exact: tuple[str, ...]
    gaps: tuple[int, ...]
    shift: int = 0
    chain: Chain | None = None

    @lazy
    def content(self) -> tuple[int, ...]:
        """Indices of the words that have to be found: all but function words, unless there are no others."""
        words = [i for i, token in enumerate(self.tokens) if not token.exact]
        content = tuple(i for i in words if self.tokens[i].text not in FUNCTION_WORDS)
        return content or (() if self.exact else tuple(words))

    @lazy
    def anchors(self) -> Anchors:
        """What a sentence has if the wording stands in it."""
        return Anchors.of(self.tokens, self.content)

    @lazy
    def readings(self) -> tuple[Reading, ...]:
        """Those of its chain; none where it has none."""
        return self.chain.readings() if self.chain else ()

    @lazy
    def own(self) -> frozenset[str]:
        """The spellings of its tokens."""
        return frozenset(token.text for token in self.tokens)

    @lazy
    def numbers(self) -> tuple[str, ...]:
        """Its numbers, in the order of the wording as the dataset has it."""
        numbers = tuple(token.text for token in self.tokens if token.number)
        return numbers[self.shift :] + numbers[: self.shift]


_SWAPPED = FLIPPED | {sign: sign for sign in RELATED.values()}
"""What each relation is when its sides change places: "AB ∥ CD" is "CD ∥ AB"."""


def analyse(text: str) -> tuple[Wording, ...]:
    """Return the wording, and where it is an equation or an inequality also the one with its sides swapped."""
    tokens = without_end(tokenize(text)) if len(text) <= MAX_WORDING_CHARS else []
    chain = as_chain(tokens)
    if chain is not None:
        return (_wording(text, tokens, chain=chain),)
    wordings = [_wording(text, tokens)]
    relations = [i for i, token in enumerate(tokens) if token.text in _SWAPPED]
    if len(relations) == 1 and all(token.exact for token in tokens):
        (i,) = relations
        relation = tokens[i]._replace(text=_SWAPPED[tokens[i].text])
        shift = sum(token.number for token in tokens[i + 1 :])
        wordings.append(_wording(text, [*tokens[i + 1 :], relation, *tokens[:i]], shift))
    return tuple(wordings)


def _wording(text: str, tokens: list[Token], shift: int = 0, chain: Chain | None = None) -> Wording:
    gaps = [0]
    for token in tokens:
        if token.exact:
            gaps.append(0)
        else:
            gaps[-1] += 1
    exact = tuple([token.text for token in tokens if token.exact])
    return Wording(text, tuple(tokens), exact, tuple(gaps), shift, chain)


@functools.lru_cache(maxsize=8192)
def forms_of(key_step: KeyStep) -> tuple[tuple[Wording, ...], ...]:
    """Return the forms of each wording, of wordings that say the same the first one's alone."""
    by_content: dict[object, tuple[Wording, ...]] = {}
    for forms in map(analyse, key_step):
        chain = forms[0].chain
        tokens = tuple(token.text for token in forms[0].tokens)
        by_content.setdefault((chain.forms, chain.signs, chain.units) if chain else tokens, forms)
    return tuple(by_content.values())
