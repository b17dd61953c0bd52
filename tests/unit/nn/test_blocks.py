"""The building blocks against e3nn's own, and against their defining formulas."""

from __future__ import annotations

import math

import pytest
import torch
from e3nn import o3
from e3nn.math import normalize2mom

from equipot.kernels import EdgeIndex, FeatureLayout
from equipot.kernels.node_plans import SILU_SCALE, TANH_SCALE
from equipot.nn import (
    BesselBasis,
    EdgeEmbedding,
    EdgeFeatures,
    Gate,
    IrrepsLinear,
    Message,
    MultiLayerPerceptron,
    PolynomialEnvelope,
    RadialEmbedding,
    SpeciesLinear,
)


@pytest.fixture(autouse=True)
def seeded() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def test_linear_equals_e3nn() -> None:
    layout_in, layout_out = FeatureLayout.from_irreps("4x0e+3x1o+2x2e"), FeatureLayout.from_irreps("5x0e+2x1o+3x1e")
    ours = IrrepsLinear(layout_in, layout_out).double()
    theirs = o3.Linear(layout_in.irreps, layout_out.irreps, biases=False).double()
    # e3nn divides by sqrt(fan-in) where it applies a weight; ours are stored divided.
    flat = [getattr(ours, f"weight_{k}") * ours.fan_in[f"weight_{k}"] ** 0.5 for k in (0, 1)]
    with torch.no_grad():
        theirs.weight.copy_(torch.cat([weight.flatten() for weight in flat]))
    x = torch.randn(6, layout_in.dim).double()
    assert torch.allclose(layout_out.to_e3nn(ours(x)), theirs(layout_in.to_e3nn(x)), atol=1e-12)
    assert not layout_out.split(ours(x))[2].any()  # 1e does not occur in the input


@pytest.mark.parametrize("num_species", [1, 3, 12])
def test_species_linear_equals_e3nns_one_hot_product(num_species: int) -> None:
    layout_in, layout_out = FeatureLayout.from_irreps("4x0e+3x1o"), FeatureLayout.from_irreps("2x0e+5x1o+1x2e")
    ours = SpeciesLinear(layout_in, layout_out, num_species).double()
    species = torch.randint(num_species, (9,))
    x = torch.randn(9, layout_in.dim).double()
    torch.set_default_dtype(torch.float64)  # e3nn rounds its tables to the default dtype
    try:
        theirs = o3.FullyConnectedTensorProduct(layout_in.irreps, f"{num_species}x0e", layout_out.irreps)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        weights = [getattr(ours, f"weight_{k}").permute(1, 0, 2) for k in (0, 1)]
        theirs.weight.copy_(torch.cat([(w * (w.shape[0] * num_species) ** 0.5).flatten() for w in weights]))
    one_hot = torch.nn.functional.one_hot(species, num_species).double()
    assert torch.allclose(layout_out.to_e3nn(ours(x, species)), theirs(layout_in.to_e3nn(x), one_hot), atol=1e-12)
    assert ours(x[:0], species[:0]).shape == (0, layout_out.dim)


def test_gate_layouts_and_parity() -> None:
    gate = Gate(FeatureLayout.from_irreps("4x0e+3x0o+2x1o+5x2e"))
    assert str(gate.layout_in) == "11x0e+3x0o+2x1o+5x2e"
    x = torch.randn(3, gate.layout_in.dim).double()
    even, odd, vector, _ = gate.layout_in.split(x)
    out_even, out_odd, out_vector, _ = gate.layout_out.split(gate(x))
    assert torch.allclose(out_even, SILU_SCALE * torch.nn.functional.silu(even[:, :, :4]))
    assert torch.allclose(out_odd, TANH_SCALE * torch.tanh(odd))
    assert torch.allclose(out_vector, vector * SILU_SCALE * torch.nn.functional.silu(even[:, :, 4:6]))


def test_activation_scales_are_e3nns() -> None:
    assert pytest.approx(normalize2mom(torch.nn.functional.silu).cst, rel=1e-6) == SILU_SCALE
    assert pytest.approx(normalize2mom(torch.tanh).cst, rel=1e-6) == TANH_SCALE


@pytest.mark.parametrize("power", [3, 5, 6])
def test_envelope_is_the_published_polynomial(power: int) -> None:
    p, x = power, torch.linspace(0, 1, 50, dtype=torch.float64)
    published = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    envelope = PolynomialEnvelope(power)
    assert torch.allclose(envelope(x), published, atol=1e-13)
    assert not envelope(torch.tensor([1.0, 1.0 + 1e-7, 3.0])).any()
    # In float32 the published form is noise here; the factored one keeps its digits.
    near = torch.tensor([1 - 1e-3])
    exact = float(envelope(near.double()))
    assert float(envelope(near)) == pytest.approx(exact, rel=1e-3)


