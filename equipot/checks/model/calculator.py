"""Group A: what the ASE calculator gives, through the inference engine, is what the potential says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from equipot.checks.model.compare import difference
from equipot.checks.model.registry import Context, check
from equipot.checks.model.result import Measure
from equipot.checks.model.subject import Evaluation
from equipot.checks.model.tolerances import PATHS
from equipot.units import voigt_to_matrix


@check("A1", "the ASE calculator gives what the potential says")
def calculator(context: Context) -> Iterator[Measure]:
    """Energy, forces and stress (Voigt order and sign included) through the engine used in simulations."""
    _ = context.potential
    for name, atoms in context.structures.items():
        copied = atoms.copy()
        copied.calc = context.subject.calculator()
        stress = None
        if context.baseline[name].stress is not None and atoms.pbc.any():
            stress = voigt_to_matrix(copied.get_stress())
        found = Evaluation(copied.get_potential_energy(), copied.get_forces(), stress)
        yield from difference(context.baseline[name], found).measures(
            PATHS[context.dtype], context.magnitudes[name], name
        )
        energies = copied.get_potential_energies()
        yield Measure(
            "sum of energies",
            abs(float(np.sum(energies)) - found.energy),
            1e-10 * max(1.0, abs(found.energy)),
            "eV",
            name,
        )
