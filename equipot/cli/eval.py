"""``equipot eval``: how far a potential is from labelled frames."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from equipot.cli.parser import (
    Parser,
    add_head_option,
    add_label_options,
    add_threads_option,
    label_configs,
    positive_integer,
)

EPILOG = """examples:
  equipot eval model.eqp test.xyz
  equipot eval runs/quickstart test.xyz --json errors.json --output compared.xyz
  equipot eval model.eqp dft.xyz --keys energy=dft_energy forces=dft_forces --units energy=Ha forces=Ha/Bohr
  equipot eval model.eqp test.xyz --json -    the JSON document alone, on standard output

Energies are compared in meV/atom, forces in meV/Angstrom and stress in GPa, the last two per component, over all
frames and for each config_type. A missing label counts nowhere.
"""


def parser(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the words after ``equipot eval``."""
    parser = Parser("equipot eval", epilog=EPILOG, description="Compare a potential with labelled frames.")
    parser.add_argument("model", metavar="MODEL", help="a model file (.eqp) or a run folder")
    parser.add_argument(
        "data", metavar="DATA", help="labelled frames: .xyz, .extxyz (also .gz, .xz), .db, .traj, vasprun.xml, OUTCAR"
    )
    parser.add_argument("--json", metavar="FILE", help="write the errors as JSON; - is standard output")
    parser.add_argument(
        "--output",
        metavar="FRAMES.xyz",
        help="write the frames with EQUIPOT_energy (eV), EQUIPOT_forces (eV/Angstrom) and "
        "EQUIPOT_stress (eV/Angstrom^3, tension positive) beside REF_energy, ... of the file",
    )
    add_label_options(parser)
    parser.add_argument(
        "--on-bad",
        choices=("error", "skip"),
        default="error",
        help="frames that are not finite: stop (default), or leave them out and say so",
    )
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
    parser.add_argument("--overwrite", action="store_true", help="replace output files that exist")
    return parser.parse(arguments)


def outputs(arguments: argparse.Namespace) -> tuple[Sequence, Sequence]:
    """Name the files that are written."""
    return (None if arguments.json == "-" else arguments.json, arguments.output), ()


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, print the table, write what was asked for."""
    from equipot.report.files import refuse_existing, write_text
    from equipot.report.summary import to_json
    from equipot.report.tables import error_table, print_table
    from equipot.system.threads import set_threads
    from equipot.workflow import evaluate

    to_stdout = arguments.json == "-"
    for path in (None if to_stdout else arguments.json, arguments.output):
        if path is not None:
            refuse_existing(path, overwrite=arguments.overwrite)
    keys, units = label_configs(arguments)
    set_threads(arguments.threads)
    result = evaluate(
        arguments.model,
        arguments.data,
        keys=keys,
        units=units,
        on_bad=arguments.on_bad,
        device=arguments.device,
        dtype=arguments.dtype,
        head=arguments.head,
        batch_edges=arguments.batch_edges,
        output=arguments.output,
        overwrite=arguments.overwrite,
    )
    if to_stdout:
        sys.stdout.write(to_json(result.summary))
        return 0
    print_table(error_table({"data": result.metrics}, title=f"Errors on {arguments.data}"))
    if arguments.json:
        print(f"Errors as JSON: {write_text(arguments.json, to_json(result.summary))}")
    if arguments.output:
        print(f"Frames with predictions: {arguments.output}")
    return 0
