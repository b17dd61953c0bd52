"""Optimiser and other state survives the way through JSON and tensors exactly."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equipot.checkpoint import flatten_state, tensor_file, unflatten_state
from equipot.errors import CheckpointError

keys = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([torch.float32, torch.float64, torch.int64, torch.bool, torch.bfloat16]).map(
        lambda dtype: torch.ones(2, 3, dtype=dtype)
    )
)
nests = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=12,
)


def same(a, b) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return (list(map(repr, a)) == list(map(repr, b))) and all(map(same, a.values(), b.values()))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return a == b


@settings(max_examples=200, deadline=None, derandomize=True)
@given(nests)
def test_round_trip(nested):
    tensors, skeleton = flatten_state(nested)
    assert same(unflatten_state(tensors, json.loads(json.dumps(skeleton, allow_nan=False))), nested)


def test_names_that_meet():
    nested = {"a/b": torch.ones(1), "a": {"b": torch.zeros(1)}, 1: torch.ones(2), "1": torch.zeros(2)}
    tensors, skeleton = flatten_state(nested)
    assert len(tensors) == 4 and same(unflatten_state(tensors, skeleton), nested)


@pytest.mark.parametrize("name", ["AdamW", "SGD", "Adam"])
def test_optimizer_through_a_file(tmp_path, name):
    module = torch.nn.Linear(3, 2)
    optimizer = getattr(torch.optim, name)(module.parameters(), lr=0.1)
    module(torch.ones(3)).sum().backward()
    optimizer.step()
    tensors, skeleton = flatten_state(optimizer.state_dict())
    tensor_file.write(tmp_path / "x", tensors, {"state": skeleton})
    tensors, document = tensor_file.read(tmp_path / "x")
    state = unflatten_state(tensors, document["state"])
    assert same(state, optimizer.state_dict())
    other = getattr(torch.optim, name)(torch.nn.Linear(3, 2).parameters(), lr=0.5)
    other.load_state_dict(state)


@pytest.mark.parametrize("nested", [{"a": {1, 2}}, [object()], {(1, 2): 3}, {"a": b"x"}, {"a": torch.float32}])
def test_what_it_does_not_know_is_named(nested):
    with pytest.raises(CheckpointError, match="The state to save"):
        flatten_state(nested)


def test_bottomless():
    nested: list = []
    nested.append(nested)
    with pytest.raises(CheckpointError, match="nested deeper"):
        flatten_state(nested)


@pytest.mark.parametrize(
    "skeleton",
    [
        {"tensor": "b"},
        {"float": "x"},
        {},
        {"a": 1, "b": 2},
        {"dict": [1]},
        {"dict": [[[], 1]]},
        {"tuple": None},
        {"eval": "1"},
    ],
)
def test_skeletons_that_do_not_fit(skeleton):
    with pytest.raises(CheckpointError):
        unflatten_state({"a": torch.ones(1)}, skeleton)
