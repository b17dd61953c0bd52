"""Writes small SevenNet checkpoints with random weights, and what sevenn itself says in float64; run with it (0.13).

python oracle_sevennet.py           # sevennet_*.pth and sevennet.json beside this file
python oracle_sevennet.py published # sevennet_published.json, for the checkpoints that come with sevenn
"""

from __future__ import annotations

import json
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import sevenn
import torch
from ase.neighborlist import neighbor_list
from e3nn import o3
from e3nn.math import _normalize_activation
from sevenn import _const as const
from sevenn import _keys as KEY
from sevenn.atom_graph_data import AtomGraphData
from sevenn.checkpoint import SevenNetCheckpoint
from sevenn.model_build import build_E3_equivariant_model
from sevenn.train.dataload import unlabeled_atoms_to_graph
from sevenn.util import chemical_species_preprocess
from structures import SYMBOLS, structures

HERE = Path(__file__).parent

# e3nn finds the constants of its activations with random numbers rounded to the default type: here in float64.
_moment = _normalize_activation.moment
_normalize_activation.moment = lambda f, n, dtype=None, device=None: _moment(f, n, torch.float64, device)

PUBLISHED = {
    "7net-0_22may2024": (const.SEVENNET_0_22May2024, (None,)),
    "7net-0": (const.SEVENNET_0_11Jul2024, (None,)),
    "7net-l3i5": (const.SEVENNET_l3i5, (None,)),
    "7net-mf-0": (const.SEVENNET_MF_0, ("PBE", "R2SCAN")),
}
MODELS = {
    "xplor": {
        "cutoff_function": {"cutoff_function_name": "XPLOR", "cutoff_on": 4.0},
        "lmax": 2,
        "irreps_manual": ["6x0e", "6x0e+4x1e+3x2e", "6x0e+4x1e+3x2e", "6x0e"],
    },
    "polynomial": {
        "cutoff_function": {"cutoff_function_name": "poly_cut", "poly_cut_p_value": 6},
        "lmax": 3,
        "num_convolution_layer": 2,
        "channel": 4,
    },
    "modal": {
        "cutoff_function": {"cutoff_function_name": "XPLOR", "cutoff_on": 4.0},
        "lmax": 2,
        "num_convolution_layer": 3,
        "channel": 4,
        "use_modality": True,
        "use_modal_node_embedding": True,
        "use_modal_self_inter_intro": True,
        "use_modal_self_inter_outro": True,
        "use_modal_output_block": True,
        "use_modal_wise_shift": True,
        "use_modal_wise_scale": True,
        "modalities": ["PBE", "R2SCAN"],
    },
}


def evaluate(model, atoms, cutoff: float, modal: str | None) -> dict:
    """Energy, forces and stress (ASE's sign, 3 x 3) of one structure, float64 throughout."""
    graph = AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(atoms, cutoff))
    for key, value in graph:
        if torch.is_tensor(value) and value.is_floating_point():
            graph[key] = value.double()
    # The graph keeps edge vectors in float32: give it the exact ones.
    positions, cell = (torch.tensor(array, dtype=torch.float64) for array in (atoms.positions, atoms.cell.array))
    source, target, shift = neighbor_list("ijS", atoms, cutoff)
    graph[KEY.EDGE_IDX] = torch.tensor(np.array([source, target]))
    vectors = positions[target] - positions[source] + torch.tensor(shift, dtype=torch.float64) @ cell
    graph[KEY.POS], graph[KEY.CELL], graph[KEY.EDGE_VEC] = positions, cell, vectors
    if KEY.CELL_VOLUME in graph:
        graph[KEY.CELL_VOLUME] = torch.linalg.det(cell).abs()
    if modal is not None:
        graph[KEY.DATA_MODALITY] = modal
    graph.to("cpu")
    model.set_is_batch_data(False)
    model.eval()
    graph[KEY.POS].requires_grad_(True)
    graph[KEY.EDGE_VEC].requires_grad_(True)
    output = model(graph)
    record = {"energy": output[KEY.PRED_TOTAL_ENERGY].item(), "forces": output[KEY.PRED_FORCE].tolist(), "stress": None}
    if atoms.cell.rank == 3:
        xx, yy, zz, xy, yz, zx = (-output[KEY.PRED_STRESS]).tolist()
        record["stress"] = [[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]]
    return record


