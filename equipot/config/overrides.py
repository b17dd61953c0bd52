"""Overrides from the command line: ``section.key=value`` applied to the mapping read from a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from equipot.config.located import LocatedDict, LocatedList
from equipot.config.wording import describe_value, shorten
from equipot.config.yaml_reader import parse_yaml
from equipot.errors import ConfigError

_PATH = re.compile(r"[A-Za-z_][\w-]*(?:\.[\w-]+)*")


def apply_overrides(mapping: LocatedDict, overrides: Sequence[str]) -> None:
    """Write each override into the mapping, in order, remembering where it came from.

    Args:
        mapping: the top level of a configuration; changed in place.
        overrides: texts ``section.key=value``; the value is YAML (``[1, 2]``, ``{a: 1}``, ``null``), and replaces
            whatever stood there. A number in the path picks the item of a list: ``properties.0.name=Cu``.

    Raises:
        ConfigError: not of that form, the same path twice, an item a list does not have, or a path through a value
            that has no keys. Unknown keys are found when the configuration is built.
    """
    seen: set[str] = set()
    for override in overrides:
        place = f"override '{shorten(override, 80)}'"
        path, equals, text = override.partition("=")
        path = path.strip()
        if not equals or not _PATH.fullmatch(path):
            raise ConfigError(f"{place}: expected section.key=value, for example training.epochs=200.")
        if not text.strip():
            raise ConfigError(
                f"{place}: no value after '='; write {path}=null for none or {path}='' with the quotes "
                "kept for empty text."
            )
        if path in seen:
            raise ConfigError(f"{place}: {path} is overridden twice; keep one.")
        seen.add(path)
        _write(mapping, path.split("."), _relocate(parse_yaml(text, place), place), place)


def _write(container: Any, names: list[str], value: Any, place: str) -> None:
    for depth, name in enumerate(names):
        path, is_last = ".".join(names[: depth + 1]), depth == len(names) - 1
        if isinstance(container, LocatedList):
            if not name.isdigit() or int(name) >= len(container):
                raise ConfigError(
                    f"{place}: {path} picks no item of a list of {len(container)}; expected a number "
                    f"from 0 to {len(container) - 1}."
                    if container
                    else f"{place}: {path} picks an item of an empty list; give the whole list."
                )
            key: Any = int(name)
            if is_last:
                container.places[key] = place
        elif isinstance(container, LocatedDict):
            key = name
            if is_last or container.get(key) is None:
                container.places[key] = place
            if not is_last and container.get(key) is None:
                container[key] = LocatedDict(place=place)
        else:
            above = ".".join(names[:depth])
            raise ConfigError(f"{place}: {above} is {describe_value(container)}, which has no '{name}'.")
        if is_last:
            container[key] = value
        else:
            container = container[key]


def _relocate(value: Any, place: str) -> Any:
    """Name the override instead of "line 1" of it."""
    if isinstance(value, LocatedDict):
        items = {key: _relocate(item, place) for key, item in value.items()}
        return LocatedDict(items, place, dict.fromkeys(value, place))
    if isinstance(value, LocatedList):
        return LocatedList((_relocate(item, place) for item in value), place, [place] * len(value))
    return value
