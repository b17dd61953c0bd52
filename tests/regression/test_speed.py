"""The native kernels stay many times faster than the reference: a build or a path that is lost shows here."""

from __future__ import annotations

import time

import ase.build
import numpy as np
import pytest
import torch

from equipot.interfaces.ase import Calculator
from equipot.kernels.native import library
from equipot.models import PotentialConfig, build_potential, resolve_options
from equipot.simulation.timing import Motion

pytestmark = [
    pytest.mark.slow,
    pytest.mark.main_job,
    pytest.mark.skipif(isinstance(library.load(), str), reason="the native kernels are not built"),
]
#: Reference over native, CPU time of a step on 250 atoms; 20 to 40 were measured on AVX2.
SMALLEST_FACTOR = 8.0


@pytest.mark.parametrize("architecture", ["nequip", "mace"])
@pytest.mark.parametrize("radial", ["spline", "mlp"])
def test_a_step_of_dynamics(architecture, radial):
    options = resolve_options(architecture, "small", {"num_layers": 2, "radial": radial})
    config = PotentialConfig(
        architecture=architecture,
        elements=("Ta",),
        cutoff=5.0,
        avg_num_neighbors=26.0,
        dtype="float32",
        options=options,
    )
    potential = build_potential(config, atomic_energies={"Ta": 0.0})
    atoms = ase.build.bulk("Ta", a=3.3, cubic=True) * (5, 5, 5)
    motion = Motion(atoms)
    times = {"native": [], "reference": []}
    calculators = {kernels: Calculator(potential, kernels=kernels) for kernels in times}
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for step in range(8):  # in turn, so that whatever else the machine does slows both
            for kernels, calculator in calculators.items():
                for number in range(10 * step, 10 * step + (10 if kernels == "native" else 1)):
                    atoms.positions, atoms.calc = motion.positions(number), calculator
                    started = time.process_time()
                    atoms.get_forces()
                    times[kernels].append(time.process_time() - started)
    finally:
        torch.set_num_threads(before)
    factor = np.median(times["reference"][1:]) / np.median(times["native"][10:])
    assert factor > SMALLEST_FACTOR, f"native is only {factor:.1f} times faster than the reference"
    print(f"\n{architecture}, {radial}: {factor:.1f}")
