"""The parts of outputs of pw.x, ORCA, GPAW and ABINIT that carry structures and labels, written in their own units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from equipot.data.frames import Frame

BOHR, HARTREE = 0.529177210903, 27.211386245988
RYDBERG = HARTREE / 2


def _row(values, form: str = "14.9f") -> str:
    return " ".join(f"{value:{form}}" for value in values)


def espresso(frames: Sequence[Frame], converged: Sequence[bool] | None = None) -> str:
    """A relaxation by pw.x: Rydberg, Bohr, and a stress that is positive under compression."""
    first, alat = frames[0].atoms, 5.0  # Bohr
    unit = alat * BOHR
    text = "     Program PWSCF v.7.2 starts on 29Jan2024 at 12: 0: 0\n"
    text += f"     number of atoms/cell      = {len(first):12d}\n     number of atomic types    = {2:12d}\n"
    text += f"     celldm(1)={alat:11.6f}  celldm(2)=   0.000000  celldm(3)=   0.000000\n"
    text += "     crystal axes: (cart. coord. in units of alat)\n"
    for number, vector in enumerate(first.cell.array):
        text += f"               a({number + 1}) = ( {_row(vector / unit)} )\n"
    text += "   Cartesian axes\n\n     site n.     atom                  positions (alat units)\n"
    for number, (symbol, position) in enumerate(zip(first.symbols, first.positions)):
        text += f"     {number + 1:5d}        {symbol:4s}  tau({number + 1:4d}) = ( {_row(position / unit)} )\n"
    text += "     number of k points=     1\n                       cart. coord. in units 2pi/alat\n"
    text += "        k(    1) = (   0.0000000   0.0000000   0.0000000), wk =   2.0000000\n\n"
    for number, frame in enumerate(frames):
        if number:
            text += f"CELL_PARAMETERS (alat= {alat:.8f})\n"
            text += "".join(f" {_row(vector / unit)}\n" for vector in frame.atoms.cell.array)
            text += "\nATOMIC_POSITIONS (angstrom)\n"
            for symbol, position in zip(frame.atoms.symbols, frame.atoms.positions):
                text += f"{symbol}   {_row(position)}\n"
            text += "\n"
        is_good = converged is None or converged[number]
        energy = f"{frame.energy / RYDBERG:17.10f} Ry\n"
        text += f"{'!' if is_good else ' '}    total energy              = {energy}"
        text += "     End of self-consistent calculation\n"
        text += (
            "\n     convergence has been achieved in  11 iterations\n"
            if is_good
            else "\n     convergence NOT achieved after  50 iterations\n"
        )
        text += "\n     Forces acting on atoms (cartesian axes, Ry/au):\n\n"
        for atom, force in enumerate(frame.forces * BOHR / RYDBERG):
            text += f"     atom {atom + 1:4d} type  1   force = {_row(force)}\n"
        text += "\n          total   stress  (Ry/bohr**3)                   (kbar)     P=       0.00\n"
        for line in -frame.stress * BOHR**3 / RYDBERG:
            text += f"  {_row(line)}        0.00        0.00        0.00\n"
        text += "\n"
    return text + "   JOB DONE.\n"


def orca(frames: Sequence[Frame], converged: Sequence[bool] | None = None) -> str:
    """An optimisation by ORCA: Hartree, Bohr, and gradients."""
    text = "                                 *****************\n"
    text += "                                 * O   R   C   A *\n                                 *****************\n"
    for number, frame in enumerate(frames):
        if number:
            text += "                         ORCA GEOMETRY RELAXATION STEP\n"
        text += (
            "---------------------------------\nCARTESIAN COORDINATES (ANGSTROEM)\n---------------------------------\n"
        )
        for symbol, position in zip(frame.atoms.symbols, frame.atoms.positions):
            text += f"  {symbol:4s}{_row(position)}\n"
        text += f"\nNumber of atoms                             ...      {len(frame.atoms)}\n"
        is_good = converged is None or converged[number]
        text += f"               *{' ' if is_good else ' NOT '}".replace(
            "* NOT ", "*           SCF NOT CONVERGED AFTER 125 CYCLES"
        )
        text += "           SCF CONVERGED AFTER  10 CYCLES          *\n" if is_good else "          *\n"
        text += "------------------\nCARTESIAN GRADIENT\n------------------\n\n"
        for atom, (symbol, force) in enumerate(zip(frame.atoms.symbols, frame.forces)):
            text += f"{atom + 1:4d}   {symbol:4s} : {_row(-force * BOHR / HARTREE)}\n"
        text += "\n-------------------------   --------------------\n"
        text += f"FINAL SINGLE POINT ENERGY  {frame.energy / HARTREE:20.12f}\n"
    return text + "                             ****ORCA TERMINATED NORMALLY****\n"


def gpaw(frames: Sequence[Frame], converged: Sequence[bool] | None = None) -> str:
    """Text of GPAW: eV and Angstrom; the free energy is 0.1 eV lower."""
    text = "\n  ___ ___ ___ _ _ _  \n |   |   |_  | | | | \n | | | | | . | | | | \n"
    text += " |__ |  _|___|_____|  22.8.0\n |___|_|\n"
    for number, frame in enumerate(frames):
        text += "Positions:\n"
        for atom, (symbol, position) in enumerate(zip(frame.atoms.symbols, frame.atoms.positions)):
            text += f" {atom:3d} {symbol:2s} {_row(position, '12.8f')}    ( 0.0000,  0.0000,  0.0000)\n"
        text += "\nUnit cell:\n           periodic     x           y           z      points  spacing\n"
        for axis, vector in enumerate(frame.atoms.cell.array):
            text += f"  {axis + 1}. axis:    yes {_row(vector, '12.8f')}    20     0.2000\n"
        is_good = converged is None or converged[number]
        text += "\nConverged after 12 iterations.\n" if is_good else "\nDid not converge!\n"
        text += (
            "\nEnergy contributions relative to reference atoms: (reference = -1000.000000)\n\nKinetic:        +1.0\n"
        )
        text += f"----------------\nFree energy:   {frame.energy - 0.1:.8f}\nExtrapolated:  {frame.energy:.8f}\n\n"
        text += "Forces in eV/Ang:\n"
        for atom, (symbol, force) in enumerate(zip(frame.atoms.symbols, frame.forces)):
            text += f" {atom:3d} {symbol:2s} {_row(force, '12.8f')}\n"
        text += "\n"
    return text


def abinit(frame: Frame, is_converged: bool = True, **echo: str) -> str:
    """One ground state by ABINIT 8: cell in acell (Bohr) times rprim, energy and stress in Hartree and Bohr."""
    atoms, acell = frame.atoms, 7.0
    numbers = sorted(set(atoms.numbers.tolist()))
    vectors = atoms.cell.array / BOHR / acell
    text = "\n.Version 8.10.3 of ABINIT \n\n"
    text += f" Unit cell volume ucvol= {abs(np.linalg.det(atoms.cell.array)) / BOHR**3:.7E} bohr^3\n"
    text += " -outvars: echo values of preprocessed input variables --------\n"
    text += f"            acell      {acell:.10E}  {acell:.10E}  {acell:.10E} Bohr\n"
    text += f"            natom      {len(atoms)}\n           ntypat      {len(numbers)}\n"
    text += "".join(f"           {name}      {value}\n" for name, value in echo.items())
    text += f"            rprim      {_row(vectors[0])}\n" + "".join(
        f"                       {_row(v)}\n" for v in vectors[1:]
    )
    text += f"            typat      {' '.join(str(numbers.index(number) + 1) for number in atoms.numbers)}\n"
    text += f"            znucl      {_row(numbers, '.5f')}\n\n================================\n\n"
    if not is_converged:
        return text + " scprqt:  WARNING -\n  nstep=  30 was not enough scf cycles to converge;\n"
    text += " ----iterations are completed or convergence reached----\n\n cartesian coordinates (angstrom) at end:\n"
    text += "".join(f"    {atom + 1} {_row(position)}\n" for atom, position in enumerate(atoms.positions))
    text += "\n cartesian forces (eV/Angstrom) at end:\n"
    text += "".join(f"    {atom + 1} {_row(force)}\n" for atom, force in enumerate(frame.forces))
    text += (
        f"\n Components of total free energy (in Hartree) :\n\n    >>>>>>>>> Etotal= {frame.energy / HARTREE:.14E}\n\n"
    )
    stress = frame.stress * BOHR**3 / HARTREE
    text += " Cartesian components of stress tensor (hartree/bohr^3)\n"
    for axis, (i, j) in enumerate(((2, 1), (2, 0), (1, 0))):
        text += (
            f"  sigma({axis + 1} {axis + 1})= {stress[axis, axis]:.8E}  sigma({i + 1} {j + 1})= {stress[i, j]:.8E}\n"
        )
    return text + "\nEND DATASET(S)\n"
