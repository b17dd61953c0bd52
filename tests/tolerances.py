"""The tolerances of the physics tests: those of ``equipot check``, defined in equipot/check/tolerances.py."""

from __future__ import annotations

from equipot.check.tolerances import (
    BATCHING,
    CUTOFF_FORCE,
    FORCE_DIFFERENCE,
    INVARIANCE,
    NET_FORCE,
    PATHS,
    STRESS_DIFFERENCE,
    TWIN,
    Tolerance,
)

__all__ = [
    "BATCHING",
    "CUTOFF_FORCE",
    "FORCE_DIFFERENCE",
    "FOREIGN",
    "INVARIANCE",
    "NET_FORCE",
    "PATHS",
    "STRESS_DIFFERENCE",
    "TWIN",
    "Tolerance",
]

#: Converted models against the packages they come from, both in float64: eV/atom, eV/Angstrom (absolute),
#: eV/Angstrom^3.
FOREIGN = Tolerance(1e-9, 1e-7, 1e-9)
