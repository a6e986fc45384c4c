"""Judge an answer where the reference, or the answer, is the letter of a choice.

A letter with a mark behind it, "(B) text", "B. text" or "B: text", is that choice, whatever its text says: the text
is an option's, so that words such as "no", "or" and "either" in it leave nothing open. The text takes the choice back
only where it denies it ("(B) is wrong"), joins another letter to it ("(B) or (C)") or starts anew ("B. Wait, C").
In a sentence, the one letter that is named as the answer counts.

Pure: no I/O.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from verl_stepgrpo.judging.answers.doubts import DENIALS, HEDGE
from verl_stepgrpo.judging.answers.in_words import ends_with
from verl_stepgrpo.judging.answers.normalise import compact, normalise
from verl_stepgrpo.judging.answers.verdict import Answer, Judge, Verdict, decided, shown
from verl_stepgrpo.judging.reading.lexicon import one_of

MARKED_CHOICE = re.compile(r"\(?[A-Ja-j](?:\)|$|[.:](?: |$))")
"""How a reference says that it is a choice; "F = ma" and "b - 1" are none."""

_NAMED = r"(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Ll]etter|选项|答案)"
_CHOICE = re.compile(
    rf"(?:{_NAMED} ?)?"
    r"(?:\((?P<inside>[A-Ja-j])\)|(?P<marked>[A-Ja-j])(?P<mark>\)|[.:](?=\s|$)|[.:](?=[^\w\s.])|(?=$| ?\(|\n))"
    r"|(?P<bare>[B-HJb-hj])[ ,-] ?(?=[^\s=+*/^<>\\])|(?P<dash>[AIai]) - |(?P<a>[Aa]),? (?=\d|(?:is|which)\b)"
    r"|(?P<upper>A),? (?=(?:[Yy]es|[Nn]o)\b)|(?P<i>I)-(?=\d))"
    r"(?P<text>.*)",
    re.DOTALL,
)
_NOT = rf"^(?:\w+n't|(?:{one_of('AUXILIARIES')}) ?not)"
"""How the text behind a letter begins where it denies the choice."""
_ANOTHER = re.compile(
    r"(?:^|[\s(,/&])(?:[b-hj]|\([a-j]\)|a(?=[).:,]|$))(?=[\s).,:;/]|$)"
    r"|\b(?:wrong|incorrect|rejected|eliminated|excluded)\b|\.\.|(?:it's|it is|that's|,) not\b|^no,? [a-j]\b"
    rf"|{_NOT}\b"
)
"""How the text behind a letter without a mark, "B ...", names another choice or takes this one back."""

_TAKEN_BACK = re.compile(
    rf"^是?(?:错|不)|{_NOT}(?: be)?(?: the)?(?: (?:it|fit|work|{one_of('TRUTH')}"
    r"|answer))?\W*$|^(?:is|was) (?:wrong|incorrect|false|rejected)\b"
    r"|^\W{0,2}(?:(?:probably |clearly )?(?:wrong|incorrect|rejected|eliminated|excluded))\W*$|^\.\."
    r"|^(?:\w+ ){1,3}(?:unlikely|ruled out)\W*$"
    r"|^(?:[,;/&-]|and|or|to|maybe)(?: ?(?:also|maybe|perhaps|possibly))? ?\(?[a-j](?:[\s.,:;)/]|$)"
    r"|(?:^|[.,;!?-] ?)(?:oh |no,? )?(?:wait|actually|sorry|correction|scratch that|i mean|or rather"
    r"|hmm)\b(?! times?)"
    r"|\bno,? (?:wait|it(?:'s| is)|\(?[a-j]\)?[\s.]*$)|\balso (?:be )?(?:right|correct)\b"
    r"|^\W*(?:but |though )|[.;,] (?:or|but)(?: maybe| perhaps| possibly| also)? \(?[a-j]\)?[\s.]*$"
)
"""How the text behind a marked letter takes the choice back, case folded."""

_CONFESSED = re.compile(r"\b(?:because|since) (?:the answer is|\(?[a-j]\)? is (?:right|correct))")
_REASON = re.compile(r",? \(?(?:because|since|as|due to|given that)\b")
"""How a reason opens behind a letter without a mark; what it says of other letters leaves nothing open."""

REASON_BEHIND = re.compile(rf"(?:^|(?<=[\w)\]}}%°])[,;:]? )\(?(?:{one_of('REASON')})\b[^.;\n]*")
"""A reason to the end of its sentence: what it says of other choices leaves nothing open."""

_AFFIRMED = re.compile(
    r" ?is actually(?: the)? (?:right|correct|best|answer)"
    r"(?: (?:answer|one|choice|option))?\W*"
)
"""How the text behind a letter says no more than that it is the answer."""
_LISTS_LETTERS = re.compile(r"(?:both|neither|either|all|none|only|statements?|options?|choices?)\b")
_NAMES_A_THING = re.compile(r"(?:^|\W)[A-Z][a-z]+ $")
"""What makes of a letter behind it a name, as in "Project A: 3 years"."""

_SET_ASIDE = re.compile(r"\b(?:not|than|unlike|instead of|over)\W*(?:option |choice )?$")
"""What says of a letter behind it that it is not the answer."""

CONFIRMED = re.compile(
    r"(?: ?(?:\(?[a-j]\)?|(?:option|choice|answer)))? ?(?:is|as|would be|seems|是)"
    r"(?: ?(?:the|my|最|most|probably))* ?(?:only|correct|right|best|answer|true|option|choice|正确|答案|likely)",
    re.IGNORECASE,
)
_EXPLAINED = re.compile(
    r"(?:[, ]*(?:which|with)\b|[,;:(.] ?(?:[^\W\d_]+ ){2,}|[,.] )",
    re.IGNORECASE,
)
_IN_PROSE = re.compile(
    r"\((?P<inside>[A-J])\)"
    rf"|{_NAMED}(?: is| 是)? ?[:：]? ?[\"']?(?P<named>[A-J])(?![\w'+-])"
    r"|(?:选[项择]?|答案)(?:应该|应)?[是为]?[:：]? ?(?P<chinese>[A-J])(?![A-Za-z])"
    rf"|{_NAMED}\b[^.?!\n]{{0,200}}? is [\"']?(?P<said>[A-J])(?=[\"',.;:]|$)"
)
_AT_END = re.compile(r"(?:\bis|(?:^|\W)[A-Z][a-z]+) [\"']?(?P<letter>[A-J])[\"']?$")
"""How a sentence ends that says of anything that it is a letter."""

_OPEN = re.compile(rf"\b(?:{one_of('HEDGE')}|not sure|guess|(?:{one_of('POSSIBILITY')}) be)\b")
_CLAUSE_END = re.compile(r"[.,:!?;](?:\s|$)|\n")
_LETTER = re.compile(r"(?<![\w'\\])[A-J](?![\w'])")
_DENIES = re.compile(rf"\b(?:{one_of('RETRACTION', 'NEGATION', also='too than')})\b|n't", re.IGNORECASE)
_OPENS_A_DOUBT = re.compile(rf"\W*(?:or|{one_of('HEDGE')})\b", re.IGNORECASE)
_LETTERS = re.compile(r"\(?[a-j]\)?(?:(?:,? and |, ?|; ?| ?& ?|/| )\(?[a-j]\)?)*|[a-j]{2,8}")

MAX_LETTER_WORDS = 3
"""Words of a clause in which any letter is a choice's."""


