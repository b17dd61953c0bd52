"""The reference operations against e3nn and against their own definition, in float64."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from e3nn import o3

from equipot.kernels import (
    ConvolutionPlan,
    FeatureLayout,
    ProductBasisPlan,
    reference,
    symmetric_basis,
    wigner_3j_fingerprint,
)

EXACT = 1e-12

PLANS = {
    "natural": ("7x0e+5x1o+3x2e", 2, {(0, 1), (1, -1), (2, 1)}, True),
    "both parities": ("4x0e+4x0o+3x1o+2x1e+5x2e+1x2o", 3, {(l, p) for l in range(4) for p in (1, -1)}, True),
    "rotations only": ("6x0e+6x1e+6x2e", 2, {(l, 1) for l in range(3)}, False),
    "scalars in": ("9x0e", 4, {(l, (-1) ** l) for l in range(5)}, True),
    "l = 4": ("2x3o+3x4e", 4, {(l, (-1) ** l) for l in range(5)}, True),
}


def random_edges(num_nodes: int, num_edges: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    center = torch.randint(num_nodes, (num_edges,), generator=generator).sort().values
    return center, torch.randint(num_nodes, (num_edges,), generator=generator)


def e3nn_tensor_product(plan: ConvolutionPlan) -> o3.TensorProduct:
    """The same paths written as e3nn instructions, one e3nn output block a path."""
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


def representation(irreps: o3.Irreps, rotation: torch.Tensor) -> torch.Tensor:
    """The matrix of an improper rotation on irreps, from the harmonics themselves.

    e3nn's own Wigner D is exact only to the default dtype (its generators are built in it).
    """
    points = torch.randn(100, 3, dtype=torch.float64)
    blocks = []
    for mul, ir in irreps:
        before, after = (
            o3.spherical_harmonics(ir.l, moved, True, "component") for moved in (points, points @ rotation.T)
        )
        natural = torch.linalg.lstsq(before, after).solution.T
        blocks += [natural * ir.p * (-1) ** ir.l] * mul
    return torch.block_diag(*blocks)


def random_improper_rotation() -> torch.Tensor:
    """A rotation times the inversion: parity must be right too."""
    return -o3.angles_to_matrix(*(torch.rand(3, dtype=torch.float64) * 3).unbind())


@pytest.mark.parametrize("name", PLANS)
def test_convolution_equals_e3nn(name: str) -> None:
    irreps, l_max, wanted, parity = PLANS[name]
    generator = torch.Generator().manual_seed(3)
    layout = FeatureLayout.from_irreps(irreps)
    plan = ConvolutionPlan.build(layout, l_max, wanted, harmonic_parity=parity)
    num_nodes, num_edges = 6, 40
    center, neighbor = random_edges(num_nodes, num_edges, generator)
    x = torch.randn(num_nodes, layout.dim, dtype=torch.float64, generator=generator)
    vectors = torch.randn(num_edges, 3, dtype=torch.float64, generator=generator)
    weights = torch.randn(num_edges, plan.num_weights, dtype=torch.float64, generator=generator)
    harmonics = reference.SphericalHarmonics(l_max)(vectors)
    ours = reference.Convolution(plan)(layout.from_e3nn(x), harmonics, weights, center, neighbor)

    product = e3nn_tensor_product(plan)
    messages = product(x[neighbor], harmonics, weights)
    summed = torch.zeros(num_nodes, messages.shape[1], dtype=torch.float64).index_add(0, center, messages)
    by_path_layout = FeatureLayout.from_irreps(product.irreps_out)
    by_path = by_path_layout.split(by_path_layout.from_e3nn(summed))
    expected = [
        torch.cat([by_path[n] for n, path in enumerate(plan.paths) if path.output == output], dim=2)
        for output in range(len(plan.output.blocks))
    ]
    assert torch.allclose(ours, plan.output.join(expected), rtol=0, atol=EXACT * 10)
    assert ours.abs().max() > 1.0


@pytest.mark.parametrize("name", ["natural", "both parities"])
def test_convolution_is_equivariant(name: str) -> None:
    irreps, l_max, wanted, parity = PLANS[name]
    layout = FeatureLayout.from_irreps(irreps)
    plan = ConvolutionPlan.build(layout, l_max, wanted, harmonic_parity=parity)
    center, neighbor = random_edges(5, 30, torch.Generator().manual_seed(0))
    x, vectors = torch.randn(5, layout.dim).double(), torch.randn(30, 3).double()
    weights = torch.randn(30, plan.num_weights).double()
    convolution, harmonics = reference.Convolution(plan), reference.SphericalHarmonics(l_max)
    rotation = random_improper_rotation()
    rotated = layout.from_e3nn(layout.to_e3nn(x) @ representation(layout.irreps, rotation).T)
    out = convolution(x, harmonics(vectors), weights, center, neighbor)
    out_rotated = convolution(rotated, harmonics(vectors @ rotation.T), weights, center, neighbor)
    expected = plan.output.to_e3nn(out) @ representation(plan.output.irreps, rotation).T
    assert torch.allclose(plan.output.to_e3nn(out_rotated), expected, atol=1e-10)


def test_convolution_without_edges_and_without_nodes() -> None:
    layout = FeatureLayout.from_irreps("3x0e+3x1o")
    plan = ConvolutionPlan.build(layout, 2, {(0, 1), (1, -1)})
    convolution = reference.Convolution(plan)
    for num_nodes in (0, 4):
        harmonics = reference.SphericalHarmonics(2)(torch.zeros(0, 3))
        empty = torch.zeros(0, dtype=torch.int64)
        out = convolution(torch.randn(num_nodes, layout.dim), harmonics, torch.zeros(0, plan.num_weights), empty, empty)
        assert out.shape == (num_nodes, plan.output.dim) and not out.any()


def test_layout_round_trip() -> None:
    layout = FeatureLayout.from_irreps("3x0e+2x1o+4x2e")
    x = torch.randn(7, layout.dim)
    assert torch.equal(layout.from_e3nn(layout.to_e3nn(x)), x)
    assert torch.equal(layout.join(layout.split(x)), x)
    # The second channel of the l = 1 block: components with stride `channels` here, contiguous in e3nn.
    assert torch.equal(layout.split(x)[1][:, :, 1], layout.to_e3nn(x)[:, 3 + 3 : 3 + 6])


@pytest.mark.parametrize("l_out", [0, 1, 2])
@pytest.mark.parametrize("correlation", [1, 2, 3])
def test_product_basis_equals_its_definition(correlation: int, l_out: int) -> None:
    """sum over all index tuples of U A...A, without monomials."""
    plan, size, channels = ProductBasisPlan(2, correlation, (l_out,)), 9, 3
    features = torch.randn(4, size, channels).double()
    species = torch.tensor([0, 1, 1, 0])
    weights = [torch.randn(2, plan.num_paths(*term), channels).double() for term in plan.terms]
    (ours,) = reference.ProductBasis(plan)(features, weights, species)
    expected = torch.zeros_like(ours)
    letters = "uvw"
    for (l, order), weight in zip(plan.terms, weights):
        basis = symmetric_basis(2, order, l)
        factors = ",".join(f"n{letters[k]}c" for k in range(order))
        expected += torch.einsum(f"m{letters[:order]}p,{factors},npc->nmc", basis, *[features] * order, weight[species])
    assert torch.allclose(ours, expected, atol=EXACT)


@pytest.mark.parametrize("l_max", [1, 2, 3])
def test_product_basis_is_equivariant_and_orthonormal(l_max: int) -> None:
    plan = ProductBasisPlan(l_max, 3, (0, 1))
    size, channels = (l_max + 1) ** 2, 2
    irreps = o3.Irreps([(1, (l, (-1) ** l)) for l in range(l_max + 1)])
    rotation = random_improper_rotation()
    features = torch.randn(3, size, channels).double()
    weights = [torch.randn(1, plan.num_paths(*term), channels).double() for term in plan.terms]
    product, species = reference.ProductBasis(plan), torch.zeros(3, dtype=torch.int64)
    turned = torch.einsum("st,ntc->nsc", representation(irreps, rotation), features)
    outputs = zip(plan.l_out, product(features, weights, species), product(turned, weights, species))
    for l, before, after in outputs:
        matrix = representation(o3.Irreps([(1, (l, (-1) ** l))]), rotation)
        assert torch.allclose(after, torch.einsum("st,ntc->nsc", matrix, before), atol=1e-10)
    for l, order in plan.terms:
        basis = symmetric_basis(l_max, order, l).reshape(-1, plan.num_paths(l, order))
        assert torch.allclose(basis.T @ basis, torch.eye(basis.shape[1]).double(), atol=1e-10)


def test_number_of_product_paths_is_that_of_the_literature() -> None:
    """Counts of the reduced symmetric basis (the 23 and 51 redundant paths of l_max 3 reduce to 8 and 12)."""
    plan = ProductBasisPlan(3, 3, (0, 1))
    assert [plan.num_paths(0, order) for order in (1, 2, 3)] == [1, 4, 8]
    assert plan.num_paths(1, 3) == 12


def test_second_derivatives_of_every_operation() -> None:
    layout = FeatureLayout.from_irreps("2x0e+2x1o")
    plan = ConvolutionPlan.build(layout, 1, {(0, 1), (1, -1)})
    center, neighbor = torch.tensor([0, 0, 1, 2]), torch.tensor([1, 2, 0, 2])
    convolution, harmonics = reference.Convolution(plan), reference.SphericalHarmonics(1)
    arguments = [torch.randn(3, layout.dim), torch.randn(4, 3), torch.randn(4, plan.num_weights)]
    arguments = [argument.double().requires_grad_() for argument in arguments]

    def whole(x: torch.Tensor, vectors: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return convolution(x, harmonics(vectors), weights, center, neighbor)

    assert torch.autograd.gradcheck(whole, arguments)
    assert torch.autograd.gradgradcheck(whole, arguments)


def test_fingerprint_sees_a_changed_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    from equipot.kernels import plans

    before = wigner_3j_fingerprint(2)
    assert before == wigner_3j_fingerprint(2) and before != wigner_3j_fingerprint(1)
    original = plans.wigner_3j
    monkeypatch.setattr(plans, "wigner_3j", lambda *ls: -original(*ls) if ls == (1, 2, 2) else original(*ls))
    assert wigner_3j_fingerprint(2) != before


def test_coefficients_are_normalised() -> None:
    plan = ConvolutionPlan.build(FeatureLayout.from_irreps("1x0e+1x1o+1x2e"), 2, {(0, 1), (1, -1), (2, 1)})
    for path in plan.paths:
        l3 = plan.output.blocks[path.output].l
        assert math.isclose(float(plan.coefficients(path).square().sum()), 2 * l3 + 1, rel_tol=1e-12)
    pairs = itertools.pairwise((path.output, path.input, path.l2) for path in plan.paths)
    assert all(first < second for first, second in pairs)
