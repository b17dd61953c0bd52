"""Atomic energies of a fine-tuning: exact where the data determine them, said where they do not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from equipot.errors import ConfigError, DataError
from equipot.finetuning.atomic_energies import base_energies, choose_atomic_energies, isolated_drift, lone_energies
from tests.unit.finetuning.systems import ATOMIC_ENERGIES, OFFSETS, crystals, graphs_of, labelled, tiny_base

BASE = tiny_base()
FRAMES = labelled(crystals(8), BASE, OFFSETS)


def test_refit_finds_the_other_levels_energies():
    energies = choose_atomic_energies(BASE, "refit", graphs_of(FRAMES), [])
    for element in ("Cu", "Au"):
        assert energies.values[element] == pytest.approx(ATOMIC_ENERGIES[element] + OFFSETS[element], abs=1e-10)
    assert energies.values["Ni"] == ATOMIC_ENERGIES["Ni"]
    assert (energies.rank, energies.num_elements, energies.origin) == (2, 2, "refit")
    assert energies.residual_rms_mev_per_atom < 1e-8
    assert any("Ni" in warning and "stay those of the base" in warning for warning in energies.warnings)


def test_energies_of_weight_zero_do_not_enter_the_refit():
    graphs = graphs_of(FRAMES)
    expected = choose_atomic_energies(BASE, "refit", graphs, [])
    wrong = graphs_of([dataclasses.replace(frame, energy=frame.energy - 3000.0) for frame in FRAMES[:4]])
    for graph in wrong:
        graph.energy_weight = torch.zeros(1, dtype=torch.float64)
    energies = choose_atomic_energies(BASE, "refit", [*graphs, *wrong], [])
    assert energies.values == expected.values
    assert energies.residual_rms_mev_per_atom == expected.residual_rms_mev_per_atom


def test_refit_of_one_composition_says_that_it_is_not_determined():
    """CuAu alone: only the sum is known, and it is met; each energy moves by the same."""
    frames = [frame for frame in FRAMES if list(frame.atoms.symbols).count("Au") == 2]
    energies = choose_atomic_energies(BASE, "refit", graphs_of(frames), [])
    assert energies.rank == 1 and energies.num_elements == 2
    assert any("determine only 1 of 2" in warning for warning in energies.warnings)
    moved = [energies.values[element] - ATOMIC_ENERGIES[element] for element in ("Cu", "Au")]
    assert moved == pytest.approx([(OFFSETS["Cu"] + OFFSETS["Au"]) / 2] * 2, abs=1e-10)


def test_keep_given_and_isolated():
    graphs = graphs_of(FRAMES)
    assert choose_atomic_energies(BASE, "keep", graphs, []).values == ATOMIC_ENERGIES
    given = choose_atomic_energies(BASE, {"Cu": 1.0, "Au": 2.0}, graphs, [])
    assert given.values == {"Ni": -3.0, "Cu": 1.0, "Au": 2.0}
    assert "finetune.atomic_energies says nothing about the atomic energies of Ni" in given.warnings[0]
    with pytest.raises(ConfigError, match="no value for Au"):
        choose_atomic_energies(BASE, {"Cu": 1.0}, graphs, [])
    with pytest.raises(ConfigError, match="names Ag, which the model does not have"):
        choose_atomic_energies(BASE, {"Cu": 1.0, "Au": 1.0, "Ag": 1.0}, graphs, [])
    with pytest.raises(DataError, match="no isolated-atom frame with an energy for Cu, Au"):
        choose_atomic_energies(BASE, "isolated", graphs, [])


@pytest.mark.parametrize("exact", [True, False])
def test_isolated_atoms_get_their_energies(exact):
    """Also in a potential whose network says something of lone atoms (SevenNet)."""
    from ase import Atoms

    base = tiny_base()
    if not exact:
        other = type(base)(dataclasses.replace(base.config, exact_isolated_atoms=False))
        other.load_state_dict(base.state_dict())
        base = other.eval()
    frames = [
        dataclasses.replace(
            FRAMES[0], atoms=Atoms(element), energy=energy, forces=None, stress=None, config_type="IsolatedAtom"
        )
        for element, energy in (("Cu", -0.2), ("Au", -0.4))
    ]
    energies = choose_atomic_energies(base, "isolated", graphs_of(FRAMES), frames)
    lone = lone_energies(base)
    for element, energy in (("Cu", -0.2), ("Au", -0.4)):
        change = energies.values[element] - ATOMIC_ENERGIES[element]
        assert lone[element] + change == pytest.approx(energy, abs=1e-12)
    assert (abs(lone["Cu"] - ATOMIC_ENERGIES["Cu"]) < 1e-12) == exact
    with torch.no_grad():
        values = [energies.values[element] for element in base.elements]
        base.atomic_energies.copy_(torch.tensor(values, dtype=torch.float64))
        assert isolated_drift(base, frames) == pytest.approx({"Cu": 0.0, "Au": 0.0}, abs=1e-12)
        base.scale.mul_(1.5)  # as training may
    moved = isolated_drift(base, frames)
    assert (max(map(abs, moved.values())) < 1e-12) == exact


def test_refit_without_energies_is_refused():
    frames = [dataclasses.replace(frame, energy=float("nan")) for frame in FRAMES]
    with pytest.raises(DataError, match="no training frame has an energy to fit to"):
        choose_atomic_energies(BASE, "refit", graphs_of(frames), [])


def test_base_energies_are_the_labels_without_offsets():
    found = base_energies(BASE, graphs_of(FRAMES))
    offsets = [sum(OFFSETS[symbol] for symbol in frame.atoms.symbols) for frame in FRAMES]
    assert np.allclose(found, [frame.energy - offset for frame, offset in zip(FRAMES, offsets)], atol=1e-10)
