"""Splined radial functions: smoothness across knots, exact zero at the cutoff, order of the interpolation."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from equipot.kernels.spline import NEAR_ZERO, control_points, evaluate, knots, spline_basis
from equipot.nn import PolynomialEnvelope

CUTOFF = 5.0


def function(distance: torch.Tensor) -> torch.Tensor:
    """Two even functions that vanish at the cutoff with two derivatives, as radial networks do."""
    x = distance / CUTOFF
    envelope = PolynomialEnvelope(6)(x)
    return torch.stack([torch.sin(3 * math.pi * x) / x * envelope, torch.cos(2 * x) * envelope], dim=1)


def table_of(num_intervals: int) -> torch.Tensor:
    return control_points(function(knots(CUTOFF, num_intervals, dtype=torch.float64)))


def interpolate(table: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
    return evaluate(table, *spline_basis(distance, CUTOFF, len(table) - 3))


def derivatives(table: torch.Tensor, distance: torch.Tensor) -> list[torch.Tensor]:
    """Value, slope and curvature of the first function at each distance."""
    distance = distance.clone().requires_grad_()
    value = interpolate(table, distance)[:, 0]
    (slope,) = torch.autograd.grad(value.sum(), distance, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), distance)
    return [value.detach(), slope.detach(), curvature]


def test_interpolation_is_of_fourth_order() -> None:
    distance = torch.linspace(0.02, 0.85 * CUTOFF, 4001, dtype=torch.float64)
    errors = [float((interpolate(table_of(n), distance) - function(distance)).abs().max()) for n in (32, 64, 128, 256)]
    for coarse, fine in itertools.pairwise(errors):
        assert coarse / fine > 12
    assert errors[-1] < 1e-7


def test_values_at_the_knots_are_kept_to_sixth_order() -> None:
    errors = []
    for num_intervals in (32, 64):
        inner = knots(CUTOFF, num_intervals, dtype=torch.float64)[1 : num_intervals * 4 // 5]
        errors.append(float((interpolate(table_of(num_intervals), inner) - function(inner)).abs().max()))
    assert errors[0] / errors[1] > 40


def test_value_slope_and_curvature_are_continuous_for_any_table() -> None:
    num_intervals = 20
    table = torch.randn(num_intervals + 3, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    table[-3:] = 0
    at = torch.arange(1, num_intervals + 1, dtype=torch.float64) * (CUTOFF / num_intervals)
    below, above = derivatives(table, at - 1e-9), derivatives(table, at + 1e-9)
    for one, two in zip(below, above):
        assert float((one - two).abs().max()) <= 1e-6 * float(one.abs().max())


def test_exactly_zero_at_and_beyond_the_cutoff_and_smooth_on_the_way_there() -> None:
    for dtype in (torch.float64, torch.float32):
        table = table_of(128).to(dtype)
        assert not bool(table[-3:].any())
        for piece in derivatives(table, torch.tensor([CUTOFF, CUTOFF * (1 + 1e-6), 6.0, 1e20], dtype=dtype)):
            assert not bool(piece.any())
    close = torch.tensor([1e-3, 5e-4], dtype=torch.float64)
    value, slope, _ = derivatives(table_of(128), CUTOFF - close)
    assert abs(float(value[0] / value[1]) - 8) < 1e-3 and abs(float(slope[0] / slope[1]) - 4) < 1e-3


def test_slope_at_no_distance_is_zero() -> None:
    """The even continuation: in the directions of two atoms on top of each other there is no kink."""
    _, slope, _ = derivatives(table_of(64), torch.tensor([1e-12], dtype=torch.float64))
    assert abs(float(slope)) < 1e-6


def test_filter_commutes_with_a_linear_map_and_is_differentiable() -> None:
    values = torch.randn(21, 3, dtype=torch.float64, requires_grad=True)
    matrix = torch.randn(3, 5, dtype=torch.float64)
    assert torch.allclose(control_points(values) @ matrix, control_points(values @ matrix), atol=1e-14)
    assert torch.autograd.gradcheck(control_points, values)
    assert torch.autograd.gradgradcheck(control_points, values)


def test_filter_is_the_same_as_a_matrix_and_as_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(41, 3, dtype=torch.float64)
    dense = control_points(values, 0.3)
    monkeypatch.setattr("equipot.kernels.spline.DENSE_INTERVALS", 0)
    assert torch.allclose(control_points(values, 0.3), dense, atol=1e-15)


def test_basis_is_a_partition_of_one_with_knots_inside() -> None:
    distance = torch.linspace(0, 1.2 * CUTOFF, 1001, dtype=torch.float64)
    basis, knot = spline_basis(distance, CUTOFF, 33)
    assert torch.allclose(basis.sum(dim=1), torch.ones_like(distance), atol=1e-15)
    assert knot.dtype == torch.int32 and int(knot.min()) == 0 and int(knot.max()) == 32
    assert float(basis.min()) >= 0


@pytest.mark.parametrize("num_intervals", [16, 8192])
def test_knots(num_intervals: int) -> None:
    found = knots(CUTOFF, num_intervals, dtype=torch.float32)
    assert found.shape == (num_intervals + 1,) and found.dtype == torch.float32
    assert float(found[0]) == pytest.approx(NEAR_ZERO * CUTOFF / num_intervals) and float(found[-1]) == CUTOFF


def test_a_wrong_filter_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("equipot.kernels.spline.FILTER", (1.0, 0.0, 0.0))
    monkeypatch.setattr("equipot.kernels.spline.DENSE_INTERVALS", 0)  # its matrices are kept
    with pytest.raises(AssertionError):
        test_interpolation_is_of_fourth_order()
