"""Text for streams that cannot encode all of it, such as a pipe in cp1252: words in ASCII for each such symbol."""

from __future__ import annotations

import codecs

READABLE = "bnsharp-readable"
"""The name of :func:`readable_replacements` among the error handlers of codecs, once it is registered."""

_WORDS = {
    **{"α": "alpha", "β": "beta", "γ": "gamma", "Γ": "Gamma", "δ": "delta", "Δ": "Delta", "ε": "epsilon", "η": "eta"},
    "κ": "kappa",
    **{"θ": "theta", "λ": "lambda", "μ": "mu", "π": "pi", "ρ": "rho", "σ": "sigma", "Σ": "sum ", "φ": "phi"},
    **{"ℓ": "l", "∞": "inf", "∇": "grad ", "∂": "d", "∫": "integral ", "√": "sqrt", "½": "1/2", "\u0302": "^"},
    **{
        "−": "-",
        "–": "-",
        "±": "+-",
        "×": "x",
        "·": "*",
        "÷": "/",
        "≤": "<=",
        "≥": ">=",
        "≈": "~",
        "∼": "~",
        "∈": "in",
    },
    **{"‖": "||", "⟨": "<", "⟩": ">", "→": "->", "←": "<-", "′": "'", "…": "..."},
    **{"₀": "_0", "₁": "_1", "₂": "_2", "⁻": "^-", "¹": "^1", "²": "^2", "³": "^3", "⁵": "^5"},
    **{"⁶": "^6", "⁷": "^7", "⁸": "^8", "ᵀ": "^T", "≠": "!=", "⊘": "/", "⌈": "ceil(", "⌉": ")"},
    **{"─": "-", "━": "-", "│": "|", "├": "|", "└": "`"},
}
"""The symbols that help texts, tables and messages use."""


def encodable(text: str, encoding: str | None) -> str:
    r"""``text`` with a readable replacement for each character that ``encoding`` lacks; as it is where that is None.

    >>> encodable("δ-L∞ of n\u00e9.pt ± 1", "ascii"), encodable("± 1", "cp1252")
    ('delta-Linf of n\\xe9.pt +- 1', '± 1')
    """
    if encoding is None or text.isascii():
        return text
    codecs.register_error(READABLE, readable_replacements)
    return text.encode(encoding, READABLE).decode(encoding)


def readable_replacements(error: UnicodeError) -> tuple[str, int]:
    """What stands for the characters of an encoding error: the words of a symbol, or an escape sequence."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_WORDS.get(one) or one.encode("ascii", "backslashreplace").decode() for one in lost), error.end
