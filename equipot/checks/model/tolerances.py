"""Every threshold of the physics checks, and of the project's own contract tests, in one place.

Loosen one only here, with the reason beside it. ``e``, ``f``, ``s``: largest error of the energy (per atom), forces and
stress over the magnitude of the terms these are sums of (:mod:`equipot.checks.model.magnitudes`), which is never less
than LEAST_ENERGY, LEAST_FORCE and LEAST_STRESS.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """How far two results of one network dtype may be apart."""

    e: float
    f: float
    s: float


#: Magnitudes (eV per atom, eV/Angstrom, eV/Angstrom^3) below which errors are absolute.
LEAST_ENERGY, LEAST_FORCE, LEAST_STRESS = 1.0, 0.1, 1.0
#: What of the sum of an atom's edges, without their signs, counts as the magnitude of forces. Measured on trained and
#: random models, rounding of forces is 10 to 50 units in the last place of it, in both dtypes.
OF_THE_TERMS = 0.1

# --- symmetries and derivatives (groups P and G)

INVARIANCE = {"float64": Tolerance(1e-12, 1e-10, 1e-12), "float32": Tolerance(1e-5, 3e-4, 5e-6)}
#: At 10 km from the origin positions themselves are rounded to 2e-12 Angstrom.
FAR = {"float64": Tolerance(1e-11, 1e-9, 1e-11), "float32": INVARIANCE["float32"]}
#: One by one against in a batch: the same edges, but matrix products may be blocked differently
#: (float32 rounding of node energies of tens of eV).
BATCHING = {"float64": Tolerance(1e-12, 1e-11, 1e-13), "float32": Tolerance(5e-6, 1e-4, 1e-6)}
#: Float32 network against its float64 twin of the same weights.
TWIN = Tolerance(1e-5, 5e-4, 1e-5)
#: The native kernels against the reference path: the same sums in another order.
PATHS = {"float64": Tolerance(1e-10, 1e-10, 1e-10), "float32": TWIN}
#: Net force per atom and square-root atom (eV/Angstrom).
NET_FORCE = {"float64": 1e-10, "float32": 1e-5}
#: Largest |stress - transposed stress| (eV/Angstrom^3).
STRESS_ASYMMETRY = {"float64": 1e-14, "float32": 1e-8}
#: |-dE/dr - F| by fourth-order differences (eV/Angstrom), times max(force rms, 1).
FORCE_DIFFERENCE = 1e-7
#: |(1/V) dE/d(strain) - stress| with step 1e-4 (eV/Angstrom^3).
STRESS_DIFFERENCE = 1e-8
#: Gradient of a loss on forces and stress with respect to weights, relative to the largest of that parameter.
LOSS_GRADIENT = 1e-5
#: |H - H^T| and sum over atoms of H, relative to the largest element (or 1 eV/Angstrom^2).
HESSIAN_SYMMETRY = 1e-9
#: Hessian against differences of forces, relative to the largest element.
HESSIAN_DIFFERENCE = 1e-4
#: Work round a closed loop (eV).
CLOSED_LOOP = 1e-7
#: Sums of per-atom energies (eV) and virials (eV) against the whole.
PARTS = {"float64": 1e-10, "float32": 1e-10}

# --- the cutoff (group C)

#: Force of a dimer 1e-3 Angstrom inside the cutoff (eV/Angstrom): the polynomial envelope's own derivative there is
#: 3e-6 of the pair's energy scale of some eV.
CUTOFF_FORCE = 1e-4
#: Energy of that dimer less that of the two atoms (eV).
CUTOFF_ENERGY = {"float64": 1e-7, "float32": 1e-5}
#: Second derivative of a dimer's energy 1e-5 Angstrom inside the cutoff (eV/Angstrom^2): it goes to zero linearly.
CUTOFF_CURVATURE = 1e-2
#: Energy (eV) and force (eV/Angstrom) while a third atom goes 2e-6 Angstrom through the cutoff.
CROSSING_ENERGY, CROSSING_FORCE = 1e-9, 1e-7
#: Largest jump of a dimer's stiffness, relative to the stiffest point of the curve. Where it is larger over 0.01
#: Angstrom the curve is looked at eight times finer: what is smooth shrinks with the step, a kink stays.
ROUGHNESS = 0.15
#: Stiffness (eV/Angstrom^2) that XPLOR's envelope may leave at the cutoff, where its second derivative jumps by choice
#: of its authors (SevenNet-0: up to 11): with it the force changes by so much while an atom crosses the cutoff.
XPLOR_CURVATURE = 50.0

# --- extensivity (group X), neighbour lists (group N)

#: Two systems far apart: energy (eV) and forces as in BATCHING.
FAR_APART = {"float64": 1e-10, "float32": 1e-4}
#: Energy differences with atomic energies of -2000 eV against the same without (eV/atom).
LARGE_ENERGIES = 1e-6
#: Distances of the neighbour list against brute force, relative to max(1, largest coordinate).
DISTANCE = 1e-12
#: CPU seconds in which an extreme cell is computed or refused.
SOON = 2.0
#: With a Verlet skin against without.
SKIN = {"float64": 1e-12, "float32": 1e-6}

# --- dynamics and behaviour (group V): what a simulation asks of a model

#: Energy drift (meV/atom/ps), and how many of its own standard errors come on top: the error is estimated from ten
#: blocks, and with two of them one sound model in twelve would fail.
DRIFT = {"float64": 0.005, "float32": 0.05}
DRIFT_ERRORS = 4.0
#: Ratio of energy fluctuations at twice the timestep: 4 within this.
TIMESTEP_RATIO = 0.6
#: Speed of the centre of mass after the run (Angstrom/ps).
CENTER_OF_MASS = {"float64": 1e-10, "float32": 1e-4}
#: Position (Angstrom) after 200 steps forwards and 200 back.
REVERSIBILITY = 1e-8
#: Stability: temperature over the thermostat's, and the nearest pair over that of the start.
HOTTEST, CLOSEST = 10.0, 0.4
#: Force error on the user's own frames over the rms of the reference forces.
RELATIVE_FORCE_ERROR = 0.5
#: Energy by which a curve may run the wrong way before it counts (eV/atom).
WRONG_WAY = 1e-3
