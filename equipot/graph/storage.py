"""The container behind an AtomicGraph: a torch_geometric storage that holds declared fields only.

torch_geometric guesses: a misspelt attribute is accepted, the number of atoms comes from the largest edge index, and
whether a tensor belongs to atoms or edges comes from its length. Here all three come from the table of fields.
"""

from __future__ import annotations

from typing import Any

from torch_geometric.data.storage import GlobalStorage

from equipot.graph.fields import FIELDS, unknown_field_message


class FieldStorage(GlobalStorage):
    """A mapping from declared field names to values; anything else is refused."""

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in FIELDS:
            raise AttributeError(unknown_field_message(key))
        if value is None:
            raise AttributeError(f"AtomicGraph field {key!r} cannot be None; a missing label is NaN")
        self._mapping[key] = value

    def __getattr__(self, key: str) -> Any:
        # Only reached where ordinary look-up failed. Private names are torch_geometric's bookkeeping.
        if key.startswith("_"):
            return super().__getattr__(key)
        try:
            return self._mapping[key]
        except KeyError:
            if key in FIELDS:
                raise AttributeError(f"this AtomicGraph has no {key!r} yet") from None
            raise AttributeError(unknown_field_message(key)) from None

    @property
    def can_infer_num_nodes(self) -> bool:
        return True

    @property
    def num_nodes(self) -> int:
        positions = self._mapping.get("positions")
        return 0 if positions is None else positions.shape[0]

    @property
    def num_edges(self) -> int:
        edge_index = self._mapping.get("edge_index")
        return 0 if edge_index is None else edge_index.shape[1]

    @property
    def edge_index(self) -> Any:
        return self.__getattr__("edge_index")

    @edge_index.setter
    def edge_index(self, value: Any) -> None:
        self["edge_index"] = value

    def is_node_attr(self, key: str) -> bool:
        return FIELDS[key].level == "node" or key == "batch"

    def is_edge_attr(self, key: str) -> bool:
        return FIELDS[key].level == "edge"
