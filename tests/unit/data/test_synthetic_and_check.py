"""The Cu-Au set made on the spot, the data doctor on sound and spoiled frames, and writing."""

from __future__ import annotations

import copy
import json
import os
import stat
import time
from collections import Counter

import numpy as np
import pytest
from ase.calculators.emt import EMT

from equipot.config.schema import DataConfig
from equipot.data import check_frames, cu_au_emt, load_datasets, read_frames, write_frames
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
        curve = sorted((frame.volume, frame.energy) for frame in frames
                       if frame.config_type == "volume" and _formula(frame) == name)
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


def _checked(frames, tmp_path, spoil=lambda frames: None, name="a.xyz"):
    frames = copy.deepcopy(list(frames))
    spoil(frames)
    write_frames(tmp_path / name, frames)
    return check_frames(read_frames(tmp_path / name, on_bad="skip"))


def test_sound_frames_have_no_findings_but_facts(frames, tmp_path):
    report = _checked(frames, tmp_path)
    assert report.worst == "info", report.lines()
    assert {finding.code for finding in report.findings} == {"isolated-atoms", "stress-sign"}
    text = "\n".join(report.lines())
    for part in ("REF_energy", f"{len(frames)}/{len(frames)}", "Cu Au", "tension positive", "Cu-Cu", "volume 55"):
        assert part in text
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["summary"]["config types"]["volume"] == 55


def _overlap(frames):
    frames[5].atoms.positions[1] = frames[5].atoms.positions[0] + [0.9, 0, 0]


def _coincide(frames):
    frames[5].atoms.positions[1] = frames[5].atoms.positions[0]


def _set(index, **labels):
    def spoil(frames):
        for label, value in labels.items():
            setattr(frames[index], label, value)
    return spoil


@pytest.mark.parametrize(("code", "severity", "spoil", "shown"), [
    ("overlapping-atoms", "warning", _overlap, (5,)),
    ("coincident-atoms", "error", _coincide, (5,)),
    ("large-forces", "warning", lambda f: f[7].forces.__setitem__((0, 0), 150.0), (7,)),
    ("net-force", "warning", lambda f: f[7].forces.__iadd__(0.01), (7,)),
    ("energy-outliers", "warning", lambda f: _set(9, energy=f[9].energy + 15.0 * len(f[9].atoms))(f), (9,)),
    ("partial-energy", "warning", _set(3, energy=float("nan")), (3,)),
    ("partial-forces", "warning", _set(3, forces=None), (3,)),
    ("partial-stress", "warning", _set(3, stress=None), (3,)),
    ("no-forces", "error", lambda f: [setattr(frame, "forces", None) for frame in f], None),
    ("no-energy", "error", lambda f: [setattr(frame, "energy", float("nan")) for frame in f], None),
    ("no-stress", "info", lambda f: [setattr(frame, "stress", None) for frame in f], None),
    ("all-zero-forces", "warning", lambda f: [frame.forces.fill(0.0) for frame in f], ()),
    ("all-zero-stress", "warning", lambda f: [frame.stress.fill(0.0) for frame in f if frame.stress is not None], ()),
    ("duplicates", "warning", lambda f: f.append(copy.deepcopy(f[4])), (62,)),
    ("contradictions", "error", lambda f: f.append(_shifted(f[4])), (4,)),
    ("no-isolated-atoms", "info", lambda f: f.__delitem__(slice(-2, None)), ()),
    ("reading", "warning", lambda f: [setattr(frame, "stress", -frame.stress) for frame in f
                                      if frame.stress is not None], ()),
    ("unusable-frame", "error", lambda f: f[2].atoms.positions.fill(np.nan), (2,)),
])
def test_each_finding(code, severity, spoil, shown, frames, tmp_path):
    report = _checked(frames[:60] + frames[-2:], tmp_path, spoil)  # volume, a few elastic, the isolated atoms
    (finding,) = [finding for finding in report.findings if finding.code == code]
    assert finding.severity == severity
    if shown is not None:
        assert finding.frames == shown
    assert any(code in line for line in report.lines())
    json.dumps(report.to_dict(), allow_nan=False)


def _shifted(frame):
    frame = copy.deepcopy(frame)
    frame.energy += 0.5
    return frame


def test_a_file_without_any_label(tmp_path):
    (tmp_path / "plain.xyz").write_text("2\n\nH 0 0 0\nH 0 0 0.74\n")
    report = check_frames(read_frames(tmp_path / "plain.xyz"))
    assert {finding.code for finding in report.findings} >= {"no-energy", "no-forces"}
    assert any("none" in line for line in report.lines())
