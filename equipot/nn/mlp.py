"""A bias-free multi-layer perceptron with scaled silu between its matrices."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from equipot.kernels import scaled_silu
from equipot.nn.linear import normal_matrix


class MultiLayerPerceptron(nn.Module):
    """(..., sizes[0]) -> (..., sizes[-1]); the last matrix is linear (e3nn's ``FullyConnectedNet``)."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(sizes))
        self.weights = nn.ParameterList([normal_matrix(a, b, fan_in=a) for a, b in pairs])
        self.fan_in = {f"weights.{k}": a for k, (a, _) in enumerate(pairs)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.hidden(x) @ self.weights[-1]

    def hidden(self, x: torch.Tensor) -> torch.Tensor:
        """(..., sizes[0]) -> (..., sizes[-2]), the activated input of the last matrix."""
        for weight in self.weights[:-1]:
            x = scaled_silu(x @ weight)
        return x


class FixedRadial(nn.Module):
    """Radial functions that are fixed combinations of the embedding, in place of a perceptron.

    Args:
        matrix: (num_radial, num_weights).
    """

    def __init__(self, matrix: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix, persistent=False)

    @property
    def weights(self) -> list[torch.Tensor]:
        """The one matrix, as a perceptron has several."""
        return [self.matrix]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., num_radial) -> (..., num_weights)."""
        return x @ self.matrix

    def hidden(self, x: torch.Tensor) -> torch.Tensor:
        """The input of the last matrix: the embedding itself."""
        return x
