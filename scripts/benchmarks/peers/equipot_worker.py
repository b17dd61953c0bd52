"""equipot, by its public interface."""

from __future__ import annotations

import torch

import equipot
from equipot.checkpoint.foreign import convert
from equipot.config import LossConfig, OptimizerConfig
from equipot.graph import collate, from_ase
from equipot.models import PotentialConfig, build_potential, resolve_options
from equipot.system.allocator import keep_freed_memory
from equipot.training import ExponentialMovingAverage, Loss, build_optimizer, training_step
from peers import matched
from peers.protocol import Peer, serve
from peers.structures import ELEMENTS, training_frames


def options(settings: dict) -> dict:
    """The architecture's options that match the peers."""
    architecture, size = settings["architecture"], matched.SIZES[settings["size"]]
    chosen = {
        "num_layers": matched.NUM_LAYERS,
        "num_channels": size.channels,
        "l_max": matched.L_MAX,
        "feature_l_max": size.feature_l_max[architecture],
        "num_bessel": matched.NUM_BESSEL,
        "radial_hidden": matched.RADIAL_HIDDEN[architecture],
        "envelope_power": matched.ENVELOPE_POWER[architecture],
    }
    if architecture == "mace":
        chosen |= {"correlation": matched.CORRELATION, "readout_hidden": (matched.MACE_READOUT,)}
    if settings.get("radial"):  # else the package's own default
        chosen["radial"] = settings["radial"]
    return resolve_options(architecture, None, chosen)


class Equipot(Peer):
    """A potential with random weights, or a peer's."""

    distributions = ("equipot", "torch", "ase", "matscipy")

    def build(self, settings: dict) -> dict:
        torch.set_num_threads(settings["threads"])
        if settings["size"] == matched.CONVERTED:
            model = matched.PRETRAINED[settings["architecture"]]
            if settings["checkpoint"] is None:
                raise ValueError(f"{model.package} has no {model.title} to convert")
            self.potential = convert(model.family, settings["checkpoint"], dtype=settings["dtype"])
            return {"parameters": self.potential.num_parameters()}
        config = PotentialConfig(
            architecture=settings["architecture"],
            elements=ELEMENTS,
            cutoff=matched.CUTOFF,
            dtype=settings["dtype"],
            avg_num_neighbors=matched.AVG_NUM_NEIGHBORS,
            options=options(settings),
        )
        self.potential = build_potential(config, atomic_energies=dict.fromkeys(ELEMENTS, 0.0))
        radial = config.options.get("radial", "mlp")
        return {"parameters": self.potential.num_parameters(), "note": f"radial: {radial}"}

    def calculator(self) -> equipot.Calculator:
        return equipot.Calculator(self.potential)

    def training(self, batch: str):
        keep_freed_memory()  # as its training loop does
        potential = self.potential.train()
        graph = collate(
            [
                from_ase(frame.atoms, matched.CUTOFF, energy=frame.energy, forces=frame.forces, stress=frame.stress)
                for frame in training_frames(batch)
            ]
        )
        optimizer = build_optimizer(potential, OptimizerConfig(name="adam", learning_rate=matched.LEARNING_RATE))
        loss, ema = Loss(LossConfig(), 1.0), ExponentialMovingAverage(potential, 0.99)
        return (
            lambda: graph
        ), lambda graph: training_step(potential, [graph], loss, optimizer, ema, clip_norm=10.0).loss


if __name__ == "__main__":
    serve(Equipot())
