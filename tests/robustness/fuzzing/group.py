"""What a kind of file is to the fuzzer: seeds, how one is mutated, how it is read, and what a good end is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from equipot.errors import EquipotError

#: Read, and every number is the seed's.
SAME = "same"
#: Read, and every number is what an independent reading of the mutated file says.
AS_WRITTEN = "as written"
#: Read; the file says something else than the seed in a place no independent reading was made of.
NOT_COMPARED = "not compared"
REFUSED, DEFECT = "refused", "defect"
OUTCOMES = (SAME, AS_WRITTEN, NOT_COMPARED, REFUSED, DEFECT)

_LONGEST = 1500


class Wrong(Exception):
    """A file was read and the numbers are not what it says."""


class Group:
    """One kind of file.

    Attributes:
        name: as in the table.
        number: how many files of it make a full run.
    """

    name: str = ""
    number: int = 0

    def prepare(self, folder: Path) -> None:
        """Make the seeds once, before the workers start; ``folder`` is the group's own and stays."""

    def make(self, rng: np.random.Generator, folder: Path) -> Path:
        """Write one mutated file into an empty folder and return its path."""
        raise NotImplementedError

    def read(self, path: Path) -> str:
        """Read it: SAME, AS_WRITTEN or NOT_COMPARED; raises EquipotError where it is refused, Wrong where the numbers
        are not the file's, and anything else only by mistake."""
        raise NotImplementedError


def complaint_about(error: EquipotError, path: Path) -> str | None:
    """What is wrong with an error message: None where it is one line that names the file."""
    text = str(error)
    if "\n" in text.strip():
        return "has more than one line"
    if len(text) > _LONGEST:
        return f"has {len(text)} characters"
    if not text.rstrip().endswith((".", "?", ")")):
        return "is no sentence"
    names = {path.name, path.stem, *(part.name for part in path.rglob("*"))}
    if not any(name in text for name in names):
        return "does not name the file"
    return None
