"""Native channel mixing and gates against the reference and against finite differences, in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equipot.errors import UsageError
from equipot.kernels import FeatureLayout, selection
from equipot.kernels.native import library
from equipot.kernels.native.channel_mixing import mix_operator, outer_operator
from equipot.kernels.native.gate import gate_operator
from equipot.kernels.node_operations import ChannelMixing, GatedActivation, scaled_silu
from equipot.kernels.node_plans import GatePlan, MixingPlan

pytestmark = pytest.mark.skipif(isinstance(library.load(), str), reason="the native kernels were not built")

EXACT = 1e-12

#: Layouts: equal ones, irreps the output lacks, irreps the input lacks, odd channel numbers, nothing in common.
LAYOUTS = [
    ("4x0e+4x1o", "4x0e+4x1o"), ("7x0e+5x1o+3x2e", "9x0e+2x0o+11x1o"), ("33x0e+1x1o", "17x0e+40x1o"),
    ("8x0e", "16x0e"), ("3x1o+2x2e+1x3o+5x4e", "8x4e+6x3o+2x1o"), ("4x0e", "4x1o"),
]  # fmt: skip
GATES = ["6x0e", "5x0e+3x1o", "8x0e+4x0o+9x1o+2x1e+1x2e", "3x1o", "17x0o", "4x1o+4x0e+2x3o"]


def random(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()


def mixing_case(layouts: tuple[str, str], num_atoms: int, num_species: int | None, dtype=torch.float64, seed: int = 0):
    """The operation; features, addend, species, weights."""
    mixing = ChannelMixing(*map(FeatureLayout.from_irreps, layouts))
    before, after = mixing.plan.layout_in.dim, mixing.plan.layout_out.dim
    sets = () if num_species is None else (num_species,)
    weights = [random(*sets, row[2], row[4], dtype=dtype, seed=seed) for row in mixing.plan.rows]
    species = None
    if num_species is not None:
        species = torch.randint(0, num_species, (num_atoms,), generator=torch.Generator().manual_seed(seed))
    features = random(num_atoms, before, dtype=dtype, seed=seed)
    return mixing, features, random(num_atoms, after, dtype=dtype, seed=seed + 1), species, weights


def derivatives(function, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """The result, its first derivatives, and those of a function of both, as in a loss on energies and forces."""
    out = function(*inputs)
    first = torch.autograd.grad((out.square() + out).sum(), inputs, create_graph=True, materialize_grads=True)
    loss = sum(g.square().sum() for g in first) + out.sin().sum()
    return [out, *first, *torch.autograd.grad(loss, inputs, materialize_grads=True)]


def worst(function, inputs: list[torch.Tensor]) -> float:
    """Largest deviation of native from reference, relative to the largest number of the same tensor."""
    with selection.use("native"):
        ours = derivatives(function, inputs)
    with selection.use("reference"):
        theirs = derivatives(function, inputs)
    pairs = [(a.detach(), b.detach()) for a, b in zip(ours, theirs)]
    assert all(a.shape == b.shape for a, b in pairs)
    return max((float((a - b).abs().max() / (1 + b.abs().max())) for a, b in pairs if a.numel()), default=0.0)


def worst_of_mixing(layouts, num_atoms, num_species, dtype=torch.float64, seed=0) -> float:
    mixing, features, addend, species, weights = mixing_case(layouts, num_atoms, num_species, dtype, seed)
    return worst(lambda x, a, *w: mixing(x, w, species, a), [features, addend, *weights])


@pytest.mark.parametrize("num_species", [None, 1, 3, 20])
@pytest.mark.parametrize("layouts", LAYOUTS, ids=str)
def test_mixing_is_the_references(layouts, num_species):
    assert worst_of_mixing(layouts, 37, num_species) < EXACT


@settings(max_examples=25, deadline=None)
@given(
    channels=st.lists(st.integers(1, 40), min_size=6, max_size=6), present=st.sets(st.integers(0, 2), min_size=1),
    num_atoms=st.integers(0, 130), num_species=st.sampled_from([None, 1, 2, 9]), seed=st.integers(0, 99),
)  # fmt: skip
def test_mixing_of_random_sizes(channels, present, num_atoms, num_species, seed):
    layouts = ["+".join(f"{channels[3 * side + l]}x{l}{'eo'[l % 2]}" for l in sorted(present)) for side in (0, 1)]
    assert worst_of_mixing(tuple(layouts), num_atoms, num_species, seed=seed) < EXACT


def test_mixing_without_addend_overwrites_everything():
    mixing, features, addend, species, weights = mixing_case(LAYOUTS[1], 11, 2)
    with selection.use("native"):
        without = mixing(features, weights, species)
        assert torch.equal(without[:, 9:11], torch.zeros(11, 2, dtype=torch.float64))  # the irreps the input lacks
        assert (mixing(features, weights, species, addend) - without - addend).abs().max() < EXACT


@pytest.mark.parametrize("transposed", [False, True])
def test_mixing_by_finite_differences(transposed):
    plan = MixingPlan(FeatureLayout.from_irreps("2x0e+1x1o"), FeatureLayout.from_irreps("1x0e+2x1o+1x2e"))
    before, after = plan.layout_in.dim, plan.layout_out.dim
    weights, species = random(2, plan.weight_size), torch.tensor([1, 0, 1])
    x, addend = (random(3, after), random(3, before)) if transposed else (random(3, before), random(3, after))

    def mix(*tensors):
        return mix_operator(tensors[0], tensors[1], species, tensors[2], plan.key, transposed)

    assert torch.autograd.gradcheck(mix, (x, weights, addend))
    assert torch.autograd.gradgradcheck(mix, (x, weights, addend))


def test_gradient_of_mixing_by_finite_differences():
    plan = MixingPlan(FeatureLayout.from_irreps("2x0e+1x1o"), FeatureLayout.from_irreps("1x0e+2x1o"))
    x, g, species = random(3, plan.layout_in.dim), random(3, plan.layout_out.dim), torch.tensor([0, 2, 0])

    def outer(*tensors):
        return outer_operator(*tensors, species, plan.key, 3)

    assert torch.autograd.gradcheck(outer, (x, g))
    assert torch.autograd.gradgradcheck(outer, (x, g))


def test_weights_get_no_gradient_where_only_inputs_are_wanted():
    mixing, features, _, species, weights = mixing_case(LAYOUTS[1], 5, 2)
    with selection.use("native"), selection.gradients_of("inputs"):
        out = mixing(features, weights, species).sum()
        gx, *gw = torch.autograd.grad(out, [features, *weights], allow_unused=True)
    assert gx is not None and all(g is None for g in gw)


def test_mixing_in_single_precision():
    assert worst_of_mixing(LAYOUTS[2], 50, 2, dtype=torch.float32) < 1e-5


def test_strided_features():
    mixing, features, _, _, weights = mixing_case(LAYOUTS[1], 6, None)
    strided = features.detach().T.contiguous().T
    with selection.use("native"):
        assert torch.equal(mixing(strided, weights), mixing(features, weights))


def test_mixing_refuses_what_does_not_fit():
    mixing, features, addend, species, weights = mixing_case(LAYOUTS[1], 6, 2)
    with selection.use("native"):
        for wrong in (species + 1, species - 1):
            with pytest.raises(IndexError, match=r"outside 0\.\.1"):
                mixing(features, weights, wrong)
        for arguments in (
            (features[:, 1:], weights, species), (features, weights[1:], species), (features, weights, species[1:]),
            (features, weights, species, addend[1:]), (features, weights), (features.float(), weights, species),
        ):  # fmt: skip
            with pytest.raises(UsageError, match="Mixing takes"):
                mixing(*arguments)


@pytest.mark.parametrize("layout", GATES)
@pytest.mark.parametrize("num_atoms", [0, 1, 13])
def test_gates_are_the_references(layout, num_atoms):
    gate = GatedActivation(FeatureLayout.from_irreps(layout))
    assert worst(gate, [random(num_atoms, gate.layout_in.dim)]) < EXACT


@pytest.mark.parametrize("layout", GATES)
def test_gates_by_finite_differences(layout):
    plan = GatePlan(FeatureLayout.from_irreps(layout))
    x = random(2, plan.layout_in.dim)
    assert torch.autograd.gradcheck(lambda x: gate_operator(x, plan.key), (x,))
    assert torch.autograd.gradgradcheck(lambda x: gate_operator(x, plan.key), (x,))


@pytest.mark.parametrize("shape", [(5, 7), (3, 4, 8), (6,)])
def test_silu_is_the_references(shape):
    assert worst(scaled_silu, [random(*shape)]) < EXACT


def test_gates_of_large_and_non_finite_numbers():
    x = torch.tensor([[-1e4, -90.0, 0.0, 90.0, 1e4, float("nan"), float("inf")]], requires_grad=True)
    with selection.use("native"):
        out = scaled_silu(x)
        (gx,) = torch.autograd.grad(out[:, :5].sum(), x)
    expected = 1.6791767923989418 * torch.nn.functional.silu(x.detach())
    assert torch.allclose(out, expected, equal_nan=True)
    assert gx[0, :5].isfinite().all()


def test_third_derivatives_of_gates_say_that_there_are_none():
    x = random(3, 4)
    with selection.use("native"):
        (g,) = torch.autograd.grad(scaled_silu(x).sum(), x, create_graph=True)
        (h,) = torch.autograd.grad(g.square().sum(), x, create_graph=True)
        with pytest.raises(UsageError, match="third derivative"):
            torch.autograd.grad(h.sum(), x)


def test_gates_refuse_what_does_not_fit():
    gate = GatedActivation(FeatureLayout.from_irreps(GATES[1]))
    with selection.use("native"), pytest.raises(UsageError, match="gate takes"):
        gate(random(3, gate.layout_in.dim + 1))


def test_the_number_of_threads_changes_nothing(monkeypatch):
    results = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        mixing, features, addend, species, weights = mixing_case(("48x0e+48x1o", "40x0e+33x1o"), 700, 3)
        gate = GatedActivation(FeatureLayout.from_irreps("20x0e+6x1o"))
        with selection.use("native"):
            results.append(derivatives(lambda x, a, *w: mixing(x, w, species, a), [features, addend, *weights]))  # noqa: B023
            results[-1] += derivatives(gate, [random(3000, gate.layout_in.dim)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


@pytest.mark.slow
def test_the_operators_keep_torchs_rules():
    plan = MixingPlan(FeatureLayout.from_irreps("2x0e+1x1o"), FeatureLayout.from_irreps("1x0e+2x1o"))
    x, g, weights = random(3, plan.layout_in.dim), random(3, plan.layout_out.dim), random(2, plan.weight_size)
    species = torch.tensor([1, 0, 1])
    torch.library.opcheck(torch.ops.equipot.mix.default, (x, weights, species, g, plan.key, False))
    torch.library.opcheck(torch.ops.equipot.mix_outer.default, (x, g, species, plan.key, 2))
    gate = GatePlan(FeatureLayout.from_irreps("2x0e+1x1o"))
    torch.library.opcheck(torch.ops.equipot.gate.default, (random(3, gate.layout_in.dim), gate.key))
