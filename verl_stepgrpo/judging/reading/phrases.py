"""What is said in words as signs and numbers: "6 divided by 3 is two" is ``6 / 3 = 2``.

Pure: no I/O.
"""

from __future__ import annotations

from fractions import Fraction

from verl_stepgrpo.judging.reading.numbers import NUMBER_WORDS, ORDINALS, PARTS, number_words
from verl_stepgrpo.judging.reading.tex import in_parentheses
from verl_stepgrpo.judging.reading.tokens import OPERATORS, RELATIONS, UNITS, Token, is_variable, text_at

_SPOKEN = {
    "is at least": "≥", "is at most": "≤", "is more than": ">",
    "is greater than or equal to": "≥", "greater than or equal to": "≥", "is less than or equal to": "≤",
    "less than or equal to": "≤", "is not equal to": "≠", "not equal to": "≠", "is equal to": "=", "equal to": "=",
    "equals": "=", "is greater than": ">", "greater than": ">", "is less than": "<", "less than": "<",
    "divided by": "/", "multiplied by": "*", "plus": "+", "minus": "-", "times": "*", "to power of": "^",
    "raised to power": "^", "squared": "^ 2", "cubed": "^ 3", "square root of": "√", "cube root of": "∛",
    "per cent": "%", "percent": "%", "degrees": "°", "degree": "°", "pi": "π",
}  # fmt: skip
SPOKEN_BY_FIRST: dict[str, list[tuple[tuple[str, ...], tuple[str, ...]]]] = {}
for _phrase, _symbols in _SPOKEN.items():
    _words = tuple(_phrase.split())
    SPOKEN_BY_FIRST.setdefault(_words[0], []).append((_words, tuple(_symbols.split())))
_BETWEEN_OPERANDS = {
    ("must", "be"): "=", ("is",): "=", ("gives", "us"): "=",
    ("gives",): "=", ("makes",): "=", ("yields",): "=", ("comes", "to"): "=", ("results", "in"): "=",
    ("evaluates", "to"): "=", ("over",): "/", ("x",): "*", ("added", "to"): "+", ("increased", "by"): "+",
    ("decreased", "by"): "-", ("reduced", "by"): "-",
}  # fmt: skip
BETWEEN_BY_FIRST: dict[str, list[tuple[tuple[str, ...], str]]] = {}
for _between, _symbol in _BETWEEN_OPERANDS.items():
    BETWEEN_BY_FIRST.setdefault(_between[0], []).append((_between, _symbol))
SAID_AS_ACTION = {
    ("divide", "by"): "/", ("dividing", "by"): "/", ("multiply", "by"): "*", ("multiplying", "by"): "*",
    ("add", "and"): "+", ("adding", "and"): "+", ("add", "to"): "+", ("adding", "to"): "+",
    ("subtract", "from"): "-", ("subtracting", "from"): "-",
}  # fmt: skip
SAID_AS_RESULT = {"sum": "+", "total": "+", "product": "*", "difference": "-", "quotient": "/"}
_SAID_BEHIND = frozenset({("to", "get"), ("to", "obtain"), ("we", "get"), ("we", "obtain")})
"""How the result of what is done is said: "We add 3 and 5 to get 8"."""
_SAID_OF_BOTH = {("add", "up", "to"), ("sum", "to"), ("make",)}
"""How a sum is said behind its terms: "3 and 5 add up to 8"."""
SAID_AS_SHARE = {
    ("half", "of"): ("/", "2"),
    ("twice",): ("*", "2"),
    ("double",): ("*", "2"),
    ("triple",): ("*", "3"),
}
"""How a part or a multiple of a number is said before it, where its value follows: "Half of 24 is 12"."""
SAYS_ACTION = frozenset(SAID_AS_RESULT).union(
    *({words[0]} for words in (*SAID_AS_ACTION, *_SAID_OF_BOTH, *SAID_AS_SHARE))
)
"""Words with which what ``actions`` reads begins."""
_SAYS_VALUE = frozenset("is equals = gives makes".split())
MAX_IN_PARENTHESES = 8
"""Tokens in the parentheses of an operand."""
_JOINS = frozenset("and by to from".split())
"""Words before the last operand of what is done."""
_SIGNS_BEFORE, _SIGNS_WITHIN, _SIGNS_BEHIND = frozenset("-√∛"), frozenset("/^"), frozenset("%°")
"""Signs of an operand: "-√2", "3/4", "x^2", "90°"."""
_ARTICLES = frozenset(("the", "an", "a", "A"))
_OPENS_NUMBER = NUMBER_WORDS | {"negative"}
_NOT_A_NUMBER_BEHIND = frozenset("this that which each any every second first another other last".split())
_VERBS = frozenset("is equals squared cubed plus minus times divided".split())


