"""Bring the text of an answer into one spelling.

``normalise`` removes what carries no meaning (TeX wrappers, Unicode forms, Markdown, special tokens). Letter
case is kept: mW is not MW.

Pure: no I/O. Nothing here raises on text, and every pattern is linear or bounded.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata

from verl_stepgrpo.judging.answers.doubts import DENIED_BOX, TAKEN_BACK
from verl_stepgrpo.judging.marks import BARE_BOX
from verl_stepgrpo.judging.reading.lexicon import one_of
from verl_stepgrpo.judging.reading.numbers import ORDINALS, THIN_SPACE
from verl_stepgrpo.judging.reading.spellings import SUBSCRIPTS, SUPERSCRIPTS, TEX_ALIASES, TEX_OF

MAX_CHARS = 2048
"""Characters of an answer that are looked at."""
_READ_AS_THEY_ARE = frozenset("°º√Ωμ⇒⟹")
_CHARACTERS = str.maketrans(
    {character: tex for character, tex in TEX_OF.items() if character not in _READ_AS_THEY_ARE}
    | {"ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "⟨": "(", "⟩": ")"}
    | {"。": ".", "或": " or ", "、": ", ", "’": "'", "‘": "'", "“": '"', "”": '"', "¢": " cents"}
)
_THOUSANDS = re.compile(rf"(?<=\d){THIN_SPACE}(?=\d{{3}})")
_ROOT = re.compile(r"(?:(?<![a-zA-Z])\\?sqrt|√|(?P<cube>∛)) ?\(")
"""A root of what stands in parentheses."""
_FRACTION = re.compile(r"[¼-¾⅐-⅞](?=[a-zA-Z(\\√])")
"""A fraction in one character that multiplies: "½x"."""
_DOLLAR = "\ue000"
"""Stands for a dollar sign that is a currency, while those that delimit TeX are removed."""
_ALIAS = re.compile(rf"(?:{'|'.join(map(re.escape, sorted(TEX_ALIASES, reverse=True)))})(?![a-zA-Z])")
# A row is looked for where its sign stands, which is cheaper than to search.
_TEX_SPELLINGS = (
    ("\\", re.compile(r"\\\\(?=(?:[dt]?frac|sqrt|text|pi)(?![a-zA-Z]))"), r"\\"),
    ("\\", re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    ("\\", re.compile(r"\\frac ?(\d) ?(\d)"), r"\\frac{\1}{\2}"),
    ("\\", re.compile(r"\\frac ?(\d) ?(?=\{)"), r"\\frac{\1}"),
    ("\\", re.compile(r"(\\frac ?\{[^{}]*\}) ?(\d)"), r"\1{\2}"),
    ("\\", re.compile(r"\\(?:left|right|displaystyle|limits|bigl?|bigr|Bigl?|Bigr)(?![a-zA-Z])"), ""),
    ("\\", _ALIAS, lambda m: TEX_ALIASES[m[0]]),
    ("\\", re.compile(r"\\O(?![a-zA-Z])"), r"\\emptyset "),
    ("\\", re.compile(r"\^ ?\{? ?\\circ ?\}?|\\degree|\\circ(?![a-zA-Z])"), "°"),
    ("\\", re.compile(r"\\[lr]angle(?![a-zA-Z])"), lambda m: "(" if m.group() == r"\langle" else ")"),
    ("\\", re.compile(r"(?<=[\d.])\\(?:bar|dot) ?(?=\{)"), r"\\overline"),
    ("\\not", re.compile(r"\\not ?="), r"\\ne "),
    ("~~", re.compile(r"~~(?=\S)[^~\n]{1,200}~~"), " "),
    ("matrix", re.compile(r"\{[bB]matrix\}"), "{pmatrix}"),
    ("!=", re.compile(r"!="), r"\\ne "),
    ("==", re.compile(r"=="), "="),
    ("<=", re.compile(r"<="), r"\\le "),
    (">=", re.compile(r">="), r"\\ge "),
    ("\\", re.compile(r"(?<=\d) ?\\Omega(?![a-zA-Z])"), " Ω"),
    ("]", re.compile(r"^\s*\](.*,.*)([\[\]])\s*$"), lambda m: f"({m[1]}{')' if m[2] == '[' else ']'}"),
    ("[", re.compile(r"^\s*\[([^\[\]()]*,[^\[\]()]*)\[\s*$"), r"[\1)"),
    ("", re.compile(r"^\s*(?:\[([A-Za-z])\]|\(([K-Zk-z])\))\s*$"), r"\1\2"),
    ("{,}", re.compile(r"\{,\}"), ","),
    ("{{", re.compile(r"\{\{([^{},]*)\}\}"), r"{\1}"),
    (" & ", re.compile(r"(?<=[\w)\]]) & (?=[\w(\[])(?!.*\\end)"), " and "),
    ("\\", re.compile(rf"(?<=\d){THIN_SPACE} ?(?=\d{{3}})"), ","),
    ("\\", re.compile(r"\\(?:quad|qquad)(?![a-zA-Z])|(?<!\\)\\[,;:! ]"), " "),
    ("~", re.compile("~"), " "),
    ("\\", re.compile(r"\\[()\[\]]"), " "),
    ("**", re.compile(r"\*\*(?=-?[\w({])(?<=[\w)}]\*\*)"), "^"),
    ("√", re.compile(r"√ ?(?=\{)"), r"\\sqrt"),
    ("", re.compile(r"(?:√|\\sqrt) ?(\d+(?:\.\d+)?|[a-zA-Z](?![a-zA-Z]))"), r"\\sqrt{\1}"),
    ("∛", re.compile(r"∛ ?(\d+|[a-zA-Z])"), r"\\sqrt[3]{\1}"),
    ("^", re.compile(r"\^ ?(-?\d+)"), r"^{\1}"),
    ("_", re.compile(r"_ ?(\d+|[a-zA-Z])(?![a-zA-Z\d])"), r"_{\1}"),
    ("^", re.compile(r"\^ ?\(([^()]{1,20})\)"), r"^{\1}"),
    ("^", re.compile(r"\^ ?\{ ?(\w) ?\}"), r"^{\1}"),
    ("pi", re.compile(r"(?<![\\\w])pi(?![a-zA-Z])"), r"\\pi "),
    (
        "",
        re.compile(r"(?<![\\a-zA-Z])(ln|log|sin|cos|tan)(?=[\d(\\^_]| [\d(\\a-zA-Z])(?! [a-z]{2})"),
        r"\\\1",
    ),
    ("", re.compile(r"(?<![\\\w])(?:infinity|inf|oo)(?![a-zA-Z])"), r"\\infty "),
)
_WRAPPER = re.compile(
    r"\\(?:boxed|[fmh]box|text[a-z]*|math(?:rm|bf|it|sf)|operatorname|bm|boldsymbol)"
    r" ?\{([^{}]*)\}"
)
_BOXED = re.compile(r"\\boxed ?\{((?:[^{}]|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})*)\}")
_BEFORE_BOX = re.compile(
    r"(?:(?:\b(?:is|are|be|equals|get|gives|have|answer)\b|[=:]|\\approx)[\s$(\[\\:]*|^[\W\d]*)$"
)
"""What stands before a box that is what a sentence states; then the words before it describe the question."""

_SPECIAL_TOKEN = re.compile(r"<\|[^|<>]{1,40}\|>|</?(?:answer|s|think|eos|pad|box)>", re.IGNORECASE)
_BLANKS = re.compile(r"[^\S\n]+")
_BULLET = re.compile(r"^\s*(?:[-•] (?=[^\W\d]{2}|\*\*)|\* )")
_PLAIN_BOLD = re.compile(r"(?<![\w)}*])\*\*(?=[^\s*])((?:(?!\*\*).)+?)(?<=[^\s*])\*\*(?![\w({*])", re.DOTALL)
_BOLD = re.compile(r"(?<![\w)}])(\*\*|__|\*|_)(?=\S)([^*_\n]+)(?<=\S)\1(?![\w({])")
LEAD = re.compile(
    r"(?:#+ ?|答案(?:是|为|:)*)?"
    rf"(?:(?:{one_of('CONCLUSION')}|ok|okay|in conclusion|conclusion(?=[,:])|finally|and"
    r"|we (?:get|have|find)(?: that)?|i think|i (?:choose|pick|select)|i(?:'d| would) (?:say|go with)"
    r"|definitely|certainly|clearly|surely|absolutely|no doubt|without (?:a )?doubt)\b[,:]? *)*"
    r"(?:it's\b *)?(?:the\b *)?"
    r"(?:(?:(?:my|our|its|correct|right|final|best|only|possible|required)\b *)*"
    rf"(?:{one_of('NAMED')}|response)s? ?(?:is|are|(?:would|should|will) be|=|:|-)+[: ]*"
    r"(?=\S)|answer (?=[-+.\d\\$]))?(?:point (?=\())?",
    re.IGNORECASE,
)
_SYNONYMS = {word: numeral for numeral, word in ORDINALS.items()} | {
    "all real numbers": r"\mathbb{r}", "all reals": r"\mathbb{r}", "real numbers": r"\mathbb{r}",
    "no solution": r"\emptyset", "no solutions": r"\emptyset", "empty set": r"\emptyset",
    "negative infinity": r"-\infty", "minus infinity": r"-\infty",
}  # fmt: skip
"""Whole answers that are said in words, case folded and without articles."""
_RATIO = re.compile(r"(\d+) (?:is )?to (\d+)")
_TRAILING = re.compile(r"(?:[.;,:? ]|(?<=[^\W\d_][^\W\d_])!|(?<=^[A-J])!|(?<= )!|\\\\)+$")


@functools.lru_cache(maxsize=4096)
def normalise(text: str) -> str:
    """Return ``text`` with spelling that carries no meaning removed, letter case kept.

    Unicode compatibility forms, fractions, super- and subscripts; TeX wrappers and spacing; Markdown;
    special tokens; surrounding white space, quotes and punctuation; a leading "the answer is". A text with
    one ``\\boxed`` (or several with one content) is its content. Line breaks are kept.
    """
    if text.isdigit() and text.isascii():
        return text[:MAX_CHARS]
    text = _BULLET.sub("", _SPECIAL_TOKEN.sub(" ", text[:MAX_CHARS]))
    # Before signs of multiplication become asterisks.
    text = _unboxed(_plain_characters(_PLAIN_BOLD.sub(r"\1", text) if "**" in text else text))
    for _ in range(3 if "\\" in text else 0):  # wrappers in wrappers
        text = _WRAPPER.sub(_unwrapped, text)
    text = _without_delimiters(text) if "$" in text else text
    text = _roots(text) if "(" in text else text
    for sign, pattern, spelling in _TEX_SPELLINGS:
        if sign in text:
            text = pattern.sub(spelling, text)
    text = text.replace("\\%", "%").replace("`", "")
    if "*" in text or "_" in text:
        text = _BOLD.sub(r"\2", _BOLD.sub(r"\2", text))
    lines = (_BLANKS.sub(" ", line).strip() for line in text.splitlines())
    text = "\n".join(line for line in lines if line)
    text = strip(text)
    for _ in range(2):  # "The answer is the blue one"
        text = strip(LEAD.sub("", text, count=1)) or text
    return text


def _unboxed(text: str) -> str:
    """Return what the boxes of ``text`` hold, where they are all one answer or a list; else ``text``."""
    text = BARE_BOX.sub(r"\\boxed{\g<content>}", text) if "box" in text else text
    boxes = list(_BOXED.finditer(text)) if "\\boxed" in text else []
    if not boxes:
        return text
    before, behind = text[: boxes[0].start()], text[boxes[-1].end() :]
    contents = list(dict.fromkeys(box[1].strip() for box in boxes))
    if len(contents) > 1:
        between = "".join(text[one.end() : other.start()] for one, other in itertools.pairwise(boxes))
        return text if re.search(r"[^\s,;$&]", between.replace("and", "")) else ", ".join(contents)
    if len(boxes) > 1 or not _BEFORE_BOX.search(before):
        return text if TAKEN_BACK.search(_BOXED.sub(" ", text)) else contents[0]
    return text if DENIED_BOX.search(before) or TAKEN_BACK.search(behind) else contents[0]


def _unwrapped(wrapper: re.Match[str]) -> str:
    # In "\\cdot\\text{s}" the command before must not run into the content.
    space = " " if wrapper.string[: wrapper.start()][-1:].isalpha() else ""
    return space + wrapper[1]


@functools.lru_cache(maxsize=4096)
def compact(text: str) -> str:
    """Return normalised ``text`` for comparison as text: case folded, without articles and free spaces."""
    text = re.sub(r"\b(?:a|an|the)\s(?=\w\w)", "", text.casefold())
    text = _RATIO.sub(r"\1:\2", text) if _RATIO.fullmatch(text) else _SYNONYMS.get(text.strip(), text)
    # A space between two digits carries meaning.
    text = re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)
    # A formula: H_{2}O is H2O.
    return re.sub(r"[_{}]", "", text) if re.fullmatch(r"[\w{}()+>-]+", text) else text


def strip(text: str) -> str:
    text = text.strip().strip('"').strip()
    if text[:1] == "'":  # a lone one behind is a prime
        text = text.strip("'").strip()
    return _TRAILING.sub("", text).strip()


def _plain_characters(text: str) -> str:
    if text.isascii():
        return text
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿˣ]+", lambda m: "^{" + m.group().translate(SUPERSCRIPTS) + "}", text)
    text = re.sub(r"[₀-₉]+", lambda m: "_{" + m.group().translate(SUBSCRIPTS) + "}", text)
    text = text.replace("º", "°")
    # "2½" is 2 and a half; compatibility forms would make it 21/2.
    text = re.sub(r"(?<=\d)(?=[¼-¾⅐-⅞])", " ", text)
    text = _THOUSANDS.sub(",", text)
    text = _FRACTION.sub(
        lambda m: "\\frac{{{}}}{{{}}}".format(*unicodedata.normalize("NFKC", m[0]).split("⁄")), text
    )
    return unicodedata.normalize("NFKC", text).translate(_CHARACTERS)


def _roots(text: str) -> str:
    r"""Return ``text`` with its roots of parentheses in TeX: "√((x + 1) * 2)" is ``\sqrt{(x + 1) * 2}``."""
    for root in reversed(list(_ROOT.finditer(text))):
        depth, end = 1, root.end()
        while end < len(text) and depth:
            depth += (text[end] == "(") - (text[end] == ")")
            end += 1
        if not depth:
            command = r"\sqrt[3]" if root["cube"] else r"\sqrt"
            text = f"{text[: root.start()]}{command}{{{text[root.end() : end - 1]}}}{text[end:]}"
    return text


def _without_delimiters(text: str) -> str:
    r"""Remove the dollar signs that delimit TeX and keep those that are a currency."""
    text = text.replace("\\$", _DOLLAR).replace("$$", " ")
    if text.count("$") % 2 == 0 and not re.search(r"(?<!\S)\$\d[\d.,]*(?: ?[-,]| and| or| to|$) *\$\d", text):
        text = text.replace("$", "")
    return text.replace(_DOLLAR, "$")
