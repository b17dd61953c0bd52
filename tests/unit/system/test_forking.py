"""Processes forked after a calculation compute, with one thread, instead of waiting for ever."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import multiprocessing
import torch
from ase.build import bulk
from equipot.interfaces.ase import Calculator
from equipot.system.threads import set_threads
from tests.systems import make_potential

POTENTIAL = make_potential("nequip spline")

def energy(number):
    atoms = bulk("Cu", cubic=True).repeat(3)
    atoms.calc = Calculator(POTENTIAL)
    if number > 1:
        set_threads(2)  # a forked process has none to give
    return round(atoms.get_potential_energy(), 6), torch.get_num_threads()

if __name__ == "__main__":
    torch.set_num_threads(2)
    expected, _ = energy(0)
    torch.set_num_threads(2)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(energy, range(4), chunksize=1).get(timeout=100)
    assert found == [(expected, 1)] * 4, (expected, found)
    print("all four came")
"""


def test_a_pool_forked_after_a_calculation_with_two_threads_comes_to_an_end(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0 and "all four came" in done.stdout, done.stderr[-2000:]
    assert "forked from one with 2 OpenMP threads" in done.stderr
