"""A training loop of one's own, with a term in the loss that no configuration has: the bulk modulus of a crystal.

The frames teach the potential as usual. Beside them it is told one number that is not in any frame: the bulk modulus
B = -V dP/dV of a crystal at a lattice constant, say a measured one. The pressure P comes from the stress the potential
predicts at two volumes, and the loss gets (B / B_wanted - 1)^2, differentiated through the stress like everything else.
Set --extra-weight 0 to see what the frames alone give.

    python scripts/examples/own_training_loop.py                                        # Cu-Au frames made on the spot
    python scripts/examples/own_training_loop.py --frames si.xyz --element Si --lattice diamond --a 5.43
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.emt import parameters as EMT_ELEMENTS

from equipot.checkpoint import load_model, save_model
from equipot.config import DataConfig, LossConfig, OptimizerConfig
from equipot.data import BatchSampler, load_datasets
from equipot.errors import EquipotError
from equipot.graph import collate, from_ase
from equipot.models import Potential, PotentialConfig, build_potential, resolve_options
from equipot.properties import equation_of_state
from equipot.training import ExponentialMovingAverage, Loss, build_optimizer, evaluate, resolve_device
from equipot.units import GPA_PER_EV_A3


class BulkModulus:
    """The bulk modulus (GPa) a potential gives a crystal, differentiable in its parameters."""

    def __init__(self, crystal: Atoms, cutoff: float, device: torch.device, strain: float = 0.005) -> None:
        pair = [crystal.copy(), crystal.copy()]
        for atoms, stretch in zip(pair, (1 - strain, 1 + strain)):
            atoms.set_cell(crystal.cell * stretch, scale_atoms=True)
        self.graph = collate([from_ase(atoms, cutoff) for atoms in pair]).to(device)
        self.volume = torch.linalg.det(self.graph.cell).abs()

    def __call__(self, potential: Potential, *, create_graph: bool) -> torch.Tensor:
        stress = potential(self.graph, forces=False, create_graph=create_graph).stress  # (2, 3, 3) eV/A^3, tension +
        pressure = -stress.diagonal(dim1=1, dim2=2).mean(dim=1)
        return -self.volume.mean() * pressure.diff()[0] / self.volume.diff()[0] * GPA_PER_EV_A3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", help="file of labelled frames (default: Cu-Au frames labelled with EMT)")
    parser.add_argument("--element", default="Cu", help="of the crystal (default: Cu)")
    parser.add_argument("--lattice", default="fcc", help="of the crystal, as ase.build.bulk calls it (default: fcc)")
    parser.add_argument("--a", type=float, help="lattice constant in A (default: EMT's own)")
    parser.add_argument("--bulk-modulus", type=float, help="wanted, in GPa (default: EMT's own)")
    parser.add_argument("--extra-weight", type=float, default=0.1, help="of the extra term (default: 0.1)")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--optimizer", default="soap", choices=("soap", "adamw"))
    parser.add_argument("--learning-rate", type=float, default=0.03)
    parser.add_argument("--cutoff", type=float, default=5.0, help="in A (default: 5)")
    parser.add_argument("--channels", type=int, default=32, help="width of the network (default: 32)")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"), help="of the network")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("own_training_loop.eqp"), help="model file; it is replaced")
    args = parser.parse_args()
    if None in (args.a, args.bulk_modulus) and args.element not in EMT_ELEMENTS:
        parser.error(f"give --a and --bulk-modulus: EMT, their default, does not know {args.element}")
    return args


def main() -> None:
    args = arguments()
    device = resolve_device(args.device)
    # Labels, splits, atomic energies and statistics, as `equipot train` has them.
    data = DataConfig(train=(args.frames,)) if args.frames else DataConfig(generate="cu_au_emt")
    sets = load_datasets(data, args.cutoff)
    config = PotentialConfig(
        architecture="nequip",
        elements=sets.elements,
        cutoff=args.cutoff,
        dtype=args.dtype,
        avg_num_neighbors=sets.statistics.avg_num_neighbors,
        options=resolve_options("nequip", "small", {"num_layers": 2, "num_channels": args.channels}),
    )
    potential = build_potential(
        config,
        atomic_energies=sets.atomic_energies.values,
        scale=sets.statistics.forces_rms,
        shift=sets.statistics.energy_mean_per_atom_after_e0,
        seed=args.seed,
    ).to(device)

    a, wanted = args.a, args.bulk_modulus
    if None in (a, wanted):
        exact = equation_of_state(bulk(args.element, args.lattice, a=a or 4.0, cubic=True), EMT())
        a, wanted = a or exact.lattice_constant, wanted or exact.bulk_modulus_gpa
    modulus = BulkModulus(bulk(args.element, args.lattice, a=a), args.cutoff, device)

    loss = Loss(LossConfig(), sets.statistics.forces_rms)
    optimizer = build_optimizer(potential, OptimizerConfig(name=args.optimizer, learning_rate=args.learning_rate))
    sampler = BatchSampler([graph.num_edges for graph in sets.train], batch_size=5, seed=args.seed)
    num_steps = args.epochs * len(sampler.batches(0))
    schedule = torch.optim.lr_scheduler.LambdaLR(  # a short warm-up, then half a cosine
        optimizer, lambda step: min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * min(1, step / num_steps)))
    )
    ema = ExponentialMovingAverage(potential, 0.99)
    errors, value = {}, float(modulus(potential, create_graph=False))

    print(f"{len(sets.train)} training frames, {potential.num_parameters()} parameters, {num_steps} steps on {device}")
    print("epoch      loss     extra  E/(meV/atom)  F/(meV/A)  B/GPa   (validation errors, averaged weights)")
    for epoch in range(args.epochs):
        sums = torch.zeros(2, dtype=torch.float64)
        for indices in sampler.batches(epoch):
            batch = collate([sets.train[k] for k in indices]).to(device)
            data_term = loss(potential(batch, create_graph=True), batch).total
            extra = args.extra_weight * (modulus(potential, create_graph=True) / wanted - 1) ** 2
            optimizer.zero_grad()
            (data_term + extra).backward()
            torch.nn.utils.clip_grad_norm_(potential.parameters(), 10.0, error_if_nonfinite=True)
            optimizer.step()
            schedule.step()
            ema.update()
            sums += torch.stack([data_term, extra]).detach().cpu() / len(sampler.batches(epoch))
        with ema.swapped():
            errors = evaluate(potential, sets.validation or sets.train, device=device).metrics["all"]
            value = float(modulus(potential, create_graph=False))
        print(
            f"{epoch + 1:5d}  {sums[0]:8.4f}  {sums[1]:8.4f}  {errors['energy_mae_mev_per_atom']:12.2f}  "
            f"{errors['forces_mae_mev_per_angstrom']:9.1f}  {value:5.1f}",
            flush=True,
        )
    print(f"Bulk modulus of {args.element} at a = {a:.4f} A: {value:.2f} GPa, wanted {wanted:.2f} GPa")

    ema.load_weights(ema.weights())  # from here on the averaged weights are the model
    potential.eval()
    save_model(
        args.output,
        potential,
        metadata={
            "atomic_energies_origin": sets.atomic_energies.origin,
            "training_data": sets.hashes,
            "metrics": errors,
        },
    )
    graph = sets.train[0].to(device)
    difference = (load_model(args.output, device)(graph).forces - potential(graph).forces).abs().max()
    print(f"Wrote {args.output}; read back, its forces differ by {float(difference):g} eV/A")


if __name__ == "__main__":
    try:
        main()
    except EquipotError as error:
        print(f"own_training_loop: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
