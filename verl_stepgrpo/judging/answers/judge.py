"""Judge the final answer of a response against the reference answer.

Layers, each sure of what it says, in this order: exact text after normalisation, hedges, numbers with or
without a unit, choice letters, yes/no, words, lists (tuples, intervals, sets), then math-verify (in a process
of its own) for what is left. The verdict names the layer that decided and why.

No torch, no verl. Not covered: conversion between units, rounding (``0.33`` is not ``1/3``).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from verl_stepgrpo.judging.answers import algebra, symbolic
from verl_stepgrpo.judging.answers.symbolic import Equality, VerifierFailedError
from verl_stepgrpo.judging.answers.text import DENIALS, compact, normalise, statement
from verl_stepgrpo.judging.reading.quantities import Quantity, find_quantity, parse_quantity, split_unit
from verl_stepgrpo.judging.reading.words import SPELLINGS

MAX_ANSWER_CHARS = 512
"""Longer final answers are judged by their text alone: they are not answers, and parsing them costs."""

MAX_SYMBOLIC_CHARS = 160
"""Longest expression that math-verify is given."""

MAX_EXPONENT = 64
"""Largest literal exponent that math-verify is given; sympy evaluates powers of numbers in full."""

MAX_BRACKETS = 24
MAX_DIGITS = 24
"""Most brackets, and most digits of one number, in an expression that math-verify is given."""

MAX_NESTED_LISTS = 6
"""Brackets in brackets of a list that is compared element by element."""

MAX_ELEMENTS = 64
"""Longest list that is compared element by element."""

_HEDGE = re.compile(
    r"\b(?:or|but|(?:is|was) (?:wrong|incorrect)|this is rejected|(?:could|might|may) be|i guess"
    r"|(?:because|since) (?:the answer is|[a-j] is (?:right|correct))"
    r"|and/or|either|maybe|possibly|perhaps|alternatively|otherwise|depending|depends|unsure|undecided|not sure"
    r"|can(?:'t|not) (?:decide|say|tell)|wait|actually|correction|i mean|scratch that|sorry|all of these"
    r"|none of [a-j])\b"
)
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
_OPPOSITES = {"yes": "no", "no": "yes", "true": "false", "false": "true"}
_TAKES_BACK = {
    answer: re.compile(
        rf"(?<!not )\b(?:{other})(?!\w)|\({opposite}\)|\bactually,? (?:it is |it's )?{opposite}\b"
        r"|\b(?:wait|sorry|correction|scratch)\b|^[^\w']*(?:actually|wrong|incorrect|not really)\W*$"
        r"|^[.!]? (?:(?:that|this) )?is (?:wrong|incorrect|false)|^ (?:idea|doubt|answer|clue|way)\b"
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
_PLAIN_WORDS = re.compile(r"(?=.*[^\W\d_]{2})[^\W\d_]+(?:(?:['’.,-]|, | |; |: |\. )[^\W\d_]+)*")
"""Words without signs; "x - y" and "Cl-" are none."""

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_PRONOUNS = frozenset("it they he she this that".split())
_LINKS = frozenset("is are was were be will would it they there on in at called named".split())
_CLASS_NOUNS = frozenset(
    "bar line color colour one region segment slice category group shape side object box car ball triangle".split()
)
_NAME = re.compile(
    r"(?:\\?[a-z]+(?:_\{?\w+\}?)?(?:')?(?: ?\([^()=]{1,40}\))?|m? ?\\angle ?[a-z]+|\([a-z](?:, ?[a-z]){1,3}\)"
    r"|[a-z]+(?: [a-z]+){0,4})"
)
_PRODUCT = re.compile(r"[a-z](?: ?[a-z]){0,3}")
_RELATION = re.compile(r"<|>|\\le(?![a-z])|\\ge(?![a-z])|\\ne(?![a-z])|\\in(?![a-z])")
_READ_COMMANDS = frozenset(
    "frac sqrt pi infty cup cap in le ge ne pm sin cos tan cot sec csc log ln exp arcsin arccos arctan binom theta "
    "alpha beta gamma delta lambda mu phi omega rho sigma tau epsilon emptyset mathbb begin end cdot triangle "
    "angle".split()
)
"""TeX commands that math-verify reads as what they are; of a text with another one it may read a part only."""

_FUNCTIONS = frozenset(
    {"sin", "cos", "tan", "log", "ln", "sqrt", "exp", "arcsin", "arccos", "arctan", "pmatrix"}
)


@dataclass(frozen=True)
class Verdict:
    """The verdict on one final answer.

    Attributes:
        correct: The answer equals the reference.
        answered: An answer was given at all.
        layer: The layer that decided: ``none``, ``text``, ``hedge``, ``number``, ``choice``, ``yes_no``, ``list``
            or ``symbolic``.
        reason: One sentence for a person.
        text: The answer as it was judged.
        timeout: A checker ran out of time; the verdict is a default.
        unparseable: No layer could read the answer; the verdict is a default.
        failed: A checker could not be asked, for a reason that is not the answer's; the verdict is a default.
    """

    correct: bool
    answered: bool
    layer: str
    reason: str
    text: str = ""
    timeout: bool = False
    unparseable: bool = False
    failed: bool = False


@dataclass(frozen=True)
class _Answer:
    """One side of the comparison.

    Attributes:
        full: The normalised text, letter case kept.
        core: What it states, without explanation and lead-in; of a reference the same as ``full``.
        folded: ``core`` in lower case.
    """

    full: str
    core: str

    @property
    def folded(self) -> str:
        return self.core.casefold()


def judge_answer(answer: str | None, gold: str) -> Verdict:
    """Return the verdict on ``answer``, the text of the final-answer section (None where there is none).

    Whatever a model wrote gets a verdict, within ``symbolic.TIME_LIMIT`` seconds of its turn where math-verify's
    process lives; nothing raises. An empty ``gold`` matches nothing.
    """
    try:
        return _verdict_on(answer, gold)
    except _TimedOutError:
        verdict = symbolic_verdict(Equality.TIMEOUT, answered=True, text="")
    except VerifierFailedError as error:
        verdict = failed_verdict(error, answered=True, text="")
    given = normalise(answer or "")
    return replace(verdict, text=statement(given) or given)


class _TimedOutError(Exception):
    """Ends the judging of an answer: no layer may take a part that was not decided for a wrong one, and the time limit
    holds for the answer, not for each of its parts."""


def _verdict_on(answer: str | None, gold: str) -> Verdict:
    """Return the verdict, of an answer or a part of one.

    Raises:
        _TimedOutError: math-verify ran out of time over it.
        VerifierFailedError: math-verify could not be asked.
    """
    if answer is None or not answer.strip():
        return Verdict(False, False, "none", "no final answer was given")
    given, wanted = normalise(answer), normalise(gold)
    if not wanted:
        return Verdict(False, True, "none", "the reference answer is empty", given)
    if not given:
        return Verdict(False, False, "none", "the final answer holds nothing but marks")
    if len(given) > MAX_ANSWER_CHARS and given != wanted:
        return Verdict(False, True, "text", "too long to be an answer", given[:MAX_ANSWER_CHARS])
    return _judge(_Answer(given, statement(given) or given), _Answer(wanted, wanted))


def _judge(given: _Answer, wanted: _Answer) -> Verdict:
    for layer in _LAYERS:
        verdict = layer(given, wanted)
        if verdict is not None:
            return replace(verdict, text=given.core)
    return Verdict(False, True, "text", "the texts differ, and the reference is no expression", given.core)


def _decided(correct: bool, layer: str, reason: str) -> Verdict:
    return Verdict(correct, True, layer, reason)


def _by_text(given: _Answer, wanted: _Answer) -> Verdict | None:
    return _decided(True, "text", "the same text") if _same_text(given.full, wanted.full) else None


def _by_text_of_statement(given: _Answer, wanted: _Answer) -> Verdict | None:
    return _decided(True, "text", "it states the same text") if _same_text(given.core, wanted.full) else None


def _same_text(given: str, wanted: str) -> bool:
    if _case_matters(wanted):
        return given == wanted
    quantity = parse_quantity(wanted) if given != wanted else None
    if quantity is not None and quantity.unit:
        return False  # mW is not MW
    return compact(given) == compact(wanted)


def _case_matters(text: str) -> bool:
    """Whether a letter stands in ``text`` in both cases, as in "R - r"."""
    letters = set(re.findall(r"(?<![\\a-zA-Z])[a-zA-Z](?![a-zA-Z])", text))
    return any(letter.swapcase() in letters for letter in letters)


def _by_hedge(given: _Answer, wanted: _Answer) -> Verdict | None:
    """An answer that leaves a choice is wrong; several solutions of which the reference has several are none."""
    hedge = _HEDGE.search(given.full.casefold())
    if not hedge or hedge.group() in wanted.folded:
        return None
    if hedge.group() == "or" and _is_set_of_values(_elements(wanted.folded)):
        return None
    if _first_word(wanted.folded) in _OPPOSITES and hedge.group() not in (
        "or",
        "maybe",
        "perhaps",
        "depends",
    ):
        return None
    return _decided(False, "hedge", f"the answer leaves a choice ({hedge.group()!r})")


def _is_set_of_values(gold: _Elements) -> bool:
    """Whether a reference has several solutions, which "or" may join: "x = 2 or x = 3", but not "(2, 3)" or "A, C"."""
    values = all(re.search(r"[\d<>]|\\[lg]e", item) for item in gold.items)
    return len(gold.items) > 1 and gold.opening in ("", "{") and values


def _by_number(given: _Answer, wanted: _Answer) -> Verdict | None:
    gold = parse_quantity(wanted.core)
    if gold is None:
        return None
    quantity = _quantity_of(given.core)
    return None if quantity is None else compare_quantities(quantity, gold, given.core, wanted.core)


def compare_quantities(quantity: Quantity, gold: Quantity, given: str, wanted: str) -> Verdict:
    """Return the verdict on two quantities; ``given`` and ``wanted`` are their spellings."""
    if not quantity.same_unit(gold):
        return _decided(False, "number", f"another unit: {quantity.unit} against {gold.unit}")
    same = quantity.same_value(gold)
    return _decided(same, "number", f"{given} {'equals' if same else 'does not equal'} {wanted}")


def _quantity_of(text: str) -> Quantity | None:
    """Return the quantity that an answer states: alone, behind a name and "=", or as the only one in prose."""
    name, equals, value = text.rpartition("=")
    if equals and _NAME.fullmatch(name.strip().casefold()):
        text = value.strip()
    text = re.sub(r"^(?:about|approximately|approx\.?|roughly|around|exactly|\\approx|~) ?", "", text)
    if text[:1] == "(" and text[-1:] == ")":
        text = text[1:-1]
    restated = re.fullmatch(r"(.*\S) ?\(([^()]*)\)", text)
    if restated:
        first, second = parse_quantity(restated[1]), parse_quantity(restated[2])
        if first is not None and second is not None:
            return first if first.plain == second.plain else None
    quantity = parse_quantity(text)
    return find_quantity(text) if quantity is None and "=" not in text else quantity


def _by_choice(given: _Answer, wanted: _Answer) -> Verdict | None:
    """A reference that is a letter, or a letter with its text, is met by that letter with or without its text."""
    gold = _choice(wanted.folded) if MARKED_CHOICE.match(wanted.core) else None
    if gold is None:
        return _by_several_choices(given, wanted) or _by_text_of_choice(given, wanted)
    letter, text = gold
    choice = (
        _choice(given.folded) or _choice_behind(given.folded) or _choice_named_right(given.full.casefold())
    )
    if choice is None:
        if not text:
            return None
        # The text alone.
        return replace(_judge(given, _Answer(text, text)), layer="choice")
    if _names_another(choice[1], text):
        return _decided(False, "hedge", "the answer names more than one choice, or takes it back")
    correct = choice[0] == letter and (
        not text
        or not choice[1]
        or _ends_with(choice[1], text)
        or _explained(choice[1], text)
        or _verdict_on(choice[1], text).correct
    )
    return _decided(correct, "choice", f"choice {choice[0]} against {letter}")


def _names_another(behind: str, text: str) -> bool:
    """Whether the text behind a choice names another one, or takes the choice back."""
    rest = behind.removeprefix(text)
    return bool(_ANOTHER_CHOICE.search(rest) or _HEDGE.search(rest)) and behind != text


def _explained(behind: str, text: str) -> bool:
    """Whether the text behind a choice is the reference's, and an explanation without other values."""
    rest = behind.removeprefix(text)
    return (
        rest != behind
        and re.match(r"[:;,(] ?(?:[^\W\d_]+ ){2,}", rest) is not None
        and not re.search(r"\d", rest)
    )


