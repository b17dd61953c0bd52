"""Radial functions of a frozen network as spline tables, and the few functions a first layer's are made of."""

from __future__ import annotations

import torch

from equipot.kernels.spline import control_points, knots
from equipot.nn import Message, RadialEmbedding


class RadialTables:
    """Control points of the radial functions of messages, float64, (num_intervals + 3, ...).

    Args:
        radial: the embedding all messages share, float64.
        cutoff: Angstrom.
        num_intervals: of the splines.
    """

    def __init__(self, radial: RadialEmbedding, cutoff: float, num_intervals: int) -> None:
        self._embedded = radial(knots(cutoff, num_intervals, dtype=torch.float64))

    def weights(self, message: Message) -> torch.Tensor:
        """(rows, num_weights): the weights of each path and channel, over the norm where it is a number."""
        values = message.radial_network(self._embedded)
        return control_points(values if message.density_network is not None else values / message.norm)

    def density(self, message: Message) -> torch.Tensor | None:
        """(rows, 1): what a neighbour counts for in the density, None without density normalisation."""
        if message.density_network is None:
            return None
        return control_points(torch.tanh(message.density_network(self._embedded) ** 2))


def compress(table: torch.Tensor, tolerance: float, multiple: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Few functions that all columns of a table are sums of.

    A network of one distance has many outputs, but they are all smooth, and no more than its last hidden layer is wide:
    a singular value decomposition finds a few functions that span them.

    Args:
        table: (rows, columns), the last three rows zero.
        tolerance: singular values below this part of the largest are left out. Rows at short distances, where radial
            functions are large, count no more than the largest row in the outer half.
        multiple: the number of functions is rounded up to this, with zeros.

    Returns:
        functions (rows, num_functions) and mixing (num_functions, columns), with table = functions @ mixing.
    """
    size = table.norm(dim=1)
    weight = (size[len(size) // 2 :].max() / size.clamp(min=torch.finfo(table.dtype).tiny)).clamp(max=1.0)
    _, singular, right = torch.linalg.svd(table * weight.unsqueeze(1), full_matrices=False)
    rank = max(1, int((singular > tolerance * singular[0]).sum()))
    mixing = table.new_zeros(-(-rank // multiple) * multiple, table.shape[1])
    mixing[:rank] = right[:rank]
    return table @ mixing.T, mixing
