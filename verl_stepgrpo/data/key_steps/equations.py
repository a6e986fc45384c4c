"""Take the equations and inequalities of a sentence as key steps: those that are whole, and of a chain its links.

What is an equation is read as the matcher reads it (``judging.key_steps.relations``), and beside that as a run of
numbers, variables and signs: ``AB ⊥ CD``, ``C(5, 3) = 10``. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from verl_stepgrpo.data.key_steps.cut import MARKS, cut_of, without_edges
from verl_stepgrpo.judging.key_steps.chains import Chain
from verl_stepgrpo.judging.key_steps.expressions import Item, form
from verl_stepgrpo.judging.key_steps.reference import KeyStep
from verl_stepgrpo.judging.key_steps.relations import as_chain, chains
from verl_stepgrpo.judging.key_steps.runs import SAYS_EQUAL
from verl_stepgrpo.judging.reading.reader import tokenize
from verl_stepgrpo.judging.reading.tokens import FUNCTIONS, Token

MAX_EQUATION_CHARS = 80
RELATIONS = frozenset("=<>≤≥≠≈∥⊥≅")
MAX_ARGUMENTS = 6
"""Tokens in the parentheses behind a name that are read with it: "P(first red) = 3/8"."""

BLANK = re.compile(r"(?:\s|\\[a-zA-Z]+|\\[,;: ]|[{}~*])*")
"""Blanks, and the marks of TeX and Markdown."""
_PAUSE = re.compile(r"[:;] ")
MAX_COMMAND_CHARS = 20
_COMMAND = re.compile(r"(?:\\[a-zA-Z]+)?\{$")
"""A command of TeX whose argument follows."""
_SAYS_EQUAL = re.compile(rf"\b(?:{'|'.join(sorted(SAYS_EQUAL))})\b", re.IGNORECASE)
_OPERATORS = frozenset("+-*/^±×÷−")
_BINARY = _OPERATORS - frozenset("+-±−")
_NUMBERED = frozenset(
    "angle angles step line side point circle triangle figure equation case row column option question part group "
    "quantity number train car person day week month year bag box".split()
)
"""Words behind which a number names one of several."""
_CALCULATES = frozenset("+-*/^f!")
"""Kinds of items that make a side with numbers one that has to be worked out."""


def equations(sentence: str) -> list[KeyStep]:
    """Return the equations and inequalities of a sentence, in its order, no two of which overlap.

    Of a chain ``P = 3/8 * 2/7 = 6/56 = 3/28`` they are links that share no side, since one stretch of a response pays
    one key step; those that calculate come first. A calculation has further wordings where the matcher tells them from
    its first: up to the end of its chain (``3/8 * 2/7 = 3/28``), and without units.
    """
    tokens = tokenize(sentence)
    read = {chain.first: chain for chain in reversed(chains(tokens))}
    found: list[tuple[int, KeyStep]] = []
    for run in runs_of(tokens):
        text = _of_run(sentence, tokens, run)
        chain = next((one for one in read.values() if _overlaps(one, tokens, run)), None)
        # What has words may be more than the equation: "y = mx + c, the slope is 3".
        if text is None or not (chain is None or chain.words or _covers(tokens, run, chain)):
            continue
        if chain is not None:
            del read[chain.first]
        found.append((run[0].start, _wordings(text)))
    for chain in read.values():
        found += _of_chain(sentence, tokens, chain)
    found.sort(key=lambda one: one[0])
    return [wordings for _, wordings in found if len(wordings[0]) <= MAX_EQUATION_CHARS]


def _of_chain(sentence: str, tokens: list[Token], chain: Chain) -> Iterator[tuple[int, KeyStep]]:
    """Yield the links of a chain that are key steps, each with its place in the sentence."""
    last = text_of(sentence, _tokens_of(chain.sides[-1], tokens))
    for place, link in _links(chain):
        text = text_of(sentence, tokens[link.first : link.last + 1], tokens[link.last + 1 :])
        if as_chain(tokenize(text)) is None or _is_cut(sentence, tokens, link, text):
            continue
        goes_on = place + 2 < len(chain.sides) and set(chain.signs[place:]) == {"="}
        first = text_of(sentence, _tokens_of(link.sides[0], tokens))
        ends = [f"{first} = {last}"] if goes_on and _calculates(link.sides[0]) else []
        yield tokens[link.first].start, _wordings(text, *ends)


def _tokens_of(side: Sequence[Item], tokens: list[Token]) -> list[Token]:
    return tokens[side[0].first : side[-1].last + 1]


def text_of(sentence: str, tokens: Sequence[Token], behind: Sequence[Token] = ()) -> str:
    """Return what stands from the first to the last of ``tokens``, with a sign of degrees and TeX around them."""
    start, end = min(t.start for t in tokens), max(t.end for t in tokens)
    if behind and behind[0].text == "°":
        end = behind[0].end
    while sentence[end : end + 1] == "}" and sentence[start:end].count("{") > sentence[start:end].count("}"):
        end += 1
    command = _COMMAND.search(sentence, max(0, start - MAX_COMMAND_CHARS), start)
    if command and sentence[start:end].count("{") < sentence[start:end].count("}"):
        start = command.start()
    text = without_edges(sentence[start:end])
    is_between = sentence[start - 1 : start] == sentence[end : end + 1] == "$"
    return f"${text}$" if is_between and text.count("$") % 2 == 0 and "$" in text else text


def runs_of(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Yield the runs of numbers, variables and signs, words within the parentheses behind a name included."""
    run: list[Token] = []
    inside = -1
    for place, token in enumerate(tokens):
        ends = not token.exact or (run and token.mark) or _is_mark(token)
        if place > inside and ends:
            if run:
                yield run
            run = []
        if place <= inside or (token.exact and not _is_mark(token)):
            run.append(token)
        if token.text == "(" and place > inside and len(run) > 1 and _names(run[-2]):
            inside = _closing(tokens, place)
    if run:
        yield run


