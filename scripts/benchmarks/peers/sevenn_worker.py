"""SevenNet: build_E3_equivariant_model, SevenNetCalculator and Trainer.run_one_epoch."""

from __future__ import annotations

import copy

import sevenn._keys as KEY
import torch
from ase.data import atomic_numbers
from sevenn._const import DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG, DEFAULT_TRAINING_CONFIG
from sevenn.atom_graph_data import AtomGraphData
from sevenn.calculator import SevenNetCalculator
from sevenn.model_build import build_E3_equivariant_model
from sevenn.train.dataload import atoms_to_graph
from sevenn.train.trainer import Trainer
from sevenn.util import load_checkpoint, pretrained_name_to_path
from torch_geometric.data import Batch

from peers import matched
from peers.protocol import Peer, serve
from peers.structures import ELEMENTS, training_frames


class SevenNet(Peer):
    """SevenNet with parity, so that only the tensor-product paths of natural parity exist."""

    distributions = ("sevenn", "torch", "e3nn", "torch-geometric", "matscipy", "ase")

    def build(self, settings: dict) -> dict:
        if settings["dtype"] != "float32":
            raise ValueError("its calculator and its data are float32 only")
        torch.set_num_threads(settings["threads"])
        if settings["size"] == matched.CONVERTED:
            return self._load("7net-0")
        torch.manual_seed(0)
        size = matched.SIZES[settings["size"]]
        numbers = [atomic_numbers[symbol] for symbol in ELEMENTS]
        config = copy.deepcopy(DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG)
        config.update(
            {
                KEY.CUTOFF: matched.CUTOFF,
                KEY.NODE_FEATURE_MULTIPLICITY: size.channels,
                KEY.LMAX: matched.L_MAX,
                KEY.LMAX_NODE: size.feature_l_max["nequip"],
                KEY.NUM_CONVOLUTION: matched.NUM_LAYERS,
                KEY.RADIAL_BASIS: {KEY.RADIAL_BASIS_NAME: "bessel", "bessel_basis_num": matched.NUM_BESSEL},
                KEY.CUTOFF_FUNCTION: {
                    KEY.CUTOFF_FUNCTION_NAME: "poly_cut",
                    "poly_cut_p_value": matched.ENVELOPE_POWER["nequip"],
                },
                KEY.CONVOLUTION_WEIGHT_NN_HIDDEN_NEURONS: list(matched.RADIAL_HIDDEN["nequip"]),
                KEY.CONV_DENOMINATOR: [matched.AVG_NUM_NEIGHBORS**0.5] * matched.NUM_LAYERS,
                KEY.NUM_SPECIES: len(numbers),
                KEY.TYPE_MAP: {number: k for k, number in enumerate(numbers)},
                KEY.SHIFT: 0.0,
                KEY.SCALE: 1.0,
            }
        )
        self.model = build_E3_equivariant_model(config)
        return {"parameters": self._num_parameters()}

    def _load(self, name: str) -> dict:
        """One of the models that come with the package; the checkpoint's path is reported."""
        checkpoint = pretrained_name_to_path(name)
        self.model = load_checkpoint(checkpoint).build_model()
        return {"parameters": self._num_parameters(), "checkpoint": str(checkpoint)}

    def _num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)

    def calculator(self) -> SevenNetCalculator:
        return SevenNetCalculator(self.model, file_type="model_instance", device="cpu")

    def training(self, batch: str):
        frames = training_frames(batch)
        has_stress = frames[0].stress is not None
        graphs = []
        for frame in frames:
            atoms = frame.atoms.copy()
            atoms.arrays["y_force"] = frame.forces
            atoms.info["y_energy"] = frame.energy
            if has_stress:
                atoms.info["y_stress"] = frame.stress
            graph = atoms_to_graph(atoms, matched.CUTOFF, transfer_info=False, with_shift=False)
            graphs.append(AtomGraphData.from_numpy_dict(graph))
        whole = Batch.from_data_list(graphs)
        config = copy.deepcopy(DEFAULT_TRAINING_CONFIG)
        config.update(
            {
                KEY.OPTIM_PARAM: {"lr": matched.LEARNING_RATE},
                KEY.DEVICE: "cpu",
                KEY.SCHEDULER_PARAM: {"gamma": 1.0},
                KEY.IS_TRAIN_STRESS: has_stress,
            }
        )
        trainer = Trainer.from_config(self.model, config)
        # A fresh copy each time: the model writes its outputs into the batch.
        return whole.clone, lambda batch: trainer.run_one_epoch([batch], is_train=True)


if __name__ == "__main__":
    serve(SevenNet())
