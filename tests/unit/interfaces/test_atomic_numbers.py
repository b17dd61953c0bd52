"""Atoms of no element are refused in a sentence at every entrance; 119 and more were a bare IndexError."""

from __future__ import annotations

import pytest
from ase import Atoms
from ase.io import write

from equipot import checkpoint
from equipot.cli.main import main
from equipot.errors import ElementError
from equipot.graph import from_ase
from equipot.interfaces.ase import Calculator
from equipot.interfaces.lammps.inputs import data_file
from equipot.properties import compute
from equipot.simulation.md import run_md
from equipot.simulation.relax import relax
from tests.systems import make_potential
from tests.unit.interfaces.pair_potential import pair_potential

SENTENCE = "which is not a chemical element"


def structure(number: int) -> Atoms:
    return Atoms(numbers=[18, number], positions=[[0, 0, 0], [0, 0, 3.0]], cell=[8, 8, 8], pbc=True)


ENTRANCES = {
    "calculator": lambda atoms, folder: Calculator(pair_potential()).get_potential_energy(atoms),
    "graph": lambda atoms, folder: from_ase(atoms, 4.0),
    "dynamics": lambda atoms, folder: run_md(pair_potential(), atoms, trajectory=folder / "md.traj"),
    "relaxation": lambda atoms, folder: relax(atoms, pair_potential()),
    "properties": lambda atoms, folder: compute(pair_potential(), atoms, only=("relaxation",)),
    "LAMMPS": lambda atoms, folder: data_file(atoms),
}


@pytest.mark.parametrize("number", [-1, 0, 119, 100_000])
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_functions_refuse_them(entrance, number, tmp_path):
    with pytest.raises(ElementError, match=rf"atom 1 has atomic number {number}.*{SENTENCE}"):
        ENTRANCES[entrance](structure(number), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [0, 119])
def test_verbs_refuse_them(number, tmp_path, capsys):
    model, file = tmp_path / "model.eqp", tmp_path / "strange.traj"
    checkpoint.save_model(model, make_potential("nequip spline"))
    write(file, structure(number))
    for words in (
        f"predict {model} {file} --output {tmp_path}/out.xyz",
        f"md {model} {file} --steps 1 --trajectory {tmp_path}/md.traj",
        f"lammps input {model} {file} -o {tmp_path}/lammps",
        f"properties {model} {file} --output {tmp_path}/properties",
        f"data check {file}",
    ):
        assert main(words.split()) == 1
        error = capsys.readouterr().err
        assert f"atomic number {number}" in error and "bug" not in error and "\n" not in error.strip(), words
