"""A data file and a commented input for LAMMPS, from a structure and a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.geometry import complete_cell

from equipot.elements import require_elements
from equipot.errors import StructureError, UsageError

ENSEMBLES = ("nve", "nvt", "npt", "deform", "melt")
#: Room beside the atoms along directions that do not repeat (Angstrom).
MARGIN = 5.0
BAR_PER_GPA = 1e4


@dataclass(frozen=True)
class InputConfig:
    """What the input does.

    Attributes:
        ensemble: one of ``ENSEMBLES``.
        temperature: K, above zero.
        pressure: GPa, compression positive (npt, deform, melt).
        timestep: fs.
        steps: of the run.
        final_temperature: K, where melt ends; None: three times ``temperature``.
        strain_rate: 1/ps, of the first box vector (deform).
        seed: of the velocities.
    """

    ensemble: str = "nvt"
    temperature: float = 300.0
    pressure: float = 0.0
    timestep: float = 1.0
    steps: int = 10000
    final_temperature: float | None = None
    strain_rate: float = 0.001
    seed: int = 1


@dataclass(frozen=True)
class Box:
    """A structure in LAMMPS' form: the first box vector along x, the second in the xy plane, right-handed.

    Attributes:
        low: (3,) Angstrom, the corner of the box.
        cell: (3, 3) Angstrom, rows are the box vectors, lower triangular.
        rotation: (3, 3), ``positions @ rotation`` are the positions in the box.
        pbc: whether each direction repeats.
    """

    low: np.ndarray
    cell: np.ndarray
    rotation: np.ndarray
    pbc: tuple[bool, bool, bool]


def lammps_box(atoms: Atoms) -> Box:
    """The box of a structure. Directions that do not repeat stand upright on the others and enclose the atoms.

    Raises:
        StructureError: the repeating vectors span no volume.
    """
    pbc = np.asarray(atoms.pbc, dtype=bool)
    cell = np.where(pbc[:, None], atoms.cell.array, 0.0)
    if np.linalg.matrix_rank(cell) < pbc.sum():
        raise StructureError("The cell vectors along the periodic directions span no volume.")
    cell = complete_cell(cell)
    if np.linalg.det(cell) < 0:  # the same lattice, right-handed: a reflection would be another structure
        cell[2] *= -1
    q, r = np.linalg.qr(cell.T)
    signs = np.sign(np.diag(r))
    rotation, box = q * signs, (r * signs[:, None]).T
    box[np.abs(box) < 1e-13 * np.abs(box).max()] = 0.0
    low = np.zeros(3)
    positions = atoms.positions @ rotation
    for axis in np.flatnonzero(~pbc):
        low[axis] = positions[:, axis].min() - MARGIN
        box[axis] = 0.0
        box[axis, axis] = np.ptp(positions[:, axis]) + 2 * MARGIN
    return Box(low, box, rotation, (bool(pbc[0]), bool(pbc[1]), bool(pbc[2])))


def atom_types(atoms: Atoms) -> tuple[list[tuple[str, float]], np.ndarray]:
    """The types, (symbol, mass in u) in the order of their first atoms, and the (N,) type of each atom from 1."""
    require_elements(atoms.numbers, "structure")
    keys = list(zip(atoms.get_chemical_symbols(), map(float, atoms.get_masses()), strict=True))
    types = list(dict.fromkeys(keys))
    return types, np.array([types.index(key) + 1 for key in keys])


def data_file(atoms: Atoms) -> str:
    """The structure as a data file of ``atom_style atomic`` in units metal, every number in full precision."""
    box, (types, numbers) = lammps_box(atoms), atom_types(atoms)
    lines = [
        f"LAMMPS data file of {atoms.get_chemical_formula()}, written by equipot; units metal, atom_style atomic",
        "",
        f"{len(atoms)} atoms",
        f"{len(types)} atom types",
        "",
    ]
    for axis, name in enumerate("xyz"):
        low = float(box.low[axis])
        lines.append(f"{low!r} {low + float(box.cell[axis, axis])!r} {name}lo {name}hi")
    tilts = [float(box.cell[1, 0]), float(box.cell[2, 0]), float(box.cell[2, 1])]
    if any(tilts):
        lines.append(" ".join(map(repr, tilts)) + " xy xz yz")
    lines += ["", "Masses", ""]
    lines += [f"{number} {mass!r}  # {symbol}" for number, (symbol, mass) in enumerate(types, 1)]
    lines += ["", "Atoms  # atomic", ""]
    lines += _rows(atoms.positions @ box.rotation, numbers)
    if has_velocities(atoms):
        lines += ["", "Velocities", ""]
        lines += _rows(atoms.get_velocities() @ box.rotation * (1000 * units.fs))  # Angstrom/ps
    return "\n".join(lines) + "\n"


def _rows(vectors: np.ndarray, numbers: np.ndarray | None = None) -> list[str]:
    return [
        " ".join([str(k + 1), *([] if numbers is None else [str(numbers[k])]), *map(repr, vector)])
        for k, vector in enumerate(vectors.tolist())
    ]


def has_velocities(atoms: Atoms) -> bool:
    """Whether any atom moves."""
    return atoms.has("momenta") and bool(np.any(atoms.get_momenta()))


def input_file(atoms: Atoms, model: Path, data_name: str, config: InputConfig) -> str:
    """The input; LAMMPS has to run in the folder of the data file.

    Args:
        atoms: what the data file holds.
        model: model file; its absolute path is written, so that the folder of the input can move.
        data_name: name of the data file.
        config: what to do.

    Raises:
        UsageError: no such ensemble, or one that the structure's boundaries do not allow.
    """
    box, (types, _) = lammps_box(atoms), atom_types(atoms)
    if config.ensemble not in ENSEMBLES:
        raise UsageError(f"There is no ensemble {config.ensemble!r}; there are {', '.join(ENSEMBLES)}.")
    if config.ensemble in ("npt", "melt", "deform") and not all(box.pbc):
        raise UsageError(
            f"{config.ensemble} changes the box, and the structure does not repeat in every direction: use nve or nvt."
        )
    start = config.temperature
    velocities = (
        "# Velocities are those of the data file."
        if has_velocities(atoms)
        else f"velocity all create {start!r} {config.seed} mom yes rot no dist gaussian"
    )
    return f"""# Written by equipot: {config.ensemble}, {len(atoms)} atoms.
