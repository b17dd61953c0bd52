"""The data doctor and the reader on exact data: no fault where there is none, however many frames there are."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from equipot.checks.data import check_frames
from equipot.data.frames import Frame, FrameFile, ReadReport
from equipot.data.reading import read_frames
from equipot.data.writing import write_frames

KEYS = {label: f"REF_{label}" for label in ("energy", "forces", "stress")}


def dimers(count: int, types: int, seed: int = 0) -> list[Frame]:
    """Morse dimers at random lengths and orientations."""
    generator = np.random.default_rng(seed)
    frames = []
    for number in range(count):
        length, way = 0.7 + 1.8 * generator.random(), generator.normal(size=3)
        way /= np.linalg.norm(way)
        left = 1.0 - np.exp(-1.9 * (length - 0.74))
        pull = 2.0 * 4.5 * 1.9 * left * (1.0 - left) * way
        atoms = Atoms("H2", positions=[[0, 0, 0], length * way])
        frames.append(
            Frame(
                atoms,
                4.5 * (left**2 - 1.0),
                np.array([pull, -pull]),
                config_type=f"scan_{number % types}",
                index=number,
                source=f"d.xyz frame {number}",
            )
        )
    return frames


def report_of(frames, **options):
    return check_frames(FrameFile(frames, ReadReport("d.xyz", "extxyz", len(frames), keys=KEYS)), **options)


@pytest.mark.parametrize(("count", "types"), [(200, 5), (600, 1), (600, 15)])
def test_exact_dimers_are_without_fault(count, types):
    report = report_of(dimers(count, types), only=["contradictions", "theory", "energy-outliers", "forces-unit"])
    assert not report.flagged(), "\n".join(report.lines())


@pytest.mark.slow
def test_many_exact_dimers_have_one_level_of_theory():
    report = report_of(dimers(4000, 100, seed=2), only=["contradictions", "theory", "energy-outliers"])
    assert not report.flagged(), "\n".join(report.lines())


def test_a_true_contradiction_among_dimers_is_found():
    frames = dimers(600, 5)
    frames[500].atoms.positions = frames[3].atoms.positions @ np.diag([-1.0, 1.0, 1.0])
    frames[500].energy = frames[3].energy + 0.02
    report = report_of(frames, only=["contradictions"])
    (finding,) = report.get("contradictions").findings
    assert finding.frames == (500,) and finding.figure == pytest.approx(10.0)


def _cells(large: int, total: int) -> list[Frame]:
    generator = np.random.default_rng(0)
    frames = []
    for number in range(total):
        atoms = bulk("Cu", a=3.6, cubic=True)
        atoms.rattle(0.1, rng=generator)
        stress = np.eye(3) * (1.5 if number < large else 0.01)
        frames.append(Frame(atoms, -3.0 * len(atoms), generator.normal(size=(4, 3)), stress, index=number))
    return frames


@pytest.mark.parametrize(("large", "is_said"), [(1, False), (30, True)])
def test_a_strange_stress_of_few_frames_is_no_wrong_unit(large, is_said, tmp_path):
    write_frames(tmp_path / "a.xyz", _cells(large, 60))
    warnings = read_frames(tmp_path / "a.xyz").report.warnings
    assert any("is it in GPa" in text for text in warnings) is is_said
