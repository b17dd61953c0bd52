"""The degrees of freedom that can move: what a temperature is divided by and a thermostat drives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.constraints import (
    FixAtoms,
    FixBondLengths,
    FixCartesian,
    FixCom,
    FixConstraint,
    FixedLine,
    FixedPlane,
    FixScaled,
    Hookean,
)
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from equipot.errors import UsageError

#: Constraints that hold each of their atoms for itself.
_LOCAL = (FixAtoms, FixCartesian, FixedLine, FixedPlane)
_SUPPORTED = (*_LOCAL, FixScaled, FixBondLengths, FixCom, Hookean)
#: Below this a singular value, or the change of a unit vector, is rounding.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Freedom:
    """Degrees of freedom of atoms in an ensemble.

    Attributes:
        count: degrees of freedom that exchange energy: 3N less those that constraints hold, less the rigid motions of
            the whole that nothing in the ensemble exchanges energy with (3 in a crystal, 6 in a free molecule, 5 of
            two free atoms, 4 in a wire along its periodic direction). For a crystal it is what LAMMPS' ``compute temp``
            counts; for a free molecule what it counts after ``compute_modify extra/dof 6``.
        motions: those rigid motions as orthonormal rows over sqrt(mass) * velocity, (k, 3N).
    """

    count: int
    motions: np.ndarray

    def temperature(self, atoms: Atoms) -> float:
        """Return twice the kinetic energy over count * kB (K); 0 where nothing can move."""
        return 2.0 * float(atoms.get_kinetic_energy()) / (self.count * units.kB) if self.count else 0.0

    def drift_share(self, atoms: Atoms) -> float:
        """Return the part of the kinetic energy that is rigid motion of the whole (0 to 1)."""
        weighted = _weighted(atoms)
        total = float(weighted @ weighted)
        return float(np.sum((self.motions @ weighted) ** 2)) / total if total else 0.0

    def remove_drift(self, atoms: Atoms) -> None:
        """Take the rigid motions out of the momenta."""
        weighted = _weighted(atoms)
        weighted -= self.motions.T @ (self.motions @ weighted)
        atoms.set_momenta(weighted.reshape(-1, 3) * np.sqrt(atoms.get_masses())[:, None])


def find_freedom(atoms: Atoms, ensemble: str) -> Freedom:
    """Count what can move in an ensemble: Langevin noise moves everything, the others conserve total momenta.

    Raises:
        UsageError: constraints that `check_constraints` refuses.
    """
    check_constraints(atoms)
    projectors = _local_projectors(atoms)
    free = sum(3 - np.linalg.matrix_rank(np.eye(3) - projector, tol=_ROUNDING) for projector in projectors)
    free -= _num_bond_conditions(atoms)
    has_center_held = any(isinstance(constraint, FixCom) for constraint in atoms.constraints)
    is_tied = any(isinstance(c, Hookean) and len(np.atleast_1d(c.get_indices())) == 1 for c in atoms.constraints)
    if ensemble == "nvt-langevin" or is_tied:  # to a point or plane outside
        generators = _translations(atoms) if has_center_held else []
    else:
        generators = _translations(atoms) + _rotations(atoms)
    motions = _unhindered(np.array(generators).reshape(-1, 3 * len(atoms)), projectors)
    count = len(motions)
    if np.allclose(projectors, np.eye(3)) and len(atoms) > (2 if len(generators) == 6 else 1):
        count = len(generators)  # a straight molecule has five until it bends; it does not begin to rotate then
    return Freedom(max(0, int(free) - count), motions)


def check_constraints(atoms: Atoms) -> None:
    """Refuse constraints that ASE's integrators do not integrate right.

    Raises:
        UsageError: naming the constraint and those that work.
    """
    constraints = atoms.constraints
    for constraint in constraints:
        if type(constraint) not in _SUPPORTED:
            names = ", ".join(kind.__name__ for kind in _SUPPORTED)
            raise UsageError(
                f"The structure carries the constraint {type(constraint).__name__}, which molecular dynamics does not "
                f"integrate correctly. Remove it, or express it by {names}."
            )
    held = {int(i) for c in constraints if isinstance(c, (*_LOCAL, FixScaled)) for i in c.get_indices()}
    bonded = [int(i) for c in constraints if isinstance(c, FixBondLengths) for i in c.get_indices()]
    both = sorted(held.intersection(bonded))
    if both:
        raise UsageError(
            f"Atom {both[0]} is held by one constraint and has a bond of fixed length by another; ASE enforces one "
            "after the other and breaks the first. Fix both atoms of the bond instead, or neither."
        )
    if held and any(isinstance(c, FixCom) for c in constraints):
        raise UsageError(
            f"The structure carries FixCom beside a constraint that holds atoms (atom {min(held)}); the two contradict "
            "each other. Remove FixCom: with atoms held there is no drift."
        )


def for_dynamics(atoms: Atoms) -> list[FixConstraint]:
    """Return the constraints as ASE's integrators need them, for the present positions and cell.

    `FixScaled` becomes Cartesian directions: ASE projects its momenta as it does forces, which is right in cells of
    right angles only. Fixed bonds get the lengths of the present structure, which a resumed run would lose.
    """
    result: list[FixConstraint] = []
    for constraint in atoms.constraints:
        if isinstance(constraint, FixBondLengths):
            lengths = constraint.bondlengths
            lengths = constraint.initialize_bond_lengths(atoms) if lengths is None else lengths
            result.append(FixBondLengths(constraint.pairs, constraint.tolerance, lengths))
            continue
        if not isinstance(constraint, FixScaled):
            result.append(constraint)
            continue
        mask, indices = np.asarray(constraint.mask), constraint.get_indices()
        if mask.all():
            result.append(FixAtoms(indices))
        elif mask.sum() == 2:
            result.append(FixedLine(indices, atoms.cell.array[~mask][0]))
        elif mask.any():
            result.append(FixedPlane(indices, atoms.cell.reciprocal()[mask][0]))
    return result


def _weighted(atoms: Atoms) -> np.ndarray:
    return (atoms.get_momenta() / np.sqrt(atoms.get_masses())[:, None]).ravel()


def _local_projectors(atoms: Atoms) -> np.ndarray:
    """Return the projector (3, 3) of each atom onto the directions in which its own constraints let it move."""
    columns = np.repeat(np.eye(3)[:, None, :], len(atoms), axis=1)
    for constraint in atoms.constraints:
        if isinstance(constraint, _LOCAL):
            for column in columns:
                constraint.adjust_momenta(atoms, column)
    return columns.transpose(1, 2, 0)


def _num_bond_conditions(atoms: Atoms) -> int:
    """Count the independent lengths among fixed bonds, molecule by molecule."""
    parts = [np.sort(np.reshape(c.pairs, (-1, 2)), axis=1) for c in atoms.constraints if isinstance(c, FixBondLengths)]
    if not parts:
        return 0
    pairs = np.unique(np.concatenate(parts), axis=0)
    edges = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(atoms), len(atoms)))
    _, molecule = connected_components(edges, directed=False)
    total = 0
    for number in np.unique(molecule[pairs[:, 0]]):
        chosen = pairs[molecule[pairs[:, 0]] == number]
        members, local = np.unique(chosen, return_inverse=True)
        local = local.reshape(-1, 2)
        jacobian = np.zeros((len(chosen), len(members), 3))
        for row, (pair, (a, b)) in enumerate(zip(chosen, local)):
            vector = atoms.get_distance(*pair, mic=True, vector=True)
            jacobian[row, a], jacobian[row, b] = -vector, vector
        total += int(np.linalg.matrix_rank(jacobian.reshape(len(chosen), -1), tol=_ROUNDING))
    return total


def _translations(atoms: Atoms) -> list[np.ndarray]:
    root = _shares(atoms)
    return [(root * direction).ravel() for direction in np.eye(3)]


def _shares(atoms: Atoms) -> np.ndarray:
    masses = atoms.get_masses()[:, None]
    return np.sqrt(masses / masses.sum())


def _rotations(atoms: Atoms) -> list[np.ndarray]:
    """Return rotations about the centre of mass that leave the periodic directions as they are."""
    periodic = atoms.cell.array[atoms.pbc]
    if len(periodic) > 1:
        return []
    axes = np.eye(3) if len(periodic) == 0 else periodic / np.linalg.norm(periodic)
    offsets = atoms.positions - atoms.get_center_of_mass()
    root = _shares(atoms)
    return [(root * np.cross(axis, offsets)).ravel() for axis in axes]


def _unhindered(generators: np.ndarray, projectors: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of the combinations of rigid motions that no held atom hinders."""
    if not len(generators):
        return generators
    basis = _orthonormal(generators)
    projected = np.einsum("nij,knj->kni", projectors, basis.reshape(len(basis), -1, 3)).reshape(len(basis), -1)
    _, change, mixing = np.linalg.svd(basis.T - projected.T, full_matrices=False)
    return _orthonormal(mixing[change < _ROUNDING] @ basis)


def _orthonormal(rows: np.ndarray) -> np.ndarray:
    if not len(rows):
        return rows
    _, sizes, basis = np.linalg.svd(rows, full_matrices=False)
    return basis[sizes > _ROUNDING]
