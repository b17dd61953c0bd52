"""The false-alarm study of the physics check: a short training on every data set, and what each form of the check says.

For every folder of DATA with a training file, and for each architecture: a spread of the training frames (as many as
hold about --atoms atoms, with the isolated atoms where there are some) is trained on for a few epochs with the small
preset, in float32. The finished model is then checked in float32 and in float64 (the same weights), in the short form
without data, in the short form on the frames (what ends a training) and in the full form on them. What misbehaves may
warn; nothing of a sound model may fail.

    python scripts/benchmarks/check_trained.py DATA --output checked
    python scripts/benchmarks/check_trained.py DATA --output checked --sets acac mlearn_si --architectures mace

writes checked/<set>-<architecture>/ (frames, run) and checked/trained.json, and prints the table, models against
verdicts. What is there already is not done again (--again check: the checks are).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from equipot.checkpoint import load_model
from equipot.checks.model import check_model
from equipot.data import read_frames, write_frames
from equipot.data.frames import Frame
from equipot.data.isolated import is_isolated_atom
from equipot.system.threads import set_threads

ARCHITECTURES = ("nequip", "mace")
#: What ends a training is the short form on its frames.
FORMS = {"short": ("short", False), "short on frames": ("short", True), "full on frames": ("full", True)}
DTYPES = ("float32", "float64")


def sets_of(data: Path) -> list[str]:
    """Folders that hold a training file."""
    return sorted(folder.name for folder in data.iterdir() if folder.is_dir() and list(folder.glob("train*.xyz*")))


def spread(frames: list[Frame], atoms: int) -> list[Frame]:
    """Frames taken evenly from the file until they hold so many atoms; small ones among them count as well."""
    order = np.random.default_rng(0).permutation(len(frames))
    chosen, total = [], 0
    for number in order:
        if total and total + len(frames[number].atoms) > atoms:
            continue
        chosen.append(int(number))
        total += len(frames[number].atoms)
    return [frames[number] for number in sorted(chosen)]


def train(folder: Path, source: Path, architecture: str, args: argparse.Namespace) -> Path:
    """Train in a process of its own, as a user would; the model file."""
    model = folder / "run" / "model.eqp"
    if model.exists():
        return model
    folder.mkdir(parents=True, exist_ok=True)
    # The set of all frames has the plain name; one of a part of them may stand beside it.
    frames = read_frames(min(source.glob("train*.xyz*"), key=lambda path: len(path.name))).frames
    lone = source / "isolated_atoms.xyz"
    frames = spread([frame for frame in frames if not is_isolated_atom(frame)], args.atoms) + (
        read_frames(lone).frames if lone.exists() else []
    )
    write_frames(folder / "frames.xyz", frames)
    (folder / "run.yaml").write_text(
        f"name: {source.name}\n"
        "data: {train: [frames.xyz]}\n"
        f"model: {{architecture: {architecture}, preset: small, cutoff: 5.0}}\n"
        f"training: {{epochs: {args.epochs}, batch_size: 2}}\n"
        "physics_check: 'off'\n"
        f"run_directory: {folder.resolve() / 'run'}\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "equipot", "train", str(folder / "run.yaml"), "--overwrite"]
    with (folder / "train.log").open("w", encoding="utf-8") as log:
        subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)
    return model


def outcome(model: Path, dtype: str, form: str, frames: list[Frame]) -> dict:
    """What one check says: codes by status, and the worst figure of each failure."""
    begin = time.process_time()
    name, with_frames = FORMS[form]
    data = frames if with_frames else None
    report = check_model(load_model(model, dtype=dtype), data, form=name, name=f"{model.parent.parent.name}@{dtype}")
    return {
        **{status: [result.code for result in report.results if result.status == status] for status in report.STATUSES},
        "figures": {
            result.code: f"{result.worst.name} {result.worst.value:.3g} of {result.worst.limit:.3g} "
            f"({result.worst.where})"
            if result.worst is not None
            else result.note
            for result in report.results
            if result.status in ("fail", "warn")
        },
        "cpu_seconds": round(time.process_time() - begin, 1),
    }


def words(found: dict) -> str:
    """One cell of the table: failures in capitals, then warnings."""
    shown = {"fail": "FAIL " + " ".join(found["fail"]), "warn": "warn " + " ".join(found["warn"])}
    parts = [text for status, text in shown.items() if found[status]]
    if found.get("not run"):
        parts.append(f"{len(found['not run'])} not run")
    return "; ".join(parts) or f"{len(found['pass'])} pass"


def markdown(documents: dict[str, dict]) -> str:
    """Models against verdicts."""
    columns = list(dict.fromkeys(name for document in documents.values() for name in document))
    lines = ["| model | " + " | ".join(columns) + " |", "|" + "---|" * (len(columns) + 1)]
    for name, document in documents.items():
        cells = [words(document[column]) if column in document else "" for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    failed = sum(bool(found["fail"]) for document in documents.values() for found in document.values())
    total = sum(len(document) for document in documents.values())
    return "\n".join(lines) + f"\n\n{failed} of {total} verdicts have a failure.\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of data sets, each a folder with train*.xyz*")
    parser.add_argument("--output", type=Path, default=Path("checked"))
    parser.add_argument("--sets", nargs="+", help="default: all")
    parser.add_argument("--architectures", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--forms", nargs="*", choices=FORMS, default=list(FORMS), help="none: train only")
    parser.add_argument("--atoms", type=int, default=1000, help="of the training frames in all (default 1000)")
    parser.add_argument("--epochs", type=int, default=40, help="default 40")
    parser.add_argument("--again", action="store_true", help="check again what has been checked; models are kept")
    args = parser.parse_args()
    set_threads(1)
    table = args.output / "trained.json"
    documents = json.loads(table.read_text()) if table.exists() else {}
    for name in args.sets or sets_of(args.data):
        for architecture in args.architectures:
            folder = args.output / f"{name}-{architecture}"
            model = train(folder, args.data / name, architecture, args)
            document = documents.setdefault(folder.name, {})
            for form in args.forms:
                for dtype in args.dtypes:
                    key = f"{form}, {dtype}"
                    if key in document and not args.again:
                        continue
                    document[key] = outcome(model, dtype, form, read_frames(folder / "frames.xyz").frames)
                    print(f"{folder.name:<24} {key:<24} {words(document[key])}", flush=True)
                    for code, figure in document[key]["figures"].items():
                        print(f"    {code}: {figure}", flush=True)
                    table.write_text(json.dumps(documents, indent=1) + "\n", encoding="utf-8")
    print(markdown(documents))
    return 1 if any(found["fail"] for document in documents.values() for found in document.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
