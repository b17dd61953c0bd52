"""``equipot data``: a look at a file of frames before training on it, and the embedded data set as a file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from equipot.cli.parser import Parser, add_label_options, label_configs, nearest
from equipot.errors import UsageError

ACTIONS = {"check": "look for everything that spoils a training set", "make": "write the embedded data set to a file"}

EPILOG = "actions:\n" + "\n".join(f"  {name.ljust(6)} {text}" for name, text in ACTIONS.items()) + """

examples:
  equipot data check frames.xyz
  equipot data check frames.xyz --json > report.json
  equipot data check dft.xyz --keys energy=dft_energy --units stress=GPa
  equipot data make cu_au_emt cu_au.xyz
"""

CHECK_EPILOG = """examples:
  equipot data check frames.xyz
  equipot data check frames.xyz --json > report.json

Exits with 1 where something was found that makes training fail or wrong, with 0 otherwise (warnings included).
"""

MAKE_EPILOG = """example:
  equipot data make cu_au_emt cu_au.xyz

cu_au_emt: some hundred Cu-Au structures of 1 to 32 atoms (volumes, strains, rattled, alloys, vacancies, surfaces)
labelled with ASE's EMT: REF_energy (eV), REF_forces (eV/Angstrom), REF_stress (eV/Angstrom^3, tension positive).
"""


def parser(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the words after ``equipot data``."""
    arguments = list(arguments)
    if not arguments or arguments[0].startswith("-"):
        top = Parser("equipot data", usage="equipot data {check,make} ...", epilog=EPILOG,
                     description="Check a file of frames, or make the embedded data set.")
        top.parse(arguments)
        raise UsageError("No action was given: equipot data check FILE, or equipot data make cu_au_emt FILE.")
    action, *rest = arguments
    if action not in ACTIONS:
        raise UsageError(f"equipot data has no action {action!r}{nearest(action, ACTIONS)}; it has check and make.")
    parsed = _check_parser(rest) if action == "check" else _make_parser(rest)
    parsed.action = action
    return parsed


def _check_parser(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser("equipot data check", epilog=CHECK_EPILOG,
                    description="Look for everything that is known to spoil a training set.")
    parser.add_argument("file", metavar="FILE", help="frames: .xyz, .extxyz (also .gz, .xz), .db, .traj, vasprun.xml, "
                                                     "OUTCAR")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_label_options(parser)
    return parser.parse(arguments)


def _make_parser(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser("equipot data make", epilog=MAKE_EPILOG, description="Write the embedded data set to a file.")
    parser.add_argument("name", metavar="NAME", choices=("cu_au_emt",), help="cu_au_emt")
    parser.add_argument("file", metavar="FILE", help="extended XYZ file to write (.xyz, .extxyz, also .gz, .xz)")
    parser.add_argument("--seed", type=_seed, default=0, help="another seed makes another set (default 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    return parser.parse(arguments)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 4294967295")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Check or make."""
    return _check(arguments) if arguments.action == "check" else _make(arguments)


def _check(arguments: argparse.Namespace) -> int:
    from equipot.data.check import check_frames
    from equipot.data.reading import read_frames
    from equipot.report.summary import to_json

    keys, units = label_configs(arguments)
    # Frames that cannot be used are findings here, not the end of the check.
    report = check_frames(read_frames(arguments.file, keys=keys, units=units, on_bad="skip"))
    if arguments.json:
        sys.stdout.write(to_json(report.to_dict()))
    else:
        print("\n".join(report.lines()))
    return 1 if report.worst == "error" else 0


def _make(arguments: argparse.Namespace) -> int:
    from equipot.data.synthetic import cu_au_emt
    from equipot.data.writing import write_frames
    from equipot.report.files import refuse_existing

    path = refuse_existing(arguments.file, overwrite=arguments.overwrite)
    frames = cu_au_emt(arguments.seed)
    write_frames(path, frames)
    print(f"{len(frames)} frames: {path}")
    return 0
