"""The parts of VASP's vasprun.xml and OUTCAR that carry structures and labels, written from frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from equipot.data.frames import Frame
from equipot.units import GPA_PER_EV_A3


def _rows(array: np.ndarray) -> str:
    return "".join(f"<v> {' '.join(f'{value:.10f}' for value in row)} </v>\n" for row in np.atleast_2d(array))


def _structure(frame: Frame, name: str = "") -> str:
    return (
        f'<structure{name}><crystal><varray name="basis">{_rows(frame.atoms.cell.array)}</varray></crystal>\n'
        f'<varray name="positions">{_rows(frame.atoms.get_scaled_positions())}</varray></structure>\n'
    )


def vasprun(frames: Sequence[Frame]) -> str:
    """A vasprun.xml with one ionic step a frame; the entropy makes the free energy 0.1 eV lower."""
    atoms = "".join(f"<rc><c>{symbol}</c><c>1</c></rc>" for symbol in frames[0].atoms.get_chemical_symbols())
    steps = ""
    for frame in frames:
        energies = (
            f'<energy><i name="e_fr_energy"> {frame.energy - 0.1:.10f} </i>'
            f'<i name="e_0_energy"> {frame.energy:.10f} </i></energy>\n'
        )
        stress = -10.0 * GPA_PER_EV_A3 * frame.stress  # kbar, positive under compression
        steps += (
            f"<calculation>\n<scstep>{energies}</scstep>\n{_structure(frame)}"
            f'<varray name="forces">{_rows(frame.forces)}</varray>\n'
            f'<varray name="stress">{_rows(stress)}</varray>\n{energies}</calculation>\n'
        )
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n<kpoints>'
        '<varray name="kpointlist"><v> 0.0 0.0 0.0 </v></varray>'
        '<varray name="weights"><v> 1.0 </v></varray></kpoints>\n'
        f'<parameters></parameters>\n<atominfo><array name="atoms"><set>{atoms}</set></array></atominfo>\n'
        + _structure(frames[0], ' name="initialpos"')
        + steps
        + "</modeling>\n"
    )


def outcar(frames: Sequence[Frame]) -> str:
    """An OUTCAR with one ionic step a frame; atoms must be sorted by element."""
    symbols = frames[0].atoms.get_chemical_symbols()
    species = list(dict.fromkeys(symbols))
    text = "".join(f" POTCAR:    PAW_PBE {symbol} 06Sep2000\n" for symbol in species * 2)
    text += "   ions per type =   " + " ".join(str(symbols.count(symbol)) for symbol in species) + "\n"
    text += "   ISPIN  =      1    spin polarized calculation?\n"
    text += "   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   number of bands    NBANDS= 1\n"
    text += " k-points in reciprocal lattice and weights: test\n 0.0 0.0 0.0 1.0\n\n"
    for step, frame in enumerate(frames):
        text += f"--------------- Iteration      {step + 1}(   1)  -------------\n"
        kbar = -10.0 * GPA_PER_EV_A3 * frame.stress[[0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 2, 0]]  # xx yy zz xy yz zx
        text += "  in kB  " + " ".join(f"{value:.8f}" for value in kbar) + "\n"
        text += "      direct lattice vectors                 reciprocal lattice vectors\n"
        text += "".join(" ".join(f"{value:.9f}" for value in row) + " 0.0 0.0 0.0\n" for row in frame.atoms.cell.array)
        text += " POSITION                                       TOTAL-FORCE (eV/Angst)\n ------------\n"
        for row in np.hstack([frame.atoms.positions, frame.forces]):
            text += " ".join(f"{value:.9f}" for value in row) + "\n"
        text += " ------------\n  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  -----------\n"
        text += f"  free  energy   TOTEN  =   {frame.energy - 0.1:.8f} eV\n\n"
        text += f"  energy  without entropy=  {frame.energy + 0.1:.8f}  energy(sigma->0) =  {frame.energy:.8f}\n"
    return text
