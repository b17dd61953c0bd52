"""``equipot properties``: measure the properties of crystals with a potential."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from equipot.cli.parser import (
    Parser,
    add_head_option,
    add_occupation_options,
    add_threads_option,
    occupation_of,
    positive,
    positive_integer,
)
from equipot.errors import UsageError

#: Names of the properties, kept here so that --help loads nothing; a test holds them equal to the registry.
NAMES = (
    "relaxation",
    "equation_of_state",
    "elastic",
    "phonons",
    "vacancy",
    "surfaces",
    "stacking_faults",
    "expansion",
    "distribution",
    "melting",
)

EPILOG = """structures: a file (.xyz, .cif, POSCAR, ...) or a prototype LATTICE:FORMULA[:CONSTANT], with one of sc, fcc,
bcc, diamond, hcp, rocksalt, cesiumchloride, zincblende, l12 (bcc:Ta, fcc:Cu:3.6, l12:Cu3Au).

properties: relaxation (always), equation_of_state, elastic, phonons, vacancy, surfaces, stacking_faults, expansion,
distribution (g(r)) and, only where asked for, melting (two phases side by side; hours).

examples:
  equipot properties model.eqp bcc:Ta
  equipot properties model.eqp bcc:Ta hcp:Ti alloy.cif --jobs 2 --output measured
  equipot properties model.eqp bcc:Ta --only elastic phonons --reference dft.yaml
  equipot properties model.eqp fcc:Cu --set vacancy.lengths=[8,12,16] phonons.length=16
  equipot properties model.eqp alloy.cif --occupation random --supercell 3 3 3     partly occupied sites filled
  equipot properties emt fcc:Cu --output teacher                # ASE's EMT through the same code
  equipot properties model.eqp fcc:Cu --reference teacher/properties.json
  equipot properties model.eqp fcc:Cu --only melting --set melting.guess=1350

Every finished property is stored in the output folder; the same command goes on from there after an interruption or
with more properties. A settings file holds the sections relaxation, equation_of_state, elastic, phonons, vacancy,
surfaces, stacking_faults, expansion, distribution, melting; their keys with meaning, unit and default stand in
equipot/properties/settings.py. A reference file:

  references:
    - name: DFT                       # heading of its column
      citation: A. Author, Journal 1 (2020) 1
      structures: [bcc:Ta]            # left out: every structure
      values:
        lattice_constant: 3.322       # in the units of the table
        C11: {value: 2638, unit: kbar}
        surface_energy_110: 2.34

exit codes: 0 measured (doubtful results included, with a note), 1 a property failed, 2 wrong command or settings,
75 stopped and can be gone on with.
"""


def parser(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the words after ``equipot properties``."""
    parser = Parser(
        "equipot properties",
        epilog=EPILOG,
        description="Measure properties of crystals with a potential: tables with units, plots, a report, "
        "and the errors against reference values.",
    )
    parser.add_argument("model", metavar="MODEL", help="a model file (.eqp), a run folder, or emt for ASE's EMT")
    parser.add_argument("structures", metavar="STRUCTURE", nargs="+", help="a file, or a prototype such as bcc:Ta")
    parser.add_argument("--only", nargs="+", default=[], metavar="PROPERTY", help="measure these (and the relaxation)")
    parser.add_argument("--skip", nargs="+", default=[], metavar="PROPERTY", help="leave these out")
    parser.add_argument(
        "--also", nargs="+", default=[], metavar="PROPERTY", help="measure these besides; melting is left out otherwise"
    )
    parser.add_argument(
        "--reference",
        nargs="+",
        default=[],
        metavar="FILE",
        help="values to compare with: YAML, or the properties.json of another run",
    )
    parser.add_argument("--settings", metavar="FILE", help="YAML with settings of the properties")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="SECTION.KEY=VALUE",
        dest="overrides",
        help="single settings, on top of the file",
    )
    parser.add_argument("--temperature", type=positive, metavar="K", help="of the radial distribution (default 300)")
    parser.add_argument(
        "--output",
        default="properties",
        metavar="FOLDER",
        help="folder for results, plots and the report (default properties)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="compute again what the folder holds of another model, structure or settings",
    )
    parser.add_argument(
        "--jobs",
        type=positive_integer,
        default=1,
        metavar="N",
        help="structures measured at a time, each in a process of its own (default 1)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float64"),
        default="float64",
        help="of the network (default float64: phonons and elastic constants are differences)",
    )
    add_occupation_options(parser, "--supercell")
    parser.add_argument(
        "--supercell",
        type=positive_integer,
        nargs=3,
        metavar=("NA", "NB", "NC"),
        help="with --occupation: copies along the lattice vectors (default 1 1 1)",
    )
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or auto")
    add_head_option(parser)
    add_threads_option(parser)
    return parser.parse(arguments)


def _settings(arguments: argparse.Namespace):
    """Settings of the file with the overrides on top."""
    from equipot.config import LocatedDict, build
    from equipot.config.overrides import apply_overrides
    from equipot.config.yaml_reader import read_yaml
    from equipot.properties import PropertySettings

    mapping = read_yaml(arguments.settings) if arguments.settings else LocatedDict()
    overrides = list(arguments.overrides)
    if arguments.temperature is not None:
        overrides.append(f"distribution.temperature={arguments.temperature!r}")
    apply_overrides(mapping, overrides)
    return build(PropertySettings, mapping)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print tables, write the report."""
    from pathlib import Path

    from equipot.training import resolve_device
    from equipot.workflow.properties import PropertyJob, measure_properties

    output = Path(arguments.output).expanduser()
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file: name a folder for the results.")
    if arguments.supercell is not None and arguments.occupation is None:
        raise UsageError("--supercell is for --occupation; each property makes the supercells it needs itself.")
    job = PropertyJob(
        model=arguments.model,
        structures=tuple(arguments.structures),
        output=output,
        only=tuple(arguments.only),
        skip=tuple(arguments.skip),
        also=tuple(arguments.also),
        settings=_settings(arguments),
        references=tuple(arguments.reference),
        jobs=arguments.jobs,
        threads=arguments.threads,
        overwrite=arguments.overwrite,
        dtype=arguments.dtype,
        head=arguments.head,
        occupation=occupation_of(arguments, arguments.supercell),
        device=str(resolve_device(arguments.device)),
    )
    outcome = measure_properties(job)
    print(f"JSON:   {outcome.files[-2]}\nReport: {outcome.files[-1]}")
    return 1 if outcome.num_failed else 0
