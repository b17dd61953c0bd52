"""``equipot lammps``: inputs for LAMMPS, its pair style, and whether it works."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from equipot.cli.parser import (
    Parser,
    add_head_option,
    add_occupation_options,
    finite,
    nearest,
    occupation_of,
    positive,
    positive_integer,
)
from equipot.errors import UsageError

ACTIONS = {
    "input": "write a data file and an input that runs at once",
    "export": "write a model as a file that LAMMPS reads without Python",
    "build": "compile the pair style",
    "doctor": "prove that LAMMPS gives what ASE gives",
}

EPILOG = (
    "actions:\n"
    + "\n".join(f"  {name.ljust(6)} {text}" for name, text in ACTIONS.items())
    + """

examples:
  equipot lammps input model.eqp cell.xyz -o run --ensemble npt --temperature 600 --repeat 4 4 4
  equipot lammps export model.eqp Ta W -o model.eqd
  equipot lammps build --again
  equipot lammps doctor model.eqp
"""
)

INPUT_EPILOG = """examples:
  equipot lammps input model.eqp cell.xyz -o run
  equipot lammps input model.eqp POSCAR -o hot --ensemble melt --temperature 300 --final-temperature 4000

Writes structure.data and in.lammps. The input names the model by its absolute path. Of a model with several heads
--head writes the one meant as model.eqp beside them.
"""


EXPORT_EPILOG = """examples:
  equipot lammps export model.eqp Ta W -o model.eqd
  equipot lammps export runs/ta Ta -o ta.eqd --dtype float32

In LAMMPS: pair_coeff * * model.eqd Ta W (any of these elements, in any order). Where LAMMPS runs there need be no
Python; equipot lammps build --folder DIR puts the plugin and the native kernels into a folder for such a machine.
"""

BUILD_EPILOG = """examples:
  equipot lammps build
  equipot lammps build --folder plugin

An administrator who runs it once where equipot is installed builds it for all users. Where that folder cannot be
written, the plugin goes to the user's cache; the environment variable EQUIPOT_LAMMPS_FOLDER names another folder.
With --folder the plugin and the native kernels are put there, to be loaded without Python by the LAMMPS it was compiled
for: LAMMPS_PLUGIN_PATH=DIR, or `plugin load DIR/equipotplugin.so` in the input.
"""


def parser(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the words after ``equipot lammps``."""
    arguments = list(arguments)
    if not arguments or arguments[0].startswith("-"):
        Parser(
            "equipot lammps",
            usage="equipot lammps {input,export,build,doctor} ...",
            epilog=EPILOG,
            description="Run a potential in LAMMPS.",
        ).parse(arguments)
        raise UsageError("No action was given: equipot lammps input, export, build or doctor.")
    action, *rest = arguments
    if action not in ACTIONS:
        raise UsageError(
            f"equipot lammps has no action {action!r}{nearest(action, ACTIONS)}; it has {', '.join(ACTIONS)}."
        )
    parser = Parser(
        f"equipot lammps {action}",
        description=ACTIONS[action].capitalize() + ".",
        epilog={"input": INPUT_EPILOG, "export": EXPORT_EPILOG, "build": BUILD_EPILOG}.get(action),
    )
    options = {"input": _input_options, "export": _export_options, "build": _build_options, "doctor": _doctor_options}
    options[action](parser)
    parsed = parser.parse(rest)
    parsed.action = action
    return parsed


