"""The gate nonlinearity: scalars through an activation, every other irrep multiplied by an activated scalar."""

from __future__ import annotations

import torch
from torch import nn

from equipot.kernels import Block, FeatureLayout
from equipot.nn.activation import scaled_silu, scaled_tanh


class Gate(nn.Module):
    """Weiler et al., NeurIPS 2018. ``layout_in`` is what the layer before must produce for ``layout_out``.

    Even scalars pass through silu, odd ones through tanh; each channel of l > 0 has an even scalar of its own, whose
    silu multiplies it. The gates stand behind the even scalars in the same block.
    """

    def __init__(self, layout_out: FeatureLayout) -> None:
        super().__init__()
        self.layout_out = layout_out
        self.num_scalars = sum(block.channels for block in layout_out.blocks if block.irrep == (0, 1))
        self.gate_channels = [block.channels for block in layout_out.blocks if block.l > 0]
        others = [block for block in layout_out.blocks if block.irrep != (0, 1)]
        self.layout_in = FeatureLayout((Block(self.num_scalars + sum(self.gate_channels), 0, 1), *others))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, layout_in.dim) -> (N, layout_out.dim)."""
        even, *others = self.layout_in.split(features)
        scalars, *gates = scaled_silu(even).split([self.num_scalars, *self.gate_channels], dim=2)
        gates, others, outputs = iter(gates), iter(others), []
        for block in self.layout_out.blocks:
            if block.irrep == (0, 1):
                outputs.append(scalars)
            elif block.l == 0:
                outputs.append(scaled_tanh(next(others)))
            else:
                outputs.append(next(others) * next(gates))
        return self.layout_out.join(outputs)
