"""What an importer hands back, and what importers say when they cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from equipot.checkpoint import heads as model_heads
from equipot.checkpoint.allocation import AllocationLimit
from equipot.errors import CheckpointError
from equipot.models import Potential, PotentialConfig

#: Most of what a file may say it has; beyond, it is damaged or made to do harm.
MAX_LAYERS, MAX_CHANNELS, MAX_L, MAX_BESSEL = 64, 8192, 8, 128

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


def whole_number(where: str, settings: Mapping[str, Any], name: str, most: int) -> int:
    """A whole number from 0 to ``most`` of the file's settings.

    Raises:
        CheckpointError: it is not there or not such a number: a loop over it would not end.
    """
    value = settings.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise CheckpointError(
            f"{where}: its setting {name} is {repr(value)[:60]}, expected a whole number from 0 to {most}."
        )
    return value


def build_empty(config: PotentialConfig, where: str, num_numbers: int) -> Potential:
    """The potential that the weights go into, in evaluation mode.

    Args:
        config: of it.
        where: the file, for messages.
        num_numbers: that the file holds; a potential that asks for far more is refused before it is allocated.
    """
    with torch.random.fork_rng(devices=[]), AllocationLimit(2**29 + 32 * num_numbers, where):
        return Potential(config).eval()


def refuse(where: str, found: str, covered: str) -> CheckpointError:
    """The error for a model of a kind that is not covered."""
    found = found if len(found) < 300 else f"{found[:300]}..."
    return CheckpointError(f"{where}: this is {found}, which equipot does not take in; it takes in {covered}.")


def choose_head(where: str, head: str | None, heads: Sequence[str], what: str) -> str | None:
    """:func:`equipot.checkpoint.heads.choose_head`, which knows :data:`FIRST` too."""
    if head == FIRST:
        return heads[0] if heads else None
    return model_heads.choose_head(where, head, heads, what)
