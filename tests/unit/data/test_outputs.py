"""Outputs of other programs: units and signs, convergence, and what is known and not read."""

from __future__ import annotations

from pathlib import Path

import ase.test
import numpy as np
import pytest

from equipot.config.schema import UnitsConfig
from equipot.data import read_frames
from equipot.data.formats import format_of
from equipot.errors import DataError
from tests.unit.data.output_texts import abinit, espresso, gpaw, orca


def _check(found, frames, *, periodic=True, stress=True):
    assert len(found) == len(frames)
    for one, other in zip(found, frames, strict=True):
        assert one.atoms.get_chemical_symbols() == other.atoms.get_chemical_symbols()
        assert one.energy == pytest.approx(other.energy, abs=1e-6)
        np.testing.assert_allclose(one.atoms.positions, other.atoms.positions, atol=1e-6)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-5)
        assert one.atoms.pbc.all() == periodic
        if periodic:
            np.testing.assert_allclose(one.atoms.cell.array, other.atoms.cell.array, atol=1e-5)
        if stress:
            np.testing.assert_allclose(one.stress, other.stress, atol=1e-6)


def test_quantum_espresso(frames, tmp_path):
    for name in ("relax.pwo", "espresso.out", "pw.log"):
        (tmp_path / name).write_text(espresso(frames))
        result = read_frames(tmp_path / name)
        _check(result.frames, frames)
        assert result.report.format == "espresso"
    units = UnitsConfig(energy="Ry", stress_sign="compression_positive")  # ASE has converted them already
    result = read_frames(tmp_path / "relax.pwo", units=units)
    _check(result.frames, frames)
    assert any("not applied" in warning for warning in result.report.warnings)


def test_orca(frames, tmp_path):
    (tmp_path / "opt.out").write_text(orca(frames))
    result = read_frames(tmp_path / "opt.out")
    _check(result.frames, frames, periodic=False, stress=False)
    assert result.report.format == "orca"


def test_gpaw(frames, tmp_path):
    (tmp_path / "gpaw.txt").write_text(gpaw(frames))
    result = read_frames(tmp_path / "gpaw.txt")
    _check(result.frames, frames, stress=False)
    assert result.report.keys["energy"] == "energy"


def test_abinit(frames, tmp_path):
    """ASE's reader leaves out acell: the cell was 7.0 / 1.89 times too small."""
    path = tmp_path / "si.abo"
    path.write_text(abinit(frames[0]))
    _check(read_frames(path).frames, frames[:1])
    for changed, part in (
        (abinit(frames[0], ionmov="2"), "several structures"),
        (abinit(frames[0], is_converged=False), "not enough scf cycles"),
        (abinit(frames[0]).replace("acell", "acll"), "does not say 'acell"),
        (abinit(frames[0]).replace("ucvol= ", "ucvol= 9"), "ABINIT says"),
    ):
        path.write_text(changed)
        with pytest.raises(DataError, match=part):
            read_frames(path)


def test_fhi_aims(tmp_path):
    """ASE's own test files, which lack the banner of the program."""
    data = Path(ase.test.__file__).parent / "testdata" / "aims"
    if not data.is_dir():
        pytest.skip("the test files of ASE are not installed")
    path = tmp_path / "aims.out"
    text = "          Invoking FHI-aims ...\n" + (data / "relax.out").read_text()
    path.write_text(text)
    result = read_frames(path)
    assert result.report.format == "aims" and len(result.frames) > 1 and result.report.coverage["forces"][0] > 1
    bad = text.replace("Self-consistency cycle converged.", "Self-consistency cycle not converged.", 1)
    path.write_text(bad)
    with pytest.raises(DataError, match="frame 0: its electronic structure did not converge"):
        read_frames(path)


@pytest.mark.parametrize(("write", "name"), [(espresso, "a.pwo"), (orca, "a.out"), (gpaw, "a.txt")])
def test_structures_that_did_not_converge(write, name, frames, tmp_path):
    path = tmp_path / name
    path.write_text(write(frames, [True, False, True]))
    with pytest.raises(DataError, match=r"frame 1: .*electronic structure did not converge"):
        read_frames(path)
    result = read_frames(path, on_bad="skip")
    assert [frame.index for frame in result.frames] == [0, 2]
    assert result.frames[1].energy == pytest.approx(frames[2].energy)


def test_more_loops_than_structures(frames, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(gpaw(frames) + "\nDid not converge!\n")
    with pytest.raises(DataError, match="1 of the 4 loops of the file"):
        read_frames(path)


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("notes.txt", "read me\n", "no program whose output is read"),
        ("cp2k.out", "  **** **** ******  **  PROGRAM STARTED AT               2024-01-01\n", "an output of CP2K"),
        ("run.log", "LAMMPS (29 Aug 2024)\n", "a log of LAMMPS"),
        ("job.log", " Entering Gaussian System, Link 0=g16\n", "an output of Gaussian"),
        ("vasp.out", " vasp.6.4.2 20Jul23 (build ...)\n", "a name with OUTCAR in it"),
        ("empty.pwo", "     Program PWSCF v.7.2 starts\n", "holds no structure with results of Quantum ESPRESSO"),
    ],
)
def test_texts_that_are_not_read(name, content, part, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=part):
        read_frames(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("ML_AB", "vasprun.xml and OUTCAR of the runs"),
        ("ML_ABN", "machine-learned force field"),
        ("vaspout.h5", "py4vasp"),
        ("XDATCAR", "without energies and forces"),
        ("model.h5", "HDF5"),
        ("data.json", "not read. Accepted are"),
    ],
)
def test_files_that_are_named_with_the_way_out(name, part):
    with pytest.raises(DataError, match=part):
        format_of(name)
