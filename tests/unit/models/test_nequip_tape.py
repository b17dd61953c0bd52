"""The taped energy and gradient of NequIP are autograd's, to rounding, and so is what they give for the parameters."""

from __future__ import annotations

import pytest
import torch

from equipot.errors import UsageError
from equipot.graph import collate, from_ase
from equipot.kernels import EdgeIndex, gradients_of, use
from equipot.kernels.native import library
from equipot.models import Edges, resolve_options
from equipot.models.nequip import NequIP, NequIPOptions
from tests.systems import CUTOFF, STRUCTURES

pytestmark = pytest.mark.skipif(isinstance(library.load(), str), reason="the native kernels are not built")

BASE = {"num_layers": 2, "num_channels": (9, 18, 5), "feature_l_max": 2, "radial_hidden": (8,), "radial": "spline"}
MODELS = {
    "natural": {},
    "one layer": {"num_layers": 1},
    "three layers, wide, a readout with hidden layers": {
        "num_layers": 3, "num_channels": 34, "feature_l_max": 1, "readout_hidden": (7, 5)},
    "both parities": {"parity": "both", "num_channels": 5},
    "high orders": {"num_layers": 3, "l_max": 4, "feature_l_max": 4, "num_channels": 3},
    "shared self-connection, trainable Bessel functions": {"self_connection": "shared", "trainable_bessel": True},
    "linear radial functions": {"radial_hidden": ()},
}


def system(changes: dict) -> tuple[NequIP, torch.Tensor, Edges]:
    """A model, species of a batch with an atom without neighbours, and its edges."""
    torch.manual_seed(0)
    options = NequIPOptions(**{**resolve_options("nequip", "small", BASE), **changes})
    model = NequIP(options, num_species=3, cutoff=CUTOFF, avg_num_neighbors=10.0).to(torch.float64)
    graph = collate([from_ase(STRUCTURES[name](), CUTOFF) for name in ("alloy", "skewed cell")])
    species = torch.arange(graph.num_nodes + 1) % 3
    index = EdgeIndex.build(*graph.edge_index, len(species))
    return model, species, Edges(index, graph.edge_vectors().detach().requires_grad_(), torch.float64)


def by_autograd(model: NequIP, species: torch.Tensor, edges: Edges,
                seed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    energy = model(species, edges)
    with gradients_of("inputs"):
        (gradient,) = torch.autograd.grad((seed * energy).sum(), edges.exact_vector, create_graph=True)
    return energy, gradient


@pytest.mark.parametrize("kernels", ["native", "reference"])
@pytest.mark.parametrize("name", MODELS)
def test_equals_autograd(name: str, kernels: str) -> None:
    model, species, edges = system(MODELS[name])
    seed = torch.randn(len(species), dtype=torch.float64).requires_grad_()
    with use("native"):
        found = model.energy_and_gradient(species, edges, seed)
    with use(kernels):
        expected = by_autograd(model, species, edges, seed)
    directions = [torch.randn_like(each) for each in expected]
    trained = [*(parameter for parameter in model.parameters() if parameter.requires_grad), seed]
    gradients = []
    for outputs in (found, expected):
        with gradients_of("parameters"):
            loss = sum((output * direction).sum() for output, direction in zip(outputs, directions))
            gradients.append(torch.autograd.grad(loss, trained))
    for one, two in zip([*found, *gradients[0]], [*expected, *gradients[1]]):
        assert one.shape == two.shape and one.dtype == two.dtype
        assert torch.allclose(one, two, rtol=0, atol=1e-12 * float(two.detach().abs().max()) + 1e-14)


def test_gradients_are_those_of_finite_differences() -> None:
    model, species, edges = system({"num_channels": 2, "feature_l_max": 1, "l_max": 1})
    seed = torch.rand(len(species), dtype=torch.float64).requires_grad_()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    direction = torch.randn_like(edges.exact_vector)

    def outputs(*_: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        energy, gradient = model.energy_and_gradient(species, edges, seed)
        return energy.square().sum(), (gradient * direction).sum()

    assert torch.autograd.gradcheck(outputs, (seed, *parameters), fast_mode=True)


def test_a_loss_on_energies_or_on_gradients_alone() -> None:
    model, species, edges = system({})
    seed = torch.ones(len(species), dtype=torch.float64)
    for k in range(2):
        paths = (NequIP.energy_and_gradient, by_autograd)
        parts = [path(model, species, edges, seed)[k].square().sum() for path in paths]
        with gradients_of("parameters"):
            one, two = (torch.autograd.grad(part, model.layers[1].linear.weight_0)[0] for part in parts)
        assert torch.allclose(one, two, rtol=1e-10)


def test_what_has_no_tape() -> None:
    for changes in ({"radial": "mlp"}, {"solid_harmonics": True}, {"scalar_bias": True}):
        model, species, edges = system(changes)
        assert model.energy_and_gradient(species, edges, torch.ones(len(species))) is None
    model, species, edges = system({})
    with use("reference"):
        assert model.energy_and_gradient(species, edges, torch.ones(len(species))) is None


def test_a_third_derivative_is_refused() -> None:
    model, species, edges = system({})
    energy, _ = model.energy_and_gradient(species, edges, torch.ones(len(species), dtype=torch.float64))
    with pytest.raises(UsageError, match="third derivative"):
        torch.autograd.grad(energy.sum(), model.embedding, create_graph=True)