def without_hyphens(tokens: list[Token]) -> list[Token]:
    """Drop hyphens that join words ("right-angled", "x-axis", "3-digit"); between operands they are minus."""
    out: list[Token] = []
    for i, token in enumerate(tokens):
        if token.text == "-" and token.attached and 0 < i < len(tokens) - 1 and tokens[i + 1].attached:
            before, behind = tokens[i - 1], tokens[i + 1]
            both = before.text.isalpha() or before.number, behind.text.isalpha() or behind.number
            if all(both) and not (before.operand and behind.operand):
                continue
        out.append(token)
    return out


def numbers(tokens: list[Token]) -> list[Token]:
    """Turn number words into numbers ("twenty-five", "negative 3"), and "3rd" into "third"."""
    out: list[Token] = []
    i = 0
    while i < len(tokens):
        token = tokens[i]
        if token.text not in _OPENS_NUMBER and not token.number:
            out.append(token)
            i += 1
            continue
        if token.number and tokens[i + 1 : i + 2] and tokens[i + 1].attached:
            ordinal = ORDINALS.get(token.text + tokens[i + 1].text)
            if ordinal:
                out.append(token._replace(text=ordinal, end=tokens[i + 1].end))
                i += 2
                continue
        if (
            token.text == "negative"
            and i + 1 < len(tokens)
            and (tokens[i + 1].number or _number_words_at(tokens, i + 1, []))
        ):
            out.append(token._replace(text="-"))
            tokens[i + 1] = tokens[i + 1]._replace(attached=True)
            i += 1
            continue
        length = _number_words_at(tokens, i, out)
        if length:
            value = number_words(" ".join(t.text for t in tokens[i : i + length]))
            last = tokens[i + length - 1]
            out += [token._replace(text=part, end=last.end) for part in _written(value)]
            i += length
        else:
            out.append(token)
            i += 1
    return out


def _number_words_at(tokens: list[Token], i: int, before: list[Token]) -> int:
    """Return how many tokens from ``i`` on are one number in words; 0 where none is."""
    if tokens[i].text not in NUMBER_WORDS:
        return 0
    if tokens[i].text == "one" and before and before[-1].text in _NOT_A_NUMBER_BEHIND:
        return 0
    end, longest = i + 1, 0
    while end <= min(len(tokens), i + 9):
        texts = [token.text for token in tokens[i:end]]
        if texts[-1] in NUMBER_WORDS or (len(texts) > 1 and texts[-1].removesuffix("s") in PARTS):
            if number_words(" ".join(texts)) is None:
                break
            longest = end - i
        elif not (texts[-1] == "and" and texts[-2] in ("hundred", "thousand")):
            break
        end += 1
    return longest


def _written(value: Fraction | None) -> tuple[str, ...]:
    assert value is not None
    whole = str(value.numerator)
    return (whole,) if value.denominator == 1 else (whole, "/", str(value.denominator))


def spoken_operators(tokens: list[Token]) -> list[Token]:
    places = [i for i, token in enumerate(tokens) if token.text in SPOKEN_BY_FIRST and _spoken_at(tokens, i)]
    if not places:
        return tokens
    out: list[Token] = []
    behind = 0
    for i in places:
        spoken = _spoken_at(tokens, i)
        if spoken is None or i < behind:
            continue
        phrase, symbols = spoken
        out += tokens[behind:i]
        behind = i + len(phrase)
        out += [tokens[i]._replace(text=symbol, end=tokens[behind - 1].end) for symbol in symbols]
    return out + tokens[behind:]


