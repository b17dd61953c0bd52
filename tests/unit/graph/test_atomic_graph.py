"""AtomicGraph holds the declared fields and nothing else, and torch_geometric's tools work on it."""

from __future__ import annotations

import copy
import pickle

import ase.build
import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data

from equipot.errors import DataError
from equipot.graph import FIELDS, AtomicGraph, collate, from_ase
from equipot.graph.fields import REQUIRED


def _graph(**labels) -> AtomicGraph:
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.6)
    atoms.rattle(0.1, seed=0)
    return from_ase(atoms, 4.0, **labels)


def _assert_equal(one: AtomicGraph, other: AtomicGraph) -> None:
    names = set(one.keys())
    assert names == set(other.keys())
    for name in names:
        if isinstance(one[name], torch.Tensor):
            assert one[name].dtype == other[name].dtype
            assert torch.equal(
                one[name].nan_to_num(-7.0) if one[name].is_floating_point() else one[name],
                other[name].nan_to_num(-7.0) if other[name].is_floating_point() else other[name],
            )
        else:
            assert one[name] == other[name]


def test_fields_have_the_declared_shapes_and_dtypes():
    graph = _graph()
    assert isinstance(graph, Data)
    assert set(graph.keys()) == set(REQUIRED)
    assert graph.validate()
    sizes = {"N": 2, "E": graph.num_edges, "B": 1}
    for name in REQUIRED:
        field = FIELDS[name]
        if field.level == "text":
            assert graph[name] == ""
            continue
        assert graph[name].dtype == field.dtype
        assert tuple(graph[name].shape) == tuple(sizes.get(size, size) for size in field.shape)
        assert name in AtomicGraph.__doc__ and field.meaning in AtomicGraph.__doc__


def test_what_was_not_given_is_nan_or_neutral():
    graph = _graph()
    for name in ("energy", "forces", "stress"):
        assert graph[name].isnan().all()
    for name in ("energy_weight", "forces_weight", "stress_weight"):
        assert (graph[name] == 1.0).all()
    assert graph.frame_id.tolist() == [0]
    bare = AtomicGraph(**{name: graph[name] for name in REQUIRED[:6]})
    _assert_equal(bare, graph)


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("enrgy", "energy"),
        ("force", "forces"),
        ("pos", "positions"),
        ("edge_shifts", "edge_shift"),
        ("Stress", "stress"),
        ("edge_attr", "edge_shift"),
    ],
)
def test_misspelt_names_are_refused(typo, meant):
    graph, value = _graph(), torch.zeros(1)
    message = f"no field '{typo}'; the nearest declared name is '{meant}'"
    with pytest.raises(AttributeError, match=message):
        setattr(graph, typo, value)
    with pytest.raises(AttributeError, match=message):
        graph[typo] = value
    with pytest.raises(AttributeError, match=message):
        getattr(graph, typo)
    with pytest.raises(AttributeError, match=message):
        AtomicGraph(**{typo: value})
    with pytest.raises(AttributeError, match=message):
        setattr(collate([graph, graph]), typo, value)
    with pytest.raises(AttributeError, match=message):
        graph.update({typo: value})
    assert typo not in graph


def test_fields_cannot_be_made_none_or_sizes_set():
    graph = _graph()
    with pytest.raises(AttributeError, match="a missing label is NaN"):
        graph.energy = None
    with pytest.raises(AttributeError):
        graph.num_nodes = 3
    assert graph.num_nodes == 2
    with pytest.raises(AttributeError, match="needs the fields atomic_numbers"):
        AtomicGraph(positions=torch.zeros(1, 3))
    assert not hasattr(graph, "ptr")
    assert hasattr(graph, "energy")


def test_sizes_do_not_come_from_the_edges():
    """An isolated last atom has no edge; torch_geometric alone would count one atom too few."""
    atoms = ase.Atoms("H3", positions=[[0, 0, 0], [0, 0, 1], [50, 0, 0]])
    graph = from_ase(atoms, 3.0)
    assert (graph.num_nodes, graph.num_edges, graph.num_graphs) == (3, 2, 1)
    assert collate([graph, graph]).edge_index.tolist() == [[0, 1, 3, 4], [1, 0, 4, 3]]
    assert graph.is_node_attr("forces") and not graph.is_node_attr("cell")  # 3 atoms, 3 lattice vectors
    assert graph.is_edge_attr("edge_shift") and not graph.is_edge_attr("frame_id")
    kept = graph.subgraph(torch.tensor([0, 2]))
    assert (kept.num_nodes, kept.num_edges) == (2, 0)
    assert kept.validate()


