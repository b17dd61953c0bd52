"""Several graphs as one, and loaders of such batches: torch_geometric's, with its traps closed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import accumulate

import torch
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

from equipot.errors import UsageError
from equipot.graph.atomic_graph import AtomicGraph
from equipot.graph.fields import FIELDS, REQUIRED

_REQUIRED = frozenset(REQUIRED)
#: Batches in memory are joined together up to so many edges (a few MB).
_EDGES_AT_ONCE = 50_000


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
    return _join([graphs])[0]


def _join(groups: Sequence[Iterable[AtomicGraph]]) -> list[AtomicGraph]:
    """What ``Batch.from_data_list`` gives of each group, in a tenth of its time, which is half that of a training step.

    The table of fields says how every field is joined, where torch_geometric finds it out for each field of each
    graph; and the fields of several batches are joined at once, each batch getting its part as a view.
    """
    groups = [_checked(group) for group in groups]
    graphs = [graph for group in groups for graph in group]
    parts = {
        "node": _Parts(groups, lambda graph: graph["positions"].shape[0]),
        "edge": _Parts(groups, lambda graph: graph["edge_index"].shape[1]),
        "graph": _Parts(groups, lambda graph: 1),
    }
    device = graphs[0]["positions"].device
    first_atoms = torch.cat([starts[:-1] for starts in parts["node"].starts])
    columns: dict[str, Sequence[torch.Tensor]] = {}
    for name, field in FIELDS.items():
        if field.level in parts:
            joined = torch.cat([graph[name] for graph in graphs], dim=field.cat_dim)
            if name == "edge_index":
                joined += parts["edge"].spread(first_atoms).to(device)
            columns[name] = parts[field.level].split(joined, field.cat_dim)
    number = torch.cat([starts[:-1] for starts in parts["graph"].starts])
    columns["batch"] = parts["node"].split(parts["node"].spread(number).to(device))
    columns["ptr"] = [starts.to(device) for starts in parts["node"].starts]
    return [
        _batch(
            group,
            {name: column[k] for name, column in columns.items()},
            {level: part.starts[k] for level, part in parts.items()},
        )
        for k, group in enumerate(groups)
    ]


def _batch(graphs: list[dict], tensors: dict[str, torch.Tensor], starts: dict[str, torch.Tensor]) -> AtomicGraph:
    batch = object.__new__(_batch_class())
    batch.__init__()
    store, slices, increments = batch._store, {}, {}
    none = torch.zeros(len(graphs), dtype=torch.int64)
    for name, field in FIELDS.items():
        is_text = field.level == "text"
        store[name] = [graph[name] for graph in graphs] if is_text else tensors[name]
        if field.level != "batching":
            slices[name] = starts["graph" if is_text else field.level]
            increments[name] = None if is_text else starts["node"][:-1] if name == "edge_index" else none
    # What Batch.to_data_list takes the batch apart with.
    batch._num_graphs, batch._slice_dict, batch._inc_dict = len(graphs), slices, increments
    return batch


class _Parts:
    """Rows (atoms, edges, graphs) of the graphs of several groups, one after the other.

    Attributes:
        starts: for each group, the first row of each of its graphs, counted within the group, and the group's end.
    """

    def __init__(self, groups: list[list[dict]], size: Callable[[dict], int]) -> None:
        sizes = [[size(graph) for graph in group] for group in groups]
        starts = [[0, *accumulate(each)] for each in sizes]
        self._sizes, self._totals = [each for group in sizes for each in group], [each[-1] for each in starts]
        flat = torch.tensor([start for each in starts for start in each])
        self.starts = flat.split([len(each) for each in starts])

    def split(self, tensor: torch.Tensor, dim: int = 0) -> Sequence[torch.Tensor]:
        """The rows of each group."""
        return [tensor] if len(self._totals) == 1 else tensor.split(self._totals, dim)

    def spread(self, values: torch.Tensor) -> torch.Tensor:
        """A value for each graph to each of its rows."""
        return torch.repeat_interleave(values, torch.tensor(self._sizes), output_size=sum(self._totals))


def _checked(graphs: Iterable[AtomicGraph]) -> list[dict]:
    """The fields of single, complete graphs."""
    graphs = list(graphs)
    if not graphs:
        raise UsageError("a batch needs at least one graph.")
    for graph in graphs:
        if not isinstance(graph, AtomicGraph):
            raise UsageError(f"a batch is made of AtomicGraph, found {type(graph).__name__}; see from_ase.")
        if "batch" in graph._store._mapping:
            raise UsageError("a batch is made of single graphs, found a batch; take its to_data_list() first.")
        if not _REQUIRED.issubset(graph._store._mapping):
            graph.check_complete()
    return [graph._store._mapping for graph in graphs]


@cache
def _batch_class() -> type[AtomicGraph]:
    """torch_geometric's class of a batch of AtomicGraph."""
    return type(Batch(_base_cls=AtomicGraph))


class _Batches:
    """Batches collated in this process, a few at a time."""

    def __init__(self, graphs: Sequence[AtomicGraph], batches: list[list[int]]) -> None:
        self._graphs, self._batches = graphs, batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[AtomicGraph]:
        groups, num_edges = [], 0
        for batch in self._batches:
            groups.append([self._graphs[index] for index in batch])
            num_edges += sum(graph.num_edges for graph in groups[-1])
            if num_edges >= _EDGES_AT_ONCE:
                yield from _join(groups)
                groups, num_edges = [], 0
        if groups:
            yield from _join(groups)


def make_loader(
    graphs: Sequence[AtomicGraph], batches: Sequence[Sequence[int]], *, num_workers: int = 0, pin_memory: bool = False
) -> DataLoader | _Batches:
    """Return an iterable of batches, in the order of ``batches`` whatever the number of workers.

    Args:
        graphs: The data set.
        batches: Indices into ``graphs``, one sequence a batch.
        num_workers: Processes that collate ahead; 0 collates in this one (best for graphs held in memory).
        pin_memory: Copy batches to pinned memory, for a GPU.

    Returns:
        An iterable with a length, with workers or pinned memory a torch_geometric DataLoader; iterating over it draws
        nothing from torch's global random numbers.
    """
    indices = [[int(index) for index in batch] for batch in batches]
    for batch in indices:
        if not batch:
            raise UsageError("make_loader was given an empty batch.")
        if min(batch) < 0 or max(batch) >= len(graphs):
            raise UsageError(
                f"make_loader was given index {min(batch) if min(batch) < 0 else max(batch)}, but there "
                f"are {len(graphs)} graphs."
            )
    if num_workers == 0 and not pin_memory:
        return _Batches(graphs, indices)
    # A loader seeds its workers from torch's global generator unless it has one of its own, and so would change
    # the random numbers of whoever iterates.
    return DataLoader(
        graphs, batch_sampler=indices, num_workers=num_workers, pin_memory=pin_memory, generator=torch.Generator()
    )