def _input_options(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model file (.eqp) or a run folder")
    parser.add_argument("structure", metavar="STRUCTURE", help=".xyz, .extxyz, .cif, POSCAR, ... (the last structure)")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder to write to; made where missing")
    parser.add_argument(
        "--ensemble", choices=("nve", "nvt", "npt", "deform", "melt"), default="nvt", help="default nvt"
    )
    parser.add_argument("--temperature", type=positive, default=300.0, metavar="K", help="K (default 300)")
    parser.add_argument(
        "--final-temperature", type=positive, metavar="K", help="where melt ends, K (default three times --temperature)"
    )
    parser.add_argument(
        "--pressure", type=finite, metavar="GPA", help="GPa, compression positive (npt, deform, melt; default 0)"
    )
    parser.add_argument("--timestep", type=positive, default=1.0, metavar="FS", help="fs (default 1)")
    parser.add_argument("--steps", type=positive_integer, default=10000, metavar="N", help="default 10000")
    parser.add_argument("--strain-rate", type=finite, metavar="PER_PS", help="deform: 1/ps along x (default 0.001)")
    parser.add_argument("--seed", type=positive_integer, default=1, help="of the velocities (default 1)")
    parser.add_argument(
        "--repeat",
        type=positive_integer,
        nargs=3,
        default=(1, 1, 1),
        metavar=("NX", "NY", "NZ"),
        help="copies along the lattice vectors (default 1 1 1)",
    )
    add_occupation_options(parser, "--repeat")
    add_head_option(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the files if they exist")


def _export_options(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model file (.eqp) or a run folder")
    parser.add_argument(
        "elements", metavar="ELEMENT", nargs="+", help="elements that LAMMPS will have; fewer are faster"
    )
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="file to write, usually *.eqd")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="of the network (default: the model's own)")
    add_head_option(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")


def _build_options(parser: Parser) -> None:
    parser.add_argument("--again", action="store_true", help="compile also where it is there")
    parser.add_argument(
        "--folder", metavar="DIR", help="put plugin and native kernels there as well; made where missing"
    )


def _doctor_options(parser: Parser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a model file (.eqp); default: one made for the test")


def outputs(arguments: argparse.Namespace) -> tuple[Sequence, Sequence]:
    """Name the files that are written."""
    return (), (f"{arguments.output}/in.lammps",) if arguments.action == "input" else ()


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    return {"input": _input, "export": _export, "build": _build, "doctor": _doctor}[arguments.action](arguments)


def _input(arguments: argparse.Namespace) -> int:
    from equipot import checkpoint
    from equipot.checkpoint.atomic import write_text
    from equipot.data.structures import read_occupied, read_structure
    from equipot.errors import ElementError
    from equipot.interfaces.lammps.inputs import InputConfig, atom_types, data_file, input_file
    from equipot.report.files import refuse_existing
    from equipot.workflow.evaluation import find_model

    _refuse_ineffective(arguments)
    model = Path(find_model(arguments.model))
    occupation = occupation_of(arguments, arguments.repeat)
    if occupation is None:
        atoms = read_structure(arguments.structure) * tuple(arguments.repeat)
    else:
        atoms, note = read_occupied(arguments.structure, occupation)
        print(note)
    potential = checkpoint.load_model(model, head=arguments.head)
    known = potential.elements
    unknown = [symbol for symbol, _ in atom_types(atoms)[0] if symbol not in known]
    if unknown:
        raise ElementError(
            f"{arguments.structure} holds {unknown[0]}, which {model} does not know; it knows {', '.join(known)}."
        )
    config = InputConfig(
        **{name: getattr(arguments, name) for name in InputConfig.__dataclass_fields__ if hasattr(arguments, name)}
    )
    folder = Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.head is not None:
        model = refuse_existing(folder / "model.eqp", overwrite=arguments.overwrite).resolve()
        checkpoint.save_model(model, potential, metadata=potential.metadata)
    texts = {"structure.data": data_file(atoms), "in.lammps": input_file(atoms, model, "structure.data", config)}
    paths = {refuse_existing(folder / name, overwrite=arguments.overwrite): text for name, text in texts.items()}
    for path, text in paths.items():
        write_text(path, text)
    print(f"{len(atoms)} atoms: {', '.join(map(str, paths))}")
    print(f"One rank:      cd {folder} && lmp -in in.lammps")
    print(f"Several ranks: cd {folder} && mpirun -np 4 lmp -in in.lammps")
    return 0


def _refuse_ineffective(arguments: argparse.Namespace) -> None:
    """An option that changes nothing in the ensemble that was chosen is a mistake."""
    uses = {"pressure": ("npt", "deform", "melt"), "final_temperature": ("melt",), "strain_rate": ("deform",)}
    for name, ensembles in uses.items():
        if getattr(arguments, name) is None:
            delattr(arguments, name)  # the default of InputConfig
        elif arguments.ensemble not in ensembles:
            raise UsageError(
                f"--{name.replace('_', '-')} has no effect with --ensemble {arguments.ensemble}; it is "
                f"for {', '.join(ensembles)}."
            )


def _export(arguments: argparse.Namespace) -> int:
    from equipot.interfaces.lammps.exported import export_model
    from equipot.report.files import refuse_existing
    from equipot.workflow.evaluation import find_model

    model = find_model(arguments.model)
    path = refuse_existing(arguments.output, overwrite=arguments.overwrite)
    print(export_model(model, arguments.elements, path, dtype=arguments.dtype, head=arguments.head))
    print(f"{path}: pair_coeff * * {path.name} {' '.join(arguments.elements)}")
    return 0


def _build(arguments: argparse.Namespace) -> int:
    from equipot.interfaces.lammps.plugin import build, gather

    path = build(again=arguments.again)
    print(path if arguments.folder is None else gather(Path(arguments.folder).expanduser().absolute()))
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from equipot.interfaces.lammps.doctor import examine

    findings = examine(arguments.model)
    for finding in findings:
        print(f"{'ok' if finding.is_ok else 'FAILED':<7} {finding.name}: {finding.text}")
    return 0 if all(finding.is_ok for finding in findings) else 1
