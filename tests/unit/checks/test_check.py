"""The physics check-up: every planted error is caught by the check that is for it (sound models: tests/contract)."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from equipot import checkpoint
from equipot.checks.model import check_model, subject
from equipot.checks.model.compare import central_difference, derivative_error
from equipot.cli.main import main
from equipot.data.frames import Frame
from equipot.graph import AtomicGraph, from_ase
from equipot.interfaces.ase import Calculator
from equipot.models import ModelOutput, Potential
from equipot.training import ExponentialMovingAverage
from tests.systems import STRUCTURES, make_potential


def outcome(model, *codes: str, **options) -> dict[str, str]:
    """Status of each check."""
    return {result.code: result.status for result in check_model(model, only=codes, **options).results}


def test_a_foreign_calculator_is_checked_as_far_as_it_goes() -> None:
    found = outcome(EMT(), "P1", "P4", "P8", "G1", "G4", "X3", elements=["Cu", "Au"])
    assert [found[code] for code in ("P1", "P4", "G1")] == ["pass"] * 3
    assert found["G4"] == "skip"


def test_a_kink_of_the_second_derivative_is_no_wrong_derivative() -> None:
    """As XPLOR's envelope has it: the difference is wrong across it, and less so the smaller its step."""

    def energy(x: float) -> float:
        return 2.0 * x + 5.0 * max(x - 1e-4, 0.0) ** 2

    assert abs(central_difference(energy, 2.5e-4) - 2.0) > 1e-5
    assert derivative_error(energy, 2.0, (2.5e-4, 2.5e-5), 1e-7) < 1e-9
    assert derivative_error(energy, 2.0 + 2e-7, (2.5e-4, 2.5e-5), 1e-7) > 1.9e-7
    assert derivative_error(lambda x: np.nan, 2.0, (2.5e-4, 2.5e-5), 1e-7) == np.inf


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
            results["forces"] = 1.001 * results["forces"]
        elif self.error == "shear" and "stress" in results:
            results["stress"] = results["stress"][[0, 1, 2, 5, 4, 3]]
        elif self.error == "stress size" and "stress" in results:
            results["stress"] = 1.001 * results["stress"]
        elif self.error == "direction":
            results["energy"] += 0.01 * float(np.ptp(atoms.positions[:, 0])) if len(atoms) else 0.0
        elif self.error == "numbering":
            results["energy"] += 1e-6 * sum(k * number for k, number in enumerate(atoms.numbers))


