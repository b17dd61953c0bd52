"""``equipot predict``: energies, forces and stresses of structures, written beside them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from equipot.cli.parser import Parser, add_head_option, add_threads_option, positive_integer

EPILOG = """examples:
  equipot predict model.eqp structures.xyz -o predicted.xyz
  equipot predict runs/quickstart POSCAR.traj -o predicted.xyz --dtype float64

The frames are written as extended XYZ with EQUIPOT_energy (eV), EQUIPOT_forces (eV/Angstrom) and EQUIPOT_stress
(eV/Angstrom^3, tension positive; only for crystals periodic in three dimensions). Labels that are in the file stay as
they are.
"""


def parser(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the words after ``equipot predict``."""
    parser = Parser("equipot predict", epilog=EPILOG, description="Predict energies, forces and stresses.")
    parser.add_argument("model", metavar="MODEL", help="a model file (.eqp) or a run folder")
    parser.add_argument(
        "structures",
        metavar="STRUCTURES",
        help="structures: .xyz, .extxyz (also .gz, .xz), .db, .traj, vasprun.xml, OUTCAR",
    )
    parser.add_argument("-o", "--output", metavar="FRAMES.xyz", required=True, help="the extended XYZ file to write")
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="of the network; default: the model's own")
    add_head_option(parser)
    add_threads_option(parser)
    parser.add_argument(
        "--batch-edges",
        type=positive_integer,
        default=50_000,
        metavar="N",
        help="edges (pairs of neighbours) in a batch; fewer need less memory (default 50000)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the output file if it exists")
    return parser.parse(arguments)


def outputs(arguments: argparse.Namespace) -> tuple[Sequence, Sequence]:
    """Name the files that are written."""
    return (arguments.output,), ()


def run(arguments: argparse.Namespace) -> int:
    """Predict and write."""
    from equipot.system.threads import set_threads
    from equipot.workflow import predict

    set_threads(arguments.threads)
    frames = predict(
        arguments.model,
        arguments.structures,
        output=arguments.output,
        device=arguments.device,
        dtype=arguments.dtype,
        head=arguments.head,
        batch_edges=arguments.batch_edges,
        overwrite=arguments.overwrite,
    )
    print(f"{len(frames)} frames with EQUIPOT_energy, EQUIPOT_forces and EQUIPOT_stress: {arguments.output}")
    return 0
