"""What an importer hands back, and what importers say when they cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from equipot.errors import CheckpointError, UsageError
from equipot.models import Potential


@dataclass(frozen=True)
class Imported:
    """A potential with the weights of another package's file.

    Attributes:
        potential: in evaluation mode.
        head: the one chosen; None where the model has no names for them.
        heads: all the file has.
        atomic_energies_origin: what the atomic energies are.
        source: more of the file, for the metadata.
    """

    potential: Potential
    head: str | None
    heads: tuple[str, ...]
    atomic_energies_origin: str
    source: Mapping[str, Any]


def refuse(where: str, found: str, covered: str) -> CheckpointError:
    """The error for a model of a kind that is not covered."""
    return CheckpointError(f"{where}: this is {found}, which equipot does not take in; it takes in {covered}.")


def choose_head(where: str, head: str | None, heads: Sequence[str], what: str) -> str | None:
    """The head meant.

    Raises:
        UsageError: none of several was chosen, or one that is not there.
    """
    if head is None and len(heads) > 1:
        raise UsageError(f"{where}: the model has several heads ({what}): {', '.join(heads)}. Choose one with --head.")
    if head is None:
        return heads[0] if heads else None
    if head in heads:
        return head
    same = [name for name in heads if name.lower() == head.lower()]
    if len(same) == 1:
        return same[0]
    known = f"its heads are {', '.join(heads)}" if heads else "it has one head, without a name"
    raise UsageError(f"{where}: there is no head {head!r}; {known}.")
