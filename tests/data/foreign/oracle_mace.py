"""Writes small MACE models with random weights, and what mace-torch itself says in float64; run with mace-torch 0.3.16
and cuequivariance-torch 0.13 (for the reduced coupling basis of ``mpa0``).

    python oracle_mace.py            # mace_*.model and mace.json beside this file
"""

from __future__ import annotations

import os

os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # mace-torch unpickles its own files

import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from ase.data import atomic_numbers
from e3nn import o3
from mace import modules
from mace.calculators import MACECalculator
from mace.modules import interaction_classes
from structures import SYMBOLS, structures

HERE = Path(__file__).parent
R, D = "RealAgnosticResidualInteractionBlock", "RealAgnosticDensityResidualInteractionBlock"
MODELS = {
    "plain": {"first": "RealAgnosticInteractionBlock", "other": R, "correlation": 3, "max_ell": 2, "hidden": "4x0e"},
    "mp0": {"first": R, "other": R, "correlation": 2, "max_ell": 3},
    "mpa0": {
        "first": "RealAgnosticDensityInteractionBlock",
        "other": D,
        "correlation": 3,
        "max_ell": 2,
        "reduced": True,
        "pair_repulsion": True,
        "distance_transform": "Agnesi",
    },
    "deep": {
        "first": R,
        "other": R,
        "correlation": 2,
        "max_ell": 2,
        "hidden": "3x0e+3x1o+3x2e",
        "layers": 3,
        "apply_cutoff": False,
    },
    "heads": {
        "first": D,
        "other": D,
        "correlation": 2,
        "max_ell": 2,
        "heads": ["pbe", "r2scan"],
        "apply_cutoff": False,
    },
}


def build(settings: dict) -> torch.nn.Module:
    random = np.random.default_rng(len(str(settings)))
    numbers = sorted(atomic_numbers[symbol] for symbol in SYMBOLS)
    heads = settings.get("heads", ["Default"])
    count = len(heads)
    return modules.ScaleShiftMACE(
        r_max=5.4,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=settings["max_ell"],
        interaction_cls=interaction_classes[settings["other"]],
        interaction_cls_first=interaction_classes[settings["first"]],
        num_interactions=settings.get("layers", 2),
        num_elements=len(numbers),
        hidden_irreps=o3.Irreps(settings.get("hidden", "4x0e+4x1o")),
        MLP_irreps=o3.Irreps(f"{5 * count}x0e"),
        atomic_energies=random.normal(size=(count, len(numbers))),
        avg_num_neighbors=11.3,
        atomic_numbers=numbers,
        correlation=settings["correlation"],
        gate=torch.nn.functional.silu,
        pair_repulsion=settings.get("pair_repulsion", False),
        apply_cutoff=settings.get("apply_cutoff", True),
        use_reduced_cg=settings.get("reduced", False),
        distance_transform=settings.get("distance_transform", "None"),
        radial_MLP=[8, 8],
        heads=heads,
        atomic_inter_scale=random.uniform(1, 2, count) if count > 1 else 1.7,
        atomic_inter_shift=random.normal(size=count) if count > 1 else 0.3,
    )


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(7)
    torch.set_default_dtype(torch.float64)
    results = {}
    for name, settings in MODELS.items():
        model = build(settings)
        path = HERE / f"mace_{name}.model"
        torch.save(deepcopy(model), path)
        for head in settings.get("heads", [None]):
            extra = {} if head is None else {"head": head}
            calculator = MACECalculator(model_paths=str(path), device="cpu", default_dtype="float64", **extra)
            records = {}
            for key, atoms in structures().items():
                atoms = atoms.copy()
                atoms.calc = calculator
                records[key] = {
                    "energy": float(atoms.get_potential_energy()),
                    "forces": atoms.get_forces().tolist(),
                    "stress": atoms.get_stress(voigt=False).tolist() if atoms.cell.rank == 3 else None,
                }
            results[name if head is None else f"{name}/{head}"] = records
    (HERE / "mace.json").write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main()
