"""Which graphs go into which batch: a pure function of seed and epoch, so that resuming needs no state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from equipot.errors import UsageError


def edge_batches(num_edges: Sequence[int], budget: int, order: Iterable[int] | None = None) -> list[list[int]]:
    """Fill batches one after the other up to a budget of edges.

    Args:
        num_edges: Edges of each graph.
        budget: Most edges a batch; a graph that is larger alone makes a batch of its own.
        order: Order in which the graphs are taken; default: as they come.

    Returns:
        Lists of positions; every graph is in exactly one.
    """
    if budget < 1:
        raise UsageError(f"The budget of edges a batch must be at least 1, found {budget}.")
    batches: list[list[int]] = []
    filled = 0
    for position in range(len(num_edges)) if order is None else order:
        size = int(num_edges[position])
        if not batches or filled + size > budget:
            batches.append([])
            filled = 0
        batches[-1].append(int(position))
        filled += size
    return batches


class BatchSampler:
    """Batches of an epoch, by count or by edges.

    Args:
        sizes: Edges of each graph.
        batch_size: Graphs a batch; one larger than the set makes one batch of all.
        batch_edges: Edges a batch; exactly one of the two is given.
        seed: Fixes the sequence of batches of every epoch.
        shuffle: False takes the graphs in their order, the same every epoch.

    Raises:
        UsageError: Neither or both of ``batch_size`` and ``batch_edges``, one below 1, or no graphs.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        batch_size: int | None = None,
        batch_edges: int | None = None,
        seed: int = 0,
        shuffle: bool = True,
    ):
        if (batch_size is None) == (batch_edges is None):
            raise UsageError(
                "Give exactly one of batch_size and batch_edges (training.batch_size, "
                "training.batch_edges); set the other to null."
            )
        limit = batch_size if batch_size is not None else batch_edges
        if limit < 1:
            raise UsageError(f"A batch needs at least one graph or edge, found {limit}.")
        if len(sizes) == 0:
            raise UsageError("There are no graphs to make batches of.")
        self.sizes = [int(size) for size in sizes]
        self.batch_size, self.batch_edges, self.seed, self.shuffle = batch_size, batch_edges, int(seed), shuffle

    def order(self, epoch: int) -> list[int]:
        """The order of the graphs in an epoch."""
        if not self.shuffle:
            return list(range(len(self.sizes)))
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([abs(self.seed), int(epoch)])))
        return [int(position) for position in generator.permutation(len(self.sizes))]

    def batches(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch, numbered from 0: every graph once."""
        order = self.order(epoch)
        if self.batch_edges is not None:
            return edge_batches(self.sizes, self.batch_edges, order)
        return [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
