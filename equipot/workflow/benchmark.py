"""The speed of a potential against the size of a structure and the number of threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import ase.build
import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii, reference_states

from equipot.data.structures import read_structure
from equipot.interfaces.ase import Calculator
from equipot.kernels import selection
from equipot.models import Potential
from equipot.simulation.speed import Benchmark, Measurement
from equipot.simulation.timing import time_steps
from equipot.system.allocator import keep_freed_memory
from equipot.system.busy import CpuShare, load_average, load_sentence
from equipot.system.threads import available_cores
from equipot.workflow.evaluation import find_model

#: Numbers of atoms that are measured where none are given.
SIZES = (50, 250, 1000, 5000, 20000)
_CRYSTALS = ("fcc", "bcc", "hcp", "diamond", "sc")


def benchmark(
    model: str | Path | Potential,
    structure: str | Path | Atoms | None = None,
    *,
    sizes: Sequence[int] = SIZES,
    threads: Sequence[int] | None = None,
    dtype: str | None = None,
    kernels: str | None = None,
    skin: float = 0.5,
    stress: bool = False,
    timestep_fs: float = 1.0,
    seconds: float = 3.0,
    report: Callable[[Measurement], None] | None = None,
) -> Benchmark:
    """Time steps of molecular dynamics on the CPU, through the ASE calculator.

    torch's number of threads is as before when it returns.

    Args:
        model: model file, run folder, or `Potential`.
        structure: file or atoms to make supercells of; None: a crystal of the model's elements.
        sizes: numbers of atoms; the nearest supercell of each is taken.
        threads: numbers of threads; None: 1, and all cores of this process.
        dtype, kernels, skin: as for `Calculator`.
        stress: whether each step needs the stress.
        timestep_fs: time between two steps.
        seconds: about how long to measure each size and number of threads.
        report: called with each measurement.

    Raises:
        UsageError: an argument has no meaning.
    """
    calculator = Calculator(
        model if isinstance(model, Potential) else find_model(model), dtype=dtype, kernels=kernels, skin=skin
    )
    unit, words = _unit_of(structure, calculator.potential.elements)
    cells = {len(cell): cell for cell in (supercell(unit, size) for size in sorted(sizes))}
    threads = sorted({1, available_cores()} if threads is None else set(threads))
    keep_freed_memory()
    before, measurements, share = torch.get_num_threads(), [], CpuShare()
    try:
        for cell in cells.values():
            for number in threads:
                torch.set_num_threads(number)
                with share if number == 1 else nullcontext():
                    step = time_steps(calculator, cell, seconds=seconds, stress=stress, timestep_fs=timestep_fs)
                measurements.append(Measurement(number, step))
                if report is not None:
                    report(measurements[-1])
    finally:
        torch.set_num_threads(before)
    with selection.use(kernels):
        found = selection.instruction_set()
    return Benchmark(
        tuple(measurements),
        words,
        "reference" if found is None else f"native ({found})",
        str(calculator.potential.dtype).removeprefix("torch."),
        timestep_fs,
        stress,
        "; ".join(filter(None, (share.sentence(), load_sentence(load_average(), os.cpu_count())))) or None,
    )


def supercell(unit: Atoms, size: int) -> Atoms:
    """Return the supercell with the number of atoms nearest to ``size``, as near to a cube as the unit allows.

    Directions without periodicity are not repeated; a molecule is returned as it is.
    """
    if not unit.pbc.any():
        return unit.copy()
    lengths = np.where(unit.pbc, unit.cell.lengths(), np.inf)
    repeats = np.ones(3, dtype=int)
    while True:
        longer = repeats.copy()
        longer[np.argmin(lengths * repeats)] += 1
        shorter, longer_size = len(unit) * int(repeats.prod()), len(unit) * int(longer.prod())
        if abs(longer_size - size) >= abs(shorter - size):
            return unit.repeat(repeats)
        repeats = longer


def default_structure(elements: Sequence[str]) -> Atoms:
    """Return a crystal of the elements: of one, as it is found in nature; of several, in turn on an fcc lattice."""
    state = reference_states[atomic_numbers[elements[0]]] or {}
    if len(elements) == 1 and state.get("symmetry") in _CRYSTALS:
        is_cubic = state["symmetry"] != "hcp"
        return ase.build.bulk(elements[0], cubic=True) if is_cubic else ase.build.bulk(elements[0], orthorhombic=True)
    radii = np.array([covalent_radii[atomic_numbers[element]] for element in elements])
    # Metals fill about 0.8 of their volume with spheres of the covalent radius; light elements much less.
    volume = max(8.0, float((1.2 * 4.0 / 3.0 * np.pi * radii**3).mean()))
    unit = ase.build.bulk(elements[0], "fcc", a=(4.0 * volume) ** (1.0 / 3.0), cubic=True)
    copies = -(-len(elements) // 4)
    unit = unit.repeat((copies, 1, 1))
    unit.set_chemical_symbols([elements[n % len(elements)] for n in range(len(unit))])
    return unit


def _unit_of(structure: str | Path | Atoms | None, elements: Sequence[str]) -> tuple[Atoms, str]:
    if structure is None:
        unit = default_structure(elements)
        return unit, f"{unit.get_chemical_formula()} ({len(unit)} atoms in the cell, made up)"
    if isinstance(structure, Atoms):
        return structure, structure.get_chemical_formula()
    unit = read_structure(structure)
    return unit, f"{structure}, {unit.get_chemical_formula()}"
