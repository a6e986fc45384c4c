"""The spellings of mathematical signs: one table for every reader of what a model wrote.

Each row is a sign as readers of key steps have it, its TeX command, and all other spellings. Pure: no I/O.
"""

from __future__ import annotations

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
    _row("=", "=", "=="),
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
