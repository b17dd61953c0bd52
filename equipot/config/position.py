"""Where in the configuration a value stands: its dotted path and the place in a file, from which messages are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from equipot.config.located import LocatedList, place_of
from equipot.errors import ConfigError


class FieldError(ConfigError):
    """A field's value does not go together with another's.

    Args:
        path: the field, dotted when it lies in a nested section.
        message: what follows the field's name in the message.
    """

    def __init__(self, path: str, message: str):
        message = message if message.endswith((".", "?", ")")) else f"{message}."
        super().__init__(f"{path} {message}")
        self.path, self.message = path, message


@dataclass(frozen=True)
class Position:
    """Where in the configuration the builder is: a dotted path and a place in a file."""

    path: str = ""
    place: str = ""

    def child(self, container: Any, key: Any) -> Position:
        """The position of ``container[key]``."""
        return Position(f"{self.path}.{key}" if self.path else str(key), place_of(container, key, self.place))

    def error(self, text: str) -> ConfigError:
        """An error about the value here; ``text`` follows the path."""
        return ConfigError(f"{self.place}: {self.named(text)}" if self.place else self.named(text))

    def named(self, text: str) -> str:
        """``text`` with the path before it."""
        return f"{self.path or 'the configuration'} {text}"


def given_at(mapping: Any, path: str) -> Any:
    """The value written at a dotted path, or None."""
    for name in path.split("."):
        if not isinstance(mapping, Mapping) or name not in mapping:
            return None
        mapping = mapping[name]
    return mapping


def locate(path: str, mapping: Any, position: Position) -> Position:
    """The position of a dotted path below ``mapping``, which stands at ``position``."""
    for name in path.split("."):
        is_list = isinstance(mapping, LocatedList) and name.isdigit()
        position = position.child(mapping, int(name) if is_list else name)
        try:
            mapping = mapping[int(name) if is_list else name]
        except (KeyError, IndexError, TypeError):
            mapping = None
    return position
