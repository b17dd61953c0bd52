"""Edges in both orders: sorted by centre as they come, and by neighbour."""

from __future__ import annotations

import pytest
import torch

from equipot.errors import UsageError
from equipot.kernels import edge_index
from equipot.kernels.edge_index import EdgeIndex


def test_both_orders_list_every_edge_once() -> None:
    generator = torch.Generator().manual_seed(1)
    center = torch.randint(7, (40,), generator=generator).sort().values
    neighbor = torch.randint(7, (40,), generator=generator)
    neighbor[neighbor == 3] = 4
    edges = EdgeIndex.build(center, neighbor, 9)
    for atom in range(9):
        assert (center[edges.center_ptr[atom] : edges.center_ptr[atom + 1]] == atom).all()
        sent = edges.neighbor_order[edges.neighbor_ptr[atom] : edges.neighbor_ptr[atom + 1]]
        assert sent.tolist() == (neighbor == atom).nonzero().flatten().tolist()
    assert edges.center_ptr[0] == edges.neighbor_ptr[0] == 0
    assert edges.center_ptr[-1] == edges.neighbor_ptr[-1] == 40


def test_torch_gives_the_same_as_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    center, neighbor = torch.tensor([0, 0, 2, 2, 3]), torch.tensor([3, 1, 0, 3, 0])
    native = EdgeIndex.build(center, neighbor, 5)
    monkeypatch.setattr(edge_index.library, "load", lambda: "not there")
    for a, b in zip(native, EdgeIndex.build(center, neighbor, 5)):
        assert torch.equal(a, b) and a.dtype == b.dtype


@pytest.mark.parametrize("has_library", [True, False])
@pytest.mark.parametrize(
    ("center", "neighbor", "message"),
    [([0, 1], [1, 2], "outside 0..1"), ([0, -1], [1, 0], "outside 0..1"), ([1, 0], [0, 1], "sorted by their centre")],
)
def test_edges_that_make_no_sense(
    center: list[int], neighbor: list[int], message: str, has_library: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_library:
        monkeypatch.setattr(edge_index.library, "load", lambda: "not there")
    with pytest.raises(UsageError, match=message):
        EdgeIndex.build(torch.tensor(center), torch.tensor(neighbor), 2)


@pytest.mark.parametrize("num_nodes", [0, 3])
def test_no_edges(num_nodes: int) -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    edges = EdgeIndex.build(empty, empty, num_nodes)
    assert edges.center_ptr.tolist() == edges.neighbor_ptr.tolist() == [0] * (num_nodes + 1)
    assert len(edges.neighbor_order) == 0
