"""Results of finished properties on the disk: whole or absent, each with the fingerprint of what it was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from equipot.checkpoint.atomic import finite_json, write_json
from equipot.errors import CheckpointError, UsageError
from equipot.properties.result import PropertyResult
from equipot.properties.settings import PropertySettings

FORMAT = 1


def model_fingerprint(calculator: BaseCalculator) -> str:
    """Return a hash that tells two potentials apart: of the weights, or of class and parameters of a foreign one."""
    if hasattr(calculator, "fingerprint"):
        return str(calculator.fingerprint())
    parameters = getattr(calculator, "parameters", {})
    text = f"{type(calculator).__module__}.{type(calculator).__qualname__} {sorted(parameters.items(), key=repr)!r}"
    return hashlib.sha256(text.encode()).hexdigest()


def structure_fingerprint(atoms: Atoms) -> str:
    """Return a hash of elements, cell and positions, to 1e-9 Angstrom."""
    digest = hashlib.sha256()
    for part in (atoms.numbers.astype(np.int64), atoms.cell.array, atoms.positions):
        digest.update((np.round(np.asarray(part, dtype=float), 9) + 0.0).tobytes())
    return digest.hexdigest()


def fingerprints(
    calculator_hash: str, atoms: Atoms, settings: PropertySettings, name: str, sections: tuple[str, ...], revision: int
) -> dict[str, str]:
    """Return what a result depends on: model, structure, settings of the sections it reads, revision of its code."""
    used = {section: asdict(getattr(settings, section)) for section in sections}
    text = json.dumps({"settings": used, "name": name, "revision": revision, "format": FORMAT}, sort_keys=True)
    return {
        "model": calculator_hash,
        "structure": structure_fingerprint(atoms),
        "settings": hashlib.sha256(text.encode()).hexdigest(),
    }


class Store:
    """The folder of one structure: ``<property>.json`` for each finished property, ``work/`` for unfinished ones."""

    def __init__(self, folder: str | Path, *, overwrite: bool = False) -> None:
        self.folder = Path(folder)
        self.overwrite = overwrite

    def path(self, name: str) -> Path:
        """The file of a property."""
        return self.folder / f"{name}.json"

    def work(self, name: str, prints: Mapping[str, str]) -> Path:
        """A folder for files of an unfinished property, which no other model, structure or setting shares."""
        return self.folder / "work" / f"{name}-{hashlib.sha256(repr(sorted(prints.items())).encode()).hexdigest()[:10]}"

    def load(self, name: str, prints: Mapping[str, str]) -> PropertyResult | None:
        """Return the stored result of a property; None where there is none, or where it failed.

        Raises:
            UsageError: the stored one is of another model, structure or settings, and is not to be overwritten.
            CheckpointError: the file is damaged.
        """
        path = self.path(name)
        if not path.exists():
            return None
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            stored = {key: str(document["fingerprints"][key]) for key in prints}
            result = PropertyResult.from_dict(document["result"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if self.overwrite:
                return None
            raise CheckpointError(
                f"{path}: not a result of this program ({type(error).__name__}: {error}); remove the "
                "file, choose another output folder, or say --overwrite."
            ) from error
        different = [key for key in prints if stored[key] != prints[key]]
        if different:
            if self.overwrite:
                return None
            raise UsageError(
                f"{path}: was computed with another {' and '.join(different)}; choose another output "
                "folder, or say --overwrite to compute it again."
            )
        return None if result.status == "failed" else result

    def save(self, result: PropertyResult, prints: Mapping[str, str]) -> None:
        """Store a result, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.path(result.name), {"format": FORMAT, "fingerprints": dict(prints), "result": result.to_dict()})


def jsonable(value: Any) -> Any:
    """What the store would give back: numbers that are not finite become None, tuples lists."""
    return finite_json(value)
