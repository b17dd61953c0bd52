"""A Potential whose architecture is Lennard-Jones: the whole path of the package with answers known exactly."""

from __future__ import annotations

import torch
from ase.calculators.lj import LennardJones

from equipot.models import Edges, Potential, PotentialConfig, build_potential

CUTOFF, ONSET, SIGMA, EPSILON = 6.0, 4.0, 2.3, 0.2


class LennardJonesArchitecture(torch.nn.Module):
    """ASE's LennardJones; ``smooth`` switches it off between onset and cutoff, else it is shifted to zero there."""

    def __init__(self, epsilon: float, smooth: bool, dtype: torch.dtype):
        super().__init__()
        self.epsilon = torch.nn.Parameter(torch.tensor(epsilon, dtype=dtype))
        self.smooth = smooth

    def forward(self, species: torch.Tensor, edges: Edges) -> torch.Tensor:
        squared = (edges.vector**2).sum(1)
        c6 = (SIGMA**2 / squared) ** 3
        pair = 4 * self.epsilon * (c6**2 - c6)
        if self.smooth:
            rc, ro = CUTOFF**2, ONSET**2
            switch = (rc - squared) ** 2 * (rc + 2 * squared - 3 * ro) / (rc - ro) ** 3
            pair = pair * torch.where(squared < ro, torch.ones_like(squared), switch)
        else:
            pair = pair - 4 * self.epsilon * ((SIGMA / CUTOFF) ** 12 - (SIGMA / CUTOFF) ** 6)
        return torch.zeros(len(species), dtype=pair.dtype).index_add(0, edges.center, 0.5 * pair)


def pair_potential(elements=("Ar",), epsilon=EPSILON, smooth=True, dtype="float64") -> Potential:
    """Build the potential; it has no atomic energies, scale 1 and shift 0."""
    config = PotentialConfig(
        "nequip",
        elements,
        CUTOFF,
        avg_num_neighbors=1.0,
        dtype=dtype,
        options={"num_layers": 1, "num_channels": 1, "l_max": 0, "feature_l_max": 0},
    )
    potential = build_potential(config, atomic_energies=dict.fromkeys(elements, 0.0))
    potential.architecture = LennardJonesArchitecture(epsilon, smooth, potential.dtype)
    return potential


def reference_calculator(smooth=True) -> LennardJones:
    """ASE's calculator of the same potential."""
    return LennardJones(sigma=SIGMA, epsilon=EPSILON, rc=CUTOFF, ro=ONSET, smooth=smooth)
