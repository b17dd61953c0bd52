"""``equipot finetune``: a finished potential and a few frames in, a better potential for these and its report out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from equipot.cli.parser import Parser, add_threads_option

EPILOG = """The configuration is one of equipot train without a section model (that is the base's), and may say how to
tune in a section finetune, for example

  name: mine
  data: {train: [frames.xyz]}
  finetune: {keep_base_general: true}
  training: {epochs: 100}

  mode: full | frozen (train: or freeze: [readout, layer_0, ...]) | lora (lora: {rank: 8})
  keep_base_general: true         structures that the base labels are mixed in (replay:), so that it forgets less
  atomic_energies: refit | keep | isolated | {Cu: -3.7, ...}
  new_elements: {Hf: Zr}          begins as zirconium; elements: data drops those that no frame contains
  head: r2scan                    a second level of theory beside the base's, in one file

Every key stands with its meaning in equipot/config/finetune.py and equipot/config/schema.py.

examples:
  equipot convert sevennet 7net-0 -o 7net-0.eqp
  equipot finetune 7net-0.eqp mine.yaml --dry-run     what trains, seconds per epoch; nothing is written
  equipot finetune 7net-0.eqp mine.yaml optimizer.learning_rate=1e-3
  equipot finetune 7net-0.eqp mine.yaml --resume      go on where the run in its folder stopped
"""


def parser(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the words after ``equipot finetune``."""
    parser = Parser(
        "equipot finetune",
        epilog=EPILOG,
        description="Tune a finished potential on frames of your own, and report what that changed.",
    )
    parser.add_argument("base", metavar="BASE", help="the model file (.eqp) or run folder to begin with")
    parser.add_argument("config", metavar="CONFIG", help="the configuration, a YAML file")
    parser.add_argument(
        "overrides",
        metavar="SECTION.KEY=VALUE",
        nargs="*",
        default=[],
        help="replaces one value of the configuration, e.g. finetune.mode=full",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in the run folder")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in the run folder")
    parser.add_argument(
        "--dry-run", action="store_true", help="read the data, say what trains, time a few steps; write nothing"
    )
    add_threads_option(parser)
    return parser.parse(arguments)


def run(arguments: argparse.Namespace) -> int:
    """Fine-tune."""
    from equipot.system.threads import set_threads
    from equipot.workflow import finetune

    set_threads(arguments.threads)
    result = finetune(
        arguments.base,
        arguments.config,
        overrides=arguments.overrides,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        dry_run=arguments.dry_run,
    )
    return 0 if arguments.dry_run or result.report_error is None else 1  # complete but for its report, which was said
