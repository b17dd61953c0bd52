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

Ctrl-C or SIGTERM finishes the step, saves and exits with 75: the same command with --resume goes on,
and ends as if it had never stopped.
"""


def parser(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the words after ``equipot train``."""
    parser = Parser("equipot train", epilog=EPILOG, description="Train a potential as a configuration file says.")
    parser.add_argument("config", metavar="CONFIG", help="the configuration, a YAML file")
    parser.add_argument("overrides", metavar="SECTION.KEY=VALUE", nargs="*", default=[],
                        help="replaces one value of the configuration, e.g. training.epochs=200")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the run folder")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in the run folder")
    parser.add_argument("--dry-run", action="store_true",
                        help="read the data, build the model, time a few steps; write nothing")
    add_threads_option(parser)
    return parser.parse(arguments)


def run(arguments: argparse.Namespace) -> int:
    """Train."""
    from equipot.threads import set_threads
    from equipot.workflow import train

    set_threads(arguments.threads)
    train(arguments.config, overrides=arguments.overrides, resume=arguments.resume, overwrite=arguments.overwrite,
          dry_run=arguments.dry_run)
    return 0
