"""What the model needs of each edge vector: spherical harmonics of its direction, spline basis of its length."""

from __future__ import annotations

import torch
from torch import nn

from equipot.kernels.native import geometry as native
from equipot.kernels.reference import SphericalHarmonics
from equipot.kernels.selection import uses_native
from equipot.kernels.spline import spline_basis


class EdgeGeometry(nn.Module):
    """Edge vectors -> harmonics, and the spline basis with its knots where radial functions are splines.

    Args:
        l_max: highest order of the harmonics; above 4 always the reference path.
        cutoff: Angstrom.
        num_intervals: of the splines; None without them.
    """

    def __init__(self, l_max: int, cutoff: float, num_intervals: int | None = None) -> None:
        super().__init__()
        self.l_max, self.cutoff, self.num_intervals = l_max, cutoff, num_intervals
        self.reference = SphericalHarmonics(l_max)

    def forward(self, vector: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Evaluate edges.

        Args:
            vector: (E, 3) Angstrom.

        Returns:
            Harmonics (E, (l_max+1)^2), e3nn's, component normalised; basis (E, 4) and knot (E,) int32 of
            :mod:`equipot.kernels.spline`, or None and None.
        """
        if self.l_max <= native.MAX_L and uses_native(vector):
            harmonics, basis, knot = native.edge_geometry(vector, self.l_max, self.cutoff, self.num_intervals or 0)
            return (harmonics, basis, knot) if self.num_intervals else (harmonics, None, None)
        harmonics = self.reference(vector)
        if not self.num_intervals:
            return harmonics, None, None
        return harmonics, *spline_basis(vector.norm(dim=1), self.cutoff, self.num_intervals)