class Anybody:
    """Makes the wrapped calculator a foreign one: the check must not look inside."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("stress sign", "G2"),
        ("shear", "G2"),
        ("stress size", "G2"),
        ("forces", "G1"),
        ("float32 positions", "P3"),
        ("direction", "P1"),
        ("numbering", "P4"),
    ],
)
def test_planted_errors_of_a_calculator_are_caught(error: str, code: str, monkeypatch) -> None:
    # As a foreign calculator: with the package's own, its potential would be checked.
    monkeypatch.setattr(subject, "Calculator", Anybody)
    potential = make_potential("nequip spline")
    assert outcome(Wrong(potential, ""), code, elements=["Cu", "Au"])[code] == "pass"
    assert outcome(Wrong(potential, error), code, elements=["Cu", "Au"])[code] == "fail"


def _without_self_images(graph: AtomicGraph) -> None:
    _keep(graph, graph.edge_index[0] != graph.edge_index[1])


def _one_direction(graph: AtomicGraph) -> None:
    _keep(graph, (graph.edge_shift[:, 0] >= 0) | (graph.edge_index[0] <= graph.edge_index[1]))


def _wrong_direction(graph: AtomicGraph) -> None:
    """Centre and neighbour exchanged, the lattice translation left as it was."""
    graph.edge_index = graph.edge_index.flip(0)


def _float32_positions(graph: AtomicGraph) -> None:
    graph.positions = graph.positions.float().double()


def _keep(graph: AtomicGraph, chosen: torch.Tensor) -> None:
    graph.edge_index, graph.edge_shift = graph.edge_index[:, chosen], graph.edge_shift[chosen]


@pytest.mark.parametrize(
    ("plant", "codes"),
    [
        (_without_self_images, {"P7", "N1"}),
        (_one_direction, {"P7", "N1"}),
        (_wrong_direction, {"N1"}),
        (_float32_positions, {"P6"}),
    ],
)
def test_planted_errors_of_graphs_are_caught(plant, codes: set[str], monkeypatch) -> None:
    sound = subject.from_ase

    def planted(atoms: Atoms, cutoff: float) -> AtomicGraph:
        graph = sound(atoms, cutoff)
        plant(graph)
        return graph

    potential = make_potential("nequip spline")
    assert set(outcome(potential, *codes).values()) == {"pass"}
    monkeypatch.setattr(subject, "from_ase", planted)
    assert set(outcome(potential, *codes).values()) == {"fail"}


def _stress_sign(output: ModelOutput) -> None:
    output.stress = None if output.stress is None else -output.stress


def _scaled_forces(output: ModelOutput) -> None:
    output.forces = None if output.forces is None else 1.00001 * output.forces


@pytest.mark.parametrize(("plant", "code"), [(_stress_sign, "G2"), (_scaled_forces, "G1")])
def test_planted_errors_of_the_potential_are_caught(plant, code: str, monkeypatch) -> None:
    sound = Potential._collect

    def planted(self, *arguments) -> ModelOutput:
        output = sound(self, *arguments)
        plant(output)
        return output

    monkeypatch.setattr(Potential, "_collect", planted)
    assert outcome(make_potential("mace"), code)[code] == "fail"


@pytest.mark.parametrize("scale", [3.0, 300.0])
def test_an_error_of_the_float32_path_alone_is_caught(scale: float, monkeypatch) -> None:
    """Tolerances that grow with the forces still see a thousandth of them."""
    sound = Potential._collect

    def planted(self, *arguments) -> ModelOutput:
        output = sound(self, *arguments)
        if self.dtype == torch.float32 and output.forces is not None:
            output.forces = 1.001 * output.forces
        return output

    potential = make_potential("mace", "float32", scale=scale)
    assert outcome(potential, "G9")["G9"] == "pass"
    monkeypatch.setattr(Potential, "_collect", planted)
    assert outcome(potential, "G9")["G9"] == "fail"


def test_a_small_jump_at_the_cutoff_is_caught() -> None:
    class Jumping(LennardJones):
        """0.1 meV more for every pair within 5 Angstrom."""

        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
            super().calculate(atoms, properties, system_changes)
            close = np.triu(atoms.get_all_distances() < 5.0, 1).sum() if not atoms.pbc.any() else 0
            self.results["energy"] += 1e-4 * close

    options = {"sigma": 2.2, "epsilon": 0.5, "rc": 5.0, "ro": 3.0, "smooth": True}
    assert outcome(LennardJones(**options), "C3", elements=["Cu"], cutoff=5.0)["C3"] == "pass"
    assert outcome(Jumping(**options), "C3", elements=["Cu"], cutoff=5.0)["C3"] == "fail"


def test_edge_vectors_in_float32_are_caught(monkeypatch) -> None:
    vectors = AtomicGraph.edge_vectors
    monkeypatch.setattr(AtomicGraph, "edge_vectors", lambda self: vectors(self).float().double())
    assert outcome(make_potential("mace"), "G1", "N1") == {"G1": "fail", "N1": "fail"}


def test_averaged_weights_without_the_head_are_caught() -> None:
    """A model written from averages that forgot the readout: only frames with labels can tell, and they do."""
    teacher, student = make_potential("nequip spline"), make_potential("nequip spline", seed=1)
    frames = []
    for number, make in enumerate((STRUCTURES["alloy"], STRUCTURES["molecule"], STRUCTURES["skewed cell"])):
        found = teacher(from_ase(make(), teacher.cutoff))
        frames.append(Frame(make(), energy=float(found.energy), forces=found.forces.numpy(), index=number))
    averages = ExponentialMovingAverage(teacher).weights()
    for forgotten, status in (("", "pass"), ("readout", "fail")):
        receiver = ExponentialMovingAverage(student)
        there = {name: tensor for name, tensor in averages.items() if not forgotten or forgotten not in name}
        receiver.load_weights({**receiver.weights(), **there})
        assert (len(there) < len(averages)) == bool(forgotten)
        assert outcome(student, "L1", data=frames)["L1"] == status
        student = make_potential("nequip spline", seed=1)


def test_a_kink_is_caught_and_a_steep_curve_is_not() -> None:
    class Kinked(LennardJones):
        """A force with a slope that changes at 3 Angstrom."""

        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
            super().calculate(atoms, properties, system_changes)
            if len(atoms) == 2:
                beyond = 200.0 * max(0.0, atoms.get_distance(0, 1) - 3.0)
                self.results["forces"] = self.results["forces"] + np.outer([beyond, -beyond], [0, 0, 1])

    smooth = LennardJones(sigma=1.0, epsilon=50.0, rc=6.0, ro=4.0, smooth=True)
    kinked = Kinked(sigma=2.2, epsilon=0.5, rc=6.0, ro=4.0, smooth=True)
    for calculator, most, least in ((smooth, 0.15, 0.0), (kinked, np.inf, 0.15)):
        result = check_model(calculator, only=["C7"], elements=["H"] if calculator is smooth else ["Cu"], cutoff=6.0)
        assert least <= result.get("C7").worst.value <= most


def test_a_force_that_jumps_at_the_cutoff_is_caught() -> None:
    jumping = LennardJones(sigma=2.2, epsilon=0.5, rc=5.0, smooth=False)
    smooth = LennardJones(sigma=2.2, epsilon=0.5, rc=5.0, ro=3.0, smooth=True)
    assert "fail" in outcome(jumping, "C2", "C3", elements=["Cu"], cutoff=5.0).values()
    assert "fail" not in outcome(smooth, "C3", elements=["Cu"], cutoff=5.0).values()


def test_the_command_line(tmp_path, capsys) -> None:
    path = tmp_path / "model.eqp"
    checkpoint.save_model(path, make_potential("nequip spline", "float32"))
    assert (
        main(
            [
                "check",
                str(path),
                "--only",
                "P1",
                "G2",
                "X3",
                "--json",
                str(tmp_path / "check.json"),
                "--output",
                str(tmp_path / "out"),
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert "rotation" in said and "3 of 3 checks passed" in said
    document = json.loads((tmp_path / "check.json").read_text())
    assert {result["code"] for result in document["checks"]} == {"P1", "G2", "X3"}
    assert (tmp_path / "out" / "check.html").is_file()
    assert main(["check", str(path), "--only", "Q7"]) == 2
    assert "There is no check Q7" in capsys.readouterr().err
