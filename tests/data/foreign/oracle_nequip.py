"""Writes small NequIP models with random weights, deployed, and what they say in float64; run with nequip 0.6.

python oracle_nequip.py   # nequip_*.pth and nequip.json beside this file
"""

from __future__ import annotations

import json
from pathlib import Path

import nequip
import numpy as np
import torch
import yaml
from ase.neighborlist import neighbor_list
from e3nn.util.jit import script
from nequip.data import AtomicDataDict as keys
from nequip.model import model_from_config
from nequip.utils import Config
from structures import SYMBOLS, structures

HERE = Path(__file__).parent
MODELS = {
    "parity": {"l_max": 2, "parity": True, "num_features": 3, "num_layers": 3},
    "rotations": {"l_max": 2, "parity": False, "num_features": 4, "num_layers": 3},
    "natural": {
        "irreps_edge_sh": "1x0e+1x1o",
        "chemical_embedding_irreps_out": "5x0e",
        "feature_irreps_hidden": "5x0e+3x1o",
        "conv_to_output_hidden_irreps_out": "4x0e",
        "num_layers": 2,
    },
}


def main() -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    results = {}
    for name, settings in MODELS.items():
        torch.manual_seed(len(name))
        random = np.random.default_rng(len(name))
        symbols = sorted(SYMBOLS)
        config = Config.from_dict(
            {
                "model_builders": ["SimpleIrrepsConfig", "EnergyModel", "PerSpeciesRescale", "StressForceOutput"],
                "r_max": 4.5,
                "num_types": len(symbols),
                "type_names": symbols,
                "chemical_symbols": symbols,
                "num_basis": 6,
                "PolynomialCutoff_p": 6,
                "BesselBasis_trainable": True,
                "avg_num_neighbors": 9.5,
                "invariant_layers": 2,
                "invariant_neurons": 8,
                "use_sc": True,
                "nonlinearity_type": "gate",
                "resnet": False,
                "nonlinearity_scalars": {"e": "silu", "o": "tanh"},
                "nonlinearity_gates": {"e": "silu", "o": "abs"},
                "per_species_rescale_shifts": random.normal(size=len(symbols)).tolist(),
                "per_species_rescale_scales": random.uniform(1, 2, len(symbols)).tolist(),
                "default_dtype": "float64",
                "model_dtype": "float64",
                **settings,
            }
        )
        text = yaml.safe_dump(dict(config), default_flow_style=False)
        model = model_from_config(config, initialize=True).eval()
        path = HERE / f"nequip_{name}.pth"
        torch.jit.save(
            script(model),
            path,
            _extra_files={
                "config": text,
                "nequip_version": nequip.__version__,
                "r_max": "4.5",
                "type_names": " ".join(symbols),
            },
        )
        records = {}
        for key, atoms in structures().items():
            i, j, shift = neighbor_list("ijS", atoms, 4.5)
            periodic = atoms.cell.rank == 3
            output = model(
                {
                    keys.POSITIONS_KEY: torch.tensor(atoms.positions),
                    keys.EDGE_INDEX_KEY: torch.tensor(np.array([i, j])),
                    keys.ATOM_TYPE_KEY: torch.tensor([symbols.index(s) for s in atoms.get_chemical_symbols()]),
                    keys.EDGE_CELL_SHIFT_KEY: torch.tensor(shift, dtype=torch.float64),
                    keys.CELL_KEY: torch.tensor(atoms.cell.array if periodic else 100 * np.eye(3)),
                    keys.PBC_KEY: torch.tensor(atoms.pbc),
                }
            )
            records[key] = {
                "energy": output[keys.TOTAL_ENERGY_KEY].item(),
                "forces": output[keys.FORCE_KEY].tolist(),
                "stress": output[keys.STRESS_KEY].reshape(3, 3).tolist() if periodic else None,
            }
        results[name] = records
    (HERE / "nequip.json").write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main()
