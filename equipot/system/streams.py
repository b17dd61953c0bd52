"""Output to terminals and files that know no Unicode: signs are written in ASCII rather than end in an error."""

from __future__ import annotations

import codecs
import sys
import unicodedata

_NAME = "equipot-plain"
#: Signs of the program's own texts that have no decomposition into ASCII.
_SIGNS = {
    "µ": "u",
    "μ": "u",
    "Γ": "G",
    "Δ": "D",
    "ε": "eps",
    "σ": "sigma",
    "±": "+-",
    "×": "x",
    "·": "*",
    "−": "-",
    "–": "-",
    "—": "-",
    "→": "->",
    "←": "<-",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "∞": "inf",
    "°": "deg",
    "…": "...",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "‖": "|",
    "√": "sqrt",
    "∑": "sum",
    "Σ": "sum",
}


def make_streams_tolerant() -> None:
    """Let standard output and error write in their own encoding whatever they are given.

    A stream that knows Unicode is left alone.
    """
    codecs.register_error(_NAME, _plain)
    for stream in (sys.stdout, sys.stderr):
        encoding = (getattr(stream, "encoding", None) or "").lower().replace("_", "-")
        if encoding and not encoding.startswith("utf") and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_NAME)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(map(_in_ascii, text)), error.end


def _in_ascii(sign: str) -> str:
    """``Å`` as ``A``, superscripts as digits, the frames of tables as their corners and lines, else ``?``."""
    if sign in _SIGNS:
        return _SIGNS[sign]
    if "\u2500" <= sign <= "\u257f":
        return "-" if sign in "─━┄┅┈┉╌╍═╴╶╸╺" else "|" if sign in "│┃┆┇┊┋╎╏║╵╷╹╻" else "+"
    if "\u2580" <= sign <= "\u259f":
        return "#"
    found = unicodedata.normalize("NFKD", sign).replace("\u2212", "-").encode("ascii", "ignore").decode()
    return found or "?"
