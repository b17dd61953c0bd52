"""The native convolution against the reference one and e3nn's tensor product: values, gradients, double gradients."""

from __future__ import annotations

import pytest
import torch
from e3nn import o3
from hypothesis import given, settings
from hypothesis import strategies as st

from equipot.errors import UsageError
from equipot.kernels import ConvolutionPlan, FeatureLayout, reference
from equipot.kernels.convolution import Convolution, SplineConvolution
from equipot.kernels.edge_index import EdgeIndex
from equipot.kernels.native import library
from equipot.kernels.native.convolution_plan import key_of, plan_of
from equipot.kernels.selection import gradients_of, use

EXACT = 1e-12
pytestmark = pytest.mark.skipif(isinstance(library.load(), str), reason="the native kernels were not built")

ALL = {(l, p) for l in range(5) for p in (1, -1)}
NATURAL = {(l, (-1) ** l) for l in range(5)}
PLANS = {
    "natural": ("7x0e+5x1o+3x2e", 2, {(0, 1), (1, -1), (2, 1)}, True),
    "both parities": ("4x0e+4x0o+3x1o+2x1e+5x2e+1x2o", 3, {(l, p) for l in range(4) for p in (1, -1)}, True),
    "rotations only": ("6x0e+6x1e+6x2e", 2, {(l, 1) for l in range(3)}, False),
    "scalars in": ("9x0e", 4, NATURAL, True),
    "scalars out": ("16x0e+8x1o+17x2e+1x3o+5x4e", 4, {(0, 1)}, True),
    "all orders": ("33x0e+17x1o+9x2e+3x3o+5x4e", 4, NATURAL, True),
    "many parities": ("3x0o+2x1e+2x2o+1x3e+2x4o", 4, ALL, True),
    "an unused input": ("5x0e+3x4e", 1, {(0, 1), (1, -1)}, True),
}


def build_plan(name: str) -> ConvolutionPlan:
    irreps, l_max, outputs, parity = PLANS[name]
    return ConvolutionPlan.build(FeatureLayout.from_irreps(irreps), l_max, outputs, harmonic_parity=parity)


def random_edges(num_nodes: int, num_edges: int, generator: torch.Generator) -> EdgeIndex:
    """Edges with atoms that receive or send nothing, and one that does more than a chunk of them."""
    center = torch.randint(max(num_nodes, 1), (num_edges,), generator=generator)
    neighbor = torch.randint(max(num_nodes, 1), (num_edges,), generator=generator)
    if num_nodes > 3:
        center[center == 1], neighbor[neighbor == 2] = 3, 0
    return EdgeIndex.build(center.sort().values, neighbor, num_nodes)


class Problem:
    """Random inputs of one convolution, with cotangents for two derivatives."""

    def __init__(
        self,
        plan: ConvolutionPlan,
        is_spline: bool,
        num_nodes: int = 5,
        num_edges: int = 107,
        dtype: torch.dtype = torch.float64,
        seed: int = 0,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)

        def random(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, dtype=torch.float64, generator=generator).to(dtype).requires_grad_()

        self.edges = random_edges(num_nodes, num_edges, generator)
        self.module = (SplineConvolution if is_spline else Convolution)(plan)
        features = random(num_nodes, plan.input.dim)
        harmonics = random(num_edges, (plan.l_max + 1) ** 2)
        if is_spline:
            knot = torch.randint(6, (num_edges,), generator=generator, dtype=torch.int32)
            basis, table = random(num_edges, 4), random(9, plan.num_weights)
            self.arguments, self.inputs = (features, harmonics, basis, knot, table), (features, harmonics, basis, table)
        else:
            weights = random(num_edges, plan.num_weights)
            self.arguments = self.inputs = (features, harmonics, weights)
        self.g = random(num_nodes, plan.output.dim)
        self.h = [random(*tensor.shape).detach() for tensor in self.inputs]

    def run(self, *inputs: torch.Tensor) -> torch.Tensor:
        if len(inputs) == 4:
            features, harmonics, basis, table = inputs
            inputs = (features, harmonics, basis, self.arguments[3], table)
        return self.module(*inputs, self.edges)

    def everything(self) -> list[torch.Tensor]:
        """The result, its gradients, and all gradients of a weighted sum of those."""
        result = self.run(*self.inputs)
        first = torch.autograd.grad(result, self.inputs, self.g, create_graph=True)
        second = torch.autograd.grad(first, (self.g, *self.inputs), self.h)
        return [result, *first, *second]


