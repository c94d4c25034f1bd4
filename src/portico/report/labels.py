"""Titles written for ROOT as HTML."""

from __future__ import annotations

import re
from html import escape

__all__ = ["to_html", "to_plain"]

_WORDS = (
    "alpha:α beta:β gamma:γ delta:δ epsilon:ε zeta:ζ eta:η theta:θ kappa:κ lambda:λ mu:μ nu:ν xi:ξ pi:π rho:ρ sigma:σ "
    "tau:τ phi:φ chi:χ psi:ψ omega:ω Delta:Δ Gamma:Γ Lambda:Λ Sigma:Σ Phi:Φ Psi:Ψ Omega:Ω Upsilon:Υ times:× pm:± "
    "rightarrow:→ ell:ℓ sqrt:√ circ:° infty:∞ leq:≤ geq:≥"
)
_SYMBOLS = dict(word.split(":") for word in _WORDS.split())
_COMMAND = re.compile(r"[#\\]([A-Za-z]+)")
_MARKED = re.compile(r"[#\\](bar|overline|it|bf|rm)\{([^{}]*)\}")
_SCRIPT = re.compile(r"([_^])\{([^{}]*)\}")


def to_plain(title: str) -> str:
    """Return a title with symbols in place of commands."""
    plain = _MARKED.sub(lambda m: m[2] + "\N{COMBINING MACRON}" * (m[1] in {"bar", "overline"}), title.replace("$", ""))
    return _COMMAND.sub(lambda m: _SYMBOLS.get(m[1], m[1] if m[0][0] == "#" else m[0]), plain)


def to_html(title: str) -> str:
    """Return a title as HTML with sub- and superscripts, for elements and for Plotly. All else is escaped."""
    parts, end, plain = [], 0, to_plain(title)
    for match in _SCRIPT.finditer(plain):
        tag = "sub" if match[1] == "_" else "sup"
        parts.append(f"{escape(plain[end : match.start()], False)}<{tag}>{escape(match[2], False)}</{tag}>")
        end = match.end()
    return "".join([*parts, escape(plain[end:], False)])
