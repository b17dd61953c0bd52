"""``equipot info``: what a model file or a run folder holds."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from equipot.cli.parser import Parser
from equipot.errors import DataError, UsageError

EPILOG = """examples:
  equipot info model.eqp
  equipot info runs/quickstart
  equipot info model.eqp --json
"""


def parser(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the words after ``equipot info``."""
    parser = Parser("equipot info", epilog=EPILOG, description="Show what a model file or a run folder holds.")
    parser.add_argument("path", metavar="MODEL_OR_RUN", help="a model file (.eqp) or a run folder")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser.parse(arguments)


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    from equipot.report.summary import to_json

    path = Path(arguments.path).expanduser()
    if not path.exists():
        raise UsageError(f"There is no {path}: give a model file (.eqp) or a run folder.")
    found = _run_folder(path) if path.is_dir() else {"model": _model(path)}
    if arguments.json:
        sys.stdout.write(to_json(found))
        return 0
    if "run" in found:
        _print_run(found["run"])
    if found.get("model"):
        _print_model(found["model"])
    if found.get("summary"):
        _print_errors(found["summary"])
    return 0


def _model(path: Path) -> dict[str, Any]:
    from equipot.checkpoint import read_model_document

    return {"path": str(path), "bytes": path.stat().st_size, **read_model_document(path)}


def _run_folder(path: Path) -> dict[str, Any]:
    from equipot.checkpoint import RunDirectory
    from equipot.config import load_config

    run = RunDirectory(path)
    if not run.exists:
        raise UsageError(f"{path} is a folder but not of a run: it has no config.yaml, model.eqp or checkpoints.")
    rows = [row for row in run.read_metrics() if row.get("epoch") is not None]
    epochs = load_config(run.config_path).training.epochs if run.config_path.exists() else None
    facts = {
        "path": str(path),
        "epochs_done": rows[-1]["epoch"] if rows else 0,
        "epochs": epochs,
        "is_finished": run.summary_path.exists(),
        "report": str(run.report_path) if run.report_path.exists() else None,
        "last": rows[-1] if rows else None,
    }
    return {
        "run": facts,
        "model": _model(run.model_path) if run.model_path.exists() else None,
        "summary": _summary(run.summary_path),
    }


def _summary(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}).") from None
    if not isinstance(summary, dict):
        raise DataError(f"{path} holds {type(summary).__name__}, a JSON object is expected.")
    return summary


def _print_pairs(title: str, pairs: Sequence[tuple[str, Any]]) -> None:
    print(title)
    for name, value in pairs:
        if value not in (None, "", [], {}):
            print(f"  {name + ':':<22}{value}")
    print()


def _print_run(facts: Mapping[str, Any]) -> None:
    state = "finished" if facts["is_finished"] else "not finished; --resume goes on"
    _print_pairs(
        f"Run {facts['path']}",
        [("state", state), ("epochs", f"{facts['epochs_done']} of {facts['epochs']}"), ("report", facts["report"])],
    )


def _print_model(document: Mapping[str, Any]) -> None:
    metadata = document.get("metadata") or {}
    config = document.get("config") or {}
    energies = ", ".join(f"{element} {value:.6g}" for element, value in document.get("atomic_energies", {}).items())
    training, data = metadata.get("training") or {}, metadata.get("training_data") or {}
    frames = ", ".join(f"{count} {split}" for split, count in (data.get("num_frames") or {}).items())
    options = ", ".join(f"{name} {value}" for name, value in (config.get("options") or {}).items())
    written = ", ".join(f"{name} {number}" for name, number in (document.get("created_with") or {}).items() if number)
    _print_pairs(
        f"Model {document['path']}",
        [
            ("name", metadata.get("name")),
            *_origins(metadata),
            *_heads(document),
            ("architecture", document.get("architecture")),
            ("options", options),
            ("elements", " ".join(document.get("elements", ()))),
            ("cutoff", f"{document.get('cutoff'):g} Å"),
            ("parameters", f"{document.get('num_parameters'):,}"),
            ("precision", document.get("dtype")),
            ("core repulsion (ZBL)", "yes" if config.get("zbl") else None),
            ("atomic energies", f"{energies} eV"),
            ("  from", metadata.get("atomic_energies_origin")),
            ("trained on", frames),
            ("  source", data.get("source")),
            ("best epoch", training.get("epoch")),
            ("licence", _licence(metadata)),
            ("citation", metadata.get("citation")),
            ("format", f"version {document.get('format_version')}, {document['bytes'] / 1e6:.2f} MB"),
            ("written", f"{document.get('created')} by equipot {document.get('equipot_version')} ({written})"),
        ],
    )


def _licence(metadata: Mapping[str, Any]) -> str | None:
    """The licence; of what others made also that none is stated."""
    is_derived = "converted_from" in metadata or "finetuned_from" in metadata
    return metadata.get("licence") or ("not stated" if is_derived else None)


def _origins(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a model was converted or fine-tuned from: file and hash; several lines for a fine-tuned converted model."""
    lines, found = [], metadata
    while isinstance(found, Mapping):
        for key, what in (("finetuned_from", "fine-tuned from"), ("converted_from", "converted from")):
            origin = found.get(key)
            if isinstance(origin, Mapping):
                words = (origin.get("family"), origin.get("file"), f"sha256 {origin.get('sha256')}")
                lines.append((what, ", ".join(str(word) for word in words if word)))
        found = found.get("finetuned_from")
    return lines


def _heads(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A line for each head with its level of theory."""
    heads = document.get("heads")
    if not heads:
        metadata = document.get("metadata") or {}
        return [("head", metadata.get("head")), ("level of theory", metadata.get("level_of_theory"))]
    return [
        ("head", f"{name}: {entry['metadata'].get('level_of_theory') or 'level of theory not stated'}")
        for name, entry in heads.items()
    ]


def _print_errors(summary: Mapping[str, Any]) -> None:
    from equipot.report.tables import SPLITS, error_table, print_table

    metrics = {split: summary[split] for split in SPLITS if isinstance(summary.get(split), dict)}
    if metrics:
        print_table(error_table(metrics))
