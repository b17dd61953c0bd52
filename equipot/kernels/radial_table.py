"""A radial network as a table of spline control points, native or in pure torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from equipot.kernels.native import radial_table as native
from equipot.kernels.native.join import join
from equipot.kernels.node_plans import SILU_SCALE
from equipot.kernels.selection import uses_native
from equipot.kernels.spline import control_points


def radial_table(embedding: torch.Tensor, weights: Sequence[torch.Tensor], scale: float = 1.0) -> torch.Tensor:
    """Evaluate a bias-free perceptron with scaled silu at the knots, and turn its values into control points.

    Args:
        embedding: (num_intervals + 1, sizes[0]), the network's input at the knots.
        weights: its matrices, (sizes[l], sizes[l+1]).
        scale: a factor of the result.

    Returns:
        (num_intervals + 3, sizes[-1]), see :mod:`equipot.kernels.spline`.

    Raises:
        UsageError: on the native path, a second derivative with respect to the weights was asked for.
    """
    if uses_native(embedding):
        sizes = [len(weight) for weight in weights] + [weights[-1].shape[1]]
        return native.radial_table(embedding, join(1, weights), sizes, scale)
    x = embedding
    for weight in weights[:-1]:
        x = SILU_SCALE * torch.nn.functional.silu(x @ weight)
    # The filter acts on the narrow side of the last matrix.
    return control_points(x, scale) @ weights[-1]