# Units metal: Angstrom, eV, ps, K, bar (1 GPa = 10000 bar), g/mol.
units metal
atom_style atomic
atom_modify map yes          # the pair style finds atoms by number
newton on
boundary {" ".join("p" if periodic else "s" for periodic in box.pbc)}
box tilt large
read_data {data_name}

# One model file, then the element of every atom type.
pair_style equipot
pair_coeff * * "{model.resolve()}" {" ".join(symbol for symbol, _ in types)}

neighbor 1.0 bin             # skin in Angstrom; changes speed, not results
neigh_modify every 1 delay 0 check yes
timestep {config.timestep / 1000!r}  # ps

{velocities}
{_integrator(config)}

# Temperature in K, energies in eV of the whole system, pressure in bar (compression positive), volume in Angstrom^3.
thermo_style custom step time temp pe etotal press vol
thermo_modify norm no
thermo 100
dump frames all custom 100 dump.lammpstrj id type element xu yu zu
dump_modify frames element {" ".join(symbol for symbol, _ in types)} sort id
restart 5000 restart.a restart.b  # to go on: read_restart in place of read_data, and no velocity line

run {config.steps}
write_data final.data
"""


def _integrator(config: InputConfig) -> str:
    temperature, pressure = config.temperature, config.pressure * BAR_PER_GPA
    heat, squeeze = 100 * config.timestep / 1000, 1000 * config.timestep / 1000  # ps: 100 and 1000 steps
    if config.ensemble == "nve":
        return "fix motion all nve"
    if config.ensemble == "nvt":
        return f"fix motion all nvt temp {temperature!r} {temperature!r} {heat!r}"
    if config.ensemble == "npt":
        return (
            f"fix motion all npt temp {temperature!r} {temperature!r} {heat!r} iso {pressure!r} "
            f"{pressure!r} {squeeze!r}"
        )
    if config.ensemble == "melt":
        end = 3 * temperature if config.final_temperature is None else config.final_temperature
        return (
            f"# Heated evenly over the run; the enthalpy jumps where it melts (superheated without a surface).\n"
            f"fix motion all npt temp {temperature!r} {end!r} {heat!r} iso {pressure!r} {pressure!r} {squeeze!r}"
        )
    return (
        f"# Pulled along x by {config.strain_rate:g} of its first length per ps; y and z answer to the pressure.\n"
        f"fix motion all npt temp {temperature!r} {temperature!r} {heat!r} y {pressure!r} {pressure!r} {squeeze!r} "
        f"z {pressure!r} {pressure!r} {squeeze!r}\n"
        f"fix pull all deform 1 x erate {config.strain_rate!r} remap x"
    )
