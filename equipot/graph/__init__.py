"""Structures as graphs: the data type every other floor passes around, and all that makes one.

    from equipot.graph import collate, from_ase
    graph = from_ase(atoms, cutoff=5.0)                  # ase.Atoms -> AtomicGraph, float64
    batch = collate([graph, other])                      # a torch_geometric Batch of AtomicGraph
    batch.edge_vectors()                                 # (E, 3) Å, centre -> neighbour
    batch.to_data_list()                                 # the graphs again

- ``AtomicGraph``: a ``torch_geometric.data.Data`` with the fields of the table ``FIELDS`` and no others.
- ``from_ase``, ``to_ase``: conversion from and to ``ase.Atoms``.
- ``neighbor_list`` -> ``NeighborList``: the edges of any structure, from a zero cell to a 1e9 Å box.
- ``VerletList``: the same along a trajectory, rebuilt only when needed.
- ``check_structure``: refuses what no potential can be evaluated on, naming the atom.
- ``collate``, ``make_loader``: batches and loaders of batches.
"""

from __future__ import annotations

from equipot.graph.atomic_graph import AtomicGraph
from equipot.graph.batching import collate, make_loader
from equipot.graph.convert import from_ase, to_ase
from equipot.graph.fields import FIELDS, Field
from equipot.graph.neighbors import NeighborList, check_structure, neighbor_list
from equipot.graph.search import MAX_EDGES
from equipot.graph.verlet import VerletList

__all__ = [
    "FIELDS",
    "MAX_EDGES",
    "AtomicGraph",
    "Field",
    "NeighborList",
    "VerletList",
    "check_structure",
    "collate",
    "from_ase",
    "make_loader",
    "neighbor_list",
    "to_ase",
]
