"""The native product basis against the reference and against finite differences, in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equipot.errors import UsageError
from equipot.kernels import ProductBasisPlan, selection
from equipot.kernels.native import library
from equipot.kernels.native import product_basis as native
from equipot.kernels.product_basis import ProductBasis
from equipot.kernels.product_program import ProductProgram

pytestmark = pytest.mark.skipif(isinstance(library.load(), str), reason="the native kernels were not built")

EXACT = 1e-12

#: (l_max, correlation, l_out): what MACE models use, and the corners.
PLANS = [
    (2, 3, (0,)), (2, 3, (0, 1)), (3, 3, (0,)), (3, 3, (0, 1)), (3, 2, (0,)), (3, 2, (0, 1, 2)), (2, 4, (0, 1)),
    (0, 3, (0,)), (1, 1, (0, 1)), (4, 2, (0, 4)), (2, 2, (2,)), (1, 4, (1, 0)),
]  # fmt: skip


def case(plan: ProductBasisPlan, num_atoms: int, channels: int, num_species: int, dtype=torch.float64, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()

    features = random(num_atoms, (plan.l_max + 1) ** 2, channels)
    weights = [random(num_species, plan.num_paths(*term), channels) for term in plan.terms]
    return features, weights, torch.randint(0, num_species, (num_atoms,), generator=generator)


def everything(module: ProductBasis, features, weights, species) -> list[torch.Tensor]:
    """Outputs, all first derivatives, and the derivatives of a function of outputs and first derivatives."""
    outputs = module(features, weights, species)
    inputs = [features, *weights]
    first = torch.autograd.grad(sum((out.square() + out).sum() for out in outputs), inputs, create_graph=True)
    energy = sum(g.square().sum() for g in first) + sum(out.sin().sum() for out in outputs)
    return [*outputs, *first, *torch.autograd.grad(energy, inputs)]


def worst(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    """Largest deviation, relative to the largest number of the same tensor."""
    assert [tensor.shape for tensor in ours] == [tensor.shape for tensor in theirs]
    pairs = [(a.detach(), b.detach()) for a, b in zip(ours, theirs) if a.numel()]
    return max((float((a - b).abs().max() / (1 + b.abs().max())) for a, b in pairs), default=0.0)


def compare(plan: ProductBasisPlan, *sizes: int, seed: int = 0) -> float:
    module, arguments = ProductBasis(plan), case(plan, *sizes, seed=seed)
    with selection.use("native"):
        ours = everything(module, *arguments)
    with selection.use("reference"):
        theirs = everything(module, *arguments)
    return worst(ours, theirs)


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_outputs_first_and_second_derivatives_are_the_references(plan):
    assert compare(ProductBasisPlan(*plan), 7, 5, 3) < EXACT


@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 8, 1), (0, 4, 2), (200, 17, 1), (150, 3, 2), (5, 33, 7)], ids=str)
def test_any_number_of_atoms_channels_and_species(sizes):
    assert compare(ProductBasisPlan(2, 3, (0, 1)), *sizes) < EXACT


@pytest.mark.parametrize("sizes", [(7, 5, 3), (0, 4, 2), (200, 17, 1), (150, 3, 2), (5, 33, 7)], ids=str)
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_tangent_and_adjoint_are_derivatives(plan, sizes):
    plan = ProductBasisPlan(*plan)
    features, weights, species = case(plan, *sizes)
    weights = torch.cat(weights, dim=1).detach().requires_grad_()
    module = ProductBasis(plan)

    def result(features, weights):
        with selection.use("reference"):
            parts = weights.split([plan.num_paths(*term) for term in plan.terms], dim=1)
            return torch.cat(module(features, list(parts), species), dim=1)

    g, b = torch.randn_like(result(features, weights)), torch.randn_like(result(features, weights))
    h, key = torch.randn_like(features), native.key_of(plan)
    out, tangent = torch.autograd.functional.jvp(
        lambda x: result(x, weights), features, h, create_graph=True, strict=False
    )
    expected = torch.autograd.grad((b * out).sum() + (g * tangent).sum(), (features, weights), materialize_grads=True)
    arguments = features.detach(), weights.detach(), species
    moved = native.product_basis_tangent(arguments[0], h, *arguments[1:], key)
    found = native.product_basis_adjoint(arguments[0], g, h, b, *arguments[1:], key)
    assert worst([moved, *found], [tangent, *expected]) < EXACT


@settings(max_examples=25, deadline=None)
@given(
    l_max=st.integers(0, 2), correlation=st.integers(1, 3), l_out=st.sets(st.integers(0, 2), min_size=1),
    num_atoms=st.integers(0, 9), channels=st.integers(1, 40), num_species=st.integers(1, 4), seed=st.integers(0, 99),
)  # fmt: skip
def test_random_plans_and_sizes(l_max, correlation, l_out, num_atoms, channels, num_species, seed):
    plan = ProductBasisPlan(l_max, correlation, tuple(sorted(l for l in l_out if l <= l_max) or [0]))
    assert compare(plan, num_atoms, channels, num_species, seed=seed) < EXACT


def test_a_program_holds_every_monomial_once():
    plan = ProductBasisPlan(3, 3, (0, 1))
    program = ProductProgram.build(plan)
    nodes = [(), *((a,) for a in range(16)), *(tuple(sorted((a - 1, b - 1))) for a, b in program.products)]
    components = [(order, m) for order in plan.l_out for m in range(2 * order + 1)]
    for output, (l, m) in enumerate(components):
        found = [
            tuple(sorted(nodes[group.prefix] + nodes[factor]))
            for group in program.outputs[output] for factor in group.factors
        ]  # fmt: skip
        expected = [
            plan.monomials[order - 1][n]
            for order in (1, 2, 3)
            for n in (plan.coefficients(l, order)[m].abs() > 1e-12).any(0).nonzero().flatten().tolist()
        ]
        assert sorted(found) == sorted(expected)


def test_gradients_by_finite_differences():
    plan = ProductBasisPlan(1, 3, (0, 1))
    features, weights, species = case(plan, 3, 3, 2)
    weight = torch.cat(weights, dim=1).detach().requires_grad_()
    arguments = (features, weight, species, plan)
    assert torch.autograd.gradcheck(native.product_basis, arguments)
    assert torch.autograd.gradgradcheck(native.product_basis, arguments)


def test_single_precision_is_the_reference_up_to_rounding():
    plan = ProductBasisPlan(3, 3, (0, 1))
    module, arguments = ProductBasis(plan), case(plan, 20, 24, 2, dtype=torch.float32)
    with selection.use("native"):
        ours = everything(module, *arguments)
    with selection.use("reference"):
        theirs = everything(module, *arguments)
    assert worst(ours, theirs) < 1e-5


def test_strided_inputs():
    plan = ProductBasisPlan(2, 2, (0, 1))
    module, (features, weights, species) = ProductBasis(plan), case(plan, 6, 4, 2)
    transposed = features.detach().transpose(0, 1).contiguous().transpose(0, 1)
    twice = species.repeat_interleave(2)[::2]
    with selection.use("native"):
        assert torch.equal(module(transposed, weights, twice)[1], module(features, weights, species)[1])
        flat = module.flat(features, weights, species)
        joined = torch.cat([out.flatten(1) for out in module(features, weights, species)], dim=1)
        assert torch.equal(flat, joined)
    with selection.use("reference"):
        assert (module.flat(features, weights, species) - flat).abs().max() < EXACT


def test_the_number_of_threads_changes_nothing(monkeypatch):
    plan = ProductBasisPlan(2, 3, (0, 1))
    module, arguments = ProductBasis(plan), case(plan, 300, 40, 3)
    results = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(native.torch, "get_num_threads", lambda threads=threads: threads)
        with selection.use("native"):
            results.append(everything(module, *arguments))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


def test_only_wanted_gradients_are_computed():
    plan = ProductBasisPlan(2, 2, (0,))
    module, (features, weights, species) = ProductBasis(plan), case(plan, 5, 4, 1)
    with selection.use("native"):
        out = module(features, weights, species)[0].sum()
        with selection.gradients_of("inputs"):
            gx, *gw = torch.autograd.grad(out, [features, *weights], retain_graph=True, allow_unused=True)
        assert gx is not None and all(g is None for g in gw)
        with selection.gradients_of("parameters"):
            both = torch.autograd.grad(out, [features, *weights])
        assert torch.equal(both[0], gx)


def test_a_loss_on_forces_alone_trains_the_weights():
    plan = ProductBasisPlan(2, 3, (0, 1))
    module, (features, weights, species) = ProductBasis(plan), case(plan, 6, 9, 2)

    def gradients() -> list[torch.Tensor]:
        with selection.gradients_of("inputs"):
            energy = sum(out.square().sum() for out in module(features, weights, species))
            (force,) = torch.autograd.grad(energy, features, create_graph=True)
        with selection.gradients_of("parameters"):
            return list(torch.autograd.grad(force.square().sum(), [features, *weights]))

    with selection.use("native"):
        ours = gradients()
    with selection.use("reference"):
        theirs = gradients()
    assert worst(ours, theirs) < EXACT


def test_third_derivatives_say_that_there_are_none():
    plan = ProductBasisPlan(1, 3, (0,))
    module, (features, weights, species) = ProductBasis(plan), case(plan, 2, 3, 1)
    with selection.use("native"):
        (g,) = torch.autograd.grad(module(features, weights, species)[0].sum(), features, create_graph=True)
        (h,) = torch.autograd.grad(g.square().sum(), features, create_graph=True)
        with pytest.raises(UsageError, match="third derivative"):
            torch.autograd.grad(h.sum(), features)


def test_wrong_species_and_shapes_are_refused():
    plan = ProductBasisPlan(1, 2, (0,))
    module, (features, weights, species) = ProductBasis(plan), case(plan, 4, 3, 2)
    with selection.use("native"):
        for wrong in (species + 2, species - 3):
            with pytest.raises(IndexError, match=r"outside 0\.\.1"):
                module(features, weights, wrong)
        with pytest.raises(UsageError, match="takes features"):
            module(features[:, :3], weights, species)
        with pytest.raises(UsageError, match="takes features"):
            module(features, weights, species[:3])


@pytest.mark.slow
def test_the_operators_keep_torchs_rules():
    plan = ProductBasisPlan(1, 2, (0, 1))
    features, weights, species = case(plan, 3, 5, 2)
    weight, key = torch.cat(weights, dim=1).detach().requires_grad_(), native.key_of(plan)
    g = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(torch.ops.equipot.product_basis.default, (features, weight, species, key))
    torch.library.opcheck(
        torch.ops.equipot.product_basis_backward.default, (g, features, weight, species, key, True, True)
    )
