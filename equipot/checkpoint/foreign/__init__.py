"""Models of other packages taken in: SevenNet, MACE and NequIP checkpoints become potentials of equipot."""

from __future__ import annotations

from equipot.checkpoint.foreign.convert import FAMILIES, convert, convert_heads

__all__ = ["FAMILIES", "convert", "convert_heads"]
