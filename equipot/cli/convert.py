"""``equipot convert``: a checkpoint of another package as a model file of equipot."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from equipot.cli.parser import Parser
from equipot.errors import UsageError

EPILOG = """FILE is the checkpoint as its package writes it. For sevennet it may also be the name of a model that
an installed sevenn distribution has: 7net-0, 7net-0_22may2024, 7net-l3i5, 7net-mf-0. Nothing in the file
is imported or executed.

examples:
  equipot convert sevennet 7net-0 -o 7net-0.eqp
  equipot convert sevennet checkpoint_sevennet_mf_0.pth -o mf.eqp        both levels of theory, chosen with --head
  equipot convert sevennet checkpoint_sevennet_mf_0.pth --head R2SCAN -o r2scan.eqp
  equipot convert mace my.model -o my.eqp
  equipot convert nequip deployed.pth -o mine.eqp
  equipot info 7net-0.eqp
"""


def parser(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the words after ``equipot convert``."""
    parser = Parser(
        "equipot convert", epilog=EPILOG, description="Take in the weights of a model of another package, exactly."
    )
    parser.add_argument("family", metavar="FAMILY", help="which package's: sevennet, mace or nequip")
    parser.add_argument("source", metavar="FILE", help="the checkpoint")
    parser.add_argument("-o", "--output", required=True, metavar="MODEL", help="the model file to write (.eqp)")
    parser.add_argument(
        "--head", metavar="NAME", help="which of several levels of theory (default: all of them, in one file)"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float64"),
        default="float32",
        help="precision of the network (default: float32, what these models were trained in)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the model file if it exists")
    return parser.parse(arguments)


def outputs(arguments: argparse.Namespace) -> tuple[Sequence, Sequence]:
    """Name the files that are written."""
    return (arguments.output,), ()


def run(arguments: argparse.Namespace) -> int:
    """Convert, write, and say where the model comes from and what may be done with it."""
    from equipot.checkpoint import save_model
    from equipot.checkpoint.foreign import convert, convert_heads

    output = Path(arguments.output).expanduser()
    source = Path(arguments.source).expanduser()
    if source.exists() and output.exists() and output.samefile(source):
        raise UsageError(f"{output} is the file to convert, which is left as it is: choose another name to write to.")
    if output.exists() and not arguments.overwrite:
        raise UsageError(f"{output} exists already; --overwrite replaces it.")
    if arguments.head is None:
        heads = convert_heads(arguments.family, arguments.source, dtype=arguments.dtype)
        potential, *others = heads.values()
    else:
        potential, others = convert(arguments.family, arguments.source, head=arguments.head, dtype=arguments.dtype), []
    save_model(
        output, potential, metadata=potential.metadata, heads={other.metadata["head"]: other for other in others}
    )
    facts = potential.metadata
    origin, data = facts["converted_from"], facts["training_data"]
    unknown = "not stated in the file"
    lines = [
        ("model", facts["name"]),
        ("from", f"{origin['file']}, sha256 {origin['sha256']}"),
        ("licence", facts["licence"] or f"{unknown}; ask whoever you have it from before you pass it on"),
        ("citation", facts["citation"] or unknown),
        ("level of theory", None if others else facts["level_of_theory"] or unknown),
        *(
            (f"head {each.metadata['head']}", each.metadata["level_of_theory"] or unknown)
            for each in ((potential, *others) if others else ())
        ),
        ("head", None if others else facts["head"] and f"{facts['head']} (of {', '.join(origin['heads'])})"),
        ("trained on", data["source"] if data else unknown),
        ("elements", f"{len(potential.elements)}: {' '.join(potential.elements)}"),
        ("cutoff", f"{potential.cutoff:g} Å"),
        ("parameters", f"{potential.num_parameters():,}"),
        ("precision", arguments.dtype),
        ("atomic energies", facts["atomic_energies_origin"]),
        ("written", str(output)),
    ]
    for name, value in lines:
        if value:
            print(f"{name + ':':<18}{value}")
    return 0