def make_double(model):
    """The model in float64; its Clebsch-Gordan tables, which files hold in float32, exact with the file's signs."""
    model = model.double()
    for module in model.modules():
        if type(module).__name__ == "OnehotEmbedding":
            module.forward = _in_double(module)
        for name, table in list(module.named_buffers(recurse=False)):
            if name.startswith("_w3j_"):
                exact = o3.wigner_3j(*map(int, name.removeprefix("_w3j_").split("_")), dtype=torch.float64)
                table.copy_(exact if torch.allclose(table, exact, atol=1e-5) else -exact)
    return model


def _in_double(module):
    def forward(data):
        data = type(module).forward(module, data)
        for key, value in list(data.items()):
            if torch.is_tensor(value) and value.dtype == torch.float32:
                data[key] = value.double()
        return data

    return forward


def random_model(name: str) -> tuple[dict, torch.nn.Module]:
    settings = deepcopy(MODELS[name])
    modalities = settings.pop("modalities", None)
    config = deepcopy(const.DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG)
    config.update(chemical_species_preprocess(list(SYMBOLS)))
    random = np.random.default_rng(len(name))
    count = len(SYMBOLS)
    config.update(
        {
            "cutoff": 4.5,
            "is_parity": False,
            "self_connection_type": "linear",
            "radial_basis": {"radial_basis_name": "bessel", "bessel_basis_num": 8},
            "weight_nn_hidden_neurons": [12, 12],
            "is_train_stress": True,
            "conv_denominator": 4.0,
            "train_denominator": False,
            "num_convolution_layer": 3,
            "channel": 4,
            "shift": random.normal(size=count).tolist(),
            "scale": random.uniform(1, 2, size=count).tolist(),
            "version": sevenn.__version__,
            "_normalize_sph": True,
            **settings,
        }
    )
    if modalities:
        config["_modal_map"] = {modal: k for k, modal in enumerate(modalities)}
        config["_number_of_modalities"] = len(modalities)
        config["shift"] = random.normal(size=(len(modalities), count)).tolist()
        config["scale"] = random.uniform(1, 2, size=(len(modalities), count)).tolist()
    torch.manual_seed(len(name))
    return config, build_E3_equivariant_model(config)


def main() -> None:
    torch.set_num_threads(1)
    results = {}
    if sys.argv[1:] == ["published"]:
        for name, (path, modals) in PUBLISHED.items():
            model = make_double(SevenNetCheckpoint(path).build_model())
            for modal in modals:
                results[name if modal is None else f"{name}/{modal}"] = {
                    key: evaluate(model, atoms, float(model.cutoff), modal) for key, atoms in structures().items()
                }
        target = HERE / "sevennet_published.json"
    else:
        for name in MODELS:
            config, model = random_model(name)
            torch.save(
                {
                    "model_state_dict": model.state_dict(),
                    "config": config,
                    "epoch": 0,
                    "optimizer_state_dict": {},
                    "scheduler_state_dict": {},
                },
                HERE / f"sevennet_{name}.pth",
            )
            model = make_double(SevenNetCheckpoint(str(HERE / f"sevennet_{name}.pth")).build_model())
            for modal in config.get("_modal_map", {}) or (None,):
                results[name if modal is None else f"{name}/{modal}"] = {
                    key: evaluate(model, atoms, 4.5, modal) for key, atoms in structures().items()
                }
        target = HERE / "sevennet.json"
    target.write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main()