@dataclass(frozen=True)
class Choice:
    """A choice that an answer or a reference names.

    Attributes:
        letter: In upper case.
        text: What stands behind the letter, or before one in parentheses at the end; "" where nothing does.
        mark: How the letter is marked: ``()``, ``)``, ``.``, ``:`` or "" for a bare one.
        in_prose: The letter was found inside a sentence, whose words need not be the option's.
    """

    letter: str
    text: str
    mark: str = ""
    in_prose: bool = False


def by_choice(given: Answer, wanted: Answer, judge: Judge) -> Verdict | None:
    """A reference that is a letter, or a letter with its text, is met by that letter with or without its text."""
    gold = read_choice(wanted.core) if MARKED_CHOICE.match(wanted.core) else None
    if gold is None:
        return _by_several_choices(given, wanted) or _by_text_of_choice(given, wanted, judge)
    if gold.text and compact(given.full) == compact(gold.text):
        return decided(True, "choice", "the same text, without the letter")
    choice = read_choice(given.full) or _choice_stated(given)
    if gold.text and (choice is None or (not choice.mark and choice.letter != gold.letter)):
        # "f has an extremum" begins with a word rather than with a choice.
        text = _by_text_alone(given, gold, judge)
        if text.correct:
            return text
    choice = choice or choice_named(given) or (None if gold.text else choice_at_end(given.full))
    if choice is not None:
        return _by_letter(choice, gold, given, judge)
    return _by_text_alone(given, gold, judge) if gold.text else None


