"""What an architecture is: node species and edges in, one number an atom out."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch

from equipot.kernels import EdgeIndex


class Edges(NamedTuple):
    """Directed edges sorted by centre, in the network's dtype."""

    #: (E,) receiver i.
    center: torch.Tensor
    #: (E,) sender j.
    neighbor: torch.Tensor
    #: (E, 3) Angstrom, from i to j.
    vector: torch.Tensor
    #: (E,) Angstrom, rounded from float64.
    length: torch.Tensor
    #: The same edges as the kernels walk them.
    index: EdgeIndex


class Architecture(Protocol):
    """A torch module built as ``Architecture(options, num_species=, cutoff=, avg_num_neighbors=)``.

    Its energy must be invariant, smooth, and free of edges at the cutoff; energies are of order one for a structure
    of unit force scale, and of no particular value for an atom without neighbours: the Potential sees to the units and
    the zero.
    """

    def __call__(self, species: torch.Tensor, edges: Edges) -> torch.Tensor:
        """species (N,) int64 in 0..num_species-1 -> node energies (N,)."""
        ...
