"""The comment line of an extended XYZ frame: splitting it into keys and values without losing any of them.

ASE's own splitter lets the last of two equal keys win, accepts an unclosed quote, and halves an asymmetric stress;
this one refuses the first two and leaves the third to the label reader.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

from equipot.data.xyz_dialects import cell_of_dialect

_CLOSING = {"'": "'", '"': '"', "{": "}", "[": "]"}
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_BOOLEANS = {
    "T": True,
    "F": False,
    "true": True,
    "false": False,
    "True": True,
    "False": False,
    "TRUE": True,
    "FALSE": False,
}
#: Values that are names even where they look like numbers or truth values.
_NAMES = {"uid", "config_type"}
_MAX_JSON_DEPTH = 20

#: Keys that describe the layout of the frame, and the only spelling that is understood.
LAYOUT_KEYS = ("Lattice", "Properties", "pbc")


def split_comment(text: str) -> list[tuple[str, str | None]]:
    """Split ``key=value key2="value 2" flag`` into pairs; a word without ``=`` has the value None.

    Quotes are ``"``, ``'``, ``{}`` and ``[]`` (brackets nest), a backslash takes the next character as it is, blanks
    around ``=`` are allowed.

    Raises:
        ValueError: A quote or bracket is opened and never closed, text is glued to a quote, or a value has no key.
    """
    tokens: list[str | None] = []  # None stands for an equals sign
    word: list[str] | None = None
    opened: list[str] = []
    escaped = is_closed = False
    for char in text.strip():
        if is_closed and not (char.isspace() or char == "="):
            raise ValueError(
                f"in the comment line '{char}' follows directly on a closing quote; a blank belongs between them"
            )
        is_closed = False
        if escaped:
            word = word if word is not None else []
            word.append(char)
            escaped = False
        elif char == "\\":
            escaped = True
        elif opened:
            if char == _CLOSING[opened[-1]]:
                opened.pop()
                if not opened:
                    is_closed = char in "\"'"
                    continue
            elif char == opened[-1] and char in "[{":
                opened.append(char)
            word.append(char)
        elif char in _CLOSING:
            if word is not None and char in "\"'":
                raise ValueError(
                    f"in the comment line a quote {char} stands inside the word '{''.join(word)[:40]}'; "
                    "put it before the word, or a backslash before the quote"
                )
            opened.append(char)
            word = word if word is not None else []
        elif char.isspace() or char == "=":
            if word is not None:
                tokens.append("".join(word))
                word = None
            if char == "=":
                tokens.append(None)
        else:
            word = word if word is not None else []
            word.append(char)
    if opened:
        raise ValueError(f"a {opened[0]} is opened in the comment line and never closed")
    if word is not None:
        tokens.append("".join(word))
    return _pair(tokens)


def _pair(tokens: list[str | None]) -> list[tuple[str, str | None]]:
    pairs: list[tuple[str, str | None]] = []
    position = 0
    while position < len(tokens):
        key = tokens[position]
        if key is None:
            raise ValueError("an = in the comment line has no key before it")
        position += 1
        parts: list[str] = []
        while position < len(tokens) and tokens[position] is None:
            position += 1
            has_value = position < len(tokens) and tokens[position] is not None
            parts.append(tokens[position] if has_value else "")
            position += has_value
        pairs.append((key, "=".join(parts) if parts else None))
    return pairs


def parse_value(key: str, text: str) -> Any:
    """Turn the text of one value into a number, an array, a truth value, what its JSON says, or leave it text."""
    if key in _NAMES:
        return text
    words = re.findall(r"[^\s,\[\]{}]+", text)
    if words and all(_NUMBER.fullmatch(word) for word in words):
        integers = all(_INTEGER.fullmatch(word) for word in words) and max(map(len, words)) < 18
        values = [int(word) if integers else float(word) for word in words]
        return values[0] if len(values) == 1 else np.array(values)
    if words and all(word in _BOOLEANS for word in words):
        return _BOOLEANS[words[0]] if len(words) == 1 else [_BOOLEANS[word] for word in words]
    if text.startswith("_JSON "):
        return _parse_json(key, text[len("_JSON ") :])
    return text


def _parse_json(key: str, text: str) -> Any:
    if text.count("[") - text.count("]") or _depth(text) > _MAX_JSON_DEPTH:
        raise ValueError(f"the JSON value of '{key}' is not balanced or nested deeper than {_MAX_JSON_DEPTH}")
    try:
        value = json.loads(text)
        array = np.array(value)
    except ValueError as error:
        raise ValueError(f"the JSON value of '{key}' cannot be read: {error}") from error
    return array if array.dtype.kind in "ifb" and array.ndim else value


def _depth(text: str) -> int:
    depth = deepest = 0
    for char in text:
        depth += (char in "[{") - (char in "]}")
        deepest = max(deepest, depth)
    return deepest


def parse_comment(text: str) -> dict[str, Any]:
    """Read a comment line into a dictionary; ``Lattice`` becomes (3, 3) with lattice vectors as rows.

    A line without any ``=`` is free text and comes back under ``comment``.

    Raises:
        ValueError: Equal keys, a layout key in another spelling, a value that is not what its key needs, a cell in
            another form than ``Lattice`` or i-PI's.
    """
    text = text.strip()
    info = _keys(text) if "=" in text else {"comment": text} if text else {}
    if "Lattice" not in info and (cell := cell_of_dialect(info)) is not None:
        info |= cell
    return info


def _keys(text: str) -> dict[str, Any]:
    info: dict[str, Any] = {}
    given: set[str] = set()
    for key, value in split_comment(text):
        if value is None:
            info.setdefault(key, True)
            continue
        for layout_key in LAYOUT_KEYS:
            if key.lower() == layout_key.lower() and key != layout_key:
                raise ValueError(f"the key '{key}' must be spelled '{layout_key}' (it would be ignored)")
        if key in given:
            raise ValueError(f"the key '{key}' is there twice")
        given.add(key)
        info[key] = value if key == "Properties" else parse_value(key, value)
    if "Lattice" in info:
        info["Lattice"] = _lattice(info["Lattice"])
    if "pbc" in info:
        info["pbc"] = _pbc(info["pbc"])
    return info


def _lattice(value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "if" or array.size != 9:
        shown = " ".join(map(str, array.ravel()[:12])) if array.ndim else str(value)[:80]
        raise ValueError(f"Lattice must be nine numbers, found '{shown}'")
    return array.astype(float).reshape(3, 3)


def _pbc(value: Any) -> list[bool]:
    flags = [value] * 3 if isinstance(value, bool) else list(value) if isinstance(value, list | np.ndarray) else []
    if len(flags) != 3 or any(flag not in (0, 1) for flag in flags):
        raise ValueError(f'pbc must be three of T and F, as in pbc="T T F", found {str(value)[:80]!r}')
    return [bool(flag) for flag in flags]
