"""Models for LAMMPS without Python at run time: the engine's document behind a header of lines, as one file (``.eqd``).

The format is described in ``csrc/exported_model.hpp``, whose C++ reads it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from equipot import checkpoint
from equipot.checkpoint.atomic import write_atomically
from equipot.data.paths import file_sha256
from equipot.elements import atomic_number
from equipot.errors import ElementError
from equipot.interfaces.lammps.lower import lowered
from equipot.models import Potential
from equipot.version import __version__

FORMAT_VERSION = 1
SUFFIX = ".eqd"
#: What a model file says of its origin and of the terms of its use; None where it says nothing.
ORIGIN_KEYS = (
    "name",
    "head",
    "level_of_theory",
    "training_data",
    "atomic_energies_origin",
    "converted_from",
    "licence",
    "citation",
)


def export_model(
    model: str | Path, elements: Sequence[str], path: str | Path, *, dtype: str | None = None, head: str | None = None
) -> str:
    """Write a model for some of its elements as a file that LAMMPS' pair style reads without Python.

    Args:
        model: model file.
        elements: symbols; LAMMPS may use any of them, in any order.
        path: the file to write; what was there before stays until the new one is complete.
        dtype: ``float32`` or ``float64`` of the network; None: the model's own.
        head: which level of theory, where the model file holds several.

    Returns:
        One line about the model.

    Raises:
        CheckpointError: the model file cannot be read, or the new one not be written.
        ElementError: an element the potential does not know, or one given twice.
        NotCompiled: the engine cannot run the model.
    """
    repeated = [element for k, element in enumerate(elements) if element in elements[:k]]
    if repeated:
        raise ElementError(
            f"{repeated[0]} is given twice: name every element once; in LAMMPS several types may share it."
        )
    for element in elements:
        atomic_number(element)
    potential = checkpoint.load_model(model, dtype=dtype, head=head)
    document, description = lowered(potential, elements, runs_everywhere=True)
    write_atomically(path, packed(document, header(potential, elements, Path(model))))
    return description.replace("potential", str(model), 1)


def header(potential: Potential, elements: Sequence[str], model: Path) -> dict[str, Any]:
    """The facts that stand before the document."""
    return {
        "elements": " ".join(elements),
        "cutoff": f"{potential.cutoff:g}",
        "units": "eV Angstrom",
        "dtype": str(potential.dtype).removeprefix("torch."),
        "architecture": potential.config.architecture,
        "made_by": f"equipot {__version__}",
        "model": model.name,
        "model_sha256": file_sha256(model),
        **{key: potential.metadata.get(key) for key in ORIGIN_KEYS},
    }


def packed(document: bytes, facts: Mapping[str, Any]) -> bytes:
    """The bytes of a file. Facts that are None are left out; others than strings are written as JSON."""
    lines = [f"{key} {_in_one_line(value)}" for key, value in facts.items() if value is not None]
    content = ("\n".join(lines) + "\n\n").encode() + document
    first = f"equipot document {FORMAT_VERSION}\nsha256 {hashlib.sha256(content).hexdigest()}\nbytes {len(content)}\n"
    return first.encode() + content


def _in_one_line(value: Any) -> str:
    return " ".join(value.split()) if isinstance(value, str) else json.dumps(value, sort_keys=True)
