"""Edge geometry: native harmonics and spline basis against e3nn and plain torch, with first and second derivatives."""

from __future__ import annotations

import pytest
import torch
from e3nn import o3

from equipot.errors import UsageError
from equipot.kernels import selection
from equipot.kernels.geometry import EdgeGeometry
from equipot.kernels.native import library

CUTOFF = 4.0
needs_native = pytest.mark.skipif(isinstance(library.load(), str), reason="the native kernels are not built")


def vectors(num_edges: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Lengths from well inside to beyond the cutoff, none within rounding of a knot."""
    generator = torch.Generator().manual_seed(num_edges)
    direction = torch.randn(num_edges, 3, generator=generator, dtype=torch.float64)
    length = 0.3 + 4.2 * torch.rand(num_edges, 1, generator=generator, dtype=torch.float64)
    return (length * direction / direction.norm(dim=1, keepdim=True)).to(dtype)


def both(module: EdgeGeometry, function) -> tuple:
    """``function(module)`` on the reference and on the native path."""
    with selection.use("reference"):
        reference = function(module)
    with selection.use("native"):
        return reference, function(module)


@needs_native
@pytest.mark.parametrize("l_max", range(5))
def test_harmonics_are_those_of_e3nn(l_max: int) -> None:
    vector = vectors(203)
    with selection.use("native"):
        harmonics, basis, knot = EdgeGeometry(l_max, CUTOFF)(vector)
    expected = o3.spherical_harmonics(list(range(l_max + 1)), vector, True, normalization="component")
    assert basis is None and knot is None
    assert float((harmonics - expected).abs().max()) <= 1e-13


@needs_native
@pytest.mark.parametrize("num_intervals", [16, 128, 1000])
@pytest.mark.parametrize("num_edges", [0, 1, 3, 64, 67, 200])
def test_values_agree_with_the_reference(num_edges: int, num_intervals: int) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-7 * num_intervals)):
        vector = vectors(num_edges, dtype)
        reference, native = both(EdgeGeometry(3, CUTOFF, num_intervals), lambda module, v=vector: module(v))
        for expected, found in zip(reference, native):
            assert found.dtype == expected.dtype and found.shape == expected.shape
        if num_edges:
            assert float((native[0] - reference[0]).abs().max()) <= max(tolerance, 1e-13)
            # A length within rounding of a knot may fall on either side: compare what the basis means.
            table = torch.linspace(0, 1, num_intervals + 3, dtype=torch.float64).pow(2).unsqueeze(1)
            one, two = (
                sum(basis[:, k].double() * table[knot.long() + k, 0] for k in range(4))
                for _, basis, knot in (reference, native)
            )
            assert float((one - two).abs().max()) <= tolerance


@needs_native
@pytest.mark.parametrize("num_intervals", [None, 50])
@pytest.mark.parametrize("l_max", [0, 1, 4])
def test_first_and_second_derivatives_agree_with_the_reference(l_max: int, num_intervals: int | None) -> None:
    generator = torch.Generator().manual_seed(1)

    def derivatives(module: EdgeGeometry) -> list[torch.Tensor]:
        generator.manual_seed(1)
        vector = vectors(131).requires_grad_()
        outputs = [output for output in module(vector)[:2] if output is not None]
        weights = [
            torch.randn(output.shape, generator=generator, dtype=output.dtype).requires_grad_() for output in outputs
        ]
        total = sum((weight * output).sum() for weight, output in zip(weights, outputs))
        (first,) = torch.autograd.grad(total, vector, create_graph=True, allow_unused=True)
        if first is None:  # Y_0 does not depend on the direction
            return [torch.zeros(1)]
        projection = torch.randn(first.shape, generator=generator, dtype=first.dtype)
        if not first.requires_grad:
            return [first]
        second = torch.autograd.grad((first * projection).sum(), [vector, *weights], allow_unused=True)
        return [first, *(torch.zeros(1) if piece is None else piece for piece in second)]

    reference, native = both(EdgeGeometry(l_max, CUTOFF, num_intervals), derivatives)
    for expected, found in zip(reference, native):
        expected, found = expected.detach(), found.detach()
        size = max(float(expected.abs().max()), 1.0)
        assert float((found - expected).abs().max()) <= 1e-12 * size


@needs_native
@pytest.mark.parametrize("l_max", [2, 4])
def test_gradcheck_twice(l_max: int) -> None:
    vector = vectors(9).requires_grad_()
    module = EdgeGeometry(l_max, CUTOFF, 20)
    with selection.use("native"):
        assert torch.autograd.gradcheck(lambda v: module(v)[:2], vector)
        assert torch.autograd.gradgradcheck(lambda v: module(v)[:2], vector)


@needs_native
def test_wanted_gradients() -> None:
    vector = vectors(20).requires_grad_()
    module = EdgeGeometry(2, CUTOFF, 20)
    with selection.use("native"):
        with selection.gradients_of("parameters"):
            total = sum(output.sum() for output in module(vector)[:2])
            assert torch.autograd.grad(total, vector, allow_unused=True) == (None,)
        weight = torch.ones(20, 9, dtype=torch.float64, requires_grad=True)
        (first,) = torch.autograd.grad((module(vector)[0] * weight).sum(), vector, create_graph=True)
        with selection.gradients_of("parameters"):
            first.square().sum().backward()
    assert vector.grad is None and bool(weight.grad.any())


@needs_native
def test_third_derivatives_say_that_they_are_not_there() -> None:
    vector = vectors(5).requires_grad_()
    with selection.use("native"):
        harmonics = EdgeGeometry(2, CUTOFF)(vector)[0]
        (first,) = torch.autograd.grad(harmonics.square().sum() + harmonics[:, 5].sum(), vector, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), vector, create_graph=True)
        with pytest.raises(UsageError, match="third derivative"):
            second.sum().backward()


@needs_native
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_beyond_the_cutoff_and_at_no_distance(dtype: torch.dtype) -> None:
    far = torch.tensor([[CUTOFF, 0, 0], [0, 1e30, 0], [0, 0, 5.0], [0, 0, 0]], dtype=dtype).requires_grad_()

    def run(module: EdgeGeometry) -> list[torch.Tensor]:
        harmonics, basis, knot = module(far)
        (gradient,) = torch.autograd.grad((basis[:3] * torch.arange(4)).sum(), far, retain_graph=True)
        (at_zero,) = torch.autograd.grad(harmonics[3].sum(), far)
        return [harmonics[[0, 2, 3]], basis, knot, gradient[1:3], at_zero]

    reference, native = both(EdgeGeometry(4, CUTOFF, 32), run)
    for expected, found in zip(reference, native):
        assert torch.equal(found.isfinite(), expected.isfinite())
        assert torch.allclose(found.double(), expected.double(), atol=1e-6, rtol=1e-6)
    basis, knot = native[1], native[2]
    assert torch.equal(knot[:3], torch.full((3,), 31, dtype=torch.int32)) and not bool(basis[:3, 0].any())


@needs_native
def test_nan_never_indexes_outside_the_table() -> None:
    vector = torch.tensor([[float("nan"), 0, 0], [float("inf"), 0, 0], [1, 2, 2]], dtype=torch.float32)
    _, native = both(EdgeGeometry(1, CUTOFF, 16), lambda module: module(vector))
    assert int(native[2].min()) >= 0 and int(native[2].max()) <= 15
    assert bool(native[0][0].isnan().any())


@needs_native
def test_threads_change_nothing() -> None:
    vector, module, threads = vectors(20_000), EdgeGeometry(2, CUTOFF, 64), torch.get_num_threads()
    with selection.use("native"):
        results = []
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(module(vector))
        torch.set_num_threads(threads)
    assert all(torch.equal(one, two) for one, two in zip(*results))


@needs_native
def test_operator_traces_and_keeps_its_gradient() -> None:
    """The registered operator, which export and compile see, is the same function."""
    vector = vectors(30).requires_grad_()
    harmonics, basis, _ = torch.ops.equipot.edge_geometry(vector, 2, CUTOFF, 10)
    with selection.use("native"):
        expected = EdgeGeometry(2, CUTOFF, 10)(vector)
    assert torch.equal(harmonics, expected[0]) and torch.equal(basis, expected[1])
    (gradient,) = torch.autograd.grad(harmonics.sum() + basis[:, 0].sum(), vector)
    (wanted,) = torch.autograd.grad(expected[0].sum() + expected[1][:, 0].sum(), vector)
    assert torch.equal(gradient, wanted)

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.geometry = EdgeGeometry(2, CUTOFF, 10)

        def forward(self, vector: torch.Tensor) -> torch.Tensor:
            harmonics, basis, _ = self.geometry(vector)
            return harmonics.sum(dim=1) + basis[:, 1]

    with selection.use("native"):
        exported = torch.export.export(Module(), (vector.detach(),))
        assert "equipot.edge_geometry" in str(exported.graph)
        assert torch.equal(exported.module()(vector.detach()), Module()(vector.detach()))
