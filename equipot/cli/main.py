"""The program ``equipot``: picks the verb, turns exceptions into one sentence and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from equipot.cli.parser import Parser, nearest, set_up_logging
from equipot.errors import EquipotError, UsageError
from equipot.system.claims import claim
from equipot.system.threads import limit_spinning
from equipot.version import __version__

#: Verb -> (module with ``parser()`` and ``run(arguments)``, what it does). Where the module has ``outputs(arguments)``,
#: that names the files it writes, and those it writes into a folder it makes: nobody else may write them meanwhile.
#: Runs, properties and dynamics lock theirs themselves.
VERBS = {
    "train": ("equipot.cli.train", "train a potential as a configuration file says"),
    "finetune": ("equipot.cli.finetune", "tune a finished potential on frames of your own"),
    "eval": ("equipot.cli.eval", "errors of a potential on labelled frames"),
    "predict": ("equipot.cli.predict", "energies, forces and stresses of structures"),
    "data": ("equipot.cli.data", "check a file of frames, or make the embedded data set"),
    "check": ("equipot.cli.check", "physics check-up of a model: symmetries, derivatives, cutoff, dimers, dynamics"),
    "properties": ("equipot.cli.properties", "of crystals: elastic constants, phonons, defects, surfaces, ..."),
    "report": ("equipot.cli.report", "everything about a run or a model on one page"),
    "info": ("equipot.cli.info", "what a model file or a run folder holds"),
    "convert": ("equipot.cli.convert", "take in a model of another package"),
    "md": ("equipot.cli.md", "molecular dynamics with a potential"),
    "lammps": ("equipot.cli.lammps", "inputs for LAMMPS, its pair style, and whether it works"),
    "bench": ("equipot.cli.bench", "speed and memory of a potential against size and threads"),
    "doctor": ("equipot.cli.doctor", "what equipot found on this machine, and a speed test"),
}

INTERRUPTED_BY_USER = 130
BUG = "This is a bug in equipot, not a mistake of yours. Please report it with the lines above"


def top_parser() -> Parser:
    """The parser of what stands before the verb; its help lists the verbs."""
    width = max(map(len, VERBS))
    listing = "\n".join(f"  {name.ljust(width)}  {text}" for name, (_, text) in VERBS.items())
    parser = Parser(
        "equipot",
        usage="equipot [--version] [--verbose] VERB ...",
        description="From DFT calculations to a validated interatomic potential you can run.",
        epilog=f"verbs:\n{listing}\n\n`equipot VERB --help` says more about each.\n\n"
        "examples:\n"
        "  equipot train configs/quickstart.yaml\n"
        "  equipot eval runs/quickstart/model.eqp test.xyz --json errors.json\n"
        "  equipot md runs/quickstart/model.eqp cell.xyz --temperature 300 --steps 10000\n\n"
        "exit codes: 0 done, 1 failed, 2 wrong command or configuration, 75 stopped and can be resumed.",
    )
    parser.add_argument("--version", action="version", version=f"equipot {__version__}")
    return parser


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Separate what stands before the verb from the verb and what follows it."""
    for number, argument in enumerate(arguments):
        if not argument.startswith("-"):
            return arguments[:number], arguments[number:]
    return arguments, []


def _run(arguments: list[str]) -> int:
    before, rest = _split(arguments)
    options = top_parser().parse(before)
    if not rest:
        top_parser().print_help(sys.stderr)
        raise UsageError("No verb was given.")
    name, *rest = rest
    if name not in VERBS:
        raise UsageError(f"There is no verb {name!r}{nearest(name, VERBS)}; the verbs are {', '.join(VERBS)}.")
    module = import_module(VERBS[name][0])
    parsed = module.parser(rest)
    set_up_logging(verbose=options.verbose or parsed.verbose)
    files, made = module.outputs(parsed) if hasattr(module, "outputs") else ((), ())
    with claim(*files), claim(*made, make_folders=True):
        return module.run(parsed) or 0


def _os_error(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename is not None else ""
    return f"{where}{error.strerror or error}."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: the words after ``equipot``; default: those of the process.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage, 75 stopped and resumable, 130 interrupted with nothing saved.
    """
    limit_spinning()
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # argparse after --help and --version
        return stop.code if isinstance(stop.code, int) else 0
    except EquipotError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # Who read our output has gone; nothing more can be said. Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return _fail("Interrupted; nothing was saved.", INTERRUPTED_BY_USER)
    except OSError as error:
        return _fail(_os_error(error), 1)
    except MemoryError:
        return _fail("The memory of this machine is not enough: use smaller batches, structures or models.", 1)
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":
            return _fail(
                f"The memory of the device is not enough: use smaller batches, structures or models "
                f"(torch: {str(error).splitlines()[0]}).",
                1,
            )
        traceback.print_exc()
        return _fail(f"{BUG} and the versions ({_versions()}).", 1)


def _versions() -> str:
    return f"equipot {__version__}, Python {sys.version.split()[0]}, {sys.platform}"


def _fail(message: str, code: int) -> int:
    try:
        sys.stdout.flush()
    except OSError:  # a full disk under it: Python would complain again when it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    print(f"equipot: {'stopped' if code in (75, INTERRUPTED_BY_USER) else 'error'}: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
