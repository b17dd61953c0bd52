"""The tolerances of the physics tests: those of ``equipot check``, defined in equipot/checks/model/tolerances.py."""

from __future__ import annotations

from equipot.checks.model.tolerances import (
    PATHS,
    TWIN,
    Tolerance,
)

__all__ = [
    "FOREIGN",
    "PATHS",
    "TWIN",
    "Tolerance",
]

#: Converted models against the packages they come from, both in float64: eV/atom, eV/Angstrom (absolute),
#: eV/Angstrom^3.
FOREIGN = Tolerance(1e-9, 1e-7, 1e-9)
