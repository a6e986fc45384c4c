"""Take key steps from a solution by rules, without a model: equations, stated numbers, counted things, and names.

Follows the wording rules of R1-VL's own prompt for their extraction (GitHub jingyi0000/R1-VL,
prompts/extract_key_steps.py): as the text has them, phrases of at most three words, none twice. Not covered: what a
model would add, namely which of them matter, and relationships that are said in longer phrases. Mostly one wording
each: the matcher reads the other spellings of an expression itself. Pure: no I/O.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from verl_stepgrpo.data.key_steps.cut import cut_of, without_edges
from verl_stepgrpo.data.key_steps.equations import BLANK, equations, text_of
from verl_stepgrpo.data.rows.solutions import sections_of_solution
from verl_stepgrpo.judging.key_steps.match import match_key_steps, shown
from verl_stepgrpo.judging.key_steps.reference import KeyStep
from verl_stepgrpo.judging.reading.lexicon import FUNCTION_WORDS
from verl_stepgrpo.judging.reading.reader import tokenize
from verl_stepgrpo.judging.reading.tokens import UNITS, Token
from verl_stepgrpo.judging.sections import Kind, Section, parse_sections

MAX_WORDS = 3
"""Longest phrase, in words."""

MAX_KEY_STEPS = 8
"""Most key steps of one solution; equations come first."""

MIN_NOUN_CHARS = 3

_NO_NOUNS = frozenset(
    "while after before behind between when where because since than means gives give".split()
)
"""Words that follow a number without being counted by it, and that are not function words to the matcher."""
_OPENERS = frozenset("see find get know note show shows implies conclude says say here now again".split())
"""Words behind which a clause begins, beside function words and ``_NO_NOUNS``: "we see slope is 2"."""
_SAYS_NOTHING = frozenset("answer result solution value option choice number total".split())
"""Words of which it is no key step that they are a number: it is the answer, or nobody knows whose value."""
_BELONGS_TO = frozenset("of in for to at on by with from between than per within under over".split())
"""Words behind which a thing is not what the sentence is about: in "the sum of the digits is 12" not the digits."""
_GOES_ON = frozenset("and so since because as but while which then thus hence for when if where that".split())
"""Words behind a number that begin another clause."""
_DETERMINERS = frozenset("its their his her this that these those each our your my".split())
_FRACTIONS = frozenset("half halves third thirds quarter quarters".split())
_PAUSE = re.compile(r"[,;:]")
_IS = frozenset({"is", "equals", "="})
"""What stands between a name and its number, and is none of the words of a phrase."""
_BEGINS_MATHS = re.compile(r"(?:\s|\\\(|[$*])*")
"""What may stand before a number: blanks, and marks of TeX and Markdown that open."""
_SENTENCE = re.compile(r"(?:[^.!?。！？\n]|\.(?=\d)|!(?= ?[-+*/^)=×÷·\\!,]))+")
"""Up to its mark; behind a factorial it goes on."""
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][\w'’-]+(?: [A-Z][\w'’-]+){0,2}|(?<=[\"“])[^\"“”]{2,40}(?=[\"”])")
"""Words in capitals within a sentence, and what is quoted."""
_OWNER = re.compile(r"['’]s?$")
_BELONGINGS = re.compile(rf"(?: [a-z]+){{1,{MAX_WORDS}}}")


def rule_key_steps(solution: str) -> list[KeyStep]:
    """Return the key steps of a solution, each found in its own steps, in whichever format these are.

    Equations and inequalities first, then what is said to be a number, numbers with what they count, and names, each in
    the order of the text.
    """
    return key_steps_of(sections_of_solution(solution))


def key_steps_of(sections: Sequence[Section]) -> list[KeyStep]:
    """Return the key steps of a response that was read already, as ``rule_key_steps`` those of a solution."""
    bodies = [section.body for section in sections if section.kind is Kind.STEP]
    sentences = [sentence.group().strip() for body in bodies for sentence in _SENTENCE.finditer(body)]
    candidates = [one for sentence in sentences for one in equations(sentence)]
    stated = {sentence: list(_stated(sentence)) for sentence in sentences}
    numbers = {token.text for one in candidates for token in tokenize(one[0]) if token.number}
    for rule in (stated.__getitem__, _counted, _names):
        for sentence in sentences:
            for text in rule(sentence):
                if rule is _counted and (
                    any(text in one for one in stated[sentence]) or _is_value(text, numbers)
                ):
                    continue  # "radius is 5 cm" says its "5 cm", and "180° - 50° = 130°" its "180°"
                candidates.append((text,))
    key_steps = _whole(_once(candidates))
    matches = match_key_steps(sections, key_steps, threshold=1.0)
    return [match.wordings for match in matches if match.matched][:MAX_KEY_STEPS]


def as_step(text: str) -> tuple[Section, ...]:
    """Return the sections of a response whose one step is ``text``."""
    # A line that opens with ### would begin another section.
    return parse_sections("### Step 1:\n" + text.replace("###", " "))


def reading_of(key_step: KeyStep) -> tuple[str, ...]:
    """Return what the first wording of a key step reads as: those that read the same are one."""
    return tuple(token.text for token in tokenize(key_step[0]))


def _once(key_steps: Iterable[KeyStep]) -> Iterable[KeyStep]:
    """Return key steps, of those whose first wording reads the same the first."""
    found: dict[tuple[str, ...], KeyStep] = {}
    for one in key_steps:
        found.setdefault(reading_of(one), one)
    return found.values()


def _whole(candidates: Iterable[KeyStep]) -> list[KeyStep]:
    """Return those that are not cut out of their text, and are found where nothing else stands."""
    return [
        one
        for one in candidates
        if cut_of(one[0]) is None and shown(as_step(one[0]), [one], threshold=1.0)[0]
    ]


def _is_value(text: str, numbers: Collection[str]) -> bool:
    """Return whether a phrase is one of ``numbers`` with nothing but a sign: "180°", "40%"."""
    number, *others = tokenize(text)
    return number.text in numbers and all(token.text in "°%" for token in others)


def _stated(sentence: str) -> Iterator[str]:
    """Yield what a sentence says to be a number: "first digit is 3", "slope is -2"."""
    tokens = tokenize(sentence)
    for place, token in enumerate(tokens):
        if token.text != "is":
            continue
        name, value = _name_before(sentence, tokens, place), _value_behind(sentence, tokens, place)
        if not name or not value:
            continue
        text = _closed(sentence, name[0].start, value[-1].end)
        if text is not None and len([word for word in text.split() if word not in _IS]) <= MAX_WORDS:
            yield text


def _name_before(sentence: str, tokens: list[Token], place: int) -> list[Token]:
    """Return the words that name what is something, or nothing where it is not certain what they name."""
    begin = place
    while begin and _adjoins(sentence, tokens[begin - 1], tokens[begin]) and _is_name(tokens[begin - 1]):
        begin -= 1
    name = tokens[begin:place]
    if not name or name[-1].text in _SAYS_NOTHING:
        return []
    return name if _opens_clause(sentence, tokens, begin) else []


def _opens_clause(sentence: str, tokens: list[Token], place: int) -> bool:
    """Return whether a name that begins at a token is what its clause is about, and belongs to nothing before it."""
    if not place:
        return True
    before = tokens[place - 1]
    if _PAUSE.search(sentence[before.end : tokens[place].start]):
        return True
    if before.text in _DETERMINERS:
        return _opens_clause(sentence, tokens, place - 1)
    opens = before.text in FUNCTION_WORDS or before.text in _NO_NOUNS or before.text in _OPENERS
    return opens and before.text not in _BELONGS_TO


def _is_name(token: Token) -> bool:
    return _is_noun(token) and token.text not in _OPENERS


def _value_behind(sentence: str, tokens: list[Token], place: int) -> list[Token]:
    """Return a number with its sign and its unit, or nothing where it goes on: "3 more", "3 to 1", "3 and a half"."""
    behind = tokens[place + 1 : place + 6]
    n = 2 if len(behind) > 1 and behind[0].text == "-" and behind[1].number else 1
    if len(behind) < n or not behind[n - 1].number or behind[0].mark:
        return []
    if not _BEGINS_MATHS.fullmatch(sentence[tokens[place].end : behind[0].start]):
        return []
    if (
        len(behind) > n
        and not behind[n].mark
        and (behind[n].text in UNITS - {"in"} or behind[n].text in "°%")
    ):
        n += 1
    rest = behind[n:]
    if not rest or rest[0].opens_line or rest[0].text in ".?" or rest[0].mark in {",", ";"}:
        return behind[:n]
    is_mixed = any(token.number or token.text in _FRACTIONS for token in rest[1:3])
    return behind[:n] if rest[0].text in _GOES_ON and not is_mixed else []


def _adjoins(sentence: str, one: Token, other: Token) -> bool:
    """Return whether no word that the tokens leave out, as an article, and no mark stands between two tokens."""
    return not other.mark and BLANK.fullmatch(sentence[one.end : other.start]) is not None


def _closed(sentence: str, start: int, end: int) -> str | None:
    """Return a part of a sentence with the end of the mathematics that it begins; None where it cuts some in two."""
    text = sentence[start:end]
    if text.count("{") != text.count("}"):
        return None
    for opens, closes in (("$", "$"), ("\\(", "\\)"), ("**", "**")):
        is_open = text.count(opens) % 2 if opens == closes else text.count(opens) > text.count(closes)
        if is_open:
            rest = sentence[end:]
            if not rest.lstrip().startswith(closes):
                return None
            text += rest[: rest.index(closes) + len(closes)]
    return text


def _counted(sentence: str) -> Iterator[str]:
    """Yield numbers with the words that they count: "3 children", "12 red apples"."""
    tokens = tokenize(sentence)
    for i, token in enumerate(tokens):
        if not token.number or (i and tokens[i - 1].exact):
            continue
        counted = [token]
        for behind in tokens[i + 1 : i + MAX_WORDS]:
            # Words that the tokens leave out, or a comma, end the phrase.
            adjoins = BLANK.fullmatch(sentence[counted[-1].end : behind.start])
            if not adjoins or behind.mark or not (behind.text in UNITS or _is_noun(behind)):
                break
            if behind.text == "in" and len(counted) > 1:
                break  # "12 eggs in a carton" is no length
            counted.append(behind)
            if behind.text in UNITS:
                break
        if len(counted) > 1:
            yield text_of(sentence, counted)


def _is_noun(token: Token) -> bool:
    return not token.exact and _may_be_noun(token.text)


def _names(sentence: str) -> Iterator[str]:
    for match in _NAME.finditer(sentence):
        name = without_edges(match.group())
        if _OWNER.search(name):
            name = _owned(sentence, match.start(), name)
        if len(name.split()) <= MAX_WORDS:
            yield name


def _owned(sentence: str, start: int, name: str) -> str:
    """Return a name with the nouns that belong to it, "Newton's second law"; where none do, without its "'s"."""
    behind = _BELONGINGS.match(sentence, start + len(name))
    words = behind[0].split() if behind else []
    nouns = list(itertools.takewhile(_may_be_noun, words))
    if not nouns or len(name.split()) + len(nouns) > MAX_WORDS:
        return _OWNER.sub("", name)
    return " ".join((name, *nouns))


def _may_be_noun(word: str) -> bool:
    return len(word) >= MIN_NOUN_CHARS and word not in FUNCTION_WORDS and word not in _NO_NOUNS
