"""The physics check-up of many models, side by side: every preset with random weights, and any model files.

One process checks one model after the other with ``equipot.check_model``, the same as ``equipot check``, and the table
grows as it goes. A word is a model file, ``emt`` or ``lj`` (calculators of ASE that are not of this package),
``presets`` (both architectures, small, medium and large, float32 and float64, random weights on Cu, Au, O and H), or
one preset such as ``mace-small-float64``. Random weights have no crystal to simulate: only the contract groups P, G, C,
X, N and A are run on them.

    python scripts/benchmarks/check_models.py presets runs/quickstart/model.eqp 7net-0.eqp --output checked
    python scripts/benchmarks/check_models.py emt --output checked

writes checked/checks.md and checked/checks.json; models that are in there already are not checked again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from pathlib import Path

from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from equipot.checkpoint import load_model
from equipot.checks.model import CheckReport, check_model
from equipot.errors import EquipotError, UsageError
from equipot.models import Potential, PotentialConfig, build_potential, resolve_options
from equipot.report.check_plots import result_line
from equipot.system.threads import set_threads

ELEMENTS = ("H", "O", "Cu", "Au")
PRESETS = [
    f"{architecture}-{preset}-{dtype}"
    for architecture, preset, dtype in itertools.product(
        ("nequip", "mace"), ("small", "medium", "large"), ("float64", "float32")
    )
]
CONTRACT = ("P", "G", "C", "X", "N", "A")
CALCULATORS = {
    "emt": (EMT, {"elements": ["Cu", "Au"]}),
    "lj": (
        lambda: LennardJones(sigma=2.2, epsilon=0.5, rc=5.0, ro=3.0, smooth=True),
        {"elements": ["Cu"], "cutoff": 5.0},
    ),
}
COLUMNS = ("model", "dtype", "pass", "warn", "fail", "skip", "failed", "warned", "nearest to its threshold", "seconds")


def preset(name: str) -> Potential:
    """A potential of a preset with random weights, energies of some eV and forces of some eV/Angstrom."""
    architecture, size, dtype = name.split("-")
    config = PotentialConfig(
        architecture=architecture,
        elements=ELEMENTS,
        cutoff=5.0,
        avg_num_neighbors=30.0,
        dtype=dtype,
        zbl=True,
        options=resolve_options(architecture, size, {}),
    )
    energies = {element: -10.0 * (k + 1) for k, element in enumerate(ELEMENTS)}
    return build_potential(config, atomic_energies=energies, scale=3.0, shift=-1.0)


def check(name: str, args: argparse.Namespace) -> CheckReport:
    """The report of one word of the command line."""
    options = {
        "form": "short" if args.short else "full",
        "only": args.only,
        "name": name,
        "progress": lambda result: print("  " + result_line(result), flush=True),
    }
    if name in PRESETS:
        return check_model(preset(name), **{**options, "only": args.only or CONTRACT})
    if name in CALCULATORS:
        make, known = CALCULATORS[name]
        return check_model(make(), **options, **known)
    path, _, dtype = name.partition("@")
    return check_model(load_model(path, dtype=dtype or None), **options)


def row(report: CheckReport, seconds: float) -> dict:
    """What the table shows of one report."""
    contract = [result for result in report.results if result.code[0] in CONTRACT and result.worst is not None]
    nearest = max(contract, key=lambda result: result.worst.ratio, default=None)
    codes = {
        status: [result.code for result in report.results if result.status == status]
        for status in ("fail", "warn", "skip")
    }
    margin = (
        ""
        if nearest is None
        else (
            f"{nearest.code} {nearest.worst.name}: {nearest.worst.value:.1e} of "
            f"{nearest.worst.limit:.0e} {nearest.worst.unit}"
        )
    )
    return {
        "model": Path(report.subject).as_posix(),
        "dtype": report.facts["dtype"],
        **report.counts,
        "failed": " ".join(codes["fail"]),
        "warned": " ".join(codes["warn"]),
        "skipped": " ".join(codes["skip"]),
        "nearest to its threshold": margin,
        "seconds": round(seconds),
    }


def markdown(rows: list[dict]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(str(line[column]) for column in COLUMNS) + " |" for line in rows]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="model file (with @float64 or @float32 behind it: in that precision), presets, one preset, emt or lj",
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="CODE", help="codes or groups of checks")
    parser.add_argument("--short", action="store_true", help="the short form")
    parser.add_argument("--output", type=Path, default=Path("checked"), help="folder of the tables (default: checked)")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    parser.add_argument("--again", action="store_true", help="check also what the table has already")
    args = parser.parse_args()
    set_threads(args.threads)
    names = [name for word in args.models for name in (PRESETS if word == "presets" else [word])]
    table = args.output / "checks.json"
    documents = json.loads(table.read_text()) if table.exists() else {}
    for name in names:
        if name not in (*PRESETS, *CALCULATORS) and not Path(name.partition("@")[0]).is_file():
            raise UsageError(
                f"{name} is no file, no preset ({', '.join(PRESETS)}) and none of {', '.join(CALCULATORS)}."
            )
        if name in documents and not args.again:
            continue
        print(name, flush=True)
        begin = time.perf_counter()
        report = check(name, args)
        documents[name] = {"row": row(report, time.perf_counter() - begin), **report.to_dict(curves=False)}
        args.output.mkdir(parents=True, exist_ok=True)
        table.write_text(json.dumps(documents, indent=1) + "\n", encoding="utf-8")
        (args.output / "checks.md").write_text(markdown([each["row"] for each in documents.values()]), encoding="utf-8")
    print(markdown([documents[name]["row"] for name in names]))
    return 1 if any(documents[name]["worst"] == "fail" for name in names) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EquipotError as error:
        print(f"check_models: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
