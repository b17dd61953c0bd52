"""``equipot doctor``: what was found on this machine, a speed test, and what to do about it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from equipot.cli.parser import Parser

EPILOG = """examples:
  equipot doctor
  equipot doctor --json > machine.json        to send along with a question

The speed test is a fixed small model on 250 atoms of tantalum.

Threads are chosen by --threads of a verb, else EQUIPOT_THREADS, else OMP_NUM_THREADS, else all cores of this process.
EQUIPOT_KERNELS=auto|native|reference chooses the kernels. The program lets idle threads sleep soon; in a Python program
of your own set GOMP_SPINCOUNT=1000 before torch is imported where other programs share the machine.
"""


def parser(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the words after ``equipot doctor``."""
    parser = Parser(
        "equipot doctor",
        epilog=EPILOG,
        description="Show versions, kernels, threads, memory and GPU, and test the speed.",
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--no-speed", action="store_true", help="leave out the speed test, which takes some seconds")
    return parser.parse(arguments)


def run(arguments: argparse.Namespace) -> int:
    """Look, and say what was found."""
    from equipot.report.summary import to_json
    from equipot.workflow.doctor import examine

    found = examine(with_speed=not arguments.no_speed)
    if arguments.json:
        sys.stdout.write(to_json(found))
        return 0
    for name, value in _lines(found):
        print(f"{name + ':':<12}{value}")
    for sentence in found["warnings"]:
        print(f"\nWarning: {sentence}")
    if not found["warnings"]:
        print("\nNothing is wrong.")
    return 0


def _lines(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    versions, cpu, state = dict(found["versions"]), found["cpu"], found["threads"]
    head = f"{versions.pop('equipot')}, Python {versions.pop('python')}, {versions.pop('system')}"
    memory, gpu = found["memory"], found["gpu"]
    settings = ", ".join(f"{name}={value}" for name, value in state["variables"].items())
    lines = [
        ("equipot", head),
        ("packages", ", ".join(f"{name} {number or 'absent'}" for name, number in versions.items())),
        ("CPU", f"{cpu['model']}, {cpu['logical_cpus']} CPUs, {cpu['instruction_set']}"),
        ("kernels", _kernels(found["kernels"])),
        ("threads", f"{state['used']} of {state['available_cores']} cores{f' ({settings})' if settings else ''}"),
        ("OpenMP", ", ".join(state["openmp_libraries"]) or "not known"),
        ("memory", f"{_gigabytes(memory['available_bytes'])} free of {_gigabytes(memory['total_bytes'])}"),
        ("GPU", ", ".join(gpu["devices"]) or "none that torch can use"),
    ]
    if found["speed"] is not None:
        rows = "; ".join(
            f"{row['kernels']}, {row['threads']} thread{'s' if row['threads'] > 1 else ''}: "
            f"{row['us_per_atom_and_step']:.3g}"
            for row in found["speed"]["rows"]
        )
        lines.append(("speed", f"{rows} µs per atom and step"))
    return lines


def _kernels(kernels: Mapping[str, Any]) -> str:
    if kernels["reason"] is not None:
        return "none, pure torch instead"
    built = f"{kernels['instruction_set']}, {kernels['path']}"
    return f"native, {built}" if kernels["kind"] == "native" else f"pure torch, as asked for (there are: {built})"


def _gigabytes(number: int | None) -> str:
    return "an unknown size" if number is None else f"{number / 1e9:.1f} GB"
