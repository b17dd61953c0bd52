"""Properties of crystals computed with any ASE calculator, and their comparison with a reference."""

from __future__ import annotations

from importlib import import_module

from equipot.properties.comparison import PropertyComparison, PropertyRow, compare
from equipot.properties.crystal import build_crystal
from equipot.properties.elastic import ElasticConstants, elastic_constants
from equipot.properties.equation_of_state import EquationOfState, equation_of_state

#: Resolved on first use: they bring spglib and phonopy, which training does not need.
_LAZY = {
    "StructureReport": "measurement",
    "compute": "measurement",
    "PROPERTIES": "registry",
    "PropertyResult": "result",
    "PropertySettings": "settings",
    "Reference": "reference",
    "compare_values": "reference",
    "read_references": "reference",
    "references_of": "reference",
    "parse_structure": "structures",
}

__all__ = [
    "ElasticConstants",
    "EquationOfState",
    "PropertyComparison",
    "PropertyRow",
    "build_crystal",
    "compare",
    "elastic_constants",
    "equation_of_state",
    *_LAZY,
]


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(import_module(f"equipot.properties.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'equipot.properties' has no attribute {name!r}")
