"""The one table of what an AtomicGraph holds: every field's level, shape, dtype, unit and value when not given.

Batching, validation and the refusal of misspelt names all read this table, so a field that is not in it does not
exist. ``N`` counts atoms, ``E`` edges, ``B`` graphs; a single graph has ``B = 1`` and keeps the leading 1, because
torch_geometric concatenates along the first axis (a plain 3x3 cell would become (3B, 3)).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True)
class Field:
    """One declared field of an AtomicGraph."""

    name: str
    #: ``node`` (one row an atom), ``edge``, ``graph``, ``text`` (str; a list of str in a batch) or ``batching`` (made
    #: by torch_geometric).
    level: Literal["node", "edge", "graph", "text", "batching"]
    #: Sizes by letter (N, E, B) or number; empty for text.
    shape: tuple[str | int, ...]
    dtype: torch.dtype | None
    unit: str
    meaning: str
    #: Value of a field that was not given; None where it has to be given.
    default: float | str | None = None
    #: Axis that batching concatenates along.
    cat_dim: int = 0


_F64, _I64, _NAN = torch.float64, torch.int64, float("nan")

_TABLE = (
    # --- structure and edges: always given
    Field("atomic_numbers", "node", ("N",), _I64, "", "atomic number Z of each atom, 1 to 118"),
    Field("positions", "node", ("N", 3), _F64, "Å", "Cartesian positions as given, not wrapped"),
    Field("cell", "graph", ("B", 3, 3), _F64, "Å", "rows are the lattice vectors (zero where there is none)"),
    Field("pbc", "graph", ("B", 3), torch.bool, "", "whether the structure repeats along each lattice vector"),
    Field("edge_index", "edge", (2, "E"), _I64, "", "row 0 centre i, row 1 neighbour j, sorted by centre", cat_dim=1),
    Field("edge_shift", "edge", ("E", 3), _F64, "cells", "whole lattice translations S of the neighbour"),
    # --- labels: NaN where missing
    Field("energy", "graph", ("B",), _F64, "eV", "label: total energy", _NAN),
    Field("forces", "node", ("N", 3), _F64, "eV/Å", "label: forces", _NAN),
    Field("stress", "graph", ("B", 3, 3), _F64, "eV/Å³", "label: stress, tension positive", _NAN),
    # --- weights and origin
    Field("energy_weight", "graph", ("B",), _F64, "", "factor on the frame's energy loss", 1.0),
    Field("forces_weight", "graph", ("B",), _F64, "", "factor on the frame's forces loss", 1.0),
    Field("stress_weight", "graph", ("B",), _F64, "", "factor on the frame's stress loss", 1.0),
    Field("frame_id", "graph", ("B",), _I64, "", "index of the frame in its data set", 0),
    Field("config_type", "text", (), None, "", "group the frame belongs to", ""),
    Field("source", "text", (), None, "", "where the frame came from, e.g. 'train.xyz frame 12'", ""),
    # --- made by batching; absent on a single graph
    Field("batch", "batching", ("N",), _I64, "", "graph each atom belongs to"),
    Field("ptr", "batching", ("B+1",), _I64, "", "first atom of each graph, then N"),
)

#: Declared fields by name, in storage order.
FIELDS: dict[str, Field] = {field.name: field for field in _TABLE}
#: Fields every complete graph carries (all but torch_geometric's own two).
REQUIRED: tuple[str, ...] = tuple(field.name for field in _TABLE if field.level != "batching")


def unknown_field_message(name: str) -> str:
    """Say that ``name`` is not a field, with the nearest name that is one."""
    longer = [declared for declared in FIELDS if name and declared.startswith(name)]  # ``pos`` -> ``positions``
    nearest = longer or difflib.get_close_matches(name, list(FIELDS), n=1, cutoff=0.0)
    return f"AtomicGraph has no field {name!r}; the nearest declared name is {nearest[0]!r}"


def default_value(
    field: Field, num_nodes: int, num_graphs: int, device: torch.device | None = None
) -> torch.Tensor | str:
    """Return what a field holds when it was not given: NaN labels, weights 1, frame 0, empty text."""
    if field.level == "text":
        return str(field.default)
    sizes = {"N": num_nodes, "B": num_graphs}
    shape = [sizes[size] if isinstance(size, str) else size for size in field.shape]
    return torch.full(shape, field.default, dtype=field.dtype, device=device)


def fields_text(indent: int = 0) -> str:
    """Return the table as aligned lines of text, for documentation."""
    rows = [
        (
            field.name,
            f"({', '.join(map(str, field.shape))})" if field.shape else "text",
            str(field.dtype).removeprefix("torch.") if field.dtype else "str",
            field.unit,
            field.meaning,
        )
        for field in _TABLE
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[4]]) for row in rows]
    return ("\n" + " " * indent).join(lines)
