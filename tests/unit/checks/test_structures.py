"""What a model is checked on: distances that occur in its data, its own training structures, fair verdicts."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from equipot import checkpoint
from equipot.checks.model import check_model
from equipot.checks.model.made_up import made_up_structures, spacing
from equipot.checks.model.structures import ROLES, choose_structures
from equipot.checks.model.subject import CalculatorSubject, PotentialSubject
from equipot.data.examples import KEY, choose_examples, read_examples
from equipot.data.frames import Frame
from equipot.errors import CheckpointError
from equipot.graph import neighbor_list
from tests.systems import STRUCTURES, make_potential


def nearest(atoms: Atoms) -> float:
    return float(neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, 8.0).distance.min())


def _frames(*structures: Atoms) -> list[Frame]:
    return [Frame(atoms, config_type=str(len(atoms)), index=number) for number, atoms in enumerate(structures)]


@pytest.mark.parametrize("elements", [("Si",), ("H", "C", "O"), ("Cs", "H")])
def test_made_up_structures_overlap_nowhere(elements: tuple[str, ...]) -> None:
    """The slab kept its layers 1.155 Angstrom apart whatever it was made of: 473 eV/Angstrom in silicon."""
    subject = CalculatorSubject(LennardJones(sigma=0.1, epsilon=1e-6, rc=1.0), elements)
    for name, atoms in made_up_structures(subject).items():
        expected = 0.75 * min(spacing([element]) for element in atoms.symbols)
        assert nearest(atoms) > expected, (name, atoms.symbols, nearest(atoms))


def test_made_up_structures_are_expanded_until_forces_are_moderate() -> None:
    subject = CalculatorSubject(LennardJones(sigma=4.0, epsilon=0.3, rc=8.0), ["Cu"], cutoff=8.0)
    for name, atoms in made_up_structures(subject).items():
        found = subject.evaluate(atoms)
        assert np.sqrt(np.mean(found.forces**2)) < 3.0, name
        assert found.stress is None or np.abs(found.stress).max() < 0.3, name


@pytest.mark.parametrize("structures", [(molecule("CH3CH2OH"), molecule("H2O")), (bulk("Cu", cubic=True) * 2,)])
def test_every_role_has_the_distances_of_the_frames(structures: tuple[Atoms, ...]) -> None:
    subject = PotentialSubject(make_potential("nequip spline"))
    closest = min(nearest(atoms) for atoms in structures)
    for is_short in (True, False):
        chosen = choose_structures(subject, _frames(*structures), is_short=is_short, seed=0)
        assert chosen.are_known and set(ROLES) <= set(chosen.structures)
        for name, atoms in chosen.structures.items():
            assert nearest(atoms) > closest - 0.35, (name, nearest(atoms), closest)  # shaken
        assert not chosen.structures["molecule"].pbc.any() and chosen.structures["crystal"].pbc.all()
        assert chosen.structures["slab"].pbc.tolist() == [True, True, False]


def test_both_forms_use_the_same_structures() -> None:
    subject, frames = PotentialSubject(make_potential("mace")), _frames(STRUCTURES["alloy"](), STRUCTURES["molecule"]())
    for given in ([], frames):
        short, full = (choose_structures(subject, given, is_short=is_short, seed=0) for is_short in (True, False))
        for role in ROLES:
            assert np.array_equal(short.structures[role].positions, full.structures[role].positions)


def test_a_model_file_keeps_structures_of_its_training(tmp_path) -> None:
    frames = _frames(
        *(molecule(name) for name in ("CH3CH2OH", "H2O", "CH4")), bulk("Cu") * (7, 7, 7), Atoms("O"), bulk("Au")
    )
    kept = choose_examples(frames)
    assert {entry["symbols"] for entry in kept} >= {"Au", "C2OH6"}
    assert all(1 <= len(entry["positions"]) <= 250 for entry in kept)  # no lone atom, nothing huge
    potential = make_potential("nequip spline")
    checkpoint.save_model(tmp_path / "model.eqp", potential, metadata={KEY: kept})
    loaded = checkpoint.load_model(tmp_path / "model.eqp")
    for entry, frame in zip(kept, read_examples(loaded.metadata), strict=True):
        assert np.allclose(frame.atoms.positions, entry["positions"]) and frame.atoms.pbc.tolist() == entry["pbc"]
    report = check_model(tmp_path / "model.eqp", only=["N9"])
    assert report.facts["structures_from"] == "from training structures in the model file"
    assert "made up" in check_model(potential, only=["N9"]).facts["structures_from"]
    assert check_model(potential, frames, only=["N9"]).facts["structures_from"] == "from the frames given"


@pytest.mark.parametrize("entry", [{}, "Cu", {"symbols": "Cu2", "positions": [[0, 0, 0]], "cell": None, "pbc": False}])
def test_damaged_structures_are_refused(entry) -> None:
    with pytest.raises(CheckpointError, match="training_structures 0"):
        read_examples({KEY: [entry]})


@pytest.mark.parametrize("name", ["mace", "nequip spline"])
def test_steep_models_in_float32_are_sound(name: str) -> None:
    """Stresses of 1000 GPa were held to 5e-6 eV/Angstrom^3, whatever float32 can do."""
    report = check_model(
        make_potential(name, "float32", scale=300.0), form="short", only=["P1", "P7", "G9", "A1", "C3"]
    )
    assert report.failed() == [], [result.worst for result in report.results if result.status == "fail"]


class OnlyCrystals(EMT):
    """Refuses what has no cell, as CHGNet does."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        if atoms.cell.rank < 3:
            raise np.linalg.LinAlgError("Singular matrix")
        super().calculate(atoms, properties, system_changes)


def test_a_calculator_that_asks_for_a_cell_is_given_one() -> None:
    subject, free = CalculatorSubject(OnlyCrystals(), ["Cu"]), CalculatorSubject(EMT(), ["Cu"])
    atoms = Atoms("Cu3", [[0, 0, 0], [0, 0, 2.4], [0, 2.3, 0.5]])
    assert subject.needs_cell and not free.needs_cell
    assert np.allclose(subject.evaluate(atoms).forces, free.evaluate(atoms).forces, atol=1e-12)
    assert subject.evaluate(atoms).stress is None
    assert abs(subject.energy(atoms) - free.energy(atoms)) < 1e-12
    report = check_model(OnlyCrystals(), form="short", only=["P1", "P4", "P8", "X1"], elements=["Cu"])
    assert report.counts["pass"] == 4


class Backwards(EMT):
    """Forces that push where they should pull."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results["forces"] = -self.results["forces"]


def test_what_fails_on_the_users_frames_only_warns_on_made_up_crystals() -> None:
    frames = [Frame(bulk("Cu", cubic=True), energy=0.0)]
    for data, status in ((frames, "fail"), (None, "warn")):
        report = check_model(Backwards(), data, form="short", only=["V6"], elements=["Cu"])
        assert report.get("V6").status == status, report.get("V6")
        assert check_model(EMT(), data, form="short", only=["V6"], elements=["Cu"]).get("V6").status == "pass"
