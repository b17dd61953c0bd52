"""NequIP: FullNequIPGNNModel, NequIPCalculator and its own loss; eager, or with --compiled its compile modes.

Compiled inference is what ``nequip-compile --mode aotinductor --target ase`` makes, by the function that program calls
(the program itself wants the checkpoint of a training run); compiled training is ``compile_mode: compile``.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from nequip.data import AtomicDataDict, from_ase
from nequip.integrations.ase import NequIPCalculator
from nequip.integrations.utils import basic_transforms
from nequip.model import FullNequIPGNNModel
from nequip.nn import graph_model
from nequip.scripts._compile_utils import COMPILE_TARGET_DICT
from nequip.train import EnergyForceLoss, EnergyForceStressLoss
from nequip.utils.aot import aot_export_model
from nequip.utils.aoti_metadata import NEQUIP_AOTI_INPUTS_KEY, NEQUIP_AOTI_OUTPUTS_KEY, serialize_aoti_keys
from nequip.utils.global_state import get_latest_global_state, set_global_state

from peers import matched
from peers.protocol import Peer, serve
from peers.structures import ELEMENTS, Motion, training_frames

Data = AtomicDataDict.Type


class NequIP(Peer):
    """NequIP with natural parity (``parity: false`` in its own words)."""

    distributions = ("nequip", "torch", "e3nn", "matscipy", "ase")

    def __init__(self, *, is_compiled: bool) -> None:
        self.is_compiled = is_compiled

    def build(self, settings: dict) -> dict:
        torch.set_num_threads(settings["threads"])
        set_global_state()
        self.settings = settings
        self.model = self._model("eager")
        report = {"parameters": sum(parameter.numel() for parameter in self.model.parameters())}
        if self.is_compiled:
            report["note"] = self._export()
        return report

    def _model(self, mode: str) -> graph_model.GraphModel:
        size = matched.SIZES[self.settings["size"]]
        return FullNequIPGNNModel(
            seed=0,
            model_dtype=self.settings["dtype"],
            compile_mode=mode,
            type_names=list(ELEMENTS),
            r_max=matched.CUTOFF,
            irreps_edge_sh="+".join(f"1x{l}{'eo'[l % 2]}" for l in range(matched.L_MAX + 1)),
            type_embed_num_features=size.channels,
            num_bessels=matched.NUM_BESSEL,
            feature_irreps_hidden=[size.irreps("nequip")] * (matched.NUM_LAYERS - 1) + [f"{size.channels}x0e"],
            radial_mlp_depth=[len(matched.RADIAL_HIDDEN["nequip"])] * matched.NUM_LAYERS,
            radial_mlp_width=[matched.RADIAL_HIDDEN["nequip"][0]] * matched.NUM_LAYERS,
            polynomial_cutoff_p=matched.ENVELOPE_POWER["nequip"],
            avg_num_neighbors=matched.AVG_NUM_NEIGHBORS,
            per_type_energy_scales=1.0,
            per_type_energy_shifts=0.0,
        )

    def _transforms(self) -> list:
        return basic_transforms(self.model.metadata, matched.CUTOFF, list(ELEMENTS), {name: name for name in ELEMENTS})

    def _data(self, atoms) -> Data:
        data = from_ase(atoms)
        for transform in self._transforms():
            data = transform(data)
        return data

    # --- inference

    def _export(self) -> str:
        """Compile for ASE, or find what an earlier run compiled; inductor fixes the number of threads."""
        settings = self.settings
        folder = Path(settings["cache"])
        folder.mkdir(parents=True, exist_ok=True)
        name = f"nequip-{settings['size']}-{settings['dtype']}-{settings['threads']}-{settings['key']}.nequip.pt2"
        self.exported = folder / name
        if self.exported.exists():
            return "AOTInductor: compiled in an earlier run"
        start = time.perf_counter()
        target = COMPILE_TARGET_DICT["ase"]
        bounds = {
            "edge": torch.export.Dim("num_edges", min=2, max=torch.inf),
            "node": torch.export.Dim("num_nodes", min=2, max=torch.inf),
            "graph": torch.export.Dim("num_frames", min=2, max=torch.inf),
        }
        metadata = {
            **self.model.metadata,
            **get_latest_global_state(only_metadata_related=True),
            NEQUIP_AOTI_INPUTS_KEY: serialize_aoti_keys(target["input"]),
            NEQUIP_AOTI_OUTPUTS_KEY: serialize_aoti_keys(target["output"]),
        }
        metadata = {key: str(int(value)) if isinstance(value, bool) else str(value) for key, value in metadata.items()}
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            path = Path(temporary) / name
            aot_export_model(
                model=self._model("eager"),
                device=torch.device("cpu"),
                input_fields=target["input"],
                output_fields=target["output"],
                data=target["data_settings"](self._data(Motion("ta54").place(0))),
                batch_map=target["batch_map_settings"](bounds),
                output_path=str(path),
                inductor_configs={"aot_inductor.metadata": metadata},
            )
            path.rename(self.exported)
        return f"AOTInductor: compiled in {time.perf_counter() - start:.0f} s"

    def calculator(self) -> NequIPCalculator:
        if self.is_compiled:
            return NequIPCalculator.from_compiled_model(
                self.exported, device="cpu", chemical_species_to_atom_type_map=True
            )
        return NequIPCalculator(self.model.eval(), device="cpu", transforms=self._transforms())

    # --- training

    def training(self, batch: str):
        model = self._model("compile") if self.is_compiled else self.model
        model.train()
        frames = training_frames(batch)
        has_stress = frames[0].stress is not None
        data = []
        for frame in frames:
            one = self._data(frame.atoms)
            one[AtomicDataDict.TOTAL_ENERGY_KEY] = torch.tensor([[frame.energy]], dtype=torch.float64)
            one[AtomicDataDict.FORCE_KEY] = torch.tensor(frame.forces, dtype=torch.float64)
            if has_stress:
                one[AtomicDataDict.STRESS_KEY] = torch.tensor(frame.stress[None], dtype=torch.float64)
            data.append(one)
        whole = AtomicDataDict.batched_from_list(data)
        loss = (EnergyForceStressLoss if has_stress else EnergyForceLoss)(type_names=list(ELEMENTS))
        optimizer = torch.optim.Adam(model.parameters(), lr=matched.LEARNING_RATE)

        def step(batch: Data) -> float:
            optimizer.zero_grad(set_to_none=True)
            total = loss(model(batch.copy()), batch)["weighted_sum"]
            total.backward()
            optimizer.step()
            return total.item()

        # Fresh tensors each time, as a loader gives them.
        return lambda: {name: value.clone() for name, value in whole.items()}, step


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    serve(NequIP(is_compiled="--compiled" in sys.argv[1:]))
