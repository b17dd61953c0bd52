"""The base of every configuration section: the same checks whether it comes from a file or from Python."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from equipot.config.build import convert, field_hints
from equipot.config.position import FieldError, Position


class Section:
    """Base of frozen configuration dataclasses.

    On construction every field is checked against its type hint and limits and normalised (lists become tuples,
    whole numbers floats where a float is meant, mappings nested sections). Subclasses say more in ``check`` and
    ``ineffective``.
    """

    def __post_init__(self):
        hints = field_hints(type(self))
        for field in fields(self):
            here = Position(f"{type(self).__name__}.{field.name}")
            object.__setattr__(self, field.name, convert(getattr(self, field.name), hints[field.name], here))
        self.check()
        for path, reason in self.ineffective().items():
            if _at(self, path) != _default(type(self), path):
                raise FieldError(path, f"has no effect here: {reason}. Remove it.")

    def check(self) -> None:
        """Raise FieldError where values do not go together, and fill in defaults that depend on other fields."""

    def ineffective(self) -> dict[str, str]:
        """Dotted paths of fields that do nothing given the others, each with the reason."""
        return {}

    def _set(self, name: str, value: Any) -> None:
        """Fill in a field during ``check``."""
        object.__setattr__(self, name, value)


def _at(section: Any, path: str) -> Any:
    for name in path.split("."):
        section = getattr(section, name)
    return section


def _default(cls: type, path: str) -> Any:
    name, _, rest = path.partition(".")
    field = next(field for field in fields(cls) if field.name == name)
    value = field.default if field.default is not MISSING else field.default_factory()
    return _at(value, rest) if rest else value