def assert_close(found: list[torch.Tensor], expected: list[torch.Tensor], tolerance: float) -> None:
    assert len(found) == len(expected)
    for n, (a, b) in enumerate(zip(found, expected)):
        assert a.shape == b.shape and a.dtype == b.dtype
        if b.numel():
            assert (a - b).abs().max() <= tolerance * (1 + b.abs().max()), f"tensor {n}"


@pytest.mark.parametrize("is_spline", [False, True], ids=["edge weights", "spline"])
@pytest.mark.parametrize("name", PLANS)
def test_agrees_with_the_reference(name: str, is_spline: bool) -> None:
    problem = Problem(build_plan(name), is_spline)
    with use("native"):
        found = problem.everything()
    with use("reference"):
        expected = problem.everything()
    assert_close(found, expected, EXACT)


@pytest.mark.parametrize("name", ["natural", "many parities"])
def test_single_precision_agrees_to_its_rounding(name: str) -> None:
    with use("native"):
        found = Problem(build_plan(name), True, dtype=torch.float32).everything()
    exact = Problem(build_plan(name), True, dtype=torch.float32)
    with use("reference"):
        expected = [tensor.float() for tensor in _in_double(exact).everything()]
    assert_close(found, expected, 1e-5)


def _in_double(problem: Problem) -> Problem:
    problem.inputs = tuple(tensor.detach().double().requires_grad_() for tensor in problem.inputs)
    problem.g, problem.h = problem.g.detach().double().requires_grad_(), [h.double() for h in problem.h]
    return problem


@pytest.mark.parametrize("parity", [True, False], ids=["O(3)", "SO(3)"])
def test_agrees_with_e3nn_for_all_paths_up_to_l_4(parity: bool) -> None:
    irreps = "+".join(f"{2 + l}x{l}{p}" for l in range(5) for p in ("eo" if parity else "e"))
    outputs = ALL if parity else {(l, 1) for l in range(5)}
    plan = ConvolutionPlan.build(FeatureLayout.from_irreps(irreps), 4, outputs, harmonic_parity=parity)
    problem = Problem(plan, False, num_nodes=4, num_edges=40)
    features, harmonics, weights = problem.inputs
    with use("native"):
        found = problem.run(*problem.inputs)
    product = _e3nn_tensor_product(plan)
    sent = plan.input.to_e3nn(features)[problem.edges.neighbor]
    messages = product(sent, harmonics, weights)
    summed = messages.new_zeros(4, messages.shape[1]).index_add(0, problem.edges.center, messages)
    paths = summed.split([ir.dim for ir in product.irreps_out], dim=1)
    blocks = []
    for output, block in enumerate(plan.output.blocks):
        own = [n for n, path in enumerate(plan.paths) if path.output == output]
        pieces = [paths[n].unflatten(1, (plan.path_channels[n], block.components)) for n in own]
        blocks.append(torch.cat(pieces, dim=1).transpose(1, 2))
    expected = plan.output.join(blocks)
    assert_close([found], [expected], EXACT)
    found_gradients = torch.autograd.grad(found, problem.inputs, problem.g)
    assert_close(list(found_gradients), list(torch.autograd.grad(expected, problem.inputs, problem.g)), EXACT)


