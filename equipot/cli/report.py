"""``equipot report``: everything about a run or a model on one page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from equipot.cli.parser import Parser, add_head_option, add_label_options, add_threads_option, label_configs

EPILOG = """examples:
  equipot report runs/quickstart                        make runs/quickstart/report.html again
  equipot report runs/quickstart other.xyz -o other.html
  equipot report model.eqp test.xyz -o model.html
  equipot report model.eqp --check full

The page is one HTML file that needs no network and no other file: model card, errors with plots, the worst frames to
turn and look at, training, physics check, properties, data, speed, provenance. Print it from the browser.
`equipot train` writes it at the end of a run. Folders of this machine are not named on it.
"""


def parser(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the words after ``equipot report``."""
    parser = Parser("equipot report", epilog=EPILOG, description="Write the report of a run or a model.")
    parser.add_argument("path", metavar="RUN_OR_MODEL", help="a run folder or a model file (.eqp)")
    parser.add_argument("data", metavar="DATA", nargs="?", help="labelled frames to compare with, besides the run's")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE.html",
        help="file to write (default: report.html of the run, which is replaced; for a model, its name "
        "with .html in this folder)",
    )
    parser.add_argument(
        "--check",
        choices=("short", "full", "off"),
        help="form of the physics check (default: the run's physics_check; short for a model)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    add_label_options(parser)
    add_head_option(parser)
    add_threads_option(parser)
    return parser.parse(arguments)


def outputs(arguments: argparse.Namespace) -> tuple[Sequence, Sequence]:
    """Name the files that are written."""
    return (arguments.output or f"{arguments.path}/report.html",), ()


def run(arguments: argparse.Namespace) -> int:
    """Write the page."""
    from equipot.system.threads import set_threads
    from equipot.workflow.report import report

    keys, units = label_configs(arguments)
    set_threads(arguments.threads)
    path = report(
        arguments.path,
        arguments.data,
        output=arguments.output,
        keys=keys,
        units=units,
        check=arguments.check,
        head=arguments.head,
        overwrite=arguments.overwrite,
    )
    print(f"Report: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0