def _choice_stated(given: Answer) -> Choice | None:
    """Return the choice that an answer states behind other words, where they do not leave it open."""
    lead = given.full[: max(0, given.full.rfind(given.core))]
    return None if _OPEN.search(lead.casefold()) else read_choice(given.core)


def _by_letter(choice: Choice, gold: Choice, given: Answer, judge: Judge) -> Verdict:
    if choice.letter != gold.letter:
        return decided(False, "choice", f"the letters differ: {choice.letter}, {gold.letter}")
    if gold.text and choice.text and compact(choice.text) == compact(gold.text):
        return decided(True, "choice", f"letter and text agree: {choice.letter}")
    if _CONFESSED.search(given.full.casefold()) or _takes_back(choice, gold.text):
        return decided(False, "hedge", "the answer names more than one choice, or takes it back")
    if not gold.text or not choice.text:
        return decided(True, "choice", f"the letters agree: {choice.letter}")
    if _says(choice, gold.text, judge):
        return decided(True, "choice", f"letter and text agree: {choice.letter}")
    reason = f"the letters agree, the texts differ: {shown(choice.text)}, {shown(gold.text)}"
    return decided(False, "choice", reason)


def read_choice(text: str) -> Choice | None:
    """Return the choice that a normalised text begins with, with the text behind it, letter case kept."""
    match = _CHOICE.fullmatch(text)
    if not match:
        return None
    marked = match["inside"] or match["marked"]
    if (
        _REASON.match(
            text,
            match.end("bare")
            if match["bare"]
            else match.end("marked")
            if marked and not match["mark"]
            else 0,
        )
        and not match["inside"]
    ):
        return Choice((match["bare"] or marked or "").upper(), "")
    text_behind = match["text"].replace('"', "")
    behind = normalise(_without_brackets(re.sub(r"^[ :,.]+(?=\D)|^[ :,]+", "", text_behind)))
    if not marked and len(behind) < 2 and not (behind.isdigit() and "-" not in text):
        return None  # "a - b" is a difference
    letter = marked or match["bare"] or match["dash"] or match["a"] or match["upper"] or match["i"]
    # "D (7.5)" marks its letter; "F(2)" is a value of F.
    line_end = "\n" * match["text"].startswith("\n")
    mark = "()" if match["inside"] else match["mark"] or line_end or "(" * match["text"].startswith(" (")
    joined = re.match(r"[,;/&]| and\b", match["text"])
    return Choice(letter.upper(), (joined[0].strip() + " " if joined else "") + behind, mark or "")


def _without_brackets(text: str) -> str:
    """Remove a pair of brackets around all of an option's text, where it is no tuple."""
    text = text.strip()
    inside = re.fullmatch(r"\(([^()\[\],]*)\)", text)
    return inside[1] if inside else text


def _by_text_alone(given: Answer, gold: Choice, judge: Judge) -> Verdict:
    if len(gold.text) == 1 and gold.text.isalpha():  # a letter that is another one's text
        return decided(False, "choice", f"the texts differ: {shown(given.core)}, {gold.text}")
    verdict = judge.compare(given, Answer(gold.text, gold.text))
    return replace(verdict, layer="choice")