def _by_several_choices(given: _Answer, wanted: _Answer) -> Verdict | None:
    """A reference of several letters in alphabetical order ("ACD", "A, C") is a set of choices."""
    if not (_LETTERS.fullmatch(wanted.folded) and (wanted.core.isupper() or "," in wanted.core)):
        return None
    letters = re.findall("[a-j]", wanted.folded.replace("and", ","))
    if len(letters) < 2 or letters != sorted(set(letters)) or not _LETTERS.fullmatch(given.folded):
        return None
    ours = sorted(re.findall("[a-j]", given.folded.replace("and", ",")))
    return _decided(ours == letters, "choice", f"choices {ours} against {letters}")


def _by_text_of_choice(given: _Answer, wanted: _Answer) -> Verdict | None:
    """A reference without a letter is met by the text behind a letter: "(B) blue" is "blue"."""
    choice = _CHOICE.fullmatch(given.folded)
    text = choice["text"].strip() if choice and choice["letter"] else ""
    verdict = _judge(_Answer(text, text), wanted) if text else None
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


def _by_yes_no(given: _Answer, wanted: _Answer) -> Verdict | None:
    gold = wanted.folded
    if gold not in _OPPOSITES:
        return None
    first, rest = _first_word(given.full.casefold()), given.full.casefold()[len(gold) :]
    if first == _OPPOSITES[gold]:
        return _decided(False, "yes_no", f"{first} against {gold}")
    if first == gold:
        takes_back = re.search(_TAKES_BACK[gold], rest)
        return _decided(not takes_back, "yes_no", "taken back" if takes_back else f"it says {gold}")
    words = _WORD.findall(given.folded)
    last = words[-1:] == [gold] and (len(words) == 1 or words[-2] in _LINKS)
    return _decided(last and not DENIALS.search(given.folded[: -len(gold)]), "yes_no", f"not clearly {gold}")


