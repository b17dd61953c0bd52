"""What an importer hands back, and what importers say when they cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from equipot.checkpoint import heads as model_heads
from equipot.errors import CheckpointError
from equipot.models import Potential

#: As the head that is wanted: the first, whatever its name.
FIRST = ""


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
    """:func:`equipot.checkpoint.heads.choose_head`, which knows :data:`FIRST` too."""
    if head == FIRST:
        return heads[0] if heads else None
    return model_heads.choose_head(where, head, heads, what)