def _takes_back(choice: Choice, gold: str) -> bool:
    """Whether the text behind a choice names another one, or takes the choice back."""
    text = choice.text.removeprefix(gold) if gold else choice.text
    folded = text.casefold()
    if _AFFIRMED.fullmatch(folded):
        return False
    if not choice.mark:
        named = any(not _SET_ASIDE.search(folded[: other.start() + 1]) for other in _ANOTHER.finditer(folded))
        return bool(named or HEDGE.search(folded) or _TAKEN_BACK.search(folded))
    if _TAKEN_BACK.search(folded):
        return True
    if choice.mark == "\n":
        return _names_another(text, choice.letter)
    if _LISTS_LETTERS.match(folded):
        return False
    text = REASON_BEHIND.sub("", text)
    folded = text.casefold()
    mark = {"()": r"\({}\)", ")": r"(?<![(\w]){}\)"}.get(
        choice.mark, r"{}" + re.escape(choice.mark) + r"(?=\s)"
    )
    others = "".join(letter for letter in "ABCDEFGHIJ" if letter != choice.letter)
    begins = "" if choice.mark in (".", "()") else r"(?!^)"
    return any(
        not _NAMES_A_THING.search(text[: match.start() + 1])
        and not _SET_ASIDE.search(folded[: match.start() + 1])
        for match in re.finditer(rf"{begins}(?:^|[\s,;/])" + mark.format(f"[{others}]"), text)
    )


def _names_another(text: str, letter: str) -> bool:
    """Whether the lines behind a letter name another one, which no clause denies, or deny this one."""
    for clause in _CLAUSE_END.split(text):
        named = {_letter_of(mention) for mention in _IN_PROSE.finditer(clause)}
        if clause.strip().count(" ") < MAX_LETTER_WORDS:
            named |= set(_LETTER.findall(clause))
        denied = _DENIES.search(clause) is not None
        if (letter in named if denied else named - {letter}) or _OPENS_A_DOUBT.match(clause):
            return True
    return False


def _says(choice: Choice, gold: str, judge: Judge) -> bool:
    """Whether the text at a choice is the option's, alone or with what explains or confirms it."""
    text = choice.text.lstrip(",;: ")
    if ends_with(text.casefold(), gold.casefold()):
        return True
    rest = text[len(gold) :] if text.casefold().startswith(gold.casefold()) else None
    if rest is not None and re.match(r"(?:[:;,(] ?(?:[^\W\d_]+ ){2,})", rest) and not re.search(r"\d", rest):
        return True
    if not choice.mark and (CONFIRMED.match(text) or _EXPLAINED.match(choice.text)):
        return True
    if choice.in_prose and (
        CONFIRMED.match(text)
        or _EXPLAINED.match(choice.text)
        or (rest is not None and re.match(r"[^\w.,^*/+-]|[^\W\d_a-z]|\W*$", rest))
    ):
        return True
    return judge.verdict_on(text, gold).correct


def _by_several_choices(given: Answer, wanted: Answer) -> Verdict | None:
    """A reference of several letters in alphabetical order ("ACD", "A, C") is a set of choices."""
    if not (_LETTERS.fullmatch(wanted.folded) and (wanted.core.isupper() or "," in wanted.core)):
        return None
    letters = re.findall("[a-j]", wanted.folded.replace("and", ","))
    if len(letters) < 2 or letters != sorted(set(letters)) or not _LETTERS.fullmatch(given.folded):
        return None
    ours = sorted(re.findall("[a-j]", given.folded.replace("and", ",")))
    said, right = "".join(ours).upper(), "".join(letters).upper()
    reason = f"the letters agree: {right}" if said == right else f"the letters differ: {said}, {right}"
    return decided(said == right, "choice", reason)