def _spoken_at(tokens: list[Token], i: int) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return the phrase that stands at ``i`` and its symbols, or None."""
    following = tokens[i + 1].text if i + 1 < len(tokens) else ""
    for phrase, symbols in SPOKEN_BY_FIRST[tokens[i].text]:
        if len(phrase) == 1 or (
            phrase[1] == following
            and tuple([token.text for token in tokens[i + 2 : i + len(phrase)]]) == phrase[2:]
        ):
            return phrase, symbols
    return None


def between_operands(tokens: list[Token]) -> list[Token]:
    """Read words that are an operator between operands only: "x is 3", "12 x 4", "AB is parallel to CD"."""
    places = [i for i, token in enumerate(tokens) if token.text in BETWEEN_BY_FIRST]
    out: list[Token] = []
    behind = 0
    for i in places:
        if i < behind:
            continue
        before = tokens[i - 1] if i > behind else out[-1] if out else None
        found = _between_at(tokens, i, before)
        if found is not None:
            length, symbol = found
            out += tokens[behind:i]
            behind = i + length
            out.append(tokens[i]._replace(text=symbol, end=tokens[behind - 1].end))
    return out + tokens[behind:] if out else tokens


def _between_at(tokens: list[Token], i: int, before: Token | None) -> tuple[int, str] | None:
    """Return the length of the words at ``i`` that are an operator behind ``before``, and its symbol, or None."""
    if before is None:
        return None
    for phrase, symbol in BETWEEN_BY_FIRST[tokens[i].text]:
        behind = i + len(phrase)
        if (
            behind < len(tokens)
            and tuple([token.text for token in tokens[i:behind]]) == phrase
            and _ends_operand(before, phrase)
            and _begins_operand(tokens[behind], phrase, symbol)
        ):
            return len(phrase), symbol
    return None


def _ends_operand(token: Token, phrase: tuple[str, ...]) -> bool:
    if phrase == ("x",):
        return token.number
    return token.operand or token.text in (")", "°", "%", "′", "!")


def _begins_operand(token: Token, phrase: tuple[str, ...], symbol: str) -> bool:
    if phrase == ("x",):
        return token.number
    if symbol != "=":
        return token.operand or token.text in "∠△"
    return token.operand or token.text in "√∛(-∠"


def actions(tokens: list[Token]) -> list[Token]:
    """Turn "dividing 6 by 3" into ``6 / 3``, and "the sum of 3 and -5" into ``3 + -5``."""
    out: list[Token] = []
    i = 0
    while i < len(tokens):
        done = None
        if tokens[i].text in SAYS_ACTION:
            done = _action_at(tokens, i) or _share_at(tokens, i) or _sum_before(tokens, i, out)
        if done is None:
            out.append(tokens[i])
            i += 1
        else:
            said, i = done
            out += said
    return out


Said = tuple[list[Token], int]
"""The tokens that stand for what is said, and the index behind it."""


def _action_at(tokens: list[Token], i: int) -> Said | None:
    """Read "dividing 6 by 3", "the sum of 3, -5 and 4", and "we get 8" behind it."""
    names_result = tokens[i].text in SAID_AS_RESULT and text_at(tokens, i + 1) in ("of", "between")
    operands = _operands(tokens, i + 2 if names_result else i + 1)
    if len(operands) < 2:
        return None
    first, last = operands[0], operands[-1]
    if names_result:
        symbol = SAID_AS_RESULT[tokens[i].text] if tokens[last.start - 1].text == "and" else None
    else:
        symbol = SAID_AS_ACTION.get((tokens[i].text, tokens[last.start - 1].text))
    if not symbol or (len(operands) > 2 and symbol not in "+*"):
        return None
    if tokens[last.start - 1].text == "from":
        operands = [last, first]
    said: list[Token] = []
    for place in operands:
        operand = [tokens[k]._replace(mark="") if k == place.start else tokens[k] for k in place]
        if said:
            said.append(tokens[i]._replace(text=symbol))
        is_divisor = symbol == "/" and said and len(operand) > 1 and operand[0].text != "("
        said += in_parentheses(operand) if is_divisor else operand
    behind = last.stop
    is_said = (text_at(tokens, behind), text_at(tokens, behind + 1)) in _SAID_BEHIND
    if is_said and _operand_at(tokens, behind + 2):
        said.append(tokens[behind]._replace(text="=", end=tokens[behind + 1].end, mark=""))
        behind += 2
    return said, behind


def _operands(tokens: list[Token], i: int) -> list[range]:
    """Return the places of the operands of a list, "3, -5 and 4", or of a pair, "6 by 3"; of anything else none."""
    operands = [_operand_at(tokens, i)]
    while operands[-1] and operands[-1].stop < len(tokens):
        behind = operands[-1].stop
        if tokens[behind].mark == "," and _operand_at(tokens, behind):
            operands.append(_operand_at(tokens, behind))
        elif tokens[behind].text in _JOINS:
            return [*operands, last] if (last := _operand_at(tokens, behind + 1)) else []
        else:
            break
    return []


def _operand_at(tokens: list[Token], i: int) -> range:
    """Return where the operand at ``i`` stands, empty for none: "-2", "√16", "1/2", "x^2", "2x", "(x + 1)", "5 cm"."""
    end = i
    while text_at(tokens, end) in _SIGNS_BEFORE:
        end += 1
    if text_at(tokens, end) == "(":
        inner = tokens[end + 1 : end + MAX_IN_PARENTHESES + 2]
        end += next((k for k, token in enumerate(inner, start=1) if not token.exact or token.text in "()"), 0)
        if tokens[end].text != ")":
            return range(i, i)
    elif end >= len(tokens) or not tokens[end].operand:
        return range(i, i)
    end += 1
    while end < len(tokens) and not tokens[end].mark:
        token = tokens[end]
        if token.text in _SIGNS_WITHIN and end + 1 < len(tokens) and tokens[end + 1].operand:
            end += 2
        elif token.text in _SIGNS_BEHIND or (token.attached and token.operand) or _is_counted(tokens, end):
            end += 1
        else:
            break
    return range(i, end)


def _is_counted(tokens: list[Token], i: int) -> bool:
    """Whether the word at ``i`` is a unit of the number before it, or what is counted: "5 apples and 3 pears"."""
    token = tokens[i]
    if not tokens[i - 1].number or token.text in _JOINS | _SAYS_VALUE:
        return False
    return token.text in UNITS or (not token.exact and text_at(tokens, i + 1) in _JOINS | _SAYS_VALUE)


def _share_at(tokens: list[Token], i: int) -> Said | None:
    """Read "half of 24" and "twice -6" before "is 12"."""
    for words, (sign, number) in SAID_AS_SHARE.items():
        at = i + len(words)
        if tuple(token.text for token in tokens[i:at]) != words:
            continue
        operand = _operand_at(tokens, at)
        has_number = operand and tokens[operand.stop - 1].number
        if (
            has_number
            and text_at(tokens, operand.stop) in _SAYS_VALUE
            and _operand_at(tokens, operand.stop + 1)
        ):
            said = tokens[i]._replace(end=tokens[at - 1].end)
            return [
                *tokens[at : operand.stop],
                said._replace(text=sign),
                said._replace(text=number),
            ], operand.stop
    return None


def _sum_before(tokens: list[Token], i: int, out: list[Token]) -> Said | None:
    """Read "add up to" behind "3 and 5", of which the "and" becomes a plus; behind a list it says something else."""
    words = next((w for w in _SAID_OF_BOTH if tuple(t.text for t in tokens[i : i + len(w)]) == w), None)
    if words is None or [token.text for token in out[-2:-1]] != ["and"] or len(out) < 3:
        return None
    behind = i + len(words)
    in_list = out[-3].mark or (len(out) > 3 and (out[-4].exact or out[-4].text == "and"))
    if in_list or not (out[-3].number and out[-1].number and behind < len(tokens) and tokens[behind].number):
        return None
    out[-2] = out[-2]._replace(text="+")
    return [tokens[i]._replace(text="=", end=tokens[behind - 1].end)], behind


def equality_behind_words(tokens: list[Token]) -> list[Token]:
    """Read "=" behind a word as "is": "area = 24" and "the area is 24" are the same."""
    for i, token in enumerate(tokens):
        if token.text == "=" and i and not tokens[i - 1].exact:
            tokens[i] = token._replace(text="is")
    return tokens


def without_articles(tokens: list[Token]) -> list[Token]:
    """Drop "the", "an", and "a" before a word (elsewhere it is a variable)."""
    kept: list[Token] = []
    for i, token in enumerate(tokens):
        following = tokens[i + 1] if i + 1 < len(tokens) else None
        is_article = token.text in _ARTICLES and (len(token.text) > 1 or _is_article(token, kept, following))
        if not is_article:
            kept.append(token)
    return kept


def _is_article(token: Token, before: list[Token], following: Token | None) -> bool:
    """Whether "a" between these tokens is the article: before a word, and in no formula such as ``F = m a``.

    Within a sentence no article is a capital: "angle A and angle B".
    """
    if token.text == "A" and before and not token.mark and not token.opens_line:
        return False
    if following is None or following.mark:
        return False
    if following.number:
        # "is a 3", "a 30-60-90 triangle", but not a_1
        return not following.attached and not (before and before[-1].exact)
    if following.exact or following.text in _VERBS:
        return False
    if not before:
        return True
    in_formula = before[-1].text in OPERATORS | RELATIONS
    return not (in_formula or (before[-1].attached and is_variable(before[-1])))
