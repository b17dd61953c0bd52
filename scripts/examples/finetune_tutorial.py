"""Fine-tuning from end to end, without any download: a base, a second level of theory, a few frames, every mode.

A small potential is trained on Cu-Au frames labelled with ASE's EMT: the base. The second level of theory binds 2 %
longer and 10 % more strongly, and counts energies from other atoms. A few frames of it are all there is to tune on.
The base's own frames show what is forgotten.

    python scripts/examples/finetune_tutorial.py                                        # a few minutes on one core
    python scripts/examples/finetune_tutorial.py --base mine.eqp                        # a base there is already

The output folder gets a run folder for the base, for each mode and for training from scratch (open their report.html),
and finetune_tutorial.json. The same on your own frames: equipot finetune base.eqp mine.yaml
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.emt import EMT

import equipot
from equipot.data import cu_au_emt, write_frames
from equipot.data.frames import Frame
from equipot.errors import EquipotError
from equipot.units import voigt_to_matrix

#: How the second level differs: lengths, strength, and energies of the atoms (eV).
LONGER, STRONGER, ATOMS = 1.02, 1.10, {"Cu": -1.5, "Au": 0.8}

#: Mode -> its configuration, and the learning rate for the narrow base trained here (the defaults are for wider ones).
MODES: dict[str, tuple[dict[str, Any], float]] = {
    "full": ({"mode": "full"}, 0.02),
    "frozen": ({"mode": "frozen", "train": ["last_layer", "readout"]}, 0.03),
    "lora": ({"mode": "lora", "lora": {"rank": 4}}, 0.05),
    "replay": ({"mode": "full", "keep_base_general": True, "replay": {"number": 64}}, 0.02),
    "heads": ({"head": "second", "replay": {"number": 64}, "head_parameters": ["readout", "last_layer"]}, 0.02),
}


def second_level(frame: Frame) -> Frame:
    """A frame with the energy, forces and stress of the second level."""
    atoms = frame.atoms.copy()
    atoms.set_cell(atoms.cell.array / LONGER, scale_atoms=True)  # there it looks like EMT's at a shorter length
    atoms.calc = EMT()
    volume = atoms.get_volume() / frame.atoms.get_volume()
    energy = STRONGER * atoms.get_potential_energy() + sum(ATOMS[symbol] for symbol in atoms.symbols)
    stress = STRONGER * volume * voigt_to_matrix(atoms.get_stress())
    return replace(frame, energy=energy, forces=STRONGER / LONGER * atoms.get_forces(), stress=stress)


def write_data(folder: Path, num_frames: int, seed: int) -> None:
    """Frames of both levels: to train the base and to test it, to tune on and to test that."""
    frames = [frame for frame in cu_au_emt(0) if frame.atoms.pbc.all()]
    order = np.random.default_rng(seed).permutation(len(frames))
    train, test = [frames[k] for k in order[60:]], [frames[k] for k in order[:60]]
    write_frames(folder / "base.xyz", train)
    write_frames(folder / "base_test.xyz", test)
    write_frames(folder / "second.xyz", [second_level(frame) for frame in train[:num_frames]])
    write_frames(folder / "second_test.xyz", [second_level(frame) for frame in test])


def configuration(args: argparse.Namespace, name: str, data: str, **sections: Any) -> dict[str, Any]:
    """What every run has in common."""
    return {
        "name": name,
        "run_directory": str(args.output / name),
        "seed": args.seed,
        "device": "cpu",
        "data": {
            "root": str(args.output),
            "train": [f"{data}.xyz"],
            "test": [f"{data}_test.xyz"],
            "split": {"validation": 0.2},
        },
        **sections,
    }


def errors(args: argparse.Namespace, potential: equipot.Potential) -> dict[str, float]:
    """Mean absolute errors: energy (meV/atom) and forces (meV/A) at the second level, forces at the first."""
    new, old = (
        equipot.evaluate(potential, args.output / f"{level}_test.xyz", device="cpu").metrics["all"]
        for level in ("second", "base")
    )
    names = ("energy_mae_mev_per_atom", "forces_mae_mev_per_angstrom")
    return {**{name: new[name] for name in names}, f"base_{names[1]}": old[names[1]]}


def study(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Train the base, tune it in every mode, and train from scratch; the errors of each."""
    model = {"architecture": "nequip", "preset": "small", "cutoff": 4.5, "num_channels": args.channels}
    base, result = args.base, {}
    if base is None:
        print("Training the base ...", flush=True)
        run = equipot.train(
            configuration(args, "base", "base", model=model, training={"epochs": args.base_epochs}),
            quiet=True,
            overwrite=args.overwrite,
        )
        base = run.model_path
    result["base, as it is"] = errors(args, equipot.load(base))
    training = {"training": {"epochs": args.epochs, "batch_size": 2}}
    for mode in args.modes:
        print(f"Tuning, {mode} ...", flush=True)
        tuning, rate = MODES[mode]
        optimizer = {} if args.base else {"optimizer": {"learning_rate": rate}}
        config = configuration(args, mode, "second", finetune=tuning, **training, **optimizer)
        run = equipot.finetune(base, config, quiet=True, overwrite=args.overwrite)
        result.setdefault("atomic energies fitted anew", errors(args, equipot.load(run.directory / "zero_shot.eqp")))
        result[mode] = errors(args, run.potential)
        if mode == "heads":
            result["heads, the base's"] = errors(args, equipot.load(run.model_path, head="base"))
    print("Training from scratch ...", flush=True)
    config = configuration(args, "scratch", "second", model=model, **training)
    run = equipot.train(config, quiet=True, overwrite=args.overwrite)
    result["from scratch"] = errors(args, run.potential)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="model file to begin with (default: one is trained on EMT)")
    parser.add_argument("--modes", nargs="+", choices=tuple(MODES), default=tuple(MODES), help="default: all")
    parser.add_argument("--frames", type=int, default=16, help="of the second level (default: 16)")
    parser.add_argument("--epochs", type=int, default=40, help="of each tuning (default: 40)")
    parser.add_argument("--base-epochs", type=int, default=40, help="of the base (default: 40)")
    parser.add_argument("--channels", type=int, default=16, help="width of the network (default: 16)")
    parser.add_argument("--seed", type=int, default=0, help="of frames, weights and batches")
    parser.add_argument("--output", type=Path, default="finetune_tutorial", help="folder (default: finetune_tutorial)")
    parser.add_argument("--overwrite", action="store_true", help="replace the runs in that folder")
    args = parser.parse_args()
    if args.frames < 3:
        parser.error("--frames needs 3 or more: some are set aside to choose the best epoch by")
    args.output = args.output.resolve()
    args.output.mkdir(parents=True, exist_ok=True)
    write_data(args.output, args.frames, args.seed)
    result = study(args)
    print(
        f"\n{args.frames} frames of the second level; mean absolute errors on 60 frames (meV/atom, meV/A)\n"
        f"{'':28}{'energy':>12}{'forces':>12}{'forces, first level':>24}"
    )
    for name, row in result.items():
        print(f"{name:28}" + "".join(f"{value:{width}.1f}" for value, width in zip(row.values(), (12, 12, 24))))
    (args.output / "finetune_tutorial.json").write_text(json.dumps(result, indent=1) + "\n")
    print(f"Wrote {args.output / 'finetune_tutorial.json'} and a run folder for each line")


if __name__ == "__main__":
    try:
        main()
    except EquipotError as error:
        print(f"finetune_tutorial: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
