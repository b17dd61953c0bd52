"""The physics check-up: sound models pass it, and every planted error is caught by the check that is for it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from equipot import checkpoint
from equipot.check import check_model, subject
from equipot.cli.main import main
from equipot.interfaces.ase import Calculator
from tests.systems import make_potential

#: What any weights must pass; the wall at short range and stable dynamics take training.
CONTRACT = ("P", "G", "X", "N", "A", "C1", "C2", "C3", "C4", "C5")


def outcome(model, *codes: str, **options) -> dict[str, str]:
    """Status of each check."""
    return {result.code: result.status for result in check_model(model, only=codes, **options).results}


@pytest.mark.parametrize(("name", "dtype"), [("nequip spline", "float64"), ("mace spline", "float64"),
                                             ("nequip spline", "float32"), ("mace spline", "float32")])
def test_sound_models_pass(name: str, dtype: str) -> None:
    found = outcome(make_potential(name, dtype), *CONTRACT)
    assert not [code for code, status in found.items() if status in ("fail", "warn")]
    assert list(found.values()).count("pass") > 25


def test_a_foreign_calculator_is_checked_as_far_as_it_goes() -> None:
    found = outcome(EMT(), "P1", "P4", "P8", "G1", "G4", "X3", elements=["Cu", "Au"])
    assert [found[code] for code in ("P1", "P4", "G1")] == ["pass"] * 3
    assert found["G4"] == "skip"


class Wrong(Calculator):
    """The calculator with one error planted."""

    def __init__(self, potential, error: str) -> None:
        super().__init__(potential)
        self.error = error

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        atoms = atoms.copy()
        if self.error == "float32 positions":
            atoms.positions = atoms.positions.astype(np.float32)
        super().calculate(atoms, ["energy", "forces", *(["stress"] if "stress" in properties else [])], system_changes)
        results = self.results
        if self.error == "stress sign" and "stress" in results:
            results["stress"] = -results["stress"]
        elif self.error == "forces":
            results["forces"] = 1.01 * results["forces"]
        elif self.error == "direction":
            results["energy"] += 0.01 * float(np.ptp(atoms.positions[:, 0])) if len(atoms) else 0.0
        elif self.error == "numbering":
            results["energy"] += 1e-6 * sum(k * number for k, number in enumerate(atoms.numbers))


class Anybody:
    """Makes the wrapped calculator a foreign one: the check must not look inside."""


@pytest.mark.parametrize(("error", "code"), [("stress sign", "G2"), ("forces", "G1"), ("float32 positions", "P3"),
                                             ("direction", "P1"), ("numbering", "P4")])
def test_planted_errors_of_a_calculator_are_caught(error: str, code: str, monkeypatch) -> None:
    # As a foreign calculator: with the package's own, its potential would be checked.
    monkeypatch.setattr(subject, "Calculator", Anybody)
    potential = make_potential("nequip spline")
    assert outcome(Wrong(potential, ""), code, elements=["Cu", "Au"])[code] == "pass"
    assert outcome(Wrong(potential, error), code, elements=["Cu", "Au"])[code] == "fail"


@pytest.mark.parametrize(("plant", "code"), [("self-images", "P7"), ("one direction", "P7"), ("rounded cell", "P6")])
def test_planted_errors_of_graphs_are_caught(plant: str, code: str, monkeypatch) -> None:
    sound = subject.from_ase

    def planted(atoms: Atoms, cutoff: float):
        graph = sound(atoms, cutoff)
        center, neighbor = graph.edge_index
        if plant == "self-images":
            keep = center != neighbor
        elif plant == "one direction":
            keep = (graph.edge_shift[:, 0] >= 0) | (center <= neighbor)
        else:
            graph.positions = graph.positions.float().double()
            return graph
        graph.edge_index, graph.edge_shift = graph.edge_index[:, keep], graph.edge_shift[keep]
        return graph

    potential = make_potential("nequip spline")
    assert outcome(potential, code)[code] == "pass"
    monkeypatch.setattr(subject, "from_ase", planted)
    assert outcome(potential, code)[code] == "fail"


def test_a_force_that_jumps_at_the_cutoff_is_caught() -> None:
    jumping = LennardJones(sigma=2.2, epsilon=0.5, rc=5.0, smooth=False)
    smooth = LennardJones(sigma=2.2, epsilon=0.5, rc=5.0, ro=3.0, smooth=True)
    assert "fail" in outcome(jumping, "C2", "C3", elements=["Cu"], cutoff=5.0).values()
    assert "fail" not in outcome(smooth, "C3", elements=["Cu"], cutoff=5.0).values()


def test_the_command_line(tmp_path, capsys) -> None:
    path = tmp_path / "model.eqp"
    checkpoint.save_model(path, make_potential("nequip spline", "float32"))
    assert main(["check", str(path), "--only", "P1", "G2", "X3", "--json", str(tmp_path / "check.json"), "--output",
                 str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "rotation" in said and "3 passed" in said
    document = json.loads((tmp_path / "check.json").read_text())
    assert {result["code"] for result in document["checks"]} == {"P1", "G2", "X3"}
    assert (tmp_path / "out" / "check.html").is_file()
    assert main(["check", str(path), "--only", "Q7"]) == 2
    assert "There is no check Q7" in capsys.readouterr().err
