"""Several graphs as one, and loaders of such batches: torch_geometric's, with its traps closed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

from equipot.errors import UsageError
from equipot.graph.atomic_graph import AtomicGraph


def collate(graphs: Sequence[AtomicGraph]) -> AtomicGraph:
    """Join single graphs into one batch, a torch_geometric ``Batch`` that is also an AtomicGraph.

    ``batch.to_data_list()`` and ``batch.get_example(k)`` give the graphs back.

    Args:
        graphs: At least one; graphs without atoms or edges may stand anywhere.

    Returns:
        The batch: N, E and B are the sums; texts become lists; ``batch`` and ``ptr`` are set.

    Raises:
        UsageError: no graph, something that is not an AtomicGraph, or a batch among them.
        DataError: a graph lacks a field.
    """
    graphs = list(graphs)
    if not graphs:
        raise UsageError("a batch needs at least one graph.")
    for graph in graphs:
        if not isinstance(graph, AtomicGraph):
            raise UsageError(f"a batch is made of AtomicGraph, found {type(graph).__name__}; see from_ase.")
        if "batch" in graph:
            raise UsageError("a batch is made of single graphs, found a batch; take its to_data_list() first.")
        graph.check_complete()
    return Batch.from_data_list(graphs)


def make_loader(graphs: Sequence[AtomicGraph], batches: Sequence[Sequence[int]], *, num_workers: int = 0,
                pin_memory: bool = False) -> DataLoader:
    """Return an iterable of batches, in the order of ``batches`` whatever the number of workers.

    Args:
        graphs: The data set.
        batches: Indices into ``graphs``, one sequence a batch.
        num_workers: Processes that collate ahead; 0 collates in this one (best for graphs held in memory).
        pin_memory: Copy batches to pinned memory, for a GPU.

    Returns:
        A torch_geometric DataLoader; iterating over it draws nothing from torch's global random numbers.
    """
    indices = [[int(index) for index in batch] for batch in batches]
    for batch in indices:
        if not batch:
            raise UsageError("make_loader was given an empty batch.")
        if min(batch) < 0 or max(batch) >= len(graphs):
            raise UsageError(f"make_loader was given index {min(batch) if min(batch) < 0 else max(batch)}, but there "
                             f"are {len(graphs)} graphs.")
    # A loader seeds its workers from torch's global generator unless it has one of its own, and so would change
    # the random numbers of whoever iterates.
    return DataLoader(graphs, batch_sampler=indices, num_workers=num_workers, pin_memory=pin_memory,
                      generator=torch.Generator())
