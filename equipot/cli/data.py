"""``equipot data``: a look at a file of frames before training on it, and the embedded data set as a file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from equipot.cli.parser import Parser, add_label_options, label_configs, nearest, positive
from equipot.errors import UsageError

ACTIONS = {"check": "look for everything that spoils a training set", "make": "write the embedded data set to a file"}

EPILOG = (
    "actions:\n"
    + "\n".join(f"  {name.ljust(6)} {text}" for name, text in ACTIONS.items())
    + """

examples:
  equipot data check frames.xyz
  equipot data check train.xyz --against test.xyz --html check.html
  equipot data check dft.xyz --fix fixed.xyz
  equipot data make cu_au_emt cu_au.xyz
"""
)

CHECK_EPILOG = """examples:
  equipot data check frames.xyz
  equipot data check train.xyz more.xyz --against test.xyz --html check.html
  equipot data check dft.xyz --keys energy=dft_energy --units stress=GPa --json > report.json
  equipot data check dft.xyz --fix fixed.xyz --also net-force

fail: numbers are wrong, or training on them goes wrong (unit or sign of stress and forces, order of shear components,
an energy halved, one structure with two energies, a test structure in the training set, no labels). warn: look at it
(drifting forces, a Pulay stress, outliers, copies, rare elements). note: a fact to know of.

--fix writes a new file under REF_energy, REF_forces and REF_stress in eV, Angstrom and eV/Angstrom^3 with what is
proven put right: sign and unit of stress and forces, order of shear components; copies and unusable frames left out.
It says what it did to which frame. The files that were checked are never changed.

Exit codes: 0 nothing failed (warnings included), 1 something failed, also where --fix has put it right in OUT.
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
        top = Parser(
            "equipot data",
            usage="equipot data {check,make} ...",
            epilog=EPILOG,
            description="Check a file of frames, or make the embedded data set.",
        )
        top.parse(arguments)
        raise UsageError("No action was given: equipot data check FILE, or equipot data make cu_au_emt FILE.")
    action, *rest = arguments
    if action not in ACTIONS:
        raise UsageError(f"equipot data has no action {action!r}{nearest(action, ACTIONS)}; it has check and make.")
    parsed = _check_parser(rest) if action == "check" else _make_parser(rest)
    parsed.action = action
    return parsed


def _check_parser(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        "equipot data check",
        epilog=CHECK_EPILOG,
        description="Look for everything that is known to spoil a training set.",
    )
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="frames: .xyz, .extxyz (also .gz, .xz), .db, .traj, vasprun.xml, OUTCAR; several are checked as one set",
    )
    parser.add_argument(
        "--against",
        nargs="+",
        default=[],
        metavar="TEST",
        help="files whose structures should not be among FILEs, not even turned, mirrored or in another cell",
    )
    parser.add_argument(
        "--cutoff",
        type=positive,
        default=5.0,
        metavar="A",
        help="cutoff of the potential to be trained (Angstrom, default 5)",
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="CODE", help="codes of checks, e.g. net-force pulay")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--html", metavar="OUT", help="write the report with plots as one self-contained page")
    parser.add_argument("--fix", metavar="OUT", help="write a corrected copy of all frames to this file (extended XYZ)")
    parser.add_argument(
        "--also",
        nargs="+",
        default=[],
        metavar="WHAT",
        choices=("net-force", "leaks"),
        help="with --fix, what is done only when asked for: net-force takes the mean force off, leaks "
        "leaves out frames that are in TEST too",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    add_label_options(parser)
    parsed = parser.parse(arguments)
    if parsed.also and not parsed.fix:
        raise UsageError("--also says what --fix does besides: give --fix OUT with it.")
    return parsed


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


def outputs(arguments: argparse.Namespace) -> tuple[Sequence, Sequence]:
    """Name the files that are written."""
    return ((arguments.fix, arguments.html) if arguments.action == "check" else (arguments.file,)), ()


def run(arguments: argparse.Namespace) -> int:
    """Check or make."""
    return _check(arguments) if arguments.action == "check" else _make(arguments)


def _check(arguments: argparse.Namespace) -> int:
    from equipot.checks.data import check_frames, fix_frames
    from equipot.data.label_keys import refuse_missing_keys
    from equipot.data.reading import read_frames
    from equipot.data.writing import write_frames
    from equipot.report.data_report import print_data_report, write_data_report
    from equipot.report.summary import to_json
    from equipot.workflow.console import Console

    _refuse_outputs(arguments)
    keys, units = label_configs(arguments)
    with Console().progress() as progress:
        files, against = [], []
        names = [*arguments.files, *arguments.against]
        for done, name in enumerate(names):
            progress("reading files", done, len(names))
            # Frames that cannot be used are findings here, not the end of the check.
            (files if done < len(arguments.files) else against).append(
                read_frames(name, keys=keys, units=units, on_bad="skip", demand_keys=False)
            )
        refuse_missing_keys({file.report.path: file.report.available for file in (*files, *against)}, keys)
        report = check_frames(files, against=against, cutoff=arguments.cutoff, only=arguments.only, progress=progress)
    stream = sys.stderr if arguments.json else sys.stdout
    if not arguments.json:
        print_data_report(report)
    if arguments.html:
        print(f"\nReport: {write_data_report(report, arguments.html, cutoff=arguments.cutoff)}", file=stream)
    document = report.to_dict()
    if arguments.fix:
        fixed = fix_frames(files, report, also=arguments.also)
        write_frames(arguments.fix, fixed.frames)
        document["fixed"] = {
            "path": arguments.fix,
            "num_frames": len(fixed.frames),
            "dropped": fixed.dropped,
            "done": fixed.done,
            "frames": [{"file": file, "frame": frame, "done": done} for (file, frame), done in fixed.by_frame.items()],
        }
        print(
            f"\n{arguments.fix}: {len(fixed.frames)} frames"
            + (f", {fixed.dropped} left out" if fixed.dropped else "")
            + ("" if fixed.done or fixed.by_frame else "; nothing had to be put right"),
            file=stream,
        )
        print("\n".join(fixed.lines()), file=stream)
    if arguments.json:
        sys.stdout.write(to_json(document))
    return 1 if report.worst == "fail" else 0


def _refuse_outputs(arguments: argparse.Namespace) -> None:
    """Before any work: outputs that exist, have the wrong name, or are one of the inputs."""
    from pathlib import Path

    from equipot.report.files import refuse_existing

    for option in ("html", "fix"):
        name = getattr(arguments, option)
        if name is None:
            continue
        path = refuse_existing(name, overwrite=arguments.overwrite)
        for given in (*arguments.files, *arguments.against):
            if Path(given).expanduser().resolve() == path.resolve():
                raise UsageError(
                    f"--{option} {name} is one of the files to be checked, which are never changed: "
                    f"choose "
                    f"another name."
                )
    ends = (".xyz", ".extxyz", ".xyz.gz", ".extxyz.gz", ".xyz.xz", ".extxyz.xz")
    if arguments.fix and not arguments.fix.lower().endswith(ends):
        raise UsageError(
            f"--fix {arguments.fix}: corrected frames are written to .xyz or .extxyz files (.gz and .xz too)."
        )


def _make(arguments: argparse.Namespace) -> int:
    from equipot.data.synthetic import cu_au_emt
    from equipot.data.writing import write_frames
    from equipot.report.files import refuse_existing

    path = refuse_existing(arguments.file, overwrite=arguments.overwrite)
    frames = cu_au_emt(arguments.seed)
    write_frames(path, frames)
    print(f"{len(frames)} frames: {path}")
    return 0
