"""``equipot train``: a configuration in, a model with its error table and report out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from equipot.cli.parser import Parser, add_threads_option

EPILOG = """examples:
  equipot train configs/quickstart.yaml
  equipot train run.yaml training.epochs=200 model.cutoff=5.5
  equipot train run.yaml --dry-run            number of parameters and seconds per epoch, nothing is written
  equipot train run.yaml --resume             go on where the run in its folder stopped
  equipot train run.yaml --resume training.epochs=400     make a finished run longer

Ctrl-C or SIGTERM finishes the step, saves and exits with 75: the same command with --resume goes on,
and ends as if it had never stopped. A finished run that is given more epochs goes on with the schedule of a run of that
length (a cosine rises again to where it would be); its summary.json and report.html are kept under other names.

A run ends with the physics check of `equipot check` in its short form; physics_check=full or off changes that.
"""


def parser(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the words after ``equipot train``."""
    parser = Parser("equipot train", epilog=EPILOG, description="Train a potential as a configuration file says.")
    parser.add_argument("config", metavar="CONFIG", help="the configuration, a YAML file")
    parser.add_argument(
        "overrides",
        metavar="SECTION.KEY=VALUE",
        nargs="*",
        default=[],
        help="replaces one value of the configuration, e.g. training.epochs=200",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in the run folder")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in the run folder")
    parser.add_argument(
        "--dry-run", action="store_true", help="read the data, build the model, time a few steps; write nothing"
    )
    parser.add_argument(
        "--fail-on-check",
        action="store_true",
        help="exit with 1 where the physics check at the end fails (default: it warns, and exits with "
        "0; the run is complete either way)",
    )
    add_threads_option(parser)
    return parser.parse(arguments)


def run(arguments: argparse.Namespace) -> int:
    """Train."""
    from equipot.config import load_config
    from equipot.errors import UsageError
    from equipot.system.threads import set_threads
    from equipot.workflow import train

    if arguments.fail_on_check and load_config(arguments.config, arguments.overrides).physics_check == "off":
        raise UsageError("--fail-on-check was said, but physics_check is off: there would be nothing to fail.")
    set_threads(arguments.threads)
    result = train(
        arguments.config,
        overrides=arguments.overrides,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        dry_run=arguments.dry_run,
    )
    if arguments.dry_run:
        return 0
    if result.report_error is not None:
        return 1  # the run is complete but for its report, which was said
    if not arguments.fail_on_check:
        return 0
    check = result.summary["physics_check"]
    return 1 if check is None or check["failed"] else 0  # None: it could not be run, which was said
