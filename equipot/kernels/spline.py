"""Radial functions as cubic B-splines: their knots, their control points, and the basis at a length.

A function of the distance that vanishes at the cutoff, with ``num_intervals`` equal intervals of width h, is
``f(r) = sum_{k<4} basis_k(r) table[knot(r) + k]``: twice continuously differentiable, whatever the table holds. Row m
of the table, which has ``num_intervals + 3`` of them, is the control point at distance (m - 1) h; the last three are
zero, so that value, slope and curvature are exactly zero at the cutoff, and everything beyond it is.
"""

from __future__ import annotations

from functools import lru_cache

import torch

#: The even filter 1 - d2/6 + d4/36 (d2, d4: second and fourth differences), which inverts the smoothing 1 + d2/6 of
#: the B-spline to sixth order: weights of the point itself, its neighbours and theirs.
FILTER = (3 / 2, -5 / 18, 1 / 36)
#: Distance in units of h that stands for 0, where basis functions such as sin(r)/r cannot be evaluated.
NEAR_ZERO = 1e-3
#: Up to this many intervals the filter is applied as a dense matrix.
DENSE_INTERVALS = 384


def knots(cutoff: float, num_intervals: int, *, dtype: torch.dtype, device: torch.device | None = None) -> torch.Tensor:
    """Distances (num_intervals + 1,) at which the function must be known, 0 (as good as) to the cutoff."""
    distance = torch.arange(num_intervals + 1, dtype=torch.float64, device=device)
    distance[0] = NEAR_ZERO
    return (distance * (cutoff / num_intervals)).to(dtype)


def control_points(values: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
    """Function values at the knots (num_intervals + 1, D) -> table of control points (num_intervals + 3, D), scaled.

    The function is continued as an even one below 0 and as 0 beyond the cutoff. The filter is linear along the first
    axis, so that it may be applied before a linear map of the second.
    """
    num_intervals = len(values) - 1
    if num_intervals <= DENSE_INTERVALS:
        return _filter_matrix(num_intervals, values.dtype, values.device, scale) @ values
    return _filter(values * scale)


@lru_cache(maxsize=64)
def _filter_matrix(num_intervals: int, dtype: torch.dtype, device: torch.device, scale: float) -> torch.Tensor:
    """The filter as a matrix: with few knots one product is much faster than a dozen small operations."""
    with torch.inference_mode(False), torch.no_grad():
        matrix = _filter(torch.eye(num_intervals + 1, dtype=torch.float64) * scale)
        return matrix.to(device=device, dtype=dtype)


def _filter(values: torch.Tensor) -> torch.Tensor:
    continued = torch.cat([values[1:4].flip(0), values])  # at -3h, -2h, ...
    center, near, far = FILTER
    num_inner = len(values) - 1
    part = [continued[k : k + num_inner] for k in range(5)]
    inner = center * part[2] + near * (part[1] + part[3]) + far * (part[0] + part[4])
    return torch.cat([inner, values.new_zeros(3, values.shape[1])])


def spline_basis(length: torch.Tensor, cutoff: float, num_intervals: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Lengths (E,) Angstrom -> basis (E, 4), differentiable, and knot (E,) int32: the first row of the table they use.

    Lengths at and beyond the cutoff are those at the cutoff.
    """
    scaled = length * (num_intervals / cutoff)
    knot = scaled.detach().nan_to_num(nan=num_intervals).clamp(max=num_intervals - 1).floor()
    t = (scaled - knot).clamp(max=1.0)
    s = 1 - t
    first, second, last = s**3 / 6, 2 / 3 + t**2 * (t / 2 - 1), t**3 / 6
    return torch.stack([first, second, 1 - (first + second + last), last], dim=1), knot.to(torch.int32)


def evaluate(table: torch.Tensor, basis: torch.Tensor, knot: torch.Tensor) -> torch.Tensor:
    """Table (num_intervals + 3, D), basis (E, 4), knot (E,) -> function values (E, D)."""
    return sum(basis[:, k, None] * table.index_select(0, knot.to(torch.int64) + k) for k in range(4))
