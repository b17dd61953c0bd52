"""The Cu-Au set made on the spot, and writing frames."""

from __future__ import annotations

import os
import stat
import time
from collections import Counter

import numpy as np
import pytest
from ase.calculators.emt import EMT

from equipot.config.schema import DataConfig
from equipot.data import cu_au_emt, load_datasets, read_frames, write_frames
from equipot.data.geometry_hash import hash_frames
from equipot.errors import DataError
from equipot.units import voigt_to_matrix


@pytest.fixture
def frames(cu_au):
    return cu_au


def _formula(frame) -> str:
    return frame.atoms.symbols.formula.reduce()[0].format("hill")


def test_it_is_quick_and_varied(frames):
    started = time.monotonic()
    other = cu_au_emt(seed=1)
    assert time.monotonic() - started < 60  # 3 s alone; the machine may be shared
    assert len(other) == len(frames) and hash_frames(other) != hash_frames(frames)
    assert 250 <= len(frames) <= 500 and len(set(hash_frames(frames))) == len(frames)
    assert max(len(frame.atoms) for frame in frames) == 32
    counts = Counter(frame.config_type for frame in frames)
    assert set(counts) == {"volume", "elastic", "rattled", "alloy", "vacancy", "surface", "IsolatedAtom"}
    formulas = {_formula(frame) for frame in frames}
    assert {"Cu", "Au", "AuCu3", "AuCu", "Au3Cu"} <= formulas and len(formulas) > 10


def test_labels_are_those_of_emt(frames):
    for frame in frames[::29]:
        atoms = frame.atoms.copy()
        atoms.calc = EMT()
        assert frame.energy == atoms.get_potential_energy()
        np.testing.assert_array_equal(frame.forces, atoms.get_forces())
        if frame.config_type == "IsolatedAtom":
            assert frame.stress is None
        else:
            np.testing.assert_allclose(frame.stress, voigt_to_matrix(atoms.get_stress()))


def test_volumes_bracket_the_minimum(frames):
    """What an equation of state and elastic constants are learned from: both sides of every prototype's minimum."""
    for name in ("Cu", "Au", "AuCu3", "AuCu", "Au3Cu"):
        curve = sorted(
            (frame.volume, frame.energy)
            for frame in frames
            if frame.config_type == "volume" and _formula(frame) == name
        )
        energies = [energy for _, energy in curve]
        assert len(curve) >= 9 and 2 <= int(np.argmin(energies)) <= len(curve) - 3, name


def test_as_data_sets(frames):
    datasets = load_datasets(DataConfig(generate="cu_au_emt"), 5.0)
    assert datasets.elements == ("Cu", "Au") and datasets.atomic_energies.origin == "isolated"
    assert datasets.atomic_energies.values == pytest.approx({"Cu": 3.51, "Au": 3.80})
    assert len(datasets.validation) == len(datasets.test) == 32
    assert len({graph.config_type for graph in datasets.test}) == 6
    assert not datasets.warnings and datasets.hashes["cu_au_emt"]
    for frame in datasets.frames["train"]:  # made again, bit for bit the same
        assert frame.energy == frames[frame.index].energy and (frame.forces == frames[frame.index].forces).all()


def test_written_and_read_back(frames, tmp_path):
    few = frames[::17]
    for name in ("a.xyz", "a.extxyz.gz", "a.xyz.xz"):
        write_frames(tmp_path / name, few)
        found = read_frames(tmp_path / name)
        assert found.report.keys == {label: f"REF_{label}" for label in ("energy", "forces", "stress")}
        for one, other in zip(found.frames, few, strict=True):
            assert one.energy == other.energy and one.config_type == other.config_type
            np.testing.assert_allclose(one.forces, other.forces, atol=1e-8)
            np.testing.assert_allclose(one.atoms.positions, other.atoms.positions, atol=1e-8)
            if other.stress is not None:
                np.testing.assert_allclose(one.stress, other.stress, atol=1e-15)
        write_frames(tmp_path / f"again_{name}", found.frames)  # other keys go along, labels are not doubled
        assert (tmp_path / f"again_{name}").read_bytes() == (tmp_path / name).read_bytes()
    few[0].energy_weight = 2.5
    write_frames(tmp_path / "a.xyz", few[:1], prefix="EQUIPOT_")
    assert "EQUIPOT_energy" in (tmp_path / "a.xyz").read_text()
    back = read_frames(tmp_path / "a.xyz")
    assert back.report.keys["energy"] is None and back.frames[0].energy_weight == 2.5
    few[0].energy_weight = 1.0


def test_writing_is_whole_or_not_at_all(frames, tmp_path, monkeypatch):
    path = tmp_path / "a.xyz"
    path.write_text("what was there before")

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(DataError, match="No space left"):
            write_frames(path, frames[:2])
    assert path.read_text() == "what was there before" and os.listdir(tmp_path) == ["a.xyz"]
    for name, part in (("a.txt", "written to .xyz"), ("no/folder/a.xyz", "cannot be written")):
        with pytest.raises(DataError, match=part):
            write_frames(tmp_path / name, frames[:2])
    previous = os.umask(0o027)
    try:
        write_frames(path, frames[:2])
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