def _is_mark(token: Token) -> bool:
    """Return whether a token ends a run: a mark of a sentence, or a letter of a script without spaces."""
    return token.text in MARKS or _is_ideograph(token.text)


def _is_ideograph(text: str) -> bool:
    return len(text) == 1 and unicodedata.category(text) == "Lo"


def _names(token: Token) -> bool:
    return token.text in FUNCTIONS or (token.operand and not token.number)


def _closing(tokens: Sequence[Token], opening: int) -> int:
    """Return where the parenthesis at ``opening`` closes, if what it holds are a few arguments; else ``opening``."""
    for place in range(opening + 1, min(len(tokens), opening + 2 + MAX_ARGUMENTS)):
        if tokens[place].text in ("(", "="):
            break
        if tokens[place].text == ")":
            return place
    return opening


def _of_run(sentence: str, tokens: list[Token], run: list[Token]) -> str | None:
    """Return the equation that a run is, or None where it is none, or a part of one."""
    run = _without_bullet(run)
    sides = [token.text in RELATIONS for token in run]
    if sum(sides) != 1 or sides[0] or sides[-1] or run[-1].text in _OPERATORS:
        return None
    text = text_of(sentence, run)
    states = any(not (token.number or token.text in "=°") for token in run)
    begins_earlier = run[0].text in _BINARY and not run[0].opens_line
    if (
        begins_earlier
        or not states
        or cut_of(text)
        or _PAUSE.search(text)
        or _is_label(sentence, tokens, tokens.index(run[0]))
    ):
        return None
    return text


def _without_bullet(run: list[Token]) -> list[Token]:
    """Return a run without the mark of a list, or the half of an emphasis, that it begins its line with."""
    if len(run) < 2 or not run[0].opens_line:
        return run
    is_bullet = run[0].text in _BINARY or (run[0].text == "-" and not run[1].attached)
    return run[1:] if is_bullet else run