def test_edge_vectors_follow_the_convention_to_the_bit():
    atoms = ase.build.bulk("Fe", cubic=True) * (2, 1, 1)
    atoms.rattle(0.2, seed=3)
    graph = from_ase(atoms, 5.0)
    center, neighbor = graph.edge_index.numpy()
    expected = atoms.positions[neighbor] - atoms.positions[center] + graph.edge_shift.numpy() @ atoms.cell.array
    vectors = graph.edge_vectors()
    assert vectors.dtype == torch.float64
    assert np.abs(vectors.numpy() - expected).max() < 1e-14
    assert (vectors.norm(dim=1) < 5.0).all()
    batch = collate([graph, _graph(), graph])
    separate = torch.cat([graph.edge_vectors(), _graph().edge_vectors(), graph.edge_vectors()])
    assert torch.equal(batch.edge_vectors(), separate)


def test_edge_vectors_differentiate():
    batch = collate([_graph(), _graph()])
    batch.positions.requires_grad_()
    batch.cell.requires_grad_()

    def vectors(positions, cell):
        batch.positions, batch.cell = positions, cell
        return batch.edge_vectors()

    assert torch.autograd.gradcheck(vectors, (batch.positions, batch.cell))


def _pickled(graph):
    return pickle.loads(pickle.dumps(graph))


@pytest.mark.parametrize(
    "make",
    [
        lambda g: g.clone(),
        copy.copy,
        copy.deepcopy,
        _pickled,
        lambda g: g.to("cpu"),
        lambda g: g.cpu(),
        lambda g: g.contiguous(),
        lambda g: g.detach(),
        lambda g: type(g).from_dict(g.to_dict()),
    ],
    ids=["clone", "copy", "deepcopy", "pickle", "to", "cpu", "contiguous", "detach", "dict"],
)
def test_copies_of_every_kind(make):
    graph = _graph(energy=-3.0, config_type="bulk", source="a.xyz frame 1")
    twin = make(graph)
    assert type(twin) is AtomicGraph
    _assert_equal(twin, graph)
    twin.energy = torch.zeros(1, dtype=torch.float64)
    with pytest.raises(AttributeError):
        twin.enrgy = 1.0
    assert twin.num_nodes == 2 and twin.num_graphs == 1
    assert twin.validate()


@pytest.mark.parametrize(
    "make",
    [lambda g: g.clone(), copy.copy, copy.deepcopy, _pickled, lambda g: g.to("cpu")],
    ids=["clone", "copy", "deepcopy", "pickle", "to"],
)
def test_copies_of_batches(make):
    batch = collate([_graph(energy=1.0), _graph(energy=2.0), _graph()])
    twin = make(batch)
    assert isinstance(twin, AtomicGraph) and isinstance(twin, Batch)
    _assert_equal(twin, batch)
    assert twin.num_graphs == 3
    _assert_equal(twin.to_data_list()[1], _graph(energy=2.0))
    with pytest.raises(AttributeError):
        twin.enrgy = 1.0


def test_clone_shares_no_memory():
    graph = _graph(energy=1.0)
    twin = graph.clone()
    twin.positions += 1.0
    twin.energy[0] = 5.0
    _assert_equal(graph, _graph(energy=1.0))


def test_moves_to_a_device_with_every_tensor():
    """The meta device stands in for an accelerator: every tensor has to go, texts stay."""
    batch = collate([_graph(source="x"), _graph()]).to("meta")
    assert {value.device.type for _, value in batch if isinstance(value, torch.Tensor)} == {"meta"}
    assert batch.source == ["x", ""]
    assert batch.num_graphs == 2
    assert _graph().to("meta").graph_index.device.type == "meta"


def _break(field, change):
    def apply(graph):
        graph[field] = change(graph[field])

    return apply


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (_break("positions", lambda p: p.float()), "'positions' should be torch.float64"),
        (_break("forces", lambda f: f[:1]), r"'forces' should have shape \(2, 3\), found \(1, 3\)"),
        (_break("cell", lambda c: c[0]), "should have shape"),
        (_break("edge_index", lambda e: e.flip(1)), "sorted by centre"),
        (_break("edge_index", lambda e: e + 1), r"should lie in 0\.\.1"),
        (_break("edge_shift", lambda s: s + 0.5), "whole numbers"),
        (_break("config_type", lambda _: 3), "should be text"),
        (lambda graph: graph.__delitem__("energy"), "lacks the fields energy"),
    ],
)
def test_validate_names_the_fault(apply, message):
    graph = _graph(source="b.xyz frame 9")
    assert graph.validate()
    apply(graph)
    with pytest.raises(DataError, match=f"b.xyz frame 9: .*{message}"):
        graph.validate()
    assert graph.validate(raise_on_error=False) is False


def test_hand_built_batch_counts_its_graphs():
    """A batch without torch_geometric's bookkeeping, whose last structure has no atoms."""
    graph = _graph()
    batch = AtomicGraph(
        **{
            **{name: graph[name] for name in REQUIRED[:6]},
            "cell": graph.cell.repeat(2, 1, 1),
            "pbc": graph.pbc.repeat(2, 1),
            "config_type": ["", ""],
            "source": ["", ""],
            "batch": torch.zeros(2, dtype=torch.int64),
        }
    )
    assert batch.num_graphs == 2
    assert batch.num_nodes_per_graph.tolist() == [2, 0]
    assert batch.energy.shape == (2,)
    assert batch.validate()
