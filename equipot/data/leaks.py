"""Structures on both sides of a split: how many, of which kind, and what that means for the errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from equipot.data.copies import Copy
from equipot.data.frames import Frame


@dataclass(frozen=True)
class Leak:
    """Frames of one part that are also in an earlier one.

    Attributes:
        part: Where errors are measured: ``validation`` or ``test``.
        source: Where the structures are too: ``train`` or ``validation``.
        num_frames: How many of the part's frames they are.
        num_exact: How many of those are so without turning or renumbering.
        total: Frames of the part.
        first: The first of them and what it repeats, as the files name them.
    """

    part: str
    source: str
    num_frames: int
    num_exact: int
    total: int
    first: tuple[str, str]

    @classmethod
    def of(cls, source: str, part: str, parts: Mapping[str, Sequence[Frame]], copies: Mapping[int, Copy]) -> Leak:
        """Count copies: position in ``part`` -> the frame of ``source`` it is."""
        place, copy = next(iter(copies.items()))
        exact = sum(copy.is_exact for copy in copies.values())
        first = parts[part][place].source, parts[source][copy.of].source
        return cls(part, source, len(copies), exact, len(parts[part]), first)

    def sentence(self) -> str:
        """The leak in words."""
        turned = self.num_frames - self.num_exact
        how = "" if not turned else f", {turned} of them turned, mirrored, renumbered or in another cell"
        return (
            f"{self.num_frames} of {self.total} {self.part} frames are structures that are also in {self.source}{how} "
            f"(first: {self.first[0]} is {self.first[1]}): errors on them say little"
        )

    def to_dict(self) -> dict[str, Any]:
        """The leak for JSON."""
        return {
            "part": self.part,
            "also_in": self.source,
            "frames": self.num_frames,
            "of": self.total,
            "as_they_are": self.num_exact,
            "up_to_symmetry": self.num_frames - self.num_exact,
            "first": list(self.first),
        }
