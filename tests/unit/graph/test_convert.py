"""Conversion from and to ase.Atoms loses nothing and changes nothing (checks N11, D6)."""

from __future__ import annotations

import ase.build
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from equipot.errors import DataError, ElementError, StructureError, UsageError
from equipot.graph import VerletList, collate, from_ase, neighbor_list, to_ase
from equipot.units import voigt_to_matrix

STRUCTURES = {
    "crystal": ase.build.bulk("Cu", cubic=True),
    "slab": ase.build.fcc111("Cu", (1, 1, 3), vacuum=5.0),
    "slab without third vector": ase.build.fcc111("Cu", (2, 1, 2)),
    "molecule": ase.build.molecule("CH3CH2OH"),
    "one atom": Atoms("Cu"),
    "empty": Atoms(),
    "empty crystal": Atoms(cell=[3, 3, 3], pbc=True),
    "left-handed": Atoms("CuAu", positions=[[0, 0, 0], [9, 9, 9]], cell=[[0, 4, 0], [4, 0, 0], [0, 0, 4]], pbc=True),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_round_trip(name):
    atoms = STRUCTURES[name]
    rng = np.random.default_rng(0)
    energy, forces = -1.25, rng.normal(size=(len(atoms), 3))
    stress = voigt_to_matrix(rng.normal(size=6))
    graph = from_ase(atoms, 4.0, energy=energy, forces=forces, stress=stress, config_type="group", source="f frame 1")
    assert graph.validate()
    back = to_ase(graph)
    assert back == atoms  # positions, numbers, cell, pbc
    assert back.info == {"config_type": "group"}
    assert back.calc.results["energy"] == energy
    if len(atoms):
        assert np.array_equal(back.calc.results["forces"], forces)
    assert np.array_equal(voigt_to_matrix(back.calc.results["stress"]), stress)
    again = from_ase(back, 4.0, energy=back.calc.results["energy"], stress=back.calc.results["stress"])
    assert torch.equal(again.edge_index, graph.edge_index) and torch.equal(again.stress, graph.stress)


def test_atoms_are_only_read():
    atoms = ase.build.bulk("Cu", cubic=True)
    atoms.positions += 30.0  # outside the cell
    atoms.info.update(charge=1, nested={"a": [1]})
    atoms.set_constraint(FixAtoms([0]))
    atoms.calc = SinglePointCalculator(atoms, energy=5.0, forces=np.ones((4, 3)))
    calculator, copied = atoms.calc, atoms.copy()
    arrays = {name: value.tobytes() for name, value in atoms.arrays.items()}
    graph = from_ase(atoms, 4.0)
    graph.positions += 1.0
    graph.cell *= 2.0
    graph.atomic_numbers += 1
    assert {name: value.tobytes() for name, value in atoms.arrays.items()} == arrays
    assert atoms == copied and atoms.info == {"charge": 1, "nested": {"a": [1]}}
    assert atoms.calc is calculator and calculator.results["energy"] == 5.0
    assert len(atoms.constraints) == 1
    assert graph.energy.isnan().all()  # a calculator's results are not labels unless given


def test_no_calculation_is_started():
    atoms = ase.build.bulk("Cu", cubic=True)
    atoms.calc = EMT()
    from_ase(atoms, 4.0)
    assert not atoms.calc.results


def test_missing_labels_stay_missing():
    graph = from_ase(ase.build.molecule("H2O"), 3.0, forces=np.full((3, 3), np.nan), energy=float("nan"))
    back = to_ase(graph)
    assert back.calc is None and back.info == {}
    partly = to_ase(from_ase(ase.build.molecule("H2O"), 3.0, energy=2.0))
    assert set(partly.calc.results) == {"energy"}


def test_batch_becomes_a_list():
    structures = [STRUCTURES[name] for name in ("empty", "molecule", "crystal", "one atom", "empty")]
    back = to_ase(collate([from_ase(atoms, 4.0, energy=float(k)) for k, atoms in enumerate(structures)]))
    assert back == structures
    assert [atoms.calc.results["energy"] for atoms in back] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_voigt_stress_is_ases_order():
    graph = from_ase(STRUCTURES["crystal"], 3.0, stress=np.arange(1.0, 7.0))
    assert graph.stress[0].tolist() == [[1, 6, 5], [6, 2, 4], [5, 4, 3]]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"forces": np.zeros((3, 3))}, r"forces should have shape \(4, 3\), found shape \(3, 3\)"),
        ({"stress": np.zeros(9)}, r"stress should have shape \(3, 3\), found shape \(9,\)"),
        ({"energy": np.zeros(2)}, r"energy should have a single number, found shape \(2,\)"),
        ({"energy": "abc"}, "energy is not a number"),
        ({"forces": [[1, 2, 3], [4, 5]]}, "forces is not a number"),
    ],
)
def test_labels_of_wrong_shape_are_refused(labels, message):
    with pytest.raises(DataError, match=f"x.xyz frame 2: the label {message}"):
        from_ase(STRUCTURES["crystal"], 3.0, source="x.xyz frame 2", **labels)


def test_faulty_structures_name_frame_and_atom():
    dummy = Atoms("CuX", positions=[[0, 0, 0], [0, 0, 2]])
    with pytest.raises(ElementError, match=r"x frame 1: atom 1 has atomic number 0 \(the dummy 'X'\)"):
        from_ase(dummy, 3.0, source="x frame 1")
    with pytest.raises(ElementError, match="atom 0 has atomic number 300"):
        from_ase(Atoms(numbers=[300]), 3.0)
    with pytest.raises(StructureError, match="x frame 1: the position of atom 0 is not finite"):
        from_ase(Atoms("Cu", positions=[[np.nan, 0, 0]]), 3.0, source="x frame 1")
    with pytest.raises(StructureError, match="no length"):
        from_ase(Atoms("Cu", pbc=True), 3.0)
    with pytest.raises(UsageError, match=r"needs an ase\.Atoms, found list"):
        from_ase([STRUCTURES["crystal"]], 3.0)


def test_edges_found_before_are_used():
    atoms = ase.build.bulk("Cu", cubic=True) * 2
    verlet = VerletList(4.0, 0.5)
    for _ in range(3):
        atoms.rattle(0.02, rng=np.random.default_rng(1))
        fresh = from_ase(atoms, 4.0)
        graph = from_ase(atoms, 4.0, neighbors=verlet.update(atoms.positions, atoms.cell.array, atoms.pbc))
        assert torch.equal(graph.edge_index, fresh.edge_index) and torch.equal(graph.edge_shift, fresh.edge_shift)
    assert verlet.num_builds == 1
    squeezed = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 0.01]])
    edges = neighbor_list(squeezed.positions, squeezed.cell.array, False, 4.0)
    with pytest.raises(StructureError, match="apart"):
        from_ase(squeezed, 4.0, neighbors=edges)
