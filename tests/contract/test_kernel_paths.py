"""Group K: every registered architecture gives the same on the native kernels and on the reference path."""

from __future__ import annotations

import pytest
import torch

from equipot.checkpoint import load_model, save_model
from equipot.graph import collate, from_ase
from equipot.kernels import gradients_of, use
from equipot.kernels.native import library
from equipot.models import ModelOutput, Potential
from tests.systems import ARCHITECTURES, CUTOFF, STRUCTURES, force_scale, make_potential
from tests.tolerances import PATHS, Tolerance

pytestmark = pytest.mark.skipif(isinstance(library.load(), str), reason="the native kernels are not built")
EVERY = pytest.mark.parametrize("name", ARCHITECTURES)
DTYPES = pytest.mark.parametrize("dtype", PATHS)


def on_both(function) -> tuple:
    """``function()`` on the reference path and on the native one."""
    with use("reference"):
        reference = function()
    with use("native"):
        return reference, function()


def assert_same(one: ModelOutput, two: ModelOutput, tolerance: Tolerance) -> None:
    assert float((one.node_energy - two.node_energy).abs().max()) <= tolerance.e
    scale = force_scale(one.forces)
    assert float((one.forces - two.forces).abs().max()) / scale <= tolerance.f
    if one.stress.isfinite().all():
        assert float((one.stress - two.stress).abs().max()) <= tolerance.s


def loss_gradients(potential: Potential) -> dict[str, torch.Tensor]:
    """Gradients of a loss on energies, forces and stresses of a batch, as a training step computes them."""
    names = ("alloy", "skewed cell", "cell below the cutoff")
    graph = collate([from_ase(STRUCTURES[name](), CUTOFF) for name in names])
    potential.zero_grad()
    output = potential(graph, create_graph=True)
    loss = output.energy.square().sum() * 1e-4 + output.forces.square().sum() + output.stress.square().sum() * 100
    with gradients_of("parameters"):
        loss.backward()
    gradients = {
        name: parameter.grad.clone() for name, parameter in potential.named_parameters() if parameter.grad is not None
    }
    potential.zero_grad()
    return gradients


@EVERY
@DTYPES
@pytest.mark.parametrize("structure", STRUCTURES)
def test_energies_forces_and_stress(name: str, dtype: str, structure: str) -> None:
    potential, graph = make_potential(name, dtype), from_ase(STRUCTURES[structure](), CUTOFF)
    assert_same(*on_both(lambda: potential(graph)), PATHS[dtype])


@EVERY
@DTYPES
def test_loss_gradients(name: str, dtype: str) -> None:
    potential = make_potential(name, dtype, trainable_scale_shift=True)
    reference, native = on_both(lambda: loss_gradients(potential))
    assert set(reference) == set(native) == {n for n, p in potential.named_parameters() if p.requires_grad}
    largest = max(float(gradient.abs().max()) for gradient in reference.values())
    for parameter, expected in reference.items():
        size = max(float(expected.abs().max()), 1e-3 * largest)
        assert float((native[parameter] - expected).abs().max()) <= PATHS[dtype].f * size, parameter


@EVERY
def test_hessian_vector_products(name: str) -> None:
    potential, graph = make_potential(name), from_ase(STRUCTURES["alloy"](), CUTOFF)
    vector = torch.randn(graph.num_nodes, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    reference, native = on_both(lambda: potential.hessian_vector_product(graph, vector))
    assert float((reference - native).abs().max()) <= PATHS["float64"].f * float(reference.abs().max())


@EVERY
def test_no_gradient_is_left_on_anything_but_parameters(name: str) -> None:
    """Backward through a training step touches the weights, under both kinds of wanted gradients alike."""
    potential = make_potential(name)
    with use("native"):
        wanted = loss_gradients(potential)
        graph = from_ase(STRUCTURES["alloy"](), CUTOFF)
        results = []
        for kind in ("all", "parameters"):
            potential.zero_grad()
            output = potential(graph, create_graph=True)
            with gradients_of(kind):
                output.forces.square().sum().backward()
            results.append({n: p.grad for n, p in potential.named_parameters() if p.grad is not None})
    assert set(results[0]) == set(results[1]) <= set(wanted)
    for parameter, gradient in results[0].items():
        assert torch.allclose(gradient, results[1][parameter], rtol=1e-11, atol=1e-12 * float(gradient.abs().max()))


@pytest.mark.parametrize("name", ["nequip", "nequip spline", "mace spline"])
@pytest.mark.parametrize("trained_on", ["native", "reference"])
def test_a_model_trained_on_one_path_gives_the_same_on_the_other(tmp_path, name: str, trained_on: str) -> None:
    potential = make_potential(name).train()
    other = "reference" if trained_on == "native" else "native"
    optimizer = torch.optim.Adam(potential.parameters(), lr=1e-3)
    with use(trained_on):
        for _ in range(3):
            for parameter, gradient in loss_gradients(potential).items():
                potential.get_parameter(parameter).grad = gradient
            optimizer.step()
        save_model(tmp_path / "model.eqp", potential, metadata={})
        expected = potential(from_ase(STRUCTURES["alloy"](), CUTOFF))
    with use(other):
        loaded = load_model(tmp_path / "model.eqp")
        assert_same(expected, loaded(from_ase(STRUCTURES["alloy"](), CUTOFF)), PATHS["float64"])


def test_a_wrong_kernel_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    from equipot.kernels import geometry

    compute = geometry.native.edge_geometry
    monkeypatch.setattr(geometry.native, "edge_geometry", lambda vector, *rest: compute(vector * (1 + 1e-8), *rest))
    with pytest.raises(AssertionError):
        test_energies_forces_and_stress("nequip spline", "float64", "alloy")
