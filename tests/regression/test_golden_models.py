"""Every model file version ever released loads and predicts what it did when it was written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

from equipot.checkpoint import load_model, read_model_document, save_model
from equipot.checkpoint.migrations import FORMAT_VERSION
from equipot.graph import from_ase
from equipot.models import names
from tests.regression.golden import HEAD

FOLDER = Path(__file__).parents[1] / "data" / "golden"
FILES = sorted(FOLDER.glob("model_v*.eqp"))
#: eV, eV/Angstrom, eV/Angstrom^3: rounding of other processors and library versions.
TOLERANCE = {"float64": 1e-9, "float32": 1e-4}


def load(path: Path, **kwargs):
    """A golden file's potential: of version 1 its one head, of later ones the one that is recorded."""
    return load_model(path, head=None if "_v1_" in path.name else HEAD, **kwargs)


def frames(path: Path):
    """(structure, expected) of one golden file."""
    for record in json.loads(path.with_suffix(".json").read_text(encoding="utf-8")).values():
        yield Atoms(record["numbers"], record["positions"], cell=record["cell"], pbc=record["pbc"]), record


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_predicts_as_ever(path, dtype):
    potential = load(path, dtype=dtype)
    for atoms, expected in frames(path):
        output = potential(from_ase(atoms, potential.cutoff))
        assert abs(output.energy.item() - expected["energy"]) < TOLERANCE[dtype] * len(atoms)
        np.testing.assert_allclose(output.forces.numpy(), expected["forces"], rtol=0, atol=TOLERANCE[dtype] * 10)
        if expected["stress"] is not None:
            np.testing.assert_allclose(output.stress[0].numpy(), expected["stress"], rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_saves_in_the_present_version(path, tmp_path):
    potential = load(path)
    save_model(tmp_path / "model.eqp", potential, metadata=potential.metadata)
    assert read_model_document(tmp_path / "model.eqp")["format_version"] == FORMAT_VERSION
    again = load_model(tmp_path / "model.eqp")
    atoms, _ = next(frames(path))
    graph = from_ase(atoms, potential.cutoff)
    assert torch.equal(again(graph).forces, potential(graph).forces)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_can_be_trained_on(path):
    potential = load(path).train()
    atoms, _ = next(frames(path))
    potential(from_ase(atoms, potential.cutoff), create_graph=True).forces.square().sum().backward()
    assert any(parameter.grad is not None and bool(parameter.grad.any()) for parameter in potential.parameters())


def test_every_version_and_architecture_has_a_file():
    """A change of the format without a new version, or a new version without a golden file, fails here or above."""
    expected = {f"model_v{version}_{name}" for version in range(1, FORMAT_VERSION + 1) for name in ("mace", "nequip")}
    assert expected <= {path.stem for path in FILES}
    assert {"mace", "nequip"} <= set(names())
