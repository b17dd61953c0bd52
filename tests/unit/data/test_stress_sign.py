"""The proof of sign and unit of a stress from energies (D5), on exact data and on a published set."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from equipot.config.schema import DataConfig, KeysConfig, UnitsConfig
from equipot.data import load_datasets, read_frames, write_frames
from equipot.data.frames import Frame
from equipot.data.stress_sign import prove_sign
from equipot.errors import DataError
from equipot.units import GPA_PER_EV_A3, voigt_to_matrix


def _copper(stretches, *, rattle: float = 0.0, shear: float = 0.0) -> list[Frame]:
    generator = np.random.default_rng(3)
    frames = []
    for index, stretch in enumerate(stretches):
        atoms = bulk("Cu", cubic=True, a=3.6)
        strain = stretch * np.eye(3) + shear * generator.normal(size=(3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        atoms.positions += rattle * generator.normal(size=(4, 3))
        labelled = atoms.copy()
        labelled.calc = EMT()
        frames.append(
            Frame(
                atoms,
                labelled.get_potential_energy(),
                labelled.get_forces(),
                voigt_to_matrix(labelled.get_stress()),
                index=index,
                source=f"cu frame {index}",
            )
        )
    return frames


STRETCHES = np.linspace(-0.06, 0.08, 12)


@pytest.mark.parametrize(("rattle", "shear"), [(0.0, 0.0), (0.02, 0.0), (0.0, 0.01), (0.02, 0.01)])
def test_right_sign_and_unit(rattle, shear):
    proof = prove_sign(_copper(STRETCHES, rattle=rattle, shear=shear))
    assert proof.sign == 1
    assert proof.ratio == pytest.approx(1.0, abs=0.1 if rattle else 0.02)
    assert proof.unit_factor is None and "tension positive" in proof.sentence()


def test_the_work_of_the_forces_is_taken_off():
    """Displaced atoms at nearly equal volumes: without the forces, or with their sign wrong, the ratio is near two."""
    proof = prove_sign(_copper(np.linspace(-0.03, 0.03, 12), rattle=0.04))
    assert proof.agreement > 0.9 and proof.ratio == pytest.approx(1.0, abs=0.3)


@pytest.mark.parametrize(
    ("factor", "sign", "unit"),
    [(-1.0, -1, None), (GPA_PER_EV_A3, 1, "GPa"), (-10 * GPA_PER_EV_A3, -1, "kbar"), (1e4 * GPA_PER_EV_A3, 1, "bar")],
)
def test_wrong_sign_and_unit_are_recognised(factor, sign, unit):
    frames = [replace(frame, stress=factor * frame.stress) for frame in _copper(STRETCHES)]
    proof = prove_sign(frames)
    assert proof.sign == sign and proof.likely_unit == unit


def test_no_proof_without_volumes_energies_or_enough_pairs():
    assert prove_sign([]).sign == 0
    assert prove_sign(_copper([0.0] * 10, rattle=0.05)).sign == 0
    assert prove_sign(_copper([-0.02, 0.0, 0.02])).num_pairs == 2
    assert prove_sign(_copper([-0.02, 0.0, 0.02])).sign == 0
    assert prove_sign([replace(frame, energy=float("nan")) for frame in _copper(STRETCHES)]).num_pairs == 0
    random = np.random.default_rng(0)
    noise = [replace(frame, stress=np.eye(3) * random.normal()) for frame in _copper(STRETCHES)]
    assert prove_sign(noise).sign == 0


def test_declared_and_contradicted(tmp_path):
    path = tmp_path / "cu.xyz"
    frames = _copper(STRETCHES)
    write_frames(path, [replace(frame, stress=-frame.stress) for frame in frames])
    contradicted = read_frames(path)
    assert any("data.units.stress_sign=compression_positive" in line for line in contradicted.report.warnings)
    np.testing.assert_allclose(contradicted.frames[0].stress, -frames[0].stress)  # said, not changed
    for sign in ("compression_positive", "proven"):
        right = read_frames(path, units=UnitsConfig(stress_sign=sign))
        np.testing.assert_allclose(right.frames[0].stress, frames[0].stress)
        assert not right.report.warnings


def test_proven_without_proof_stops(tmp_path):
    path = tmp_path / "cu.xyz"
    write_frames(path, _copper([0.0, 0.02]))
    with pytest.raises(DataError, match=r"not provable.*tension_positive or compression_positive"):
        read_frames(path, units=UnitsConfig(stress_sign="proven"))


def test_small_files_are_proven_together_with_the_others(tmp_path):
    frames = [replace(frame, stress=-frame.stress) for frame in _copper(STRETCHES)]
    write_frames(tmp_path / "train.xyz", frames[:-2])
    write_frames(tmp_path / "val.xyz", frames[-2:])
    config = DataConfig(train=("train.xyz",), validation=("val.xyz",), units=UnitsConfig(stress_sign="proven"))
    datasets = load_datasets(config, 4.0, config_directory=tmp_path)
    np.testing.assert_allclose(datasets.validation[-1].stress[0].numpy(), -frames[-1].stress)
    assert any("compression positive" in line for line in datasets.report)


def test_minus_virial_is_proven_too(tmp_path):
    """Some codes write +V sigma as the virial."""
    frames = _copper(STRETCHES)
    path = tmp_path / "cu.xyz"
    for frame in frames:
        frame.info["odd_virial"] = frame.stress * frame.volume
    write_frames(path, [replace(frame, stress=None) for frame in frames])
    keys = KeysConfig(virial="odd_virial")
    assert any("stress_sign=proven" in line for line in read_frames(path, keys=keys).report.warnings)
    proven = read_frames(path, keys=keys, units=UnitsConfig(stress_sign="proven"))
    np.testing.assert_allclose(proven.frames[3].stress, frames[3].stress)


@pytest.mark.data
def test_tantalum_volume_curve():
    """The SNAP tantalum set: VASP pressures converted to ASE's sign; Volume_BCC alone proves it."""
    root = os.environ.get("EQUIPOT_DATA")
    path = Path(root or ".") / "ta_snap" / "train.xyz.xz"
    if not root or not path.exists():
        pytest.skip("needs EQUIPOT_DATA with the folder ta_snap (FitSNAP's Ta_Linear_JCP2014 as extended XYZ)")
    frames = read_frames(path).frames
    curve = [frame for frame in frames if frame.config_type == "Volume_BCC"]
    proof = prove_sign(curve)
    assert proof.sign == 1 and proof.agreement == 1.0 and proof.ratio == pytest.approx(1.0, abs=0.05)
    flipped = [replace(frame, stress=-frame.stress) for frame in curve]
    assert prove_sign(flipped).sign == -1
    gpa = [replace(frame, stress=frame.stress * GPA_PER_EV_A3) for frame in frames]
    assert prove_sign(gpa).likely_unit == "GPa"
    assert prove_sign(frames).sign == 1