def _e3nn_tensor_product(plan: ConvolutionPlan) -> o3.TensorProduct:
    harmonics = o3.Irreps([(1, (l, (-1) ** l if plan.harmonic_parity else 1)) for l in range(plan.l_max + 1)])
    outputs = o3.Irreps([(plan.input.blocks[p.input].channels, plan.output.blocks[p.output].irrep) for p in plan.paths])
    instructions = [(path.input, path.l2, n, "uvu", True) for n, path in enumerate(plan.paths)]
    torch.set_default_dtype(torch.float64)  # e3nn rounds its tables to the default dtype when it builds
    try:
        return o3.TensorProduct(
            plan.input.irreps,
            harmonics,
            outputs,
            instructions,
            shared_weights=False,
            internal_weights=False,
            irrep_normalization="component",
            path_normalization="none",
        )
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("is_spline", [False, True], ids=["edge weights", "spline"])
def test_numerical_derivatives(is_spline: bool) -> None:
    plan = ConvolutionPlan.build(FeatureLayout.from_irreps("2x0e+1x1o+1x2e"), 2, {(0, 1), (1, -1), (1, 1), (2, 1)})
    problem = Problem(plan, is_spline, num_nodes=3, num_edges=6)
    with use("native"):
        assert torch.autograd.gradcheck(problem.run, problem.inputs, fast_mode=True)
        assert torch.autograd.gradgradcheck(problem.run, problem.inputs, fast_mode=True)


@pytest.mark.parametrize("is_spline", [False, True], ids=["edge weights", "spline"])
@pytest.mark.parametrize(("num_nodes", "num_edges"), [(0, 0), (3, 0), (1, 1), (1, 40), (2, 33)])
def test_few_atoms_and_edges(num_nodes: int, num_edges: int, is_spline: bool) -> None:
    problem = Problem(build_plan("natural"), is_spline, num_nodes, num_edges)
    with use("native"):
        found = problem.everything()
    if num_nodes == 0:
        assert all(tensor.shape == expected.shape for tensor, expected in zip(found[1:], problem.inputs))
        return
    with use("reference"):
        expected = problem.everything() if num_edges else [torch.zeros_like(tensor) for tensor in found]
    assert_close(found, expected, EXACT)


@st.composite
def plans(draw: st.DrawFn) -> ConvolutionPlan:
    l_max = draw(st.integers(0, 3))
    blocks = draw(
        st.lists(
            st.tuples(st.integers(1, 40), st.integers(0, 3), st.sampled_from("eo")),
            min_size=1,
            max_size=3,
            unique_by=lambda block: block[1:],
        )
    )
    outputs = draw(st.sets(st.tuples(st.integers(0, 3), st.sampled_from((1, -1))), min_size=1, max_size=4))
    layout = FeatureLayout.from_irreps("+".join(f"{channels}x{l}{p}" for channels, l, p in blocks))
    return ConvolutionPlan.build(layout, l_max, outputs, harmonic_parity=draw(st.booleans()))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    plan=plans(),
    num_nodes=st.integers(1, 6),
    num_edges=st.integers(1, 80),
    is_spline=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_shape(plan: ConvolutionPlan, num_nodes: int, num_edges: int, is_spline: bool, seed: int) -> None:
    if not plan.paths:
        return
    problem = Problem(plan, is_spline, num_nodes, num_edges, seed=seed)
    with use("native"):
        found = problem.everything()
    with use("reference"):
        expected = problem.everything()
    assert_close(found, expected, EXACT)


@pytest.mark.parametrize("is_spline", [False, True], ids=["edge weights", "spline"])
def test_absent_tangents_and_gradients_cost_nothing_and_change_nothing(is_spline: bool) -> None:
    problem = Problem(build_plan("natural"), is_spline)
    for number in range(len(problem.inputs)):
        results = {}
        for kind in ("native", "reference"):
            with use(kind):
                result = problem.run(*problem.inputs)
                (first,) = torch.autograd.grad(result, problem.inputs[number], problem.g, create_graph=True)
                others = [tensor for n, tensor in enumerate((*problem.inputs, problem.g)) if n != number]
                results[kind] = torch.autograd.grad(first, others, problem.h[number])
        assert_close(list(results["native"]), list(results["reference"]), EXACT)


