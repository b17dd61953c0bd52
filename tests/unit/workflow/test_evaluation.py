"""Errors of a potential on frames of a file: only labels that count, and isolated atoms beside them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms

from equipot.data import read_frames, write_frames
from equipot.data.frames import Frame
from equipot.workflow.evaluation import evaluate
from tests.unit.finetuning.systems import crystals, labelled, tiny_base

BASE = tiny_base()
FRAMES = labelled(crystals(6), BASE)


def test_isolated_atoms_are_no_errors(tmp_path):
    lone = Frame(Atoms("Cu", cell=[15] * 3, pbc=True), energy=40.0, config_type="IsolatedAtom")
    write_frames(tmp_path / "a.xyz", [FRAMES[0], lone, *FRAMES[1:]])
    result = evaluate(BASE, tmp_path / "a.xyz", output=tmp_path / "b.xyz")
    assert result.metrics["all"]["num_configurations"] == 6 and "IsolatedAtom" not in result.metrics
    assert result.metrics["all"]["energy_rmse_mev_per_atom"] < 1e-3
    assert any(
        "1 isolated-atom frames are not counted as errors" in text and "Cu -4" in text for text in result.warnings
    )
    assert len(result.predictions) == 7 and len(result.predictions[1].forces) == 1
    written = read_frames(tmp_path / "b.xyz").frames
    assert [len(frame.atoms) for frame in written] == [4, 1, 4, 4, 4, 4, 4]
    assert written[2].info["EQUIPOT_energy"] == pytest.approx(FRAMES[1].energy, abs=1e-6)


def test_isolated_atoms_alone_are_what_was_asked_for(tmp_path):
    lone = Frame(Atoms("Cu", cell=[15] * 3, pbc=True), energy=40.0, config_type="IsolatedAtom")
    write_frames(tmp_path / "a.xyz", [lone])
    assert evaluate(BASE, tmp_path / "a.xyz").metrics["all"]["energy_mae_mev_per_atom"] > 1e4


def test_labels_that_do_not_count_are_no_errors(tmp_path):
    wrong = replace(FRAMES[0], energy=500.0, energy_weight=0.0)
    held = FRAMES[1].atoms.copy()
    held.set_constraint(FixAtoms([0, 1]))
    forces = np.where(np.arange(4)[:, None] < 2, 0.0, FRAMES[1].forces)
    zeroed = replace(FRAMES[1], atoms=held, forces=forces)
    empty = replace(FRAMES[2], stress=np.zeros((3, 3)), energy=float("nan"))
    write_frames(tmp_path / "a.xyz", [wrong, zeroed, empty, *FRAMES[3:]])
    errors = evaluate(BASE, tmp_path / "a.xyz").metrics["all"]
    assert errors["energy_mae_mev_per_atom"] < 1e-3
    assert errors["forces_mae_mev_per_angstrom"] < 1e-3 and errors["stress_mae_gpa"] < 1e-4


def test_the_energies_of_the_training_are_compared(tmp_path):
    frames = [replace(frame, energy=frame.energy + 3.0 + index) for index, frame in enumerate(FRAMES)]
    write_frames(tmp_path / "a.xyz", frames)
    text = (tmp_path / "a.xyz").read_text().replace("REF_energy", "energy").splitlines()
    headers = iter(FRAMES)
    text = [f"{line} free_energy={next(headers).energy!r}" if "Lattice" in line else line for line in text]
    (tmp_path / "a.xyz").write_text("\n".join(text) + "\n")
    assert evaluate(BASE, tmp_path / "a.xyz").metrics["all"]["energy_mae_mev_per_atom"] > 500.0
    trained = tiny_base()
    trained.metadata = {"training_data": {"energy_key": "free_energy"}}
    result = evaluate(trained, tmp_path / "a.xyz")
    assert result.metrics["all"]["energy_mae_mev_per_atom"] < 1e-3
    assert any("read from 'free_energy'" in warning for warning in result.warnings)
