"""Sites that are only partly occupied: found in what a file brought along, refused, or filled in a supercell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.geometry import get_distances

from equipot.errors import StructureError

#: An occupancy this close to 1 (or 0) is whole: what rounding of printed fractions leaves.
WHOLE = 2e-3
#: Partly occupied sites closer than this (Angstrom) are alternatives to each other, not sites that can both be filled.
_ALTERNATIVES = 1.2

#: Element (or None: nobody) -> share of a site.
Shares = dict[str, float]


@dataclass(frozen=True)
class Occupation:
    """How partly occupied sites are filled.

    Attributes:
        method: ``random`` draws who sits where; the numbers of atoms are those of the occupancies as near as possible.
        seed: of the draw.
        supercell: copies along the lattice vectors before it.
    """

    method: Literal["random"] = "random"
    seed: int = 0
    supercell: tuple[int, int, int] = (1, 1, 1)


def partial_sites(atoms: Atoms, info: Mapping[str, Any] | None = None) -> list[tuple[np.ndarray, Shares]]:
    """The kinds of sites that are not wholly occupied by one element.

    Args:
        atoms: what was read; ASE keeps the occupancies of a CIF in ``info['occupancy']`` (also in files it writes of
            such atoms), those of a PDB file in the array ``occupancy``.
        info: in place of ``atoms.info``.

    Returns:
        For each kind the atoms that stand for its sites and the shares of the elements.
    """
    stored = (atoms.info if info is None else info).get("occupancy")
    found: list[tuple[np.ndarray, Shares]] = []
    if isinstance(stored, Mapping):
        kinds = atoms.arrays.get("spacegroup_kinds")
        for kind, shares in stored.items():
            if not isinstance(shares, Mapping) or not str(kind).isdigit():
                continue
            shares = {str(element): share for element, given in shares.items() if (share := _share(given)) > WHOLE}
            if len(shares) == 1 and next(iter(shares.values())) >= 1 - WHOLE:
                continue
            sites = np.flatnonzero(kinds == int(kind)) if kinds is not None and len(kinds) == len(atoms) else []
            if len(sites) or kinds is None:
                found.append((np.asarray(sites, dtype=int), shares))
    column = atoms.arrays.get("occupancy", atoms.arrays.get("occupancies"))
    if column is not None and np.ndim(column) == 1 and np.asarray(column).dtype.kind in "fiu":
        partial = (column > WHOLE) & (column < 1 - WHOLE)  # many programs write 0 for all
        groups = defaultdict(list)
        for atom in np.flatnonzero(partial):
            groups[(atoms.symbols[atom], round(float(column[atom]), 4))].append(atom)
        found += [(np.array(sites), {symbol: share}) for (symbol, share), sites in groups.items()]
    return found


def _share(given: Any) -> float:
    try:
        value = float(given)
    except (TypeError, ValueError):
        return 1.0
    return value if np.isfinite(value) else 1.0


def refuse_partial(atoms: Atoms, where: str, info: Mapping[str, Any] | None = None) -> None:
    """Refuse a structure with partly occupied sites, which every reader takes for the element with the largest share.

    Raises:
        StructureError: names the file, the sites and the way out.
    """
    found = partial_sites(atoms, info)
    if found:
        raise StructureError(
            f"{where} has partly occupied sites ({_in_words(found)}); a potential needs one atom per site. Fill them "
            f"in a supercell: --occupation random with `equipot properties` and `equipot lammps input`, or "
            f"equipot.data.occupancy.occupy in Python, or another program (ATAT, icet)."
        )


def _in_words(found: list[tuple[np.ndarray, Shares]]) -> str:
    parts = []
    for sites, shares in found[:3]:
        number = f"{len(sites)} of " if len(sites) else ""
        parts.append(number + " ".join(f"{element} {share:g}" for element, share in sorted(shares.items())))
    return "; ".join(parts) + ("; ..." if len(found) > 3 else "")


def occupy(atoms: Atoms, occupation: Occupation, where: str = "the structure") -> tuple[Atoms, str]:
    """Fill the partly occupied sites of a supercell.

    Args:
        atoms: as ASE read them, with their occupancies.
        occupation: how, and in which supercell.
        where: named in errors.

    Returns:
        The supercell with one atom per occupied site, and a sentence with the numbers of atoms.

    Raises:
        StructureError: no site is partly occupied; the supercell has too few sites for a share; shares of more than 1;
            sites that are alternatives to each other (split positions), which a draw of each would fill wrongly.
    """
    if not partial_sites(atoms):
        raise StructureError(
            f"{where}: every site is wholly occupied, there is nothing to fill; leave --occupation out."
        )
    cell = atoms * occupation.supercell
    found = partial_sites(cell)
    sites = np.concatenate([members for members, _ in found])
    if not len(sites):
        raise StructureError(f"{where}: the file does not say which atoms the occupancies belong to.")
    _refuse_alternatives(cell, sites, where)
    rng = np.random.default_rng(occupation.seed)
    numbers, lines = cell.numbers.copy(), []
    for members, shares in found:
        counts = _counts(len(members), shares, where)
        species = np.repeat([atomic_numbers[name] if name else 0 for name in counts], list(counts.values()))
        numbers[members] = rng.permutation(species)
        lines.append(
            f"{len(members)} sites: "
            + ", ".join(
                f"{count} {name or 'empty'} ({shares.get(name, 1 - sum(shares.values())):g} asked, "
                f"{count / len(members):.4g} given)"
                for name, count in counts.items()
            )
        )
    plain = Atoms(numbers, positions=cell.positions, cell=cell.cell, pbc=cell.pbc)[numbers > 0]
    copies = " x ".join(map(str, occupation.supercell))
    return plain, (
        f"{where}: partly occupied sites filled at random (seed {occupation.seed}) in {copies} cells, "
        f"{len(plain)} atoms ({plain.get_chemical_formula()}); " + "; ".join(lines)
    )


def _refuse_alternatives(cell: Atoms, sites: np.ndarray, where: str) -> None:
    _, distances = get_distances(cell.positions[sites], cell=cell.cell, pbc=cell.pbc)
    np.fill_diagonal(distances, np.inf)
    nearest = np.unravel_index(np.argmin(distances), distances.shape)
    if distances[nearest] < _ALTERNATIVES:
        raise StructureError(
            f"{where}: the partly occupied sites {sites[nearest[0]]} and {sites[nearest[1]]} are "
            f"{distances[nearest]:.3g} Angstrom apart: split positions, of which only one can be filled at a time. "
            f"Choose between them by hand."
        )


def _counts(number: int, shares: Shares, where: str) -> dict[str | None, int]:
    """How many sites each element gets: whole numbers nearest to the shares (largest remainders); None: nobody."""
    total = sum(shares.values())
    if total > 1 + WHOLE * max(1, len(shares)):
        raise StructureError(f"{where}: the shares of a site add up to {total:g}, expected at most 1.")
    wanted: dict[str | None, float] = dict(sorted(shares.items()))
    if total < 1 - WHOLE:
        wanted[None] = 1 - total
    unknown = [name for name in wanted if name is not None and name not in atomic_numbers]
    if unknown:
        raise StructureError(f"{where}: a site is occupied by '{unknown[0]}', which is no element.")
    exact = {name: number * share / max(total, 1.0 if None in wanted else total) for name, share in wanted.items()}
    counts = {name: int(np.floor(value + 1e-9)) for name, value in exact.items()}
    rest = number - sum(counts.values())
    for name in sorted(exact, key=lambda name: counts[name] - exact[name])[:rest]:
        counts[name] += 1
    missing = [name for name, count in counts.items() if count == 0 and name is not None]
    if missing:
        raise StructureError(
            f"{where}: {number} sites of a kind are too few for a share of {wanted[missing[0]]:g} {missing[0]}; take a "
            f"larger supercell."
        )
    return counts
