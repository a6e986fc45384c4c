"""Take key steps from a solution by rules, without a model: equations, counted things, and names.

Follows the wording rules of R1-VL's own prompt for their extraction (GitHub jingyi0000/R1-VL,
prompts/extract_key_steps.py): as the text has them, phrases of at most three words, none twice. Not covered: what a
model would add, namely which of them matter, and relationships that are said in longer phrases. One wording each:
the matcher reads the other spellings of an expression itself. Pure: no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from verl_stepgrpo.data.solutions import sections_of_solution
from verl_stepgrpo.judging.key_steps.match import match_key_steps
from verl_stepgrpo.judging.key_steps.reference import KeyStep
from verl_stepgrpo.judging.reading.lexicon import FUNCTION_WORDS
from verl_stepgrpo.judging.reading.reader import tokenize
from verl_stepgrpo.judging.reading.tokens import UNITS, Token
from verl_stepgrpo.judging.sections import Kind, Section

MAX_WORDS = 3
"""Longest phrase, in words."""

MAX_KEY_STEPS = 8
"""Most key steps of one solution; equations come first."""

MIN_NOUN_CHARS = 3
MAX_EQUATION_CHARS = 80

_NO_NOUNS = frozenset(
    "while after before behind between when where because since than means gives give".split()
)
"""Words that follow a number without being counted by it, and that are not function words to the matcher."""
RELATIONS = frozenset("=<>≤≥≠≈∥⊥≅")
_OPERATORS = frozenset("+-*/^±×÷−")
_BINARY = _OPERATORS - frozenset("+-±−")
_NUMBERED = frozenset(
    "angle angles step line side point circle triangle figure equation case row column option question part group "
    "quantity number train car person day week month year bag box".split()
)
"""Words behind which a number names one of several."""
_BLANK = re.compile(r"(?:\s|\\[a-zA-Z]+|\\[,;: ]|[{}~*])*")
"""Blanks, and the marks of TeX and Markdown."""
_SENTENCE = re.compile(r"[^.!?\n]+(?:\.(?=\d)[^.!?\n]+)*")
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][\w'-]+(?: [A-Z][\w'-]+){0,2}|(?<=[\"“])[^\"“”]{2,40}(?=[\"”])")
"""Words in capitals within a sentence, and what is quoted."""


def rule_key_steps(solution: str) -> list[KeyStep]:
    """Return the key steps of a solution, each found in its own steps, in whichever format these are.

    Equations and inequalities first, then numbers with what they count, then names, each in the order of the text.
    """
    return key_steps_of(sections_of_solution(solution))


def key_steps_of(sections: Sequence[Section]) -> list[KeyStep]:
    """Return the key steps of a response that was read already, as ``rule_key_steps`` those of a solution."""
    bodies = [section.body for section in sections if section.kind is Kind.STEP]
    sentences = [sentence.group().strip() for body in bodies for sentence in _SENTENCE.finditer(body)]
    found: dict[tuple[str, ...], str] = {}
    for rule in (_equations, _counted, _names):
        for sentence in sentences:
            for text in rule(sentence):
                found.setdefault(tuple(token.text for token in tokenize(text)), text)
    key_steps = [(text,) for text in found.values()]
    matches = match_key_steps(sections, key_steps, threshold=1.0)
    return [match.wordings for match in matches if match.matched][:MAX_KEY_STEPS]


def _equations(sentence: str) -> Iterator[str]:
    """Yield the runs of numbers, variables and operators that have a relation: "6 divided by 3 equals 2"."""
    tokens = tokenize(sentence)
    for run in map(_without_bullet, _runs(tokens)):
        text = _text(sentence, run)
        sides = [token.text in RELATIONS for token in run]
        if sum(sides) != 1 or sides[0] or sides[-1] or len(text) > MAX_EQUATION_CHARS:
            continue
        # Cut off by a word: "90° - angle 1" is another value than 90°.
        if run[-1].text in _OPERATORS or (run[0].text in _BINARY and not run[0].opens_line):
            continue
        if not _is_label(sentence, tokens, run, sides):
            yield text


def _without_bullet(run: list[Token]) -> list[Token]:
    """Return a run without the hyphen of a list that it begins with."""
    is_bullet = len(run) > 1 and run[0].text == "-" and run[0].opens_line and not run[1].attached
    return run[1:] if is_bullet else run


def _is_label(sentence: str, tokens: list[Token], run: list[Token], sides: list[bool]) -> bool:
    """Return whether the left side is a number that names something: "angle 1 = 32°"."""
    place = tokens.index(run[0])
    if not sides[1] or not run[0].number or not place:
        return False
    before = tokens[place - 1]
    return before.text in _NUMBERED and _BLANK.fullmatch(sentence[before.end : run[0].start]) is not None


def _runs(tokens: list[Token]) -> Iterator[list[Token]]:
    run: list[Token] = []
    for token in tokens:
        if token.exact and not (run and token.mark):
            run.append(token)
        else:
            if run:
                yield run
            run = [token] if token.exact else []
    if run:
        yield run


def _counted(sentence: str) -> Iterator[str]:
    """Yield numbers with the words that they count: "3 children", "12 red apples"."""
    tokens = tokenize(sentence)
    for i, token in enumerate(tokens):
        if not token.number or (i and tokens[i - 1].exact):
            continue
        counted = [token]
        for behind in tokens[i + 1 : i + MAX_WORDS]:
            # Words that the tokens leave out, or a comma, end the phrase.
            adjoins = _BLANK.fullmatch(sentence[counted[-1].end : behind.start])
            if not adjoins or behind.mark or not (behind.text in UNITS or _is_noun(behind)):
                break
            if behind.text == "in" and len(counted) > 1:
                break  # "12 eggs in a carton" is no length
            counted.append(behind)
            if behind.text in UNITS:
                break
        if len(counted) > 1:
            yield _text(sentence, counted)


def _is_noun(token: Token) -> bool:
    is_word = not token.exact and len(token.text) >= MIN_NOUN_CHARS
    return is_word and token.text not in FUNCTION_WORDS and token.text not in _NO_NOUNS


def _names(sentence: str) -> Iterator[str]:
    for match in _NAME.finditer(sentence):
        if len(match.group().split()) <= MAX_WORDS:
            yield match.group()


def _text(sentence: str, tokens: list[Token]) -> str:
    start, end = min(t.start for t in tokens), max(t.end for t in tokens)
    while (
        end < len(sentence)
        and sentence[end] == "}"
        and sentence[start:end].count("{") > sentence[start:end].count("}")
    ):
        end += 1
    return sentence[start:end].strip(" $")
