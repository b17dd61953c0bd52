"""Partly occupied sites: refused by every verb that reads structures, filled in a supercell when asked."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase.build import bulk

from equipot.cli.main import main
from equipot.data import read_frames
from equipot.data.occupancy import Occupation, occupy
from equipot.data.structures import read_occupied, read_structure
from equipot.errors import StructureError

CIF = """data_alloy
_symmetry_space_group_name_H-M   'F m -3 m'
_symmetry_Int_Tables_number 225
_cell_length_a   3.85
_cell_length_b   3.85
_cell_length_c   3.85
_cell_angle_alpha   90
_cell_angle_beta    90
_cell_angle_gamma   90
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""
ALLOY = "Cu1 Cu 0 0 0 0.6\nAu1 Au 0 0 0 0.4\n"
WHOLE = "Cu1 Cu 0 0 0 1.0\n"


@pytest.fixture
def alloy(tmp_path):
    path = tmp_path / "half.cif"
    path.write_text(CIF + ALLOY)
    return path


def _written(tmp_path, rows: str):
    path = tmp_path / "other.cif"
    path.write_text(CIF + rows)
    return path


def test_every_way_in_refuses_them(alloy, tmp_path):
    with pytest.raises(StructureError, match=r"half\.cif .*4 of Au 0\.4 Cu 0\.6.*--occupation random"):
        read_structure(alloy)
    atoms = ase.io.read(alloy)
    for name in ("half.xyz", "half.traj"):
        ase.io.write(tmp_path / name, [atoms, atoms])
        with pytest.raises(StructureError, match=r"frame 0.*partly occupied"):
            read_frames(tmp_path / name)
        if name.endswith("xyz"):
            with pytest.raises(StructureError, match="partly occupied"):
                read_structure(tmp_path / name)
    column = bulk("Cu", cubic=True)
    column.set_array("occupancy", np.array([1.0, 0.5, 1.0, 1.0]))
    ase.io.write(tmp_path / "a.pdb", column)
    with pytest.raises(StructureError, match=r"1 of Cu 0\.5"):
        read_structure(tmp_path / "a.pdb")


@pytest.mark.parametrize("rows", [WHOLE, "Cu1 Cu 0 0 0 0.9990\n", "Cu1 Cu 0 0 0 1.0(1)\n"])
def test_whole_sites_pass(rows, tmp_path):
    assert read_structure(_written(tmp_path, rows)).get_chemical_formula() == "Cu4"
    column = bulk("Cu", cubic=True)
    column.set_array("occupancy", np.zeros(4))  # what many programs write
    ase.io.write(tmp_path / "a.pdb", column)
    assert len(read_structure(tmp_path / "a.pdb")) == 4


def test_verbs_refuse_them_by_the_same_sentence(alloy, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["properties", "emt", str(alloy), "--only", "relaxation"]) == 1
    assert "partly occupied sites (4 of Au 0.4 Cu 0.6)" in capsys.readouterr().err
    ase.io.write(tmp_path / "half.xyz", ase.io.read(alloy))
    assert main(["data", "check", "half.xyz"]) == 1
    assert "partly occupied" in capsys.readouterr().err


def test_filled_at_random_with_the_right_numbers(alloy):
    atoms, sentence = read_occupied(alloy, Occupation(seed=1, supercell=(2, 2, 2)))
    assert atoms.get_chemical_formula(mode="hill") == "Au13Cu19"  # 12.8 and 19.2 of 32
    assert "32 atoms" in sentence and "19 Cu (0.6 asked, 0.5938 given)" in sentence
    np.testing.assert_allclose(atoms.cell.lengths(), 7.7)
    assert sorted(map(tuple, np.round(atoms.positions, 6))) == sorted(
        map(tuple, np.round((ase.io.read(alloy) * 2).positions, 6))
    )
    again, _ = read_occupied(alloy, Occupation(seed=1, supercell=(2, 2, 2)))
    other, _ = read_occupied(alloy, Occupation(seed=2, supercell=(2, 2, 2)))
    assert (again.numbers == atoms.numbers).all() and (other.numbers != atoms.numbers).any()
    assert not atoms.info and "spacegroup_kinds" not in atoms.arrays


def test_each_kind_of_site_on_its_own_and_empty_sites(tmp_path):
    path = _written(tmp_path, "Na1 Na 0 0 0 0.5\nLi1 Li 0 0 0 0.25\nCl1 Cl 0.5 0.5 0.5 1.0\n")
    atoms, sentence = read_occupied(path, Occupation(supercell=(2, 1, 1)))
    assert atoms.get_chemical_formula() == "Cl8Li2Na4" and "2 empty (0.25 asked, 0.25 given)" in sentence
    for seed in range(5):
        whole = read_occupied(path, Occupation(seed=seed))[0]
        corner = whole[whole.numbers != 17]
        assert np.allclose(np.round(corner.get_scaled_positions() * 2).sum(axis=1) % 2, 0)  # none on a site of Cl


@pytest.mark.parametrize(
    ("rows", "supercell", "part"),
    [
        (WHOLE, (2, 2, 2), "nothing to fill"),
        ("Cu1 Cu 0 0 0 0.98\nAu1 Au 0 0 0 0.02\n", (1, 1, 1), "too few for a share of 0.02 Au"),
        ("Cu1 Cu 0 0 0 0.8\nAu1 Au 0 0 0 0.4\n", (2, 2, 2), "add up to 1.2"),
        ("Cu1 Cu 0.1 0 0 0.5\n", (1, 1, 1), "apart: split positions"),
    ],
)
def test_what_cannot_be_filled_is_said(rows, supercell, part, tmp_path):
    with pytest.raises(StructureError, match=part):
        read_occupied(_written(tmp_path, rows), Occupation(supercell=supercell))


def test_properties_of_a_filled_supercell(alloy, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--occupation", "random", "--occupation-seed", "3", "--supercell", "2", "2", "1"]
    assert main(["properties", "emt", str(alloy), "--only", "relaxation", *words]) == 0
    assert "16 atoms (Au6Cu10)" in capsys.readouterr().out
    assert main(["properties", "emt", "fcc:Cu", "--only", "relaxation", "--output", "b", *words]) == 2
    assert "no effect" in capsys.readouterr().err
    assert main(["properties", "emt", str(alloy), "--supercell", "2", "2", "1"]) == 2
    assert main(["properties", "emt", str(alloy), "--occupation-seed", "2"]) == 2


def test_an_occupied_structure_is_not_occupied_again(alloy):
    atoms, _ = occupy(ase.io.read(alloy), Occupation(supercell=(2, 2, 2)))
    with pytest.raises(StructureError, match="nothing to fill"):
        occupy(atoms, Occupation())
