"""Seconds a step (energy and forces through the ASE calculator, positions moving) of one model in one package.

Run it in each package's own environment, one after the other, on a quiet machine:

    equipot convert sevennet 7net-0 -o 7net-0.eqp
    python scripts/benchmark_converted.py equipot 7net-0.eqp
    sevenn-environment/bin/python scripts/benchmark_converted.py sevenn 7net-0
    mace-environment/bin/python scripts/benchmark_converted.py mace model.model
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from ase.build import bulk


def calculator(package: str, model: str):
    if package == "equipot":
        import equipot

        return equipot.Calculator(model)
    if package == "sevenn":
        from sevenn.calculator import SevenNetCalculator

        return SevenNetCalculator(model, device="cpu")
    from mace.calculators import MACECalculator

    return MACECalculator(model_paths=model, device="cpu", default_dtype="float32")


def structures() -> dict:
    salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (2, 2, 2)
    metal = bulk("Cu", "fcc", a=3.6) * (5, 5, 10)
    return {"NaCl, 64 atoms": salt, "Cu, 250 atoms": metal}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", choices=("equipot", "sevenn", "mace"))
    parser.add_argument("model")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    import torch

    torch.set_num_threads(args.threads)
    for name, atoms in structures().items():
        atoms.calc = calculator(args.package, args.model)
        random, seconds = np.random.default_rng(0), []
        atoms.rattle(0.05, seed=0)
        for repeat in range(args.repeats + 2):
            atoms.positions += random.normal(scale=0.005, size=atoms.positions.shape)
            start = time.perf_counter()
            energy, forces = atoms.get_potential_energy(), atoms.get_forces()
            if repeat >= 2:
                seconds.append(time.perf_counter() - start)
        print(f"{args.package:8} {name:16} {1e3 * statistics.median(seconds):9.2f} ms   "
              f"E {energy:.5f} eV   max F {np.abs(forces).max():.5f} eV/Angstrom", flush=True)


if __name__ == "__main__":
    main()
