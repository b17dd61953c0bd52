"""Radial networks as tables of control points: native against pure torch."""

from __future__ import annotations

import itertools

import pytest
import torch

from equipot.errors import UsageError
from equipot.kernels import use
from equipot.kernels.native import library
from equipot.kernels.radial_table import radial_table

pytestmark = pytest.mark.skipif(isinstance(library.load(), str), reason="the native kernels are not built")


def network(sizes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(sizes))
    return [
        (torch.randn(a, b, generator=generator, dtype=torch.float64) * a**-0.5).to(dtype).requires_grad_()
        for a, b in itertools.pairwise(sizes)
    ]


@pytest.mark.parametrize("num_intervals", [4, 16, 128, 1000])
@pytest.mark.parametrize("sizes", [(8, 64, 64, 192), (3, 7, 5), (8, 1), (5, 9, 11, 13, 2)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_table_and_gradients(sizes: tuple[int, ...], num_intervals: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    embedding = torch.randn(num_intervals + 1, sizes[0], generator=generator, dtype=torch.float64).to(dtype)
    direction = torch.randn(num_intervals + 3, sizes[-1], generator=generator, dtype=torch.float64).to(dtype)
    weights = network(sizes, dtype)
    embedding.requires_grad_()

    def run() -> list[torch.Tensor]:
        table = radial_table(embedding, weights, 0.37)
        return [table.detach(), *torch.autograd.grad((table * direction).sum(), [embedding, *weights])]

    with use("reference"):
        reference = run()
    with use("native"):
        native = run()
    for expected, found in zip(reference, native):
        tolerance = (1e-13 if dtype == torch.float64 else 2e-6) * max(float(expected.abs().max()), 1.0)
        assert found.shape == expected.shape and float((found - expected).abs().max()) <= tolerance
    assert not bool(native[0][-3:].any())


def test_gradient_of_the_weights_alone() -> None:
    embedding, weights = torch.randn(17, 8, dtype=torch.float64), network((8, 6, 4))
    with use("native"):
        assert torch.autograd.gradcheck(lambda *w: radial_table(embedding, w, 2.0), tuple(weights))


def test_misfits_are_refused() -> None:
    with use("native"):
        with pytest.raises(UsageError, match="found"):
            radial_table(torch.randn(17, 7), network((8, 4), torch.float32))
        with pytest.raises(UsageError, match="found"):
            radial_table(torch.randn(17, 8), network((8, 4), torch.float64))
