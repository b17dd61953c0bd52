"""The native convolution under threads, other instruction sets, operator checks and export."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from equipot.kernels import ConvolutionPlan, FeatureLayout
from equipot.kernels.convolution import Convolution, SplineConvolution
from equipot.kernels.edge_index import EdgeIndex
from equipot.kernels.native import library
from equipot.kernels.native.convolution_plan import key_of
from equipot.kernels.selection import use

pytestmark = pytest.mark.skipif(isinstance(library.load(), str), reason="the native kernels were not built")

NATURAL = {(0, 1), (1, -1), (2, 1)}


def build_plan(irreps: str) -> ConvolutionPlan:
    return ConvolutionPlan.build(FeatureLayout.from_irreps(irreps), 2, NATURAL)


def random_inputs(plan: ConvolutionPlan, num_nodes: int, num_edges: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()

    return {
        "features": random(num_nodes, plan.input.dim),
        "harmonics": random(num_edges, (plan.l_max + 1) ** 2),
        "basis": random(num_edges, 4),
        "knot": torch.randint(6, (num_edges,), generator=generator, dtype=torch.int32),
        "table": random(9, plan.num_weights),
        "center": torch.randint(num_nodes, (num_edges,), generator=generator).sort().values,
        "neighbor": torch.randint(num_nodes, (num_edges,), generator=generator),
    }


def spline_derivatives(plan: ConvolutionPlan, inputs: dict[str, torch.Tensor], threads: int) -> list[torch.Tensor]:
    """Result, gradients and double gradients with a number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        names = ("features", "harmonics", "basis", "table")
        leaves = [inputs[name] for name in names]
        edges = EdgeIndex.build(inputs["center"], inputs["neighbor"], len(inputs["features"]))
        with use("native"):
            result = SplineConvolution(plan)(*leaves[:3], inputs["knot"], leaves[3], edges)
            first = torch.autograd.grad(result.square().sum(), leaves, create_graph=True)
            second = torch.autograd.grad(sum(tensor.square().sum() for tensor in first), leaves)
        return [result, *first, *second]
    finally:
        torch.set_num_threads(before)


def test_the_number_of_threads_changes_rounding_at_most() -> None:
    plan = build_plan("32x0e+16x1o+8x2e")
    inputs = random_inputs(plan, 50, 4000)  # enough work for the library to use them all
    expected = spline_derivatives(plan, inputs, 1)
    for threads in (2, 3):
        for a, b in zip(spline_derivatives(plan, inputs, threads), expected):
            assert (a - b).abs().max() <= 1e-12 * b.abs().max()
    again = [spline_derivatives(plan, inputs, 3) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*again))


@pytest.mark.parametrize("instruction_set", library.INSTRUCTION_SETS)
def test_every_instruction_set_of_this_cpu(instruction_set: str) -> None:
    if library.load().instruction_set == instruction_set:
        pytest.skip("the other tests run on this one")
    if library.INSTRUCTION_SETS.index(instruction_set) > library.load().functions.equipot_best_instruction_set():
        pytest.skip(f"this CPU does not run {instruction_set}")
    environment = {**os.environ, "EQUIPOT_INSTRUCTION_SET": instruction_set}
    tests = Path(__file__).with_name("test_native_convolution.py")
    arguments = [
        str(tests),
        "-q",
        "-p",
        "no:xdist",
        "-o",
        "addopts=",
        "-p",
        "no:cacheprovider",
        "-k",
        "agrees_with_the_reference or single_precision or few_atoms",
    ]
    done = subprocess.run([sys.executable, "-m", "pytest", *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize("is_spline", [False, True], ids=["edge weights", "spline"])
def test_operators_keep_torchs_rules(is_spline: bool) -> None:
    plan = build_plan("3x0e+2x1o")
    inputs = random_inputs(plan, 4, 12)
    edges = EdgeIndex.build(inputs["center"], inputs["neighbor"], 4)
    basis, knot = (inputs["basis"], inputs["knot"]) if is_spline else (None, None)
    weights = inputs["table"] if is_spline else torch.randn(12, plan.num_weights, dtype=torch.float64).requires_grad_()
    values = (inputs["features"], inputs["harmonics"], basis, knot, weights)
    operators, rules = torch.ops.equipot, ("test_schema", "test_autograd_registration", "test_faketensor")
    g = torch.randn(4, plan.output.dim, dtype=torch.float64)
    wanted = (True, True, is_spline, True)
    tangents = [torch.randn_like(v) if n != 3 and v is not None else None for n, v in enumerate(values)]
    del tangents[3]
    torch.library.opcheck(operators.convolution.default, (*values, *edges, key_of(plan), False), test_utils=rules)
    torch.library.opcheck(
        operators.convolution_backward.default, (*values, g, *edges, key_of(plan), False, *wanted), test_utils=rules
    )
    detached = [None if value is None else value.detach() for value in values]
    torch.library.opcheck(
        operators.convolution_double_backward.default,
        (*detached, g, *tangents, *edges, key_of(plan), True, *wanted),
        test_utils=rules,
    )


class Layer(nn.Module):
    """Both convolutions on edges it sorts itself."""

    def __init__(self, plan: ConvolutionPlan) -> None:
        super().__init__()
        self.convolution, self.spline = Convolution(plan), SplineConvolution(plan)

    def forward(
        self,
        features: torch.Tensor,
        harmonics: torch.Tensor,
        basis: torch.Tensor,
        knot: torch.Tensor,
        table: torch.Tensor,
        weights: torch.Tensor,
        center: torch.Tensor,
        neighbor: torch.Tensor,
    ) -> torch.Tensor:
        edges = EdgeIndex.build(center, neighbor, features.shape[0])
        return self.convolution(features, harmonics, weights, edges) + self.spline(
            features, harmonics, basis, knot, table, edges
        )


def test_export_of_a_module_with_the_operators() -> None:
    plan = build_plan("3x0e+2x1o")

    def arguments(num_nodes: int, num_edges: int) -> tuple[torch.Tensor, ...]:
        inputs = random_inputs(plan, num_nodes, num_edges)
        inputs["weights"] = torch.linspace(-1, 1, num_edges * plan.num_weights, dtype=torch.float64).view(num_edges, -1)
        names = ("features", "harmonics", "basis", "knot", "table", "weights", "center", "neighbor")
        return tuple(inputs[name].detach() for name in names)

    nodes, edges = torch.export.Dim("nodes", min=2), torch.export.Dim("edges", min=2)
    shapes = ({0: nodes}, {0: edges}, {0: edges}, {0: edges}, None, {0: edges}, {0: edges}, {0: edges})
    with use("native"):
        layer = Layer(plan)
        program = torch.export.export(layer, arguments(4, 12), dynamic_shapes=shapes, strict=False)
        assert any("equipot.convolution" in str(node.target) for node in program.graph.nodes)
        stored = io.BytesIO()
        torch.export.save(program, stored)
        stored.seek(0)
        loaded = torch.export.load(stored).module()
        for size in ((4, 12), (7, 30)):
            inputs = arguments(*size)
            assert torch.allclose(loaded(*inputs), layer(*inputs), atol=1e-12)
