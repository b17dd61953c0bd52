"""Batches hold every graph unchanged, whatever is in them and wherever it stands (checks X2, X4, X5, D11)."""

from __future__ import annotations

import copy
import multiprocessing

import ase.build
import numpy as np
import pytest
import torch
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

from equipot.errors import DataError, UsageError
from equipot.graph import FIELDS, AtomicGraph, collate, from_ase, make_loader

CUTOFF = 4.0


def _make_graphs() -> list[AtomicGraph]:
    rattled = ase.build.bulk("Cu", cubic=True)
    rattled.rattle(0.1, seed=0)
    dimer_apart = Atoms("H2", positions=[[0, 0, 0], [9, 0, 0]])
    slab = ase.build.fcc111("Au", (1, 1, 2))
    lonely_last = Atoms("OH2", positions=[[0, 0, 0], [0, 0, 1], [0, 30, 0]])
    structures = [
        Atoms(),
        rattled,
        dimer_apart,
        slab,
        ase.build.molecule("H2O"),
        Atoms("Ta"),
        lonely_last,
        Atoms(cell=[4, 4, 4], pbc=True),
        Atoms("Na", cell=[2, 3, 9], pbc=[True, False, True]),
    ]
    rng = np.random.default_rng(0)
    graphs = []
    for index, atoms in enumerate(structures):
        labels = {}
        if index % 2:
            labels["energy"] = float(rng.normal())
        if index % 3 == 1:
            labels["forces"] = rng.normal(size=(len(atoms), 3))
        if index % 4 == 3:
            labels["stress"] = rng.normal(size=(3, 3))
        graphs.append(
            from_ase(
                atoms,
                CUTOFF,
                **labels,
                frame_id=index,
                source=f"frame {index}",
                energy_weight=index + 0.5,
                config_type="bulk" if atoms.pbc.all() else "",
            )
        )
    return graphs


GRAPHS = _make_graphs()
EMPTY, NO_EDGES = 0, 2


def assert_equal(one: AtomicGraph, other: AtomicGraph) -> None:
    assert type(one) is type(other)
    names = set(one.keys())
    assert names == set(other.keys())
    for name in names:
        if not isinstance(one[name], torch.Tensor):
            assert one[name] == other[name], name
            continue
        assert one[name].dtype == other[name].dtype and one[name].shape == other[name].shape, name
        assert np.array_equal(one[name].numpy(), other[name].numpy(), equal_nan=one[name].is_floating_point()), name


def assert_holds(batch: AtomicGraph, graphs: list[AtomicGraph]) -> None:
    """Compare a batch with its graphs joined by hand, and with what it is taken apart into."""
    assert isinstance(batch, AtomicGraph) and isinstance(batch, Batch)
    assert batch.validate()
    sizes = [graph.num_nodes for graph in graphs]
    first = np.concatenate([[0], np.cumsum(sizes)])
    assert batch.num_graphs == len(graphs)
    assert (batch.num_nodes, batch.num_edges) == (sum(sizes), sum(graph.num_edges for graph in graphs))
    assert batch.ptr.tolist() == first.tolist()
    assert batch.num_nodes_per_graph.tolist() == sizes
    assert batch.batch.tolist() == batch.graph_index.tolist() == np.repeat(np.arange(len(graphs)), sizes).tolist()
    for name, field in FIELDS.items():
        if field.level == "text":
            assert batch[name] == [graph[name] for graph in graphs]
        elif name == "edge_index":
            joined = torch.cat([graph.edge_index + int(start) for graph, start in zip(graphs, first)], dim=1)
            assert torch.equal(batch.edge_index, joined)
        elif field.level != "batching":
            joined = torch.cat([graph[name] for graph in graphs])
            assert np.array_equal(batch[name].numpy(), joined.numpy(), equal_nan=joined.is_floating_point()), name
    assert torch.equal(batch.edge_vectors(), torch.cat([graph.edge_vectors() for graph in graphs]))
    parts = batch.to_data_list()
    assert len(parts) == len(graphs)
    for part, graph in zip(parts, graphs):
        assert_equal(part, graph)
    assert_equal(batch.get_example(len(graphs) - 1), graphs[-1])


@settings(max_examples=120, deadline=None)
@given(st.lists(st.sampled_from(range(len(GRAPHS))), min_size=1, max_size=8))
def test_any_graphs_in_any_order(order):
    graphs = [GRAPHS[index] for index in order]
    assert_holds(collate(graphs), graphs)


@pytest.mark.parametrize("odd", [EMPTY, NO_EDGES, 7, 5])
@pytest.mark.parametrize("place", ["first", "middle", "last", "all", "alone"])
def test_graphs_without_atoms_or_edges_anywhere(odd, place):
    full, special = [GRAPHS[1], GRAPHS[3]], [GRAPHS[odd]]
    graphs = {
        "first": special + full,
        "middle": full[:1] + special + full[1:],
        "last": full + special,
        "all": special * 3,
        "alone": special,
    }[place]
    assert_holds(collate(graphs), graphs)


def test_sixty_four_graphs():
    graphs = (GRAPHS * 8)[:64]
    assert_holds(collate(graphs), graphs)


def test_torch_geometric_gives_the_same():
    """Batch.from_data_list and DataLoader used directly, without collate."""
    assert_holds(Batch.from_data_list(GRAPHS), GRAPHS)
    loaded = list(DataLoader(GRAPHS, batch_size=4))
    assert_holds(loaded[0], GRAPHS[:4])
    assert_holds(loaded[-1], GRAPHS[8:])
    assert [part.source for part in Batch.from_data_list(GRAPHS)[2:5]] == ["frame 2", "frame 3", "frame 4"]


