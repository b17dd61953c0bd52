"""The check before the first step: what trains predicts what its base predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from equipot.data.prototypes import prototype_structures
from equipot.elements import atomic_number
from equipot.errors import NumericalError
from equipot.graph import collate, from_ase
from equipot.units import MEV_PER_EV

if TYPE_CHECKING:
    from equipot.graph import AtomicGraph
    from equipot.models import Potential

#: Largest difference in energy per atom (eV) and in a force (eV/Angstrom) that rounding explains, by dtype.
LIMITS = {torch.float32: (1e-5, 1e-3), torch.float64: (1e-10, 1e-8)}
#: Structures that are compared.
NUM_GRAPHS = 8


@dataclass(frozen=True)
class Equality:
    """Largest differences between two potentials before the first step.

    Attributes:
        energy: of the energies less atomic energies, eV/atom.
        forces: of a component, eV/Angstrom.
        num_graphs: structures compared.
        kind: which.
    """

    energy: float
    forces: float
    num_graphs: int
    kind: str = "frames"

    def worse(self, other: Equality) -> Equality:
        """The larger differences of two comparisons."""
        return replace(self, energy=max(self.energy, other.energy), forces=max(self.forces, other.forces))

    def line(self) -> str:
        """One printable line."""
        energy, forces = MEV_PER_EV * self.energy, MEV_PER_EV * self.forces
        return (
            f"Before the first step: largest difference from the base {energy:.2g} meV/atom (atomic energies left "
            f"out) and {forces:.2g} meV/Å, in {self.num_graphs} {self.kind}"
        )


def require_equal(potential: Potential, base: Potential, graphs: Sequence[AtomicGraph]) -> Equality:
    """Compare interaction energies and forces on structures of the base's elements.

    Raises:
        NumericalError: they differ by more than rounding: the weights were not taken over as they should.
    """
    elements = [element for element in base.elements if element in potential.elements]
    known = {atomic_number(element) for element in elements}
    chosen = [graph for graph in graphs if set(graph.atomic_numbers.tolist()) <= known][:NUM_GRAPHS]
    kind = "frames"
    if not chosen:  # every frame holds a new element
        chosen = [from_ase(atoms, base.cutoff) for atoms in prototype_structures(elements, NUM_GRAPHS, seed=0)]
        kind = "crystals of the base's elements"
    was_training = potential.training
    energy, forces = 0.0, 0.0
    for graph in chosen:
        batch = collate([graph])
        (here, forces_here), (there, forces_there) = _predict(potential.eval(), batch), _predict(base, batch)
        energy = max(energy, abs(here - there) / graph.num_nodes)
        forces = max(forces, float((forces_here - forces_there).abs().max()))
    potential.train(was_training)
    limits = LIMITS[torch.float64 if potential.dtype == base.dtype == torch.float64 else torch.float32]
    if not (energy <= limits[0] and forces <= limits[1]):
        raise NumericalError(
            f"Before the first step the potential differs from its base by {energy:.3g} eV/atom and "
            f"{forces:.3g} eV/Å; {limits[0]:g} and {limits[1]:g} would be rounding. This is a bug of "
            "equipot, or a file that was changed meanwhile."
        )
    return Equality(energy, forces, len(chosen), kind)


@torch.no_grad()
def _predict(potential: Potential, batch: AtomicGraph) -> tuple[float, torch.Tensor]:
    """Energy without atomic energies, which would cost it digits, and forces."""
    kept = potential.atomic_energies.clone()
    potential.atomic_energies.zero_()
    try:
        output = potential(batch.to(potential.device), stress=False)
    finally:
        potential.atomic_energies.copy_(kept)
    return float(output.energy), output.forces.cpu()
