"""The smooth number of neighbours and the assembly of forces: native against pure torch, with their derivatives."""

from __future__ import annotations

import pytest
import torch

from equipot.kernels import Coordination, EdgeIndex, assemble_forces, gradients_of, polynomial_envelope, use
from equipot.kernels.native import library

CUTOFF = 3.0
pytestmark = pytest.mark.skipif(isinstance(library.load(), str), reason="the native kernels are not built")


def edges(num_nodes: int, num_edges: int) -> tuple[EdgeIndex, torch.Tensor]:
    """Random edges of the first nodes (the last has none), with lengths on both sides of the cutoff."""
    generator = torch.Generator().manual_seed(num_nodes + num_edges)
    center = torch.randint(max(num_nodes - 1, 1), (num_edges,), generator=generator).sort().values
    neighbor = torch.randint(max(num_nodes - 1, 1), (num_edges,), generator=generator)
    vector = 1.3 * torch.randn(num_edges, 3, generator=generator, dtype=torch.float64)
    return EdgeIndex.build(center, neighbor, num_nodes), vector


def on_both(function) -> tuple:
    with use("reference"):
        reference = function()
    with use("native"):
        return reference, function()


@pytest.mark.parametrize("power", [3, 4, 6])
@pytest.mark.parametrize("size", [(0, 0), (4, 0), (5, 1), (700, 5000)])
def test_coordination_with_two_derivatives(size: tuple[int, int], power: int) -> None:
    index, vector = edges(*size)

    def derivatives() -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        moved = vector.clone().requires_grad_()
        weight = torch.randn(size[0], generator=generator, dtype=torch.float64).requires_grad_()
        number = Coordination(CUTOFF, power)(moved, index, size[0])
        (first,) = torch.autograd.grad((number * weight).sum(), moved, create_graph=True)
        projection = torch.randn(first.shape, generator=generator, dtype=torch.float64)
        second = torch.autograd.grad((first * projection).sum(), [moved, weight])
        return [number.detach(), first.detach(), *second]

    for expected, found in zip(*on_both(derivatives)):
        assert expected.shape == found.shape
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_coordination_gradcheck_and_wanted_gradients() -> None:
    index, vector = edges(4, 9)
    vector.requires_grad_()
    with use("native"):
        module = Coordination(CUTOFF, 6)
        assert torch.autograd.gradcheck(lambda v: module(v, index, 4), vector)
        assert torch.autograd.gradgradcheck(lambda v: module(v, index, 4), vector)
        with gradients_of("parameters"):
            assert torch.autograd.grad(module(vector, index, 4).sum(), vector, allow_unused=True) == (None,)


def test_envelope_slope_is_the_published_closed_form() -> None:
    x = torch.linspace(0, 1.1, 50, dtype=torch.float64, requires_grad=True)
    for p in (3, 6):
        published = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
        inside = torch.where(x < 1, published, torch.zeros_like(x))
        assert torch.allclose(polynomial_envelope(x, p), inside, atol=1e-13)


@pytest.mark.parametrize("size", [(0, 0), (4, 0), (5, 1), (700, 5000)])
def test_forces_and_virials(size: tuple[int, int]) -> None:
    index, vector = edges(*size)
    num_nodes = max(size[0] - 1, 0)

    def run() -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        gradient = torch.randn(vector.shape, generator=generator, dtype=torch.float64).requires_grad_()
        forces, virial = assemble_forces(gradient, vector, index, num_nodes)
        weights = [torch.randn(piece.shape, generator=generator, dtype=torch.float64) for piece in (forces, virial)]
        results = [forces.detach(), virial.detach()]
        for total in (
            (forces * weights[0]).sum(),
            (virial * weights[1]).sum(),
            (forces * weights[0]).sum() + (virial * weights[1]).sum(),
        ):
            results += torch.autograd.grad(total, gradient, retain_graph=True)
        return results

    reference, native = on_both(run)
    for expected, found in zip(reference, native):
        assert expected.shape == found.shape
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-13)
    if size[1]:
        assert float(native[0].sum(0).abs().max()) < 1e-10  # what one atom feels, another one gives


def test_threads_change_nothing() -> None:
    index, vector = edges(2000, 20_000)
    threads, results = torch.get_num_threads(), []
    with use("native"):
        for count in (1, 2):
            torch.set_num_threads(count)
            number = Coordination(CUTOFF, 6)(vector, index, 2000)
            results.append([number, *assemble_forces(vector, vector, index, 2000)])
        torch.set_num_threads(threads)
    assert all(torch.equal(one, two) for one, two in zip(*results))