@dataclass(frozen=True)
class _Elements:
    """A list: its brackets, "" where there are none, its elements as text, and whether "and" joins them."""

    opening: str
    items: tuple[str, ...]
    closing: str
    joined: bool = False

    @property
    def is_set(self) -> bool:
        return self.opening == "{"


def _by_list(given: _Answer, wanted: _Answer) -> Verdict | None:
    r"""Tuples and intervals agree element by element in order, sets and bare lists of numbers in any order."""
    gold, ours = _elements(wanted.folded), _elements(given.folded)
    if max(len(gold.items), len(ours.items)) < 2 and not (gold.is_set or ours.is_set):
        return None
    if (
        _RELATION.search("".join((*gold.items, *ours.items)))
        or min(len(gold.items), len(ours.items)) > MAX_ELEMENTS
    ):
        return None
    if any(re.search(r"[\[(][^\])]*$", item) for item in (*gold.items, *ours.items)):
        return None
    if len(gold.items) != len(ours.items):
        return _decided(False, "list", f"{len(ours.items)} elements against {len(gold.items)}")
    if ours.opening and gold.opening and _brackets(ours) != _brackets(gold):
        return _decided(False, "list", "other brackets")
    if max(_depths(given.core), default=0) > MAX_NESTED_LISTS:
        return _decided(False, "list", "lists in lists in lists")
    return _decided(_same_elements(ours, gold), "list", "element by element")


