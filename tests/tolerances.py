"""The tolerances of the physics tests: those of ``equipot check``, defined in equipot/checks/model/tolerances.py."""

from __future__ import annotations

from equipot.checks.model.tolerances import (
    PATHS,
    TWIN,
    Tolerance,
)

__all__ = [
    "FOREIGN",
    "HEAT_FLUX",
    "HEAT_FLUX_DIFFERENCE",
    "PATHS",
    "TWIN",
    "Tolerance",
]

#: Converted models against the packages they come from, both in float64: eV/atom, eV/Angstrom (absolute),
#: eV/Angstrom^3.
FOREIGN = Tolerance(1e-9, 1e-7, 1e-9)
#: Virials for the heat flux in float64, relative to the largest (or 1 eV): against their definition, and against
#: differences in time over 1e-4 of the unit of time.
HEAT_FLUX = 1e-12
HEAT_FLUX_DIFFERENCE = 1e-5