@pytest.mark.parametrize("order", [[1], [0, 0], [1, 3, 0, 2, 4], [7, 8, 1], list(range(len(GRAPHS)))])
def test_the_same_object_as_torch_geometrics(order):
    """Down to the order of the fields and what a batch is taken apart with."""
    graphs = [GRAPHS[index] for index in order]
    ours, theirs = collate(graphs), Batch.from_data_list(graphs)
    assert_equal(ours, theirs)
    assert list(ours.to_dict()) == list(theirs.to_dict())
    assert all(ours[name].stride() == theirs[name].stride() for name in FIELDS if FIELDS[name].level != "text")
    assert vars(ours._store).keys() == vars(theirs._store).keys()
    for name in ("_slice_dict", "_inc_dict"):
        mine, its = getattr(ours, name), getattr(theirs, name)
        assert mine.keys() == its.keys()
        for field, value in its.items():
            same = (
                mine[field] is None
                if value is None
                else (mine[field].dtype == value.dtype and torch.equal(mine[field], value))
            )
            assert same, (name, field)


def test_a_batch_can_be_copied_and_moved():
    batch = collate(GRAPHS)
    for other in (batch.clone(), copy.deepcopy(batch), copy.copy(batch), batch.to("cpu"), batch.contiguous()):
        assert_holds(other, GRAPHS)
    moved = batch.clone()
    moved.positions += 1.0
    assert not torch.equal(moved.positions, batch.positions)
    assert_holds(batch, GRAPHS)


def test_missing_labels_are_nan_in_the_batch():
    batch = collate(GRAPHS)
    assert batch.energy.isfinite().tolist() == [bool(index % 2) for index in range(len(GRAPHS))]
    assert batch.forces.isfinite().all(dim=1).tolist() == [bool(index % 3 == 1) for index in batch.batch.tolist()]
    assert batch.stress.isfinite().all(dim=(1, 2)).tolist() == [index % 4 == 3 for index in range(len(GRAPHS))]


def test_names_with_index_or_batch_in_them_are_not_offset(monkeypatch):
    """torch_geometric adds the number of atoms to anything called *index*; here only the table decides."""
    assert collate([GRAPHS[1], GRAPHS[4]]).frame_id.tolist() == [1, 4]
    graph = GRAPHS[1]
    for name in FIELDS:
        if name not in ("edge_index", "batch"):
            assert graph.__inc__(name, None) == 0
            assert graph.__cat_dim__(name, None) == 0
    assert (graph.__inc__("edge_index", None), graph.__cat_dim__("edge_index", None)) == (graph.num_nodes, 1)


@pytest.mark.parametrize("place", [0, 1])
def test_a_graph_that_lacks_a_field_is_refused(place):
    """torch_geometric drops a key the first graph lacks from the whole batch without a word."""
    broken = GRAPHS[1].clone()
    del broken["forces"]
    graphs = [GRAPHS[3], GRAPHS[4]]
    graphs.insert(place, broken)
    with pytest.raises(DataError, match="frame 1 lacks the fields forces"):
        collate(graphs)
    with pytest.raises((DataError, KeyError)):
        Batch.from_data_list(graphs)


def test_what_cannot_be_batched_is_refused():
    with pytest.raises(UsageError, match="at least one"):
        collate([])
    with pytest.raises(UsageError, match="found Atoms"):
        collate([Atoms("H")])
    with pytest.raises(UsageError, match="found a batch"):
        collate([GRAPHS[1], collate([GRAPHS[1]])])


BATCHES = [[3, 1], [0], [8, 8, 2], [5, 0], [4, 6, 7, 1]]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loader_keeps_order_and_content(num_workers):
    loader = make_loader(GRAPHS, BATCHES, num_workers=num_workers)
    assert len(loader) == len(BATCHES)
    for _ in range(2):
        loaded = list(loader)
        assert len(loaded) == len(BATCHES)
        for batch, indices in zip(loaded, BATCHES):
            assert_holds(batch, [GRAPHS[index] for index in indices])
            with pytest.raises(AttributeError):
                batch.enrgy = 1.0


@pytest.mark.parametrize("at_once", [1, 60, 10**6])
def test_batches_joined_together_are_those_joined_alone(monkeypatch, at_once):
    monkeypatch.setattr("equipot.graph.batching._EDGES_AT_ONCE", at_once)
    batches = [*BATCHES, list(range(len(GRAPHS))), [EMPTY, EMPTY], [1] * 5]
    loaded = list(make_loader(GRAPHS, batches))
    for batch, indices in zip(loaded, batches, strict=True):
        graphs = [GRAPHS[index] for index in indices]
        assert_holds(batch, graphs)
        assert_equal(batch, collate(graphs))
        for field, value in collate(graphs)._slice_dict.items():
            assert torch.equal(batch._slice_dict[field], value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", [name for name in ("spawn", "forkserver") if name in multiprocessing.get_all_start_methods()]
)
def test_loader_with_workers_that_are_not_forked(method):
    """Graphs are pickled into such workers (macOS, and Linux from Python 3.14)."""
    loader = DataLoader(GRAPHS, batch_sampler=BATCHES, num_workers=1, multiprocessing_context=method)
    for batch, indices in zip(loader, BATCHES):
        assert_holds(batch, [GRAPHS[index] for index in indices])


def test_loader_leaves_torchs_random_numbers_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    for num_workers in (0, 1):
        list(make_loader(GRAPHS, BATCHES, num_workers=num_workers))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("batches", "message"), [([[0], []], "empty batch"), ([[0, 9]], "index 9, but there are 9"), ([[-1]], "index -1")]
)
def test_loader_refuses_bad_indices(batches, message):
    with pytest.raises(UsageError, match=message):
        make_loader(GRAPHS, batches)
