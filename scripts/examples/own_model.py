"""An architecture of one's own, registered from outside the package, trained, saved, loaded and used like any other.

The architecture is PaiNN (Schuett, Unke, Gastegger, ICML 2021, arXiv:2102.03150): every atom carries scalars and
vectors; messages mix them with filters of the distance and add the direction to the neighbour. It only has to be
invariant, smooth and blind beyond the cutoff: units, atomic energies, forces and stress are the Potential's work. The
script ends with two checks every new architecture should pass.

    python scripts/examples/own_model.py                        # Cu-Au frames made on the spot
    python scripts/examples/own_model.py --frames frames.xyz --epochs 100

Another program that reads the model file imports this one first (``import own_model``), which registers the name.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import numpy as np
import torch
from ase.calculators.fd import calculate_numerical_forces
from torch import nn

import equipot
from equipot.data import cu_au_emt, read_frames
from equipot.errors import EquipotError
from equipot.models import Edges, register
from equipot.nn import MultiLayerPerceptron, RadialEmbedding


@dataclass(frozen=True)
class PaiNNOptions:
    """What a configuration may set in its section ``model``; unknown keys and wrong types are refused."""

    num_layers: int = 3
    num_channels: int = 64
    num_bessel: int = 16


class PaiNNLayer(nn.Module):
    """One message and one update. MultiLayerPerceptron has no biases, so nothing is left where a filter is zero."""

    def __init__(self, channels: int, num_bessel: int) -> None:
        super().__init__()
        self.filter = MultiLayerPerceptron([num_bessel, 3 * channels])
        self.message = MultiLayerPerceptron([channels, channels, 3 * channels])
        self.mix = MultiLayerPerceptron([channels, 2 * channels])
        self.update = MultiLayerPerceptron([2 * channels, channels, 3 * channels])

    def forward(self, s, v, radial, direction, edges: Edges, norm: float):
        """s (N, C) scalars, v (N, 3, C) vectors, radial (E, K), direction (E, 3)."""
        weight = self.filter(radial) * self.message(s)[edges.neighbor] / norm
        to_s, keep, turn = weight.unsqueeze(1).chunk(3, dim=2)
        to_v = keep * v[edges.neighbor] + turn * direction.unsqueeze(2)
        s = s.index_add(0, edges.center, to_s.squeeze(1))
        v = v.index_add(0, edges.center, to_v)
        left, right = self.mix(v).chunk(2, dim=2)
        # Squares where the paper has norms: smooth also where a vector vanishes by symmetry, as in every crystal.
        gate, product, add = self.update(torch.cat([s, right.square().sum(dim=1)], dim=1)).chunk(3, dim=1)
        return s + add + product * (left * right).sum(dim=1), v + gate.unsqueeze(1) * left


class PaiNN(nn.Module):
    """The architecture: species and edges in, one energy an atom out (see ``equipot.models.Architecture``)."""

    def __init__(self, options: PaiNNOptions, *, num_species: int, cutoff: float, avg_num_neighbors: float) -> None:
        super().__init__()
        self.norm = max(avg_num_neighbors, 1.0) ** 0.5
        self.radial = RadialEmbedding(cutoff, options.num_bessel, 6)
        self.embedding = nn.Embedding(num_species, options.num_channels)
        self.layers = nn.ModuleList(
            PaiNNLayer(options.num_channels, options.num_bessel) for _ in range(options.num_layers)
        )
        self.readout = MultiLayerPerceptron([options.num_channels, options.num_channels, 1])

    def forward(self, species: torch.Tensor, edges: Edges) -> torch.Tensor:
        (radial, _), direction = self.radial(edges.length), edges.vector / edges.length.unsqueeze(1)
        s = self.embedding(species)
        v = s.new_zeros(len(s), 3, s.shape[1])
        for layer in self.layers:
            s, v = layer(s, v, radial, direction, edges, self.norm)
        return self.readout(s).squeeze(1)


register("plain_painn", PaiNNOptions, PaiNN, presets={"small": {}, "medium": {"num_channels": 128}})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", help="file of labelled frames (default: Cu-Au frames labelled with EMT)")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--channels", type=int, default=64, help="width of the network (default: 64)")
    parser.add_argument("--cutoff", type=float, default=5.0, help="in A (default: 5)")
    parser.add_argument("--output", default="runs/own_model", help="run folder (default: runs/own_model)")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in that folder")
    args = parser.parse_args()

    result = equipot.train(
        {
            "name": "own_model",
            "run_directory": args.output,
            "data": {"train": [args.frames]} if args.frames else {"generate": "cu_au_emt"},
            "model": {
                "architecture": "plain_painn",
                "preset": "small",
                "num_channels": args.channels,
                "cutoff": args.cutoff,
            },
            "training": {"epochs": args.epochs},
        },
        overwrite=args.overwrite,
    )

    frames = read_frames(args.frames).frames if args.frames else cu_au_emt()
    frame = max(frames, key=lambda frame: len(frame.atoms))
    atoms = frame.atoms.copy()
    atoms.calc = equipot.Calculator(result.model_path, dtype="float64")
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    print(f"{frame.source}: energy {energy:.4f} eV, label {frame.energy:.4f} eV")

    turned = atoms.copy()
    turned.calc = atoms.calc
    turned.rotate(67, (1, 2, 3), rotate_cell=True)
    print(f"Invariance: turned in space its energy changes by {abs(turned.get_potential_energy() - energy):.1e} eV")
    slope = calculate_numerical_forces(atoms, eps=1e-3, iatoms=[0])[0]
    print(f"Smoothness: the force on atom 0 is {np.abs(slope - forces[0]).max():.1e} eV/A from -dE/dr by differences")


if __name__ == "__main__":
    try:
        main()
    except EquipotError as error:
        print(f"own_model: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