def test_bessel_basis_is_the_published_one() -> None:
    basis, r = BesselBasis(5.0, 4).double(), torch.tensor([0.7, 2.5, 4.9]).double()
    expected = torch.stack([math.sqrt(2 / 5) * torch.sin(n * math.pi * r / 5) / r for n in (1, 2, 3, 4)], dim=1)
    assert torch.allclose(basis(r), expected, atol=1e-6)
    assert not any(parameter.requires_grad for parameter in basis.parameters())
    assert all(parameter.requires_grad for parameter in BesselBasis(5.0, 4, trainable=True).parameters())


def test_fan_in_is_declared_for_every_matrix() -> None:
    """An undeclared matrix would silently learn at the wrong rate."""
    layout = FeatureLayout.from_irreps("4x0e+4x1o")
    message = Message(layout, 1, {(0, 1), (1, -1)}, (8,), 6, 10.0, density_normalization=True)
    declared = {f"{path}.{name}" for path, module in message.named_modules() for name in getattr(module, "fan_in", {})}
    assert declared == {name for name, _ in message.named_parameters()}


def test_mlp_keeps_the_size_of_its_input() -> None:
    mlp = MultiLayerPerceptron([200, 200, 200, 200])
    out = mlp(torch.randn(500, 200))
    assert 0.8 < float(out.detach().square().mean()) < 1.25


def star(embedding: RadialEmbedding, edge_embedding: EdgeEmbedding, num_neighbors: int) -> EdgeFeatures:
    """Atom 0 and its neighbors at 2 to 4 Angstrom, in random directions that depend on their number alone."""
    generator = torch.Generator().manual_seed(num_neighbors)
    direction = torch.randn(num_neighbors, 3, generator=generator)
    length = torch.rand(num_neighbors, generator=generator) * 2 + 2
    vector = (direction * (length / direction.norm(dim=1)).unsqueeze(1)).to(embedding.basis.wave_numbers.dtype)
    center, neighbor = torch.zeros(num_neighbors, dtype=torch.int64), torch.arange(1, num_neighbors + 1)
    index = EdgeIndex.build(center, neighbor, num_neighbors + 1)
    return edge_embedding(embedding, vector, vector.norm(dim=1), index)


def test_messages_do_not_grow_with_the_number_of_neighbors() -> None:
    layout = FeatureLayout.from_irreps("8x0e")
    sizes = []
    for num_neighbors in (4, 64):
        message = Message(layout, 1, {(0, 1), (1, -1)}, (16,), 8, num_neighbors**0.5)
        embedding = RadialEmbedding(5.0, 8, 6)
        x = torch.randn(num_neighbors + 1, layout.dim)
        edges = star(embedding, EdgeEmbedding(1, 5.0, None), num_neighbors)
        sizes.append(float(message(x, edges)[0].detach().square().mean()))
    assert 0.1 < sizes[1] / sizes[0] < 10


@pytest.mark.parametrize("density_normalization", [False, True])
def test_splined_messages_approach_those_with_the_network_on_every_edge(density_normalization: bool) -> None:
    layout, embedding = FeatureLayout.from_irreps("6x0e+5x1o"), RadialEmbedding(5.0, 8, 6).double()
    arguments = (layout, 2, {(0, 1), (1, -1), (2, 1)}, (16,), 8, 3.0)
    exact = Message(*arguments, density_normalization=density_normalization).double()
    expected = exact(torch.ones(13, layout.dim).double(), star(embedding, EdgeEmbedding(2, 5.0, None), 12))
    errors = []
    for num_intervals in (64, 128, 256):
        splined = Message(*arguments, density_normalization=density_normalization, spline=True).double()
        splined.load_state_dict(exact.state_dict())
        edges = star(embedding, EdgeEmbedding(2, 5.0, num_intervals), 12)
        errors.append(float((splined(torch.ones(13, layout.dim).double(), edges) - expected).detach().abs().max()))
    assert errors[0] / errors[1] > 5 and errors[1] / errors[2] > 5
    assert errors[2] < 1e-6 * float(expected.detach().abs().max())


def test_kept_embedding_of_the_knots_follows_the_wave_numbers() -> None:
    embedding, edges = RadialEmbedding(5.0, 4, 6), EdgeEmbedding(1, 5.0, 12)
    with torch.inference_mode():  # what is kept there must serve training, too
        first = star(embedding, edges, 3).radial
    assert star(embedding, edges, 3).radial is first and not first.is_inference()
    with torch.no_grad():
        embedding.basis.wave_numbers.mul_(1.1)
    second = star(embedding, edges, 3).radial
    assert not torch.equal(second, first)
    assert star(embedding.double(), edges, 3).radial.dtype == torch.float64
    embedding.basis.wave_numbers.requires_grad_()
    trained = star(embedding, edges, 3).radial
    assert trained.requires_grad
    assert trained is not star(embedding, edges, 3).radial
