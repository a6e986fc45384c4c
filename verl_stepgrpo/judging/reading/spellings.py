"""The spellings of mathematical signs: one table for every reader of what a model wrote.

Each row is a sign as readers of key steps have it, its TeX command, and all other spellings. Pure: no I/O.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Sign(NamedTuple):
    """A mathematical sign.

    Attributes:
        text: The sign, one character or as few as there are.
        tex: Its TeX command, or the sign itself where it needs none.
        others: Its other spellings: TeX commands, characters, signs of programs.
    """

    text: str
    tex: str
    others: tuple[str, ...] = ()


def _row(text: str, tex: str, others: str = "") -> Sign:
    return Sign(text, tex, tuple(others.split()))


_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigmaf sigma tau "
    "upsilon phi chi psi omega"
)
SIGNS = (
    _row("*", "*", r"\times \cdot \ast × · ⋅ ∗ ∙"),
    _row("/", "/", r"\div ÷ ∕ ⁄"),
    _row("-", "-", "− ‒ – ‑ ‐"),
    _row("^", "^", "**"),
    _row("=", "=", "== :="),
    _row("<", "<", r"\lt"),
    _row(">", ">", r"\gt"),
    _row("≤", r"\le", r"\leq \leqslant <="),
    _row("≥", r"\ge", r"\geq \geqslant >="),
    _row("≠", r"\ne", r"\neq !="),
    _row("≈", r"\approx"),
    _row("∼", r"\sim", "~"),
    _row("≅", r"\cong"),
    _row("∥", r"\parallel"),
    _row("⊥", r"\perp"),
    _row("△", r"\triangle"),
    _row("∠", r"\angle", r"\measuredangle"),
    _row("°", r"\circ", r"\degree º"),
    _row("√", r"\sqrt", "sqrt"),
    _row("∛", "∛"),
    _row("%", r"\%"),
    _row("∞", r"\infty"),
    _row("±", r"\pm"),
    _row("->", "->", r"\to \rightarrow \longrightarrow →"),
    _row("=>", "=>", r"\Rightarrow \implies ⇒ ⟹"),
    _row("⇔", "⇔", r"\iff \Leftrightarrow ⟺"),
    _row("∴", "∴", r"\therefore"),
    _row("∵", "∵", r"\because"),
    _row("✓", "✓", r"\checkmark ✔"),
    _row("l", r"\ell", "ℓ"),
    _row("ℏ", r"\hbar"),
    _row("∈", r"\in"),
    _row("∉", r"\notin"),
    _row("∪", r"\cup"),
    _row("∩", r"\cap"),
    _row("⊂", r"\subset"),
    _row("⊆", r"\subseteq"),
    _row("∅", r"\emptyset", r"\varnothing"),
    _row("|", "|", r"\mid"),
    _row("φ", r"\phi", r"\varphi ϕ"),
    _row("ε", r"\epsilon", r"\varepsilon ϵ"),
    _row("θ", r"\theta", r"\vartheta ϑ"),
    _row("Δ", r"\Delta"),
    _row("Ω", r"\Omega"),
    *(
        _row(chr(ord("α") + i), "\\" + name)
        for i, name in enumerate(_GREEK.split())
        if name not in ("phi", "epsilon", "theta")
    ),
)
"""All of them."""

SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿˣ", "0123456789+-nx")
SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
"""Raised and lowered characters as plain ones."""

SIGN_OF = {
    spelling: sign.text for sign in SIGNS for spelling in (sign.tex, *sign.others) if spelling != sign.text
} | {command: "\\frac" for command in (r"\dfrac", r"\tfrac", r"\cfrac")}
"""The sign of each spelling."""

TEX_OF = {
    character: sign.tex + (" " if sign.tex.startswith("\\") else "")
    for sign in SIGNS
    for character in (sign.text, *sign.others)
    if len(character) == 1 and not character.isascii() and character != sign.tex
}
"""The TeX command of each character that is a sign, with a blank behind it, or the sign in ASCII."""

TEX_ALIASES = {
    command: sign.tex
    for sign in SIGNS
    for command in sign.others
    if command.startswith("\\") and sign.text != "°"
}
"""The TeX command, or the sign in ASCII, that each other command stands for."""

SILENT_COMMANDS = frozenset(
    "\\" + name
    for name in "left right text textrm textbf textit textnormal mathrm mathbf mathit mathsf mbox emph underline bm "
    "boldsymbol operatorname boxed fbox quad qquad displaystyle textstyle limits big Big bigl bigr Bigl Bigr bigg "
    "Bigg".split()
)
"""TeX commands that change how something looks, and not what it says."""
_ASIDES = "tag|label|hspace|vspace|phantom|hphantom|vphantom|color|textcolor|ref|eqref|cite"
"""TeX commands of which the argument says nothing either: "x = 5 \\tag{1}"."""
_NUMBER = r"\((?:\d{1,2}|[a-z]|[ivx]{2,4})\)"
SAYS_NOTHING = {
    "\\": re.compile(
        rf"\\(?:{_ASIDES})\*? ?\{{[^{{}}\n]{{0,40}}\}}|(?<!\d)\\[,;:!>]|\\[,;:!>](?!\d)"
        rf"|\\q?quad *(?:\\text\{{)?{_NUMBER}\}}?(?=[\s$.,]*(?:\\[\])]|\n|\Z))"
    ),
    "~": re.compile(r"~(?=[=<>+*/\\-])|(?<=[=<>+*/-])~|(?<=\d)~(?=[a-zA-Z])"),
    "<": re.compile(r"</?(?:b|i|u|em|strong|br|p|span|mark|center)\b[^<>\n]{0,40}>"),
    "(": re.compile(
        rf"(?:^\s*|(?:^|(?<=[,;] ))(?:(?i:from|by|using) )|\b[Ee](?:quations?|qs?\.|qn\.) ){_NUMBER}(?=,? [\w\\$])",
        re.M,
    ),
}
"""What says nothing where it has a certain character: spaces of TeX, tags of HTML, the numbers of equations."""
_UNSEEN = "\u00ad\u200b-\u200f\u2060-\u2064\ufeff"
_INVISIBLE = re.compile(rf"(?<!\S)[^\s{_UNSEEN}]*[{_UNSEEN}]\S*")
"""A word with such a character, from its beginning, so that no text is read again from each of its places."""


def blanked(text: str) -> str:
    """Return ``text`` with blanks for what says nothing, every offset kept."""
    for character, pattern in SAYS_NOTHING.items():
        if character in text:
            text = pattern.sub(lambda m: " " * len(m[0]), text)
    return text


def visible(text: str) -> str:
    """Return ``text`` without characters that are not seen, blanks for them behind the word that they stood in."""
    return text if text.isascii() else _INVISIBLE.sub(_seen, text)


def _seen(word: re.Match[str]) -> str:
    return re.sub(f"[{_UNSEEN}]", "", word[0]).ljust(len(word[0]))
