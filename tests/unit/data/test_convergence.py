"""Flags of convergence in the keys of a frame."""

from __future__ import annotations

import pytest
from ase.db import connect

from equipot.data import read_frames
from equipot.errors import DataError
from tests.unit.data.frames_text import frame


@pytest.mark.parametrize(
    "flag", ["scf_converged=F", "electronic_converged=0", "SCF_converged=False", "dft_converged=no"]
)
def test_an_unconverged_frame_is_a_bad_frame(flag, tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text(frame() + frame(extra=f" {flag}") + frame(extra=f" {flag.split('=')[0]}=T"))
    with pytest.raises(DataError, match=r"frame 1 \(line 5\): its electronic structure did not converge"):
        read_frames(path)
    result = read_frames(path, on_bad="skip")
    assert [kept.index for kept in result.frames] == [0, 2]
    assert not result.report.warnings


def test_a_flag_that_may_be_of_the_relaxation_is_said(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text(frame() + frame(extra=" converged=F"))
    result = read_frames(path)
    assert len(result.frames) == 2
    assert any("1 frames say converged=F (first: frame 1)" in warning for warning in result.report.warnings)


def test_flags_in_a_database(tmp_path, frames):
    with connect(str(tmp_path / "a.db")) as database:
        for number, each in enumerate(frames):
            database.write(each.atoms, energy_dft=each.energy, scf_converged=number != 1)
    with pytest.raises(DataError, match="frame 1: its electronic structure"):
        read_frames(tmp_path / "a.db")
