"""Made-up metrics and rows of a run, for tests of what is shown of them."""

from __future__ import annotations

import numpy as np


def group(num: int, scale: float, *, stress: bool = True) -> dict:
    return {
        "num_configurations": num,
        "energy_mae_mev_per_atom": 3.0 * scale,
        "energy_rmse_mev_per_atom": 4.0 * scale,
        "forces_mae_mev_per_angstrom": 20.0 * scale,
        "forces_rmse_mev_per_angstrom": 40.0 * scale,
        "stress_mae_gpa": 0.2 * scale if stress else None,
        "stress_rmse_gpa": 0.4 * scale if stress else None,
    }


METRICS = {
    "train": {"all": group(30, 1.0), "rattled": group(20, 1.1), "<b>liquid": group(10, 0.9, stress=False)},
    "validation": {"all": group(4, 1.5), "rattled": group(4, 1.5)},
    "test": {"all": group(4, 2.0), "rattled": group(2, 2.0), "<b>liquid": group(2, 200.0, stress=False)},
}

ROWS = [
    {
        "epoch": epoch,
        "learning_rate": 0.01,
        "is_best": epoch == 7,
        "seconds": 1.0,
        "train": {"loss": 1.0 / epoch, **group(30, 10.0 / epoch)},
        "validation": {"loss": 1.2 / epoch, **group(4, 12.0 / epoch)} if epoch % 2 else None,
    }
    for epoch in range(1, 11)
]


def points(seed: int = 0, num: int = 200) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    generator = np.random.default_rng(seed)
    result = {}
    for name in ("energy", "forces", "stress"):
        reference = generator.normal(size=num)
        result[name] = reference, reference + 0.05 * generator.normal(size=num)
    return result
