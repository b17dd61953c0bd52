"""The gate nonlinearity: scalars through an activation, every other irrep multiplied by an activated scalar."""

from __future__ import annotations

import torch
from torch import nn

from equipot.kernels import FeatureLayout, GatedActivation


class Gate(nn.Module):
    """Weiler et al., NeurIPS 2018. ``layout_in`` is what the layer before must produce for ``layout_out``.

    Even scalars pass through silu, odd ones through tanh; each channel of l > 0 has an even scalar of its own, whose
    silu multiplies it. The gates stand behind the even scalars in the same block.
    """

    def __init__(self, layout_out: FeatureLayout) -> None:
        super().__init__()
        self.activation = GatedActivation(layout_out)
        self.layout_in, self.layout_out = self.activation.layout_in, layout_out

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, layout_in.dim) -> (N, layout_out.dim)."""
        return self.activation(features)
