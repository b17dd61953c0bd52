"""What an architecture is: node species and edges in, one number an atom out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch

from equipot.kernels import EdgeIndex


@dataclass(frozen=True)
class Edges:
    """Directed edges sorted by centre; vectors and lengths are differentiable, and computed when first asked for.

    Attributes:
        index: where the edges lead.
        exact_vector: (E, 3) float64 Angstrom, from i to j.
        dtype: of the network.
    """

    index: EdgeIndex
    exact_vector: torch.Tensor
    dtype: torch.dtype

    @property
    def center(self) -> torch.Tensor:
        """(E,) receiver i."""
        return self.index.center

    @property
    def neighbor(self) -> torch.Tensor:
        """(E,) sender j."""
        return self.index.neighbor

    @cached_property
    def vector(self) -> torch.Tensor:
        """(E, 3) Angstrom, from i to j, in the network's dtype."""
        return self.exact_vector.to(self.dtype)

    @cached_property
    def exact_length(self) -> torch.Tensor:
        """(E,) float64 Angstrom."""
        return self.exact_vector.norm(dim=1)

    @cached_property
    def length(self) -> torch.Tensor:
        """(E,) Angstrom, rounded from float64 to the network's dtype."""
        return self.exact_length.to(self.dtype)


class Architecture(Protocol):
    """A torch module built as ``Architecture(options, num_species=, cutoff=, avg_num_neighbors=)``.

    Its energy must be invariant, smooth, and free of edges at the cutoff; energies are of order one for a structure
    of unit force scale, and of no particular value for an atom without neighbours: the Potential sees to the units and
    the zero.

    For training it may have a method ``energy_and_gradient(species, edges, seed)``, a faster way to the same numbers:
    node energies (N,) float64 and the gradient (E, 3) float64 of ``seed . energies`` in the edge vectors, with ``seed``
    (N,) float64, all of it differentiable once in the parameters and the seed (not in the edge vectors); or None, where
    it does not serve.
    """

    def __call__(self, species: torch.Tensor, edges: Edges) -> torch.Tensor:
        """species (N,) int64 in 0..num_species-1 -> node energies (N,)."""
        ...
