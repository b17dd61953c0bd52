"""AtomicGraph: an atomic structure with its edges and labels as a torch_geometric ``Data``."""

from __future__ import annotations

from typing import Any

import torch
from torch_geometric.data import Data

from equipot.errors import DataError
from equipot.graph.fields import FIELDS, REQUIRED, default_value, fields_text, unknown_field_message
from equipot.graph.storage import FieldStorage


class AtomicGraph(Data):
    """One structure (or, batched by torch_geometric, several) with neighbour edges, labels and weights.

    The fields are those of the table ``equipot.graph.FIELDS``, printed below; setting or reading any other name raises
    AttributeError with the nearest declared one. Edges satisfy the convention of ASE, matscipy, NequIP and SevenNet
    (MACE has the opposite direction)::

        edge_vector = positions[j] - positions[i] + edge_shift @ cell      # from centre i to neighbour j

    Give the first six fields (and, for several graphs built by hand, ``batch`` and ``ptr``); labels that are not
    given become NaN, weights 1, ``frame_id`` 0 and texts empty. Usually a graph comes from ``from_ase``.

    {fields}
    """

    def __init__(self, **kwargs: Any) -> None:
        # torch_geometric calls this without arguments and reads its signature: the name has to be ``kwargs``.
        super().__init__()
        self.__dict__["_store"] = FieldStorage(_parent=self)
        if not kwargs:
            return
        for name in kwargs:
            if name not in FIELDS:
                raise AttributeError(unknown_field_message(name))
        missing = [name for name in REQUIRED if name not in kwargs and FIELDS[name].default is None]
        if missing:
            raise AttributeError(f"an AtomicGraph needs the fields {', '.join(missing)}")
        num_nodes, num_graphs = kwargs["positions"].shape[0], kwargs["cell"].shape[0]
        for name, field in FIELDS.items():  # the order of the table, whatever the caller's
            if name in kwargs:
                self._store[name] = kwargs[name]
            elif name in REQUIRED:
                self._store[name] = default_value(field, num_nodes, num_graphs, kwargs["positions"].device)

    # --- sizes

    @property
    def num_nodes(self) -> int:
        """Number of atoms N."""
        return self._store.num_nodes

    @property
    def num_edges(self) -> int:
        """Number of directed edges E; every pair of neighbours counts twice."""
        return self._store.num_edges

    @property
    def num_graphs(self) -> int:
        """Number of structures B, from the cells: right also where the last structure has no atoms."""
        return self._store["cell"].shape[0]

    @property
    def num_nodes_per_graph(self) -> torch.Tensor:
        """Number of atoms of each structure, (B,) int64."""
        if "ptr" in self._store:
            return self._store["ptr"].diff()
        if "batch" in self._store:
            return torch.bincount(self._store["batch"], minlength=self.num_graphs)
        return torch.tensor([self.num_nodes], device=self._store["positions"].device)

    @property
    def graph_index(self) -> torch.Tensor:
        """Structure each atom belongs to, (N,) int64; zeros for a single structure."""
        if "batch" in self._store:
            return self._store["batch"]
        positions = self._store["positions"]
        return torch.zeros(positions.shape[0], dtype=torch.int64, device=positions.device)

    # --- geometry

    @property
    def volume(self) -> torch.Tensor:
        """Volume of each cell, (B,) float64 Å^3, zero where it has none; a constant, not differentiable."""
        first, second, third = self._store["cell"].detach().unbind(dim=1)
        return (first * torch.linalg.cross(second, third)).sum(dim=1).abs_()

    def edge_vectors(self) -> torch.Tensor:
        """Return the vectors from centre to neighbour, (E, 3) float64 in Å, differentiable in positions and cell."""
        positions, cell, shift = self._store["positions"], self._store["cell"], self._store["edge_shift"]
        center, neighbor = self._store["edge_index"]
        # A single cell is broadcast; the sum is written out so that a structure gives the same bits alone, in a
        # batch, and in the neighbour list's own test of the cutoff.
        # index_select takes half the time of indexing.
        lattice = cell if cell.shape[0] == 1 else cell.index_select(0, self.graph_index.index_select(0, center))
        translation = shift[:, 0:1] * lattice[:, 0] + shift[:, 1:2] * lattice[:, 1] + shift[:, 2:3] * lattice[:, 2]
        return (positions.index_select(0, neighbor) - positions.index_select(0, center)) + translation

    # --- torch_geometric's hooks

    def stores_as(self, data: AtomicGraph) -> AtomicGraph:
        """Refuse to batch or split an incomplete graph: torch_geometric would drop its missing keys in silence."""
        data.check_complete()
        return self

    def check_complete(self) -> None:
        """Raise DataError naming the declared fields this graph lacks."""
        missing = [name for name in REQUIRED if name not in self._store]
        if missing:
            where = self._store.get("source") or "an AtomicGraph"
            raise DataError(f"{where} lacks the fields {', '.join(missing)}; build graphs with from_ase, or give NaN")

    def __cat_dim__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> int:
        return FIELDS[key].cat_dim

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> int:
        if key == "edge_index":
            return self.num_nodes
        return self.num_graphs if key == "batch" else 0

    def validate(self, raise_on_error: bool = True) -> bool:
        """Check every field against the table, and the edges' range, order and whole shifts.

        Args:
            raise_on_error: Raise DataError with the first fault; otherwise return False.

        Returns:
            True where the graph is sound.
        """
        fault = self._first_fault()
        if fault is None:
            return True
        if raise_on_error:
            source = self._store.get("source")
            raise DataError(f"{source if isinstance(source, str) and source else 'AtomicGraph'}: {fault}")
        return False

    def _first_fault(self) -> str | None:
        missing = [name for name in REQUIRED if name not in self._store]
        if missing:
            return f"lacks the fields {', '.join(missing)}"
        sizes = {"N": self.num_nodes, "E": self.num_edges, "B": self.num_graphs, "B+1": self.num_graphs + 1}
        for name, value in self._store.items():
            field = FIELDS[name]
            if field.level == "text":
                texts = value if isinstance(value, list) else [value]
                if len(texts) != self.num_graphs or not all(isinstance(text, str) for text in texts):
                    return f"field {name!r} should be text, one for each of {self.num_graphs} graphs, found {value!r}"
                continue
            if not isinstance(value, torch.Tensor) or value.dtype != field.dtype:
                return f"field {name!r} should be {field.dtype}, found {getattr(value, 'dtype', type(value).__name__)}"
            expected = tuple(sizes[size] if isinstance(size, str) else size for size in field.shape)
            if tuple(value.shape) != expected:
                return f"field {name!r} should have shape {expected}, found {tuple(value.shape)}"
        edge_index, shift = self._store["edge_index"], self._store["edge_shift"]
        if edge_index.numel():
            if int(edge_index.min()) < 0 or int(edge_index.max()) >= self.num_nodes:
                return f"edge_index should lie in 0..{self.num_nodes - 1}"
            if not bool((edge_index[0].diff() >= 0).all()):
                return "edges should be sorted by centre (row 0 of edge_index)"
            if not bool((shift == shift.round()).all()):
                return "edge_shift should hold whole numbers"
            graph_index = self.graph_index
            if not torch.equal(graph_index[edge_index[0]], graph_index[edge_index[1]]):
                return "an edge joins atoms of two structures"
        return None


def _undeclared(self: AtomicGraph) -> None:
    raise AttributeError  # Python then asks __getattr__, whose message names the nearest field


# torch_geometric's Data has these as properties that are None when absent, so reading them would not be refused.
for _name in ("x", "y", "pos", "time", "face", "edge_attr", "edge_weight"):
    setattr(AtomicGraph, _name, property(_undeclared))

AtomicGraph.__doc__ = AtomicGraph.__doc__ and AtomicGraph.__doc__.format(fields=fields_text(indent=4))
