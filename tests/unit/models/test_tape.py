"""The taped energy and gradient of a model are autograd's, to rounding, and so is what they give for the parameters."""

from __future__ import annotations

import pytest
import torch

from equipot.errors import UsageError
from equipot.graph import collate, from_ase
from equipot.kernels import EdgeIndex, gradients_of, use
from equipot.kernels.native import library
from equipot.models import Edges, resolve_options
from equipot.models.ace import ACE, ACEOptions
from equipot.models.behler_parrinello import BehlerParrinello, BehlerParrinelloOptions
from equipot.models.mace import MACE, MACEOptions
from equipot.models.nequip import NequIP, NequIPOptions
from equipot.models.painn import PaiNN, PaiNNOptions
from equipot.models.wired import WiredArchitecture
from tests.systems import CUTOFF, STRUCTURES

pytestmark = pytest.mark.skipif(isinstance(library.load(), str), reason="the native kernels are not built")

Model = WiredArchitecture
CLASSES = {
    "nequip": (NequIP, NequIPOptions),
    "mace": (MACE, MACEOptions),
    "ace": (ACE, ACEOptions),
    "behler_parrinello": (BehlerParrinello, BehlerParrinelloOptions),
    "painn": (PaiNN, PaiNNOptions),
}
LAYERED = ("nequip", "mace")
BASE = {
    "nequip": {"num_layers": 2, "num_channels": (9, 18, 5), "feature_l_max": 2},
    "mace": {"num_layers": 2, "num_channels": 9, "l_max": 2, "feature_l_max": 1},
    "ace": {"num_channels": 9, "l_max": 2},
    "behler_parrinello": {"hidden": (7, 5), "radial_order": 5, "angular_order": 3, "angular_cutoff": 0.9 * CUTOFF},
    "painn": {"num_channels": 5, "num_layers": 2},
}
EITHER = {"radial_hidden": (8,), "radial": "spline"}
MODELS = {
    "nequip": {
        "natural": {},
        "one layer": {"num_layers": 1},
        "three layers, wide, a readout with hidden layers": {
            "num_layers": 3,
            "num_channels": 34,
            "feature_l_max": 1,
            "readout_hidden": (7, 5),
        },
        "both parities": {"parity": "both", "num_channels": 5},
        "high orders": {"num_layers": 3, "l_max": 4, "feature_l_max": 4, "num_channels": 3},
        "shared self-connection, trainable Bessel functions": {"self_connection": "shared", "trainable_bessel": True},
        "linear radial functions": {"radial_hidden": ()},
        "biases": {"scalar_bias": True, "parity": "none"},
    },
    "mace": {
        "two layers": {},
        "one layer": {"num_layers": 1},
        "three layers, wide": {"num_layers": 3, "num_channels": 34, "correlation": 2},
        "a residual first layer": {"residual_first": True, "readout_hidden": (7, 5)},
        "high orders": {"l_max": 4, "feature_l_max": 2, "num_channels": 3, "correlation": 2},
        "no products, linear readouts": {"correlation": 1, "readout_hidden": ()},
        "four factors": {"correlation": 4, "l_max": 1, "num_channels": 2},
    },
    "ace": {"linear radial functions": {"radial_hidden": ()}, "four factors": {"l_max": 2, "correlation": 4}},
    "behler_parrinello": {"two hidden layers": {}, "one hidden layer": {"hidden": (6,)}},
    "painn": {"two layers": {}, "one layer": {"num_layers": 1}},
}
CASES = [(architecture, name) for architecture, models in MODELS.items() for name in models]


def system(architecture: str, changes: dict) -> tuple[Model, torch.Tensor, Edges]:
    """A model, species of a batch with an atom without neighbours, and its edges."""
    torch.manual_seed(0)
    model_type, options_type = CLASSES[architecture]
    common = {} if architecture == "behler_parrinello" else EITHER
    options = options_type(**{**resolve_options(architecture, "small", {**BASE[architecture], **common}), **changes})
    model = model_type(options, num_species=3, cutoff=CUTOFF, avg_num_neighbors=10.0).to(torch.float64)
    graph = collate([from_ase(STRUCTURES[name](), CUTOFF) for name in ("alloy", "skewed cell")])
    species = torch.arange(graph.num_nodes + 1) % 3
    index = EdgeIndex.build(*graph.edge_index, len(species))
    return model, species, Edges(index, graph.edge_vectors().detach().requires_grad_(), torch.float64)


def by_autograd(
    model: Model, species: torch.Tensor, edges: Edges, seed: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    energy = model(species, edges)
    with gradients_of("inputs"):
        (gradient,) = torch.autograd.grad((seed * energy).sum(), edges.exact_vector, create_graph=True)
    return energy, gradient


@pytest.mark.parametrize("kernels", ["native", "reference"])
@pytest.mark.parametrize(("architecture", "name"), CASES)
def test_equals_autograd(architecture: str, name: str, kernels: str) -> None:
    model, species, edges = system(architecture, MODELS[architecture][name])
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


@pytest.mark.parametrize("architecture", LAYERED)
def test_gradients_are_those_of_finite_differences(architecture: str) -> None:
    model, species, edges = system(architecture, {"num_channels": 2, "feature_l_max": 1, "l_max": 1})
    seed = torch.rand(len(species), dtype=torch.float64).requires_grad_()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    direction = torch.randn_like(edges.exact_vector)

    def outputs(*_: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        energy, gradient = model.energy_and_gradient(species, edges, seed)
        return energy.square().sum(), (gradient * direction).sum()

    assert torch.autograd.gradcheck(outputs, (seed, *parameters), fast_mode=True)


@pytest.mark.parametrize("architecture", LAYERED)
def test_a_loss_on_energies_or_on_gradients_alone(architecture: str) -> None:
    model, species, edges = system(architecture, {})
    seed = torch.ones(len(species), dtype=torch.float64)
    for k in range(2):
        paths = (type(model).energy_and_gradient, by_autograd)
        parts = [path(model, species, edges, seed)[k].square().sum() for path in paths]
        with gradients_of("parameters"):
            one, two = (torch.autograd.grad(part, model.layers[1].linear.weight_0)[0] for part in parts)
        assert torch.allclose(one, two, rtol=1e-10)


@pytest.mark.parametrize(("architecture", "changes"), [
    ("nequip", {"radial": "mlp"}), ("nequip", {"solid_harmonics": True}),
    ("mace", {"radial": "mlp"}), ("mace", {"cutoff_on": "weights"}), ("mace", {"density_normalization": True}),
])  # fmt: skip
def test_what_has_no_tape(architecture: str, changes: dict) -> None:
    model, species, edges = system(architecture, changes)
    assert model.energy_and_gradient(species, edges, torch.ones(len(species))) is None


@pytest.mark.parametrize("architecture", LAYERED)
def test_no_tape_on_the_reference_kernels(architecture: str) -> None:
    model, species, edges = system(architecture, {})
    with use("reference"):
        assert model.energy_and_gradient(species, edges, torch.ones(len(species))) is None


@pytest.mark.parametrize("architecture", LAYERED)
def test_a_third_derivative_is_refused(architecture: str) -> None:
    model, species, edges = system(architecture, {})
    energy, _ = model.energy_and_gradient(species, edges, torch.ones(len(species), dtype=torch.float64))
    with pytest.raises(UsageError, match="third derivative"):
        torch.autograd.grad(energy.sum(), model.embedding, create_graph=True)