def _depths(text: str) -> list[int]:
    """Return for each character how many brackets are open behind it."""
    return list(itertools.accumulate((c in "([{") - (c in ")]}") for c in text))


def _same_element(given: str, wanted: str) -> bool:
    return _verdict_on(given, wanted).correct


def _same_elements(ours: _Elements, gold: _Elements) -> bool:
    (names, items), (gold_names, golds) = _values(ours.items), _values(gold.items)
    if names and gold_names and names != gold_names:
        return False
    in_order = all(_same_element(item, want) for item, want in zip(items, golds, strict=True))
    if len(set(names or gold_names)) > 1:
        return in_order  # values of different variables
    bare = not gold.opening and not ours.opening and (ours.joined or all(re.search(r"\d", g) for g in golds))
    if in_order or not (gold.is_set or ours.is_set or bare):
        return in_order
    left = list(golds)
    for item in items:
        match = next((want for want in left if _same_element(item, want)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _values(items: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names and values of ``x = 1, y = 2`` in the order of the names; other elements as they are."""
    pairs = [item.partition("=") for item in items]
    if not all(equals and _NAME.fullmatch(name.strip()) for name, equals, _ in pairs):
        return (), tuple(items)
    ordered = sorted(pairs, key=lambda pair: pair[0].strip())
    return tuple(name.strip() for name, _, _ in ordered), tuple(value.strip() for _, _, value in ordered)


def _brackets(elements: _Elements) -> tuple[str, str]:
    return elements.opening, elements.closing


def _elements(text: str) -> _Elements:
    r"""Split ``text`` at commas, semicolons, "and", "or" and ``\cup`` outside of brackets."""
    if parse_quantity(text) is not None:
        return _Elements("", (text,), "")
    text = text.replace("\\{", "{").replace("\\}", "}")
    name, equals, value = text.partition("=")
    if (
        equals
        and re.fullmatch(r"[a-z]|[a-z ]+|\([a-z](?:, ?[a-z])+\)", name.strip())
        and value.strip()[:1] in ("(", "[", "{")
    ):
        text = value.strip()
    text = re.sub(r"^(?:[a-z]|\\[a-z]+) ?\\in ", "", text)
    point = re.fullmatch(r"[a-z] ?(\([^()]*,[^()]*\))", text)
    text = point[1] if point else text
    text = {"\\emptyset": "{}", "\\mathbb{r}": "(-\\infty,\\infty)"}.get(text.strip(), text)
    unions = _split(text, ("\\cup",))
    if len(unions) > 1:
        return _Elements("{", tuple(unions), "}")
    plus_minus = re.fullmatch(r"(?:[a-z] ?= ?)?\\pm ?(.+)", text)
    if plus_minus:
        return _Elements("{", (plus_minus[1], f"-{plus_minus[1]}"), "}")
    opening, closing = "", ""
    if text[:1] in ("(", "[", "{") and text[-1:] in (")", "]", "}") and _closes_at_end(text):
        opening, closing, text = text[0], text[-1], text[1:-1].strip()
    items = _split(text, (",", ";", " and ", " or ")) if text else []
    if opening != "{" and len(items) < 2:
        return _Elements("", (f"{opening}{text}{closing}",), "")
    return _Elements(opening, tuple(items), closing, joined=" and " in text and " then " not in text)


def _split(text: str, separators: tuple[str, ...]) -> list[str]:
    items, start, i = [], 0, 0
    depths = _depths(text)
    while i < len(text):
        separator = next((s for s in separators if depths[i] <= 0 and text.startswith(s, i)), None)
        if separator:
            items.append(text[start:i])
            i += len(separator)
            start = i
        else:
            i += 1
    items.append(text[start:])
    # An empty element comes from ", and".
    return [item.strip() for item in items if item.strip()]


def _closes_at_end(text: str) -> bool:
    """Whether the bracket that opens ``text`` is closed by its last character, not before."""
    depths = _depths(text)
    return 0 in depths and depths.index(0) == len(text) - 1


def _by_words(given: _Answer, wanted: _Answer) -> Verdict | None:
    """Words agree up to hyphens, articles and plural, alone or at the end of a sentence that states them."""
    if not (_PLAIN_WORDS.fullmatch(wanted.folded) and _PLAIN_WORDS.fullmatch(given.folded)):
        return None
    gold, words = _words(wanted.folded), _words(given.folded)
    if gold and "".join(gold) == "".join(words):
        return _decided(True, "text", "the same words")
    if gold and _states(words, gold):
        return _decided(True, "text", "a sentence that states it")
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
    if words[-1:] and words[-1] in _CLASS_NOUNS and len(words) > len(gold):
        words = words[:-1]
    before = words[: -len(gold)]
    clear = not DENIALS.search(" ".join(before))
    return words[-len(gold) :] == gold and clear and (not before or before[-1] in _LINKS)


def _ends_with(text: str, gold: str) -> bool:
    """Whether ``text`` is ``gold`` behind a pronoun, as in "it increases"."""
    ours, words = _words(text), _words(gold)
    return ours[-len(words) :] == words and set(ours[: -len(words)]) <= _PRONOUNS


def _first_word(text: str) -> str:
    match = _WORD.search(text)
    return match.group() if match else ""


def _by_symbols(given: _Answer, wanted: _Answer) -> Verdict | None:
    gold, gold_unit = split_unit(wanted.core)
    if not is_symbolic(gold.casefold()):
        return None
    ours, unit = split_unit(re.sub(r" (?:square |cubic )?units?$", "", given.core))
    if ("%" in ours) != ("%" in gold):
        return _decided(False, "symbolic", "a percent sign on one side")
    if bool(_RELATION.search(ours)) != bool(_RELATION.search(gold)) and not re.search(
        r"[\[(].*,", ours + gold
    ):
        return _decided(False, "symbolic", "an inequality is not a value")
    if gold_unit and unit and gold_unit != unit:
        return _decided(False, "symbolic", f"another unit: {unit} against {gold_unit}")
    if not _case_matters(gold):
        ours, gold = ours.casefold(), gold.casefold()
    sides = _sides(ours, gold)
    if isinstance(sides, Verdict):
        return sides
    # "r i" alone may be words; behind "v =" it is a product.
    product = "=" in gold
    if not all(is_symbolic(side) or (product and _PRODUCT.fullmatch(side)) for side in sides):
        return replace(_decided(False, "symbolic", "the answer is not an expression"), unparseable=True)
    if not all(is_finite_work(side) for side in sides):
        return replace(_decided(False, "symbolic", "too much work to evaluate"), unparseable=True)
    exact = _by_algebra(*sides)
    if exact is not None:
        return _decided(exact, "symbolic", f"{'equal' if exact else 'different'} by algebra")
    return _by_math_verify(*sides)


def _by_math_verify(given: str, wanted: str) -> Verdict:
    outcome = symbolic.equal(given, wanted)
    if outcome is Equality.TIMEOUT:
        raise _TimedOutError
    return symbolic_verdict(outcome, answered=True, text=given)


def _by_algebra(given: str, wanted: str) -> bool | None:
    """Return whether two expressions or two equations are equal, or None where that is left to math-verify."""
    ours, gold = given.split("="), wanted.split("=")
    if len(ours) == len(gold) == 2:
        return algebra.same_equation((ours[0], ours[1]), (gold[0], gold[1]))
    return algebra.equal(given, wanted) if len(ours) == len(gold) == 1 else None


def _sides(given: str, wanted: str) -> tuple[str, str] | Verdict:
    """Return what math-verify has to compare, or a verdict where the equations alone decide.

    Of ``name = expression`` the expression counts, against an expression or another such equation; two
    equations of which one has another form are compared as equations. math-verify alone takes the right-hand
    side of any equation, so that ``3 = 2`` would be 2.
    """
    ours, gold = _equation(given), _equation(wanted)
    if gold is None and ours is None:
        return given, wanted
    if gold is None:
        assert ours is not None
        return _value_of_chain(ours, wanted)
    if ours is None:
        return (
            (given, gold[-1])
            if _NAME.fullmatch(gold[0]) and len(gold) == 2
            else (_decided(False, "symbolic", "the reference is an equation"))
        )
    if len(ours) > 2 or len(gold) > 2:
        if not _consistent(ours):
            return _decided(False, "symbolic", "the sides of the equation differ")
        ours, gold = [ours[0], ours[-1]], [gold[0], gold[-1]]
    if ours[0] == gold[0]:
        return ours[-1], gold[-1]
    if _is_function(ours[0]) or _is_function(gold[0]):
        # f(x) = 2x and y = 2x name one function; f and g, or f and its derivative, do not.
        if not (ours[0] == "y" or gold[0] == "y"):
            return _decided(False, "symbolic", f"{ours[0]} against {gold[0]}")
        return ours[-1], gold[-1]
    return "=".join(ours), "=".join(gold)


def _consistent(sides: list[str]) -> bool:
    """Whether no two sides of a chain are certainly different; the first may be a name."""
    first = 1 if _NAME.fullmatch(sides[0]) else 0
    return all(algebra.equal(side, sides[-1]) is not False for side in sides[first:-1])


def _is_function(name: str) -> bool:
    return bool(re.fullmatch(r"[a-z]'{0,2} ?\([a-z]\)", name))


def _value_of_chain(sides: list[str], wanted: str) -> tuple[str, str] | Verdict:
    """Return the last side of ``name = expression = value`` to compare; numbers among the sides must agree."""
    gold = parse_quantity(wanted)
    for i, side in enumerate(sides[:-1]):
        quantity = parse_quantity(side)
        if quantity is not None and gold is not None and not quantity.same_value(gold):
            return _decided(False, "symbolic", "the sides of the equation differ")
        if (
            quantity is None
            and not (i == 0 and _NAME.fullmatch(side))
            and _free_letters(side) - _free_letters(wanted)
        ):
            return _decided(False, "symbolic", "an equation is not a value")
    if not _consistent(sides):
        return _decided(False, "symbolic", "the sides of the equation differ")
    value = parse_quantity(sides[-1])
    if value is not None and gold is not None:
        return compare_quantities(value, gold, sides[-1], wanted)
    return sides[-1], wanted


def _free_letters(text: str) -> set[str]:
    return set(re.findall(r"(?<![\\a-z])[a-z](?![a-z])", text)) - {"e", "i"}


def _equation(text: str) -> list[str] | None:
    """Return the sides of an equation, or None where ``text`` is none."""
    if "=" not in text or _RELATION.search(text):
        return None
    sides = [side.strip() for side in text.split("=")]
    return sides if all(sides) else None


def symbolic_verdict(outcome: Equality, *, answered: bool, text: str) -> Verdict:
    """Return the verdict that an outcome of the symbolic checker stands for."""
    reasons = {
        Equality.EQUAL: "equal to the reference by math-verify",
        Equality.DIFFERENT: "different from the reference by math-verify",
        Equality.UNREADABLE: "math-verify could not read it",
        Equality.TIMEOUT: "math-verify ran out of time",
        Equality.CRASHED: "math-verify's process dies of it",
    }
    return Verdict(
        outcome is Equality.EQUAL,
        answered,
        "symbolic",
        reasons[outcome],
        text,
        timeout=outcome is Equality.TIMEOUT,
        unparseable=outcome in (Equality.UNREADABLE, Equality.CRASHED),
    )


def failed_verdict(error: VerifierFailedError, *, answered: bool, text: str) -> Verdict:
    """Return the verdict on an answer that the symbolic checker could not be asked about."""
    return Verdict(False, answered, "symbolic", str(error), text, failed=True)


def require_judged(verdict: Verdict) -> Verdict:
    """Return ``verdict``, for work that can be done again where math-verify fails, and would be wrong without it.

    Raises:
        VerifierFailedError: math-verify could not be asked.
    """
    if verdict.failed:
        raise VerifierFailedError(verdict.reason)
    return verdict


def is_symbolic(text: str) -> bool:
    """Return whether ``text`` looks like one expression: digits or operators in it, and no run of words.

    Times and dates ("3:00 pm", "2024-01-02") and numbers side by side ("2 3") are none.
    """
    words = re.findall(
        r"(?<![\\a-z])[a-z]{2,}", re.sub(r"\\[a-z]+", " ", text.replace("begin{", "").replace("end{", ""))
    )
    if re.search(r"\d-\d+-\d|\d \d|\d_|\.\.|\.\(|%.|°.|[^\w\s+\-*/^\\{}()\[\].,|<>=!%°&]", text):
        return False
    if set(re.findall(r"\\([a-zA-Z]+)", text)) - _READ_COMMANDS:
        return False
    return bool(re.search(r"[\d^\\+*/<>=-]|^[a-zA-Z]$", text)) and all(
        w in _FUNCTIONS or len(w) == 2 for w in words
    )


def is_finite_work(text: str) -> bool:
    """Return whether sympy is likely to finish with ``text``: short, flat, no tall power, no large factorial.

    Cheaper than a time-out, and no more than that: what slips through is killed by the time limit.
    """
    if len(text) > MAX_SYMBOLIC_CHARS or text.count("{") + text.count("(") > MAX_BRACKETS:
        return False
    if any(word in text for word in ("\\int", "\\sum", "\\prod", "\\lim", "!!")):
        return False
    if re.search(r"(?:\d{3,}|[^\d\s])\s*!|\\binom ?\{[^{}]*(?:\d{3,}|[^\d{}])", text):
        return False
    if any(len(run) > MAX_DIGITS for run in re.findall(r"\d+", text)):
        return False
    if re.search(r"(?:\^|\*\*)\s*[{(]?\s*\d+\s*(?:\^|\*\*)", text):  # 10^{10^{10}}
        return False
    powers = re.findall(r"(?:\^|\*\*)\s*(\{[^{}]*\}|\([^()]*\)|-?\w+|\\?.)", text)
    for power in powers:
        if "^" in power or "**" in power or "(" in power[1:]:
            return False
        if any(int(number) > MAX_EXPONENT for number in re.findall(r"\d+", power)):
            return False
    # A power of a power, a^b^c or (a^b)^c, multiplies its exponents.
    return not re.search(
        r"(?:\^|\*\*)\s*(?:\{[^{}]*\}|\([^()]*\)|-?\w+)\s*(?:\^|\*\*)|\^[^()]*\)\s*(?:\^|\*\*)", text
    )


_Layer = Callable[[_Answer, _Answer], "Verdict | None"]
_LAYERS: tuple[_Layer, ...] = (
    _by_text,
    _by_hedge,
    _by_text_of_statement,
    _by_number,
    _by_choice,
    _by_yes_no,
    _by_words,
    _by_list,
    _by_symbols,
)