def test_inputs_that_are_not_contiguous() -> None:
    problem = Problem(build_plan("natural"), True)
    with use("native"):
        expected = problem.everything()
        strided = [
            torch.cat([tensor.detach(), tensor.detach()], dim=1)[:, : tensor.shape[1]].requires_grad_()
            for tensor in problem.inputs
        ]
        problem.inputs = tuple(strided)
        problem.h = [h.t().contiguous().t() for h in problem.h]
        found = problem.everything()
    assert_close(found, expected, 0)


def test_gradients_of_inputs_leaves_tables_and_constant_features_out() -> None:
    problem = Problem(build_plan("scalars in"), True)
    features, harmonics, basis, knot, table = problem.arguments
    with use("native"):
        result = problem.module(features, harmonics, basis, knot, table, problem.edges, constant_features=True)
        expected = torch.autograd.grad(result, problem.inputs, problem.g, retain_graph=True)
        with gradients_of("inputs"):
            found = torch.autograd.grad(result, problem.inputs, problem.g, retain_graph=True, allow_unused=True)
        assert found[0] is None and found[3] is None
        assert_close(list(found[1:3]), list(expected[1:3]), 0)
        with gradients_of("parameters"):
            found = torch.autograd.grad(result, problem.inputs, problem.g, retain_graph=True, allow_unused=True)
        assert found[1] is None and found[2] is None
        assert_close([found[0], found[3]], [expected[0], expected[3]], EXACT)
        # Features that do depend on the positions get theirs in both.
        result = problem.module(features, harmonics, basis, knot, table, problem.edges)
        with gradients_of("inputs"):
            assert torch.autograd.grad(result, features, problem.g, allow_unused=True)[0] is not None


def test_weights_given_edge_by_edge_have_gradients_of_inputs_too() -> None:
    problem = Problem(build_plan("natural"), False)
    with use("native"):
        result = problem.run(*problem.inputs)
        for kind in ("inputs", "parameters"):
            with gradients_of(kind):
                (found,) = torch.autograd.grad(result, problem.inputs[2], problem.g, retain_graph=True)
            assert_close([found], list(torch.autograd.grad(result, problem.inputs[2], problem.g, retain_graph=True)), 0)


def test_a_third_derivative_is_refused_in_words() -> None:
    problem = Problem(build_plan("natural"), True)
    with use("native"):
        result = problem.run(*problem.inputs)
        (first,) = torch.autograd.grad(result, problem.inputs[1], problem.g, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), problem.inputs[1], create_graph=True)
        with pytest.raises(UsageError, match="third derivative"):
            torch.autograd.grad(second.sum(), problem.inputs[1])


def test_wrong_shapes_are_refused_before_memory_is_read() -> None:
    problem = Problem(build_plan("natural"), True)
    features, harmonics, basis, knot, table = problem.arguments
    with use("native"):
        for wrong in (
            (features[:, :-1], harmonics, basis, knot, table),
            (features, harmonics[:-1], basis, knot, table),
            (features, harmonics.float(), basis, knot, table),
            (features, harmonics, basis, knot.long(), table),
            (features, harmonics, basis, knot, table[:, :-1]),
        ):
            with pytest.raises(UsageError, match="expects"):
                problem.module(*wrong, problem.edges)
        with pytest.raises(IndexError, match="knot"):
            problem.module(features, harmonics, basis, knot + 4, table, problem.edges)


def test_a_plan_survives_being_written_as_text() -> None:
    for name in PLANS:
        plan = build_plan(name)
        assert plan_of(key_of(plan)) == plan


def test_orders_above_four_take_the_reference() -> None:
    plan = ConvolutionPlan.build(FeatureLayout.from_irreps("2x0e"), 5, {(5, -1)})
    problem = Problem(plan, False)
    expected = reference.Convolution(plan)(*problem.inputs, problem.edges.center, problem.edges.neighbor)
    with use("native"):
        assert_close([problem.run(*problem.inputs)], [expected], 0)
