"""``equipot check``: the physics check-up of a model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from equipot.cli.parser import (
    Parser,
    add_head_option,
    add_label_options,
    add_threads_option,
    finite,
    label_configs,
    positive,
    positive_integer,
)

EPILOG = """examples:
  equipot check model.eqp
  equipot check runs/quickstart frames.xyz --output checked
  equipot check model.eqp frames.xyz --json check.json --temperatures 300 2000 --pressures 0 50
  equipot check model.eqp --short
  equipot check model.eqp --only P G1             the group P (symmetry) and the check G1

groups: P symmetry, G derivatives, C cutoff and smoothness, X extensivity and batches, N neighbour lists and input,
A calculator, V behaviour in simulations, L labels of DATA. A float32 model is held against its float64 twin.

fail: a contract is broken, numbers from this model are wrong somewhere. warn: the model is sound, but behaves in a way
that spoils simulations outside its data (no wall at short range, a hole on compression, an explosion when hot).
Exit codes: 0 nothing failed (warnings included), 1 something failed.
"""


def parser(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the words after ``equipot check``."""
    parser = Parser(
        "equipot check",
        epilog=EPILOG,
        description="Check a model's physics: symmetries, derivatives, smoothness, extensivity, dimers, "
        "compression, energy conservation, stability.",
    )
    parser.add_argument("model", metavar="MODEL", help="a model file (.eqp) or a run folder")
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="?",
        help="your frames, best with labels: a spread of them is checked too, and simulations start "
        "from the lowest in energy",
    )
    parser.add_argument("--short", action="store_true", help="only what ends a training run (seconds)")
    parser.add_argument("--only", nargs="+", default=[], metavar="CODE", help="codes of checks (P1) or groups (P)")
    parser.add_argument("--json", metavar="FILE", help="write the outcome as JSON; - is standard output")
    parser.add_argument("--output", metavar="FOLDER", help="write check.html, check.json and the plots into a folder")
    parser.add_argument("--overwrite", action="store_true", help="replace output that exists")
    parser.add_argument(
        "--temperatures",
        type=positive,
        nargs="+",
        default=[300.0, 1000.0],
        metavar="K",
        help="of the stability runs (default 300 1000)",
    )
    parser.add_argument(
        "--pressures",
        type=finite,
        nargs="+",
        default=[0.0, 20.0],
        metavar="GPA",
        help="of the stability runs (default 0 20)",
    )
    parser.add_argument(
        "--md-steps", type=positive_integer, metavar="N", help="of each stability run (default 2000, short 200)"
    )
    parser.add_argument(
        "--nve-ps", type=positive, metavar="PS", help="length of the energy drift run (default 8, short 0.4)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of structures, rotations and velocities (default 0)")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="of the network; default: the model's own")
    add_label_options(parser)
    add_head_option(parser)
    add_threads_option(parser)
    return parser.parse(arguments)


def outputs(arguments: argparse.Namespace) -> tuple[Sequence, Sequence]:
    """Name the files that are written."""
    return (
        (None if arguments.json == "-" else arguments.json,),
        (arguments.output and f"{arguments.output}/check.html",),
    )


def run(arguments: argparse.Namespace) -> int:
    """Check, print each outcome as it comes, write what was asked for."""
    from pathlib import Path

    from equipot.checks.model import Settings, check_model
    from equipot.data.reading import read_frames
    from equipot.errors import Interrupted, UsageError
    from equipot.report.check_plots import result_line
    from equipot.report.check_report import write_check_report
    from equipot.report.files import refuse_existing, write_text
    from equipot.report.summary import to_json
    from equipot.system.signals import stop_on_signal
    from equipot.system.threads import set_threads
    from equipot.workflow.evaluation import choose_model

    to_stdout = arguments.json == "-"
    if arguments.json and not to_stdout:
        refuse_existing(arguments.json, overwrite=arguments.overwrite)
    if arguments.output and (Path(arguments.output) / "check.html").exists() and not arguments.overwrite:
        raise UsageError(
            f"{arguments.output} holds a check already and is left as it is: choose another folder or say --overwrite."
        )
    keys, units = label_configs(arguments)
    set_threads(arguments.threads)
    model = choose_model(arguments.model, arguments.head)
    frames = read_frames(arguments.data, keys=keys, units=units, on_bad="skip").frames if arguments.data else None
    settings = Settings(
        tuple(arguments.temperatures), tuple(arguments.pressures), arguments.md_steps, arguments.nve_ps, arguments.seed
    )
    stream = sys.stderr if to_stdout else sys.stdout
    with stop_on_signal() as stop:
        report = check_model(
            model,
            frames,
            form="short" if arguments.short else "full",
            only=arguments.only,
            settings=settings,
            dtype=arguments.dtype,
            stop=stop,
            name=str(arguments.model),
            progress=lambda result: print(result_line(result), file=stream, flush=True),
        )
        if stop():
            raise Interrupted(f"Stopped by {stop.signal_name} after {len(report.results)} checks; nothing was written.")
    if to_stdout:
        sys.stdout.write(to_json(report.to_dict()))
    else:
        print(f"\n{report.sentence()}.")
    if arguments.json and not to_stdout:
        print(f"JSON:   {write_text(arguments.json, to_json(report.to_dict()))}")
    if arguments.output:
        print(f"Report: {write_check_report(report, arguments.output)[-1]}", file=stream)
    return 1 if report.worst == "fail" else 0
