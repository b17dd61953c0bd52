"""Turn an out-of-memory error into a sentence that says how large the batch was and what to lower."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch

from equipot.errors import EquipotError
from equipot.graph import AtomicGraph


class OutOfMemory(EquipotError):
    """A batch did not fit in the memory of the device. The state before it is intact."""


@contextlib.contextmanager
def explain_out_of_memory(graphs: Sequence[AtomicGraph], key: str) -> Iterator[None]:
    """Raise :class:`OutOfMemory` with the size of the batch where torch or Python run out of memory.

    Args:
        graphs: the batches worked on.
        key: the configuration key to lower.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        largest = max(graphs, key=lambda graph: graph.num_edges)
        raise OutOfMemory(
            f"Out of memory on {largest.positions.device} with a batch of {largest.num_graphs} frames, "
            f"{largest.num_nodes} atoms and {largest.num_edges} edges (its first frame is {sources(largest)[0]}). "
            f"Lower {key}, or model.cutoff or the size of the model."
        ) from error


def sources(graph: AtomicGraph) -> list[str]:
    """Where each frame of a batch comes from, as words."""
    return [graph.source] if isinstance(graph.source, str) else list(graph.source)


def _is_out_of_memory(error: BaseException) -> bool:
    # On a CPU torch raises a plain RuntimeError and only its text tells.
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or "can't allocate memory" in str(error)
        or "not enough memory" in str(error)
    )