def _is_label(sentence: str, tokens: list[Token], place: int) -> bool:
    """Return whether the left side, which begins at ``place``, is a number that names something: "angle 1 = 32°"."""
    if not place or not tokens[place].number or tokens[place + 1].text not in RELATIONS:
        return False
    before = tokens[place - 1]
    return (
        before.text in _NUMBERED and BLANK.fullmatch(sentence[before.end : tokens[place].start]) is not None
    )


def _overlaps(chain: Chain, tokens: list[Token], run: list[Token]) -> bool:
    return tokens[chain.first].start < run[-1].end and run[0].start < tokens[chain.last].end


def _covers(tokens: list[Token], run: list[Token], chain: Chain) -> bool:
    return run[0].start <= tokens[chain.first].start and tokens[chain.last].end <= run[-1].end


def _links(chain: Chain) -> list[tuple[int, Chain]]:
    """Return links of a chain that share no side, each with the index of its left side; a comparison whole."""
    if not set(chain.signs) <= {"=", "≈"}:
        return [(0, chain)]
    links = list(enumerate(chain.links()))
    taken: dict[int, Chain] = {}
    for place, link in sorted(links, key=lambda one: _rank(one[1])):
        if _states(link) and not taken.keys() & {place - 1, place + 1}:
            taken[place] = link
    return list(taken.items())


def _rank(link: Chain) -> int:
    """Return how late a link is taken: what calculates, what has a number, and then all else."""
    if _calculates(link.sides[0]):
        return 0
    return 1 if link.numbers() else 2


def _states(link: Chain) -> bool:
    """Return whether a link says more than that a number is a number, which is a part of something else."""
    return any(item.kind != "n" for side in link.sides for item in side)


def _calculates(side: Sequence[Item]) -> bool:
    kinds = {item.kind for item in side}
    return "n" in kinds and "v" not in kinds and not kinds.isdisjoint(_CALCULATES)


def _is_cut(sentence: str, tokens: list[Token], link: Chain, text: str) -> bool:
    """Return whether a link that was read in a sentence is a part of something else there."""
    before = tokens[link.first - 1].text if link.first else ""
    begins_earlier = before in _BINARY and not tokens[link.first - 1].opens_line
    if begins_earlier or cut_of(text) or _PAUSE.search(text):
        return True
    relation = sentence[tokens[link.sides[0][-1].last].end : tokens[link.sides[1][0].first].start]
    is_word = _SAYS_EQUAL.search(relation) is not None  # "the modulus of a + bi is 5"
    return is_word or _is_label(sentence, tokens, link.first)


def _wordings(text: str, *others: str) -> KeyStep:
    """Return the wordings of an equation that the matcher tells apart, ``text`` first, those without units last."""
    read = [(one, as_chain(tokenize(one))) for one in (text, *others)]
    wordings = {(chain.forms, chain.units): one for one, chain in reversed(read) if chain is not None}
    for _, chain in read:
        if chain is None or set(chain.signs) != {"="}:
            continue
        spelled = " = ".join(map(_spelled, chain.sides))
        bare = as_chain(tokenize(spelled))
        if bare is not None and bare.forms == tuple(form(_bare(side)) for side in chain.sides):
            wordings.setdefault((bare.forms, bare.units), spelled)
    return tuple(dict.fromkeys((text, *wordings.values())))


def _bare(side: Sequence[Item]) -> list[Item]:
    """Return a side without a counter word that is read as a factor: "150元"."""
    end = len(side)
    while end > 2 and _is_ideograph(side[end - 1].text) and side[end - 2].kind == "·":
        end -= 2
    return list(side[:end])


def _spelled(side: Sequence[Item]) -> str:
    """Return a side in signs, without its units."""
    signs = {"·": "*", "~": "-"}
    parts = [item.kind if item.kind in "+-*/" else signs.get(item.kind, item.text) for item in _bare(side)]
    return re.sub(r" (?=[!′_])|(?<=_) ", "", " ".join(parts))
