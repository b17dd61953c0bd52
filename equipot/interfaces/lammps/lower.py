"""What the pair style runs in a process of its own: a model file lowered to the engine's document.

    python -m equipot.interfaces.lammps.lower OUTPUT MODEL --elements Ta W [--dtype float32]

Writes the document to OUTPUT and prints one line about the model. A failure is one sentence on standard output and
exit code 1: the pair style shows it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from equipot import checkpoint
from equipot.engine import NotCompiled
from equipot.engine.compile import lower_potential
from equipot.errors import ElementError, EquipotError
from equipot.models import Potential


def lowered(
    model: str | Path | Potential,
    elements: Sequence[str],
    dtype: str | None = None,
    *,
    runs_everywhere: bool = False,
) -> tuple[bytes, str]:
    """A model's document for structures of some elements, and one line about it.

    Args:
        model: model file, or a potential.
        elements: in the order of the engine's species.
        dtype: ``float32`` or ``float64`` of the network; None: the model's own.
        runs_everywhere: whether the document shall run on CPUs of every instruction set; else on this machine's.

    Raises:
        CheckpointError: the model file cannot be read.
        ElementError: an element the potential does not know.
        NotCompiled: the engine cannot run it.
    """
    potential = model if isinstance(model, Potential) else checkpoint.load_model(model, dtype=dtype)
    unknown = [element for element in elements if element not in potential.elements]
    if unknown:
        raise ElementError(
            f"the potential {model} does not know the element {unknown[0]}; it knows {', '.join(potential.elements)}"
        )
    potential = potential.eval().requires_grad_(False)
    try:
        document = lower_potential(potential, tuple(elements), runs_everywhere=runs_everywhere)
    except NotCompiled as reason:
        raise NotCompiled(f"{reason} (The ASE calculator runs such models through torch.)") from None
    name = model if not isinstance(model, Potential) else "potential"
    return document, (
        f"{name}: {potential.config.architecture}, {str(potential.dtype).removeprefix('torch.')}, cutoff "
        f"{potential.cutoff:g} Angstrom, elements {' '.join(elements)}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; the exit code."""
    parser = argparse.ArgumentParser(prog="equipot.interfaces.lammps.lower")
    parser.add_argument("output")
    parser.add_argument("model")
    parser.add_argument("--elements", nargs="+", required=True)
    parser.add_argument("--dtype", choices=("float32", "float64"))
    options = parser.parse_args(arguments)
    try:
        document, description = lowered(options.model, options.elements, options.dtype)
        Path(options.output).write_bytes(document)
    except (EquipotError, OSError) as error:
        print(error)
        return 1
    print(description)
    return 0


if __name__ == "__main__":
    sys.exit(main())
