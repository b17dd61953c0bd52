"""Whether a structure is one a potential can be evaluated on: finite numbers, a sound cell, no coincident atoms."""

from __future__ import annotations

import numpy as np

from equipot.errors import StructureError

#: Coordinates and lattice vectors beyond this (Å) are refused: float64 no longer resolves 1e-6 Å there.
MAX_COORDINATE = 1e10
#: Periodic lattice vectors shorter than this (Å) are refused: no structure repeats on that scale.
MIN_LATTICE_VECTOR = 1e-5
#: A periodic cell whose volume over the product of its edge lengths is below this has no usable volume.
MIN_RELATIVE_VOLUME = 1e-6


def check_geometry(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, *, where: str = "structure") -> None:
    """Check that positions and cell are finite, of sensible size, and that the periodic cell has a volume.

    Args:
        positions: (N, 3) float64, Å.
        cell: (3, 3) float64, Å, rows are the lattice vectors. Rows along which ``pbc`` is False are not used.
        pbc: (3,) bool.
        where: What to call the structure in an error, e.g. ``"train.xyz frame 12"``.

    Raises:
        StructureError: names the atom or the lattice vector at fault.
    """
    if positions.ndim != 2 or positions.shape[1] != 3:
        raise StructureError(f"{where}: positions should have shape (N, 3), found {positions.shape}.")
    if cell.shape != (3, 3) or pbc.shape != (3,):
        raise StructureError(
            f"{where}: cell and pbc should have shapes (3, 3) and (3,), found {cell.shape} and {pbc.shape}."
        )
    # NaN fails the comparison too, so one pass tests both; the atom is looked up only in case of a fault.
    if not np.all(np.abs(positions) <= MAX_COORDINATE):
        atom = int(np.argmin((np.abs(positions) <= MAX_COORDINATE).all(axis=1)))
        problem = "is too far from the origin" if np.isfinite(positions[atom]).all() else "is not finite"
        raise StructureError(
            f"{where}: the position of atom {atom} {problem}: {_vector(positions[atom])} Å "
            f"(coordinates up to {MAX_COORDINATE:g} Å are accepted); remove or repair the frame."
        )
    if not np.all(np.abs(cell) <= MAX_COORDINATE):
        row = int(np.argmin((np.abs(cell) <= MAX_COORDINATE).all(axis=1)))
        problem = "is too long" if np.isfinite(cell[row]).all() else "is not finite"
        raise StructureError(
            f"{where}: lattice vector {row} {problem}: {_vector(cell[row])} Å (components up to "
            f"{MAX_COORDINATE:g} Å are accepted); remove or repair the frame."
        )
    if pbc.any():
        _check_volume(cell, pbc, where)


def _check_volume(cell: np.ndarray, pbc: np.ndarray, where: str) -> None:
    lengths = np.linalg.norm(cell, axis=1)
    short = pbc & (lengths < MIN_LATTICE_VECTOR)
    if short.any():
        row = int(np.argmax(short))
        raise StructureError(
            f"{where}: periodic along lattice vector {row}, but that vector has no length "
            f"({_vector(cell[row])} Å); give the cell, or set pbc to False there."
        )
    directions = cell[pbc] / lengths[pbc, None]
    relative_volume = np.sqrt(max(0.0, np.linalg.det(directions @ directions.T)))
    if len(directions) == 3:  # the determinant itself is more accurate than the root of the Gram determinant
        relative_volume = abs(np.linalg.det(directions))
    if relative_volume < MIN_RELATIVE_VOLUME:
        rows = " and ".join(str(row) for row in np.flatnonzero(pbc))
        raise StructureError(
            f"{where}: the periodic lattice vectors {rows} are (nearly) linearly dependent: their "
            f"volume is {relative_volume:.1e} of the product of their lengths, at least "
            f"{MIN_RELATIVE_VOLUME:g} is needed; check the cell."
        )


def check_distances(
    center: np.ndarray, neighbor: np.ndarray, distance: np.ndarray, min_distance: float, *, where: str = "structure"
) -> None:
    """Raise StructureError where the closest of some pairs is nearer than ``min_distance`` (Å), naming both atoms."""
    if distance.size == 0:
        return
    closest = int(np.argmin(distance))
    if distance[closest] < min_distance:
        raise contact_error(int(center[closest]), int(neighbor[closest]), float(distance[closest]), min_distance, where)


def contact_error(i: int, j: int, distance: float, min_distance: float, where: str) -> StructureError:
    """Return the error for two atoms, or an atom and its own image, that are too close."""
    what = f"atoms {i} and {j} are" if i != j else f"atom {i} and its periodic image are"
    return StructureError(
        f"{where}: {what} {distance:.3g} Å apart, nearer than the smallest distance allowed "
        f"({min_distance:g} Å); check for duplicated atoms, the cell and the units of length (Å)."
    )


def _vector(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
