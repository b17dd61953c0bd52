"""``equipot md``: molecular dynamics with a potential."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from equipot.cli.parser import (
    Parser,
    add_head_option,
    add_overwrite_option,
    add_threads_option,
    finite,
    not_negative,
    positive,
    positive_integer,
)
from equipot.errors import ConfigError, UsageError

EPILOG = """examples:
  equipot md model.eqp cell.xyz --temperature 300 --steps 10000
  equipot md model.eqp cell.xyz --ensemble nve --temperature 600 --timestep 2 --supercell 3 3 3
  equipot md model.eqp cell.xyz --ensemble npt --temperature 800 --pressure 10 --trajectory hot.extxyz
  equipot md model.eqp cell.xyz --temperature 300 --steps 20000 --resume

Ctrl-C or SIGTERM saves and exits with 75; the same command with --resume goes on as if it had never stopped. The log
has time (ps), energies (eV/atom), temperature (K), pressure (GPa, compression positive) and volume in every row.
"""

#: Option -> (setting, type, metavar, help). Only what is given is passed on, so that the rest keeps its default.
SETTINGS = {
    "--steps": (
        "steps",
        positive_integer,
        "N",
        "steps of the whole run, the part before a resume included (default 10000)",
    ),
    "--timestep": ("timestep_fs", positive, "FS", "time step in fs (default 1)"),
    "--temperature": (
        "temperature",
        not_negative,
        "K",
        "temperature of the thermostat and of the initial velocities in K (default 300)",
    ),
    "--pressure": (
        "pressure_gpa",
        finite,
        "GPA",
        "pressure in GPa, compression positive (npt, npt-c, npt-full; default 0)",
    ),
    "--friction": ("friction_per_ps", positive, "PER_PS", "friction in 1/ps (nvt-langevin; default 10)"),
    "--thermostat-time": (
        "thermostat_time_fs",
        positive,
        "FS",
        "relaxation time of the Nose-Hoover chain in fs (default 100 steps)",
    ),
    "--barostat-time": (
        "barostat_time_fs",
        positive,
        "FS",
        "relaxation time of the barostat in fs (default 1000 steps)",
    ),
    "--seed": ("seed", int, "N", "seed of the initial velocities and the Langevin noise (default 0)"),
    "--trajectory-every": ("trajectory_every", positive_integer, "N", "steps between frames (default 100)"),
    "--log-every": ("log_every", positive_integer, "N", "steps between rows of the log (default 100)"),
    "--restart-every": ("restart_every", positive_integer, "N", "steps between restart files (default 1000)"),
    "--max-temperature": (
        "max_temperature",
        positive,
        "K",
        "stop above this temperature in K: the run has exploded (default 10000, or ten times --temperature)",
    ),
    "--min-distance": (
        "min_distance",
        not_negative,
        "A",
        "stop where atoms are closer than this in Angstrom (default 0.3)",
    ),
}


def parser(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the words after ``equipot md``."""
    parser = Parser("equipot md", epilog=EPILOG, description="Molecular dynamics with a potential.")
    parser.add_argument("model", metavar="MODEL", help="a model file (.eqp) or a run folder")
    parser.add_argument(
        "structure",
        metavar="STRUCTURE",
        help="the structure to start from (the last one in the file): .xyz, .extxyz, .cif, POSCAR, ...",
    )
    parser.add_argument(
        "--ensemble",
        choices=("nve", "nvt-langevin", "nvt-nose-hoover", "npt", "npt-c", "npt-full"),
        help="nve, nvt-langevin (default), nvt-nose-hoover, npt (volume changes at fixed shape), "
        "npt-c (only the length of the third lattice vector changes) or npt-full (the whole cell)",
    )
    for option, (name, kind, metavar, text) in SETTINGS.items():
        parser.add_argument(option, dest=name, type=kind, metavar=metavar, help=text)
    parser.add_argument(
        "--supercell",
        type=positive_integer,
        nargs=3,
        metavar="N",
        help="copies of the structure along its three lattice vectors (default 1 1 1)",
    )
    parser.add_argument(
        "--new-velocities",
        action="store_const",
        const=True,
        help="draw initial velocities also where the structure brings some",
    )
    parser.add_argument(
        "--trajectory", default="md.extxyz", metavar="FILE", help="frames, .extxyz or .traj (default md.extxyz)"
    )
    parser.add_argument("--log", metavar="FILE", help="table of the run (default: beside the trajectory, .log)")
    parser.add_argument("--restart", metavar="FILE", help="restart file (default: beside the trajectory, .restart)")
    parser.add_argument("--resume", action="store_true", help="go on from the restart file")
    add_overwrite_option(parser, "the files")
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="of the network; default: the model's own")
    add_head_option(parser)
    add_threads_option(parser)
    parser.add_argument(
        "--skin",
        type=not_negative,
        default=0.5,
        metavar="A",
        help="skin of the neighbour list in Angstrom; changes speed, not numbers (default 0.5)",
    )
    return parser.parse(arguments)


def _config(given: dict[str, Any]):
    """The settings, with the names of the options in complaints about them."""
    from equipot.config import build
    from equipot.simulation.md_config import MDConfig

    try:
        return build(MDConfig, given, where="md")
    except ConfigError as error:
        message = str(error)
        for option, (name, *_) in SETTINGS.items():
            message = message.replace(f"md.{name} ", f"{option} ")
        raise UsageError(message) from None


def run(arguments: argparse.Namespace) -> int:
    """Run the simulation."""
    from equipot.simulation.md import run_md
    from equipot.system.threads import set_threads
    from equipot.training import resolve_device
    from equipot.workflow.evaluation import choose_model

    if arguments.resume and arguments.overwrite:
        raise UsageError("--resume and --overwrite exclude each other: go on with the run, or replace it.")
    given = {
        name: value
        for name in ("ensemble", "supercell", "new_velocities", *(entry[0] for entry in SETTINGS.values()))
        if (value := getattr(arguments, name)) is not None
    }
    config = _config(given)
    set_threads(arguments.threads)
    result = run_md(
        choose_model(arguments.model, arguments.head),
        arguments.structure,
        config,
        trajectory=arguments.trajectory,
        log=arguments.log,
        restart=arguments.restart,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        device=str(resolve_device(arguments.device)),
        dtype=arguments.dtype,
        skin=arguments.skin,
        report=print,
    )
    drift = result.drift_mev_per_atom_per_ps
    print(
        f"{result.steps} steps, {result.time_ps:g} ps"
        + ("" if drift is None else f"; conserved quantity drifts {drift:.3g} meV/atom/ps")
        + "."
    )
    for label, path in (("Trajectory", result.trajectory), ("Log", result.log), ("Restart", result.restart)):
        print(f"{label + ':':<12}{path}")
    return 0
