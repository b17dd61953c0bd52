"""The data doctor on published sets: the quirks their READMEs state, the faults planted in copies, and nothing else."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import numpy as np
import pytest

from equipot.checks.data import check_frames, fix_frames
from equipot.checks.data.step_fits import reorder_shear
from equipot.data import read_frames
from equipot.units import GPA_PER_EV_A3

pytestmark = pytest.mark.data


def read(folder: str, *names: str):
    root = os.environ.get("EQUIPOT_DATA")
    if not root or not (Path(root) / folder).exists():
        pytest.skip(f"needs EQUIPOT_DATA, the folder of published data sets as extended XYZ, with {folder} in it")
    return [read_frames(Path(root) / folder / name, on_bad="skip") for name in names]


def test_pulay_stress_of_the_tantalum_groups():
    """README of the set: energy derivative = REF_stress - 1.10 GPa (Elastic_BCC), - 0.78 GPa (Elastic_FCC)."""
    files = read("ta_snap", "train.xyz.xz", "val.xyz", "test.xyz")
    report = check_frames(files)
    bcc, fcc = report.get("pulay").findings
    assert "Elastic_BCC" in bcc.message and bcc.figure == pytest.approx(1.10, abs=0.03) and "-1.1" in bcc.message
    assert "Elastic_FCC" in fcc.message and fcc.figure == pytest.approx(0.78, abs=0.06) and "-0." in fcc.message
    assert len(bcc.places) == len(fcc.places) == 100
    assert report.get("stress-unit").status == report.get("shear-order").status == "note"
    assert report.flagged() in (["pulay"], ["pulay", "duplicates"])  # 110_surface_relax is there twice (README)


@pytest.mark.parametrize(
    ("folder", "training", "test", "leaks"),
    [
        ("mlearn_cu", ("train.xyz.xz", "val.xyz.xz"), "test.xyz.xz", 9),
        ("mlearn_li", ("train.xyz.xz", "val.xyz"), "test.xyz", 3),
        ("mlearn_si", ("train.xyz.xz", "val.xyz"), "test.xyz", 3),
        ("mlearn_mo", ("train.xyz.xz", "val.xyz"), "test.xyz", 0),
    ],
)
def test_symmetry_equivalent_frames_of_mlearn(folder, training, test, leaks):
    """READMEs: test energies that also occur in training, Cu 9, Li 3, Si 3, Mo none, from symmetry-equivalent cells."""
    report = check_frames(read(folder, *training), against=read(folder, test), only=["leaks"])
    findings = report.get("leaks").findings
    found = findings[0].frames if findings else ()
    assert len(found) >= leaks and (leaks > 0) == bool(found)
    if findings:  # more structures than energies: some were computed with another k-mesh
        assert sum("same energy" in place.text for place in findings[0].places) >= leaks


@pytest.mark.parametrize(("folder", "largest"), [("limonitio", 1.6), ("water", 0.40)])
def test_drift_of_the_forces(folder, largest):
    """READMEs: sums up to 1.6 eV/A over 56 atoms (limonitio), 0.33 a component over 192 atoms (water)."""
    files = read(folder, "val.xyz.xz", "train.xyz.xz")
    report = check_frames(files, only=["net-force"])
    (finding,) = report.get("net-force").findings
    assert finding.status == "warn" and f"up to {largest:.2g} eV/A" in finding.message
    fixed = fix_frames(files, report, also=["net-force"])
    assert max(np.abs(frame.forces.sum(axis=0)).max() for frame in fixed.frames) < 0.1


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (lambda stress: -stress, "stress-unit", "opposite sign"),
        (lambda stress: stress * GPA_PER_EV_A3, "stress-unit", "in GPa"),
        (lambda stress: stress * 10 * GPA_PER_EV_A3, "stress-unit", "in kbar"),
        (lambda stress: reorder_shear(stress, (2, 0, 1)), "shear-order", "stored as xy, yz, xz"),
    ],
)
def test_planted_in_tantalum(spoil, code, words):
    (file,) = read("ta_snap", "train.xyz.xz")
    before = copy.deepcopy(file.frames)
    for frame in file.frames:
        frame.stress = spoil(frame.stress)
    report = check_frames(file, only=["stress-unit", "shear-order", "pulay"])
    findings = [finding for finding in report.get(code).findings if finding.status == "fail"]
    assert findings and all(words in finding.message for finding in findings)
    for one, other in zip(fix_frames([file], report).frames, before, strict=True):
        if code == "stress-unit" or other.config_type.startswith("Elastic"):
            np.testing.assert_allclose(one.stress, other.stress, rtol=1e-9, atol=2e-5)


def test_planted_halved_energy_and_leak_in_molybdenum():
    (file,), (test,) = read("mlearn_mo", "train.xyz.xz"), read("mlearn_mo", "test.xyz")
    file.frames[30].energy /= 2.0
    test.frames[3].atoms = file.frames[40].atoms.copy()
    test.frames[3].atoms.rotate(33.0, (1, 2, 3), rotate_cell=True)
    report = check_frames(file, against=[test])
    assert report.get("energy-outliers").findings[0].frames == (30,)
    assert "half of it" in report.get("energy-outliers").findings[0].places[0].text
    assert report.get("leaks").findings[0].frames == (3,)
    assert "frame 40" in report.get("leaks").findings[0].places[0].text
    assert report.flagged() == ["energy-outliers", "leaks"]


@pytest.mark.parametrize(
    ("folder", "names"),
    [
        ("mlearn_mo", ("train.xyz.xz", "val.xyz")),
        ("mlearn_si", ("train.xyz.xz", "val.xyz")),
        ("3bpa", ("val.xyz", "isolated_atoms.xyz")),
        ("acac", ("train.xyz.xz", "isolated_atoms.xyz")),
    ],
)
def test_quiet_on_sound_sets(folder, names):
    report = check_frames(read(folder, *names))
    assert not report.flagged(), "\n".join(report.lines())
