"""mace-torch: ScaleShiftMACE, MACECalculator and mace.tools.train.take_step."""

from __future__ import annotations

from pathlib import Path

import mace  # noqa: F401 - before e3nn, whose constants an old e3nn reads only after it
import numpy as np
import torch
from ase.data import atomic_numbers
from e3nn import o3
from mace import data, modules
from mace.calculators import MACECalculator
from mace.tools import torch_geometric, utils
from mace.tools.train import take_step

from peers import matched
from peers.protocol import Peer, serve
from peers.structures import ELEMENTS, training_frames


def build_model(
    numbers: list[int], *, cutoff: float, l_max: int, num_bessel: int, is_residual: bool, irreps: str
) -> modules.ScaleShiftMACE:
    """A model with random weights; ``is_residual``: also the first interaction, as in the MACE-MP-0 models."""
    kinds, residual = modules.interaction_classes, "RealAgnosticResidualInteractionBlock"
    return modules.ScaleShiftMACE(
        r_max=cutoff,
        num_bessel=num_bessel,
        num_polynomial_cutoff=matched.ENVELOPE_POWER["mace"],
        max_ell=l_max,
        interaction_cls_first=kinds[residual if is_residual else "RealAgnosticInteractionBlock"],
        interaction_cls=kinds[residual],
        num_interactions=matched.NUM_LAYERS,
        num_elements=len(numbers),
        hidden_irreps=o3.Irreps(irreps),
        MLP_irreps=o3.Irreps(f"{matched.MACE_READOUT}x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.zeros(len(numbers)),
        avg_num_neighbors=matched.AVG_NUM_NEIGHBORS,
        atomic_numbers=numbers,
        correlation=matched.CORRELATION,
        radial_MLP=list(matched.RADIAL_HIDDEN["mace"]),
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )


class Mace(Peer):
    """MACE with the blocks of equipot's: matched models have no residual in the first interaction."""

    distributions = ("mace-torch", "torch", "e3nn", "ase")

    def build(self, settings: dict) -> dict:
        torch.set_num_threads(settings["threads"])
        torch.set_default_dtype(getattr(torch, settings["dtype"]))
        torch.manual_seed(0)
        self.dtype = settings["dtype"]
        report = {}
        if settings["size"] == matched.CONVERTED:
            self.model = build_model(
                [*range(1, 84), *range(89, 95)],
                cutoff=6.0,
                l_max=3,
                num_bessel=10,
                is_residual=True,
                irreps="128x0e+128x1o",
            )
            report["checkpoint"] = str(Path(settings["cache"]) / f"mace-mp0-shape-{settings['dtype']}.model")
            Path(settings["cache"]).mkdir(parents=True, exist_ok=True)
            torch.save(self.model, report["checkpoint"])
        else:
            self.model = build_model(
                [atomic_numbers[symbol] for symbol in ELEMENTS],
                cutoff=matched.CUTOFF,
                l_max=matched.L_MAX,
                num_bessel=matched.NUM_BESSEL,
                is_residual=False,
                irreps=matched.SIZES[settings["size"]].irreps("mace"),
            )
        self.table = utils.AtomicNumberTable(self.model.atomic_numbers.tolist())
        return report | {"parameters": sum(parameter.numel() for parameter in self.model.parameters())}

    def calculator(self) -> MACECalculator:
        return MACECalculator(models=self.model, device="cpu", default_dtype=self.dtype)

    def training(self, batch: str):
        for parameter in self.model.parameters():
            parameter.requires_grad_(True)  # the calculator froze them
        frames = training_frames(batch)
        has_stress = frames[0].stress is not None
        keys = data.KeySpecification(
            info_keys={"energy": "energy", "stress": "stress"}, arrays_keys={"forces": "forces"}
        )
        graphs = []
        for frame in frames:
            atoms = frame.atoms.copy()
            atoms.info["energy"] = frame.energy
            atoms.arrays["forces"] = frame.forces
            if has_stress:
                atoms.info["stress"] = frame.stress
            configuration = data.config_from_atoms(atoms, key_specification=keys)
            graphs.append(data.AtomicData.from_config(configuration, z_table=self.table, cutoff=matched.CUTOFF))
        whole = torch_geometric.batch.Batch.from_data_list(graphs)
        loss = modules.WeightedEnergyForcesStressLoss() if has_stress else modules.WeightedEnergyForcesLoss()
        optimizer = torch.optim.Adam(self.model.parameters(), lr=matched.LEARNING_RATE)
        outputs = {"forces": True, "virials": False, "stress": has_stress}
        device = torch.device("cpu")

        def step(batch) -> float:
            total, _ = take_step(self.model, loss, batch, optimizer, None, outputs, None, device)
            return total.item()

        return whole.clone, step  # a fresh copy each time: positions become a leaf that would collect gradients


if __name__ == "__main__":
    serve(Mace())
