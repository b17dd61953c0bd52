"""EQUIPOT_KERNELS in programs of their own: each value gives the same numbers, or one sentence that says why not."""

from __future__ import annotations

import os
import subprocess
import sys

import ase.build
import ase.io
import numpy as np
import pytest

from equipot.checkpoint import save_model
from equipot.kernels.native import library
from tests.systems import make_potential

pytestmark = [pytest.mark.slow, pytest.mark.main_job]
IS_BUILT = not isinstance(library.load(), str)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernels")
    save_model(folder / "model.eqp", make_potential("nequip spline"), metadata={})
    atoms = ase.build.bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.rattle(0.1, seed=0)
    ase.io.write(folder / "cell.xyz", atoms)
    return folder


def predict(folder, **variables: str) -> tuple[subprocess.CompletedProcess, np.ndarray | None]:
    """Run ``equipot predict`` with these variables; the forces, where it ended well."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EQUIPOT_")}
    done = subprocess.run(
        [sys.executable, "-m", "equipot", "predict", "model.eqp", "cell.xyz", "-o", "out.xyz", "--overwrite"],
        cwd=folder,
        env=clean | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode != 0:
        return done, None
    return done, ase.io.read(folder / "out.xyz").arrays["EQUIPOT_forces"]


def test_every_value_gives_the_same_numbers_without_a_word(folder):
    values = ("auto", "native", "reference") if IS_BUILT else ("reference",)
    found = {}
    for value in values:
        done, found[value] = predict(folder, EQUIPOT_KERNELS=value)
        assert done.returncode == 0 and done.stderr == ""
    for forces in found.values():
        assert np.abs(forces - found["reference"]).max() < 1e-7 * np.abs(forces).max()


def test_another_value_is_refused(folder):
    done, _ = predict(folder, EQUIPOT_KERNELS="fast")
    assert done.returncode == 2
    assert "EQUIPOT_KERNELS is 'fast', expected one of auto, native, reference" in done.stderr
    assert "Traceback" not in done.stderr


def test_absent_kernels_are_said_once_or_are_an_error(folder):
    """A set that no CPU has stands for a package that was installed without a compiler."""
    reference = predict(folder, EQUIPOT_KERNELS="reference")[1]
    done, forces = predict(folder, EQUIPOT_KERNELS="auto", EQUIPOT_INSTRUCTION_SET="none")
    assert done.returncode == 0
    assert done.stderr.count("pure torch path, which gives the same numbers many times slower") == 1
    assert np.array_equal(forces, reference)
    done, _ = predict(folder, EQUIPOT_KERNELS="native", EQUIPOT_INSTRUCTION_SET="none")
    assert done.returncode == 2
    assert "The native kernels were asked for and are not there." in done.stderr


@pytest.mark.skipif(not IS_BUILT, reason="the native kernels are not built")
@pytest.mark.parametrize("name", library.INSTRUCTION_SETS)
def test_every_instruction_set_gives_the_same_numbers(folder, name):
    sets = library.INSTRUCTION_SETS
    if sets.index(name) > library.load().functions.equipot_best_instruction_set():
        pytest.skip(f"this CPU has no {name}")
    reference = predict(folder, EQUIPOT_KERNELS="reference")[1]
    done, forces = predict(folder, EQUIPOT_KERNELS="native", EQUIPOT_INSTRUCTION_SET=name)
    assert done.returncode == 0, done.stderr
    assert np.abs(forces - reference).max() < 1e-7 * np.abs(forces).max()
