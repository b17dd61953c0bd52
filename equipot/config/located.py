"""Mappings and lists that remember where each of their entries was written, so that an error can say it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class LocatedDict(dict):
    """A dict with the place ("run.yaml, line 3") of itself and of each key.

    It behaves, compares and pickles as the dict it is; ``places`` only serves messages.

    Args:
        items: what a dict is made of.
        place: where the mapping begins.
        places: key -> where that key is written.
        siblings: names that are valid beside the keys, to suggest when a key is not known.
    """

    def __init__(
        self,
        items: Iterable = (),
        place: str = "",
        places: dict[str, str] | None = None,
        siblings: tuple[str, ...] = (),
    ):
        super().__init__(items)
        self.place, self.siblings = place, siblings
        self.places = dict(places or {})

    def place_of(self, key: Any) -> str:
        """Where ``key`` is written, or where the mapping begins when that is not known."""
        return self.places.get(key, self.place)


class LocatedList(list):
    """A list with the place of itself and of each item."""

    def __init__(self, items: Iterable = (), place: str = "", places: list[str] | None = None):
        super().__init__(items)
        self.place = place
        self.places = list(places or [])

    def place_of(self, index: int) -> str:
        """Where item ``index`` is written, or where the list begins when that is not known."""
        return self.places[index] if 0 <= index < len(self.places) else self.place


def place_of(container: Any, key: Any, otherwise: str = "") -> str:
    """Where ``container[key]`` is written, or ``otherwise`` when the container does not know."""
    if isinstance(container, LocatedDict | LocatedList):
        return container.place_of(key) or otherwise
    return otherwise


def to_plain(value: Any) -> Any:
    """Return a copy made of plain dicts and lists (tuples become lists)."""
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value
