"""The equivariant convolution over edges, native or reference, chosen at every call."""

from __future__ import annotations

import torch
from torch import nn

from equipot.kernels import reference
from equipot.kernels.edge_index import EdgeIndex
from equipot.kernels.native import convolution as native
from equipot.kernels.native.convolution_plan import is_native, key_of
from equipot.kernels.plans import ConvolutionPlan
from equipot.kernels.selection import uses_native
from equipot.kernels.spline import evaluate


class Convolution(nn.Module):
    """``out_i = sum_j w_ij (x_j (x) Y_ij)`` with weights given edge by edge.

    The interaction of NequIP (Batzner et al., Nat. Commun. 2022, eq. 5) and MACE (Batatia et al., NeurIPS 2022, eq. 8)
    without the linear maps around it.

    Args:
        plan: the paths; with an order above 4 always the reference path.
    """

    def __init__(self, plan: ConvolutionPlan) -> None:
        super().__init__()
        self.plan = plan
        self.reference = reference.Convolution(plan)
        self._is_native, self._key = is_native(plan), key_of(plan)

    def forward(
        self, features: torch.Tensor, harmonics: torch.Tensor, weights: torch.Tensor, edges: EdgeIndex
    ) -> torch.Tensor:
        """Gather neighbours, couple with the harmonics, weight, and sum into the centres.

        Args:
            features: (N, plan.input.dim).
            harmonics: (E, (l_max+1)^2).
            weights: (E, plan.num_weights).
            edges: of the batch.

        Returns:
            (N, plan.output.dim).

        Raises:
            UsageError: on the native path, shapes that do not fit the plan, or a third derivative was asked for.
        """
        if self._is_native and uses_native(features):
            return native.convolution(features, harmonics, weights, edges, self._key)
        return self.reference(features, harmonics, weights, edges.center, edges.neighbor)


class SplineConvolution(nn.Module):
    """The same convolution with weights that are cubic splines of the edge's length.

    Args:
        plan: the paths; with an order above 4 always the reference path.

    Attributes:
        is_native: whether the native kernels serve these orders.
        key: of the plan, as the native operators take it.
    """

    def __init__(self, plan: ConvolutionPlan) -> None:
        super().__init__()
        self.plan = plan
        self.reference = reference.Convolution(plan)
        self.is_native, self.key = is_native(plan), key_of(plan)

    def forward(
        self,
        features: torch.Tensor,
        harmonics: torch.Tensor,
        basis: torch.Tensor,
        knot: torch.Tensor,
        table: torch.Tensor,
        edges: EdgeIndex,
        constant_features: bool = False,
    ) -> torch.Tensor:
        """Convolve with the weights ``w_ij = sum_k basis_k table[knot + k]``.

        Args:
            features: (N, plan.input.dim).
            harmonics: (E, (l_max+1)^2).
            basis: (E, 4), the B-spline basis of each edge.
            knot: (E,) int32, the first of the four table rows it multiplies.
            table: (num_intervals + 3, plan.num_weights), control points.
            edges: of the batch.
            constant_features: the features are parameters alone, not functions of the positions (the embedding of the
                first layer): under ``gradients_of("inputs")`` the native path computes no gradient for them.

        Returns:
            (N, plan.output.dim).

        Raises:
            IndexError: a knot outside the table.
            UsageError: on the native path, shapes that do not fit the plan, or a third derivative was asked for.
        """
        if self.is_native and uses_native(features):
            return native.spline_convolution(
                features, harmonics, basis, knot, table, edges, self.key, constant_features
            )
        return self.reference(features, harmonics, evaluate(table, basis, knot), edges.center, edges.neighbor)