def _by_text_of_choice(given: Answer, wanted: Answer, judge: Judge) -> Verdict | None:
    """A reference without a letter is met by the text behind a letter: "(B) blue" is "blue"."""
    for text in dict.fromkeys((given.full, given.core)):
        choice = read_choice(text)
        if choice is None or not choice.mark or not choice.text:
            continue
        if compact(choice.text) == compact(wanted.full):
            return decided(True, "choice", "the same text, behind a letter")
        verdict = judge.compare(Answer(choice.text, choice.text), wanted)
        if verdict.correct:
            return verdict
    return None


def choice_named(given: Answer) -> Choice | None:
    """Return the one choice that an answer names behind its text, "blue (B)", or in a sentence."""
    return _choice_behind(given.core) or _choice_in_prose(given)


def _choice_behind(text: str) -> Choice | None:
    """Return the choice that stands in parentheses behind its text, as in "blue (B)"."""
    match = re.fullmatch(
        r"(?P<text>.*?)[ ,.]*(?:\((?:option |choice )?(?P<inside>[A-Ja-j])\)"
        r"|\b(?:option|choice|select|choose|pick) \(?(?P<named>[A-Ja-j])\)?)",
        text,
        re.DOTALL | re.IGNORECASE,
    )
    if not match or (match["text"] not in ("No", "no", "False", "false") and DENIALS.search(match["text"])):
        return None
    if re.search(r"\([a-j]\)|\bor\W*$|[不非错]", match["text"], re.IGNORECASE):
        return None
    if _names_another(match["text"], (match["inside"] or match["named"]).upper()):
        return None
    # "The only one that fits is (B)": such words lead to the letter, and are no option's.
    text = "" if re.search(r"\b(?:is|are|be|:)\W*$", match["text"]) else normalise(match["text"])
    return Choice(
        (match["inside"] or match["named"]).upper(), text if text.isascii() else "", "()", in_prose=True
    )


def choice_at_end(text: str) -> Choice | None:
    """Return the choice that a sentence ends with, where it says so of anything: "it is C", "Solution B"."""
    match = _AT_END.search(text)
    if match is None or _is_denied(text[: match.start("letter")], "") or _OPEN.search(text.casefold()):
        return None
    return Choice(match["letter"], "", in_prose=True)


def _choice_in_prose(given: Answer) -> Choice | None:
    """Return the one choice that a sentence names as its answer; None where it names several, or denies it."""
    for text in dict.fromkeys((given.core, given.full)):
        mentions = list(_IN_PROSE.finditer(text))
        letters = {_letter_of(mention) for mention in mentions}
        if len(letters) != 1:
            if mentions:
                return None
            continue
        mention = mentions[-1]
        before, behind = text[: mention.start()], text[mention.end() :]
        if _is_denied(mention.group() if mention["said"] else before, behind) or _OPEN.search(
            before.casefold()
        ):
            return None
        return Choice(
            letters.pop(),
            re.split(r"[.!?。](?:\s|$)|。", re.sub("[\"']", "", behind).lstrip())[0].strip(" ,"),
            "()",
            in_prose=True,
        )
    return None


def _letter_of(mention: re.Match[str]) -> str:
    return mention["inside"] or mention["named"] or mention["chinese"] or mention["said"]


def _is_denied(before: str, behind: str) -> bool:
    """Whether the words around a letter in a sentence deny it; a denial that describes the question does not."""
    close = re.split(r"[,;:.?!]\s|\b(?:is|are|be)\b|答案|选项", before)[-1]
    copula = re.search(r"\b(?:is|are|be)\W*(?:not|n't|never|hardly|unlikely)\b[^.]*$", before)
    away = re.match(
        r"[\s\"']*(?:is|was|are|does|did|can|could|would|will)?(?: ?not\b|n't| (?:wrong|incorrect"
        r"|false|out)\b)",
        behind,
    )
    return bool(
        DENIALS.search(close)
        or copula
        or away
        or re.search(r"\b(?:wrong|incorrect|false|nobody|nor|doubt|few)\b|不|错", before.casefold())
    )
