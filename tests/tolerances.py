"""Named tolerances of the physics tests, in one place; loosen one only here, with the reason beside it.

``e``: energy error in eV/atom; ``f``: largest force error over max(force rms, 0.1 eV/Angstrom); ``s``: largest stress
error in eV/Angstrom^3.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """Thresholds of the invariance tests for one network dtype."""

    e: float
    f: float
    s: float


INVARIANCE = {"float64": Tolerance(1e-12, 1e-10, 1e-12), "float32": Tolerance(1e-5, 3e-4, 5e-6)}
#: One by one against in a batch: the same edges, but matrix products may be blocked differently
#: (float32 rounding of node energies of tens of eV).
BATCHING = {"float64": Tolerance(1e-12, 1e-11, 1e-13), "float32": Tolerance(5e-6, 1e-4, 1e-6)}
#: Float32 network against its float64 twin of the same weights.
TWIN = Tolerance(1e-5, 5e-4, 1e-5)
#: Net force per atom and square-root atom (eV/Angstrom).
NET_FORCE = {"float64": 1e-10, "float32": 1e-5}
#: |-dE/dr - F| by fourth-order differences with step 1e-3 Angstrom (eV/Angstrom).
FORCE_DIFFERENCE = 1e-7
#: |(1/V) dE/d(strain) - stress| with step 1e-4 (eV/Angstrom^3).
STRESS_DIFFERENCE = 1e-8
#: Force of a dimer 1e-3 Angstrom inside the cutoff (eV/Angstrom): the polynomial envelope's own derivative there is
#: 3e-6 of the pair's energy scale of some eV.
CUTOFF_FORCE = 1e-4
#: The native kernels against the reference path: the same sums in another order.
PATHS = {"float64": Tolerance(1e-10, 1e-10, 1e-10), "float32": TWIN}
#: Converted models against the packages they come from, both in float64: eV/atom, eV/Angstrom (absolute),
#: eV/Angstrom^3.
FOREIGN = Tolerance(1e-9, 1e-7, 1e-9)
