"""The words of configuration errors: what was found, what a type hint expects, which name is nearest."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from equipot.config.limits import Limit, Rule


def describe_value(value: Any) -> str:
    """Name a value as a message does: ``the text 'abc'``, ``3``, ``a list of 2 values``, ``null``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {shorten(repr(value))}"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)} values" if len(value) != 1 else "a list of 1 value"
    return shorten(repr(value))


def shorten(text: str, length: int = 60) -> str:
    """Cut a text that would drown the message."""
    return text if len(text) <= length else text[: length - 3] + "..."


def describe_hint(hint: Any) -> str:
    """Say in words what a type hint accepts: ``a whole number of at least 1 or null``."""
    return _alternatives(dict.fromkeys(_describe(hint)))


def _describe(hint: Any) -> list[str]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        words = _describe(arguments[0])
        for rule in arguments[1:]:
            if isinstance(rule, Limit):
                words = [f"{word} {rule.text}" for word in words]
            elif isinstance(rule, Rule):
                words = [rule.text]
        return words
    if origin in (Union, types.UnionType):
        members = [argument for argument in arguments if argument is not type(None)]
        words = [word for member in members for word in _describe(member)]
        return [*words, "null"] if len(members) < len(arguments) else words
    if origin is Literal:
        return [
            "null" if value is None else str(value) if not isinstance(value, str) else f"'{value}'"
            for value in arguments
        ]
    if origin in (tuple, list):
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            return [f"a list of {len(arguments)} values (each {describe_hint(arguments[0])})"]
        if not arguments or arguments[0] is Any:
            return ["a list"]
        inner = arguments[0]
        return ["a list of mappings" if is_dataclass(inner) else f"a list (each item {describe_hint(inner)})"]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        value = arguments[1] if len(arguments) > 1 else Any
        return ["a mapping" if value is Any else f"a mapping (each value {describe_hint(value)})"]
    simple = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        type(None): "null",
        None: "null",
        Any: "any value",
    }
    if hint in simple:
        return [simple[hint]]
    return ["a mapping"]


def suggestions(hint: Any) -> list[str]:
    """The words a type hint accepts, to suggest the nearest of."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        found = suggestions(arguments[0])
        return found + [name for rule in arguments[1:] if isinstance(rule, Rule) for name in rule.names]
    if origin in (Union, types.UnionType):
        return [word for argument in arguments for word in suggestions(argument)]
    if origin is Literal:
        return [value for value in arguments if isinstance(value, str)]
    return []


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The valid name nearest to ``name``, or None when nothing is near."""
    if not isinstance(name, str):
        return None
    names = [candidate for candidate in dict.fromkeys(names) if isinstance(candidate, str)]
    by_lower = {candidate.lower().replace("-", "_"): candidate for candidate in reversed(names)}
    lower = name[:200].lower().replace("-", "_")
    if lower in by_lower:
        return by_lower[lower]
    close = difflib.get_close_matches(lower, by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def _alternatives(words: Iterable[str]) -> str:
    words = list(words)
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]
