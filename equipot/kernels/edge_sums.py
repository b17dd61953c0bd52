"""Sums over the edges of each atom that the potential needs besides the network's, native or in pure torch."""

from __future__ import annotations

import torch
from torch import nn

from equipot.kernels.edge_index import EdgeIndex
from equipot.kernels.native import edge_sums as native
from equipot.kernels.reference import sum_by_index
from equipot.kernels.selection import uses_native


def polynomial_envelope(x: torch.Tensor, power: int) -> torch.Tensor:
    """f(x) = 1 - O(x^power), falling to 0 at x = 1 with two zero derivatives, and 0 beyond.

    Gasteiger et al., ICLR 2020 (DimeNet), eq. 8, in the factored form
    ``(1-x)^3 * sum_{k<p} (k+1)(k+2)/2 x^k``: the usual form cancels to rounding noise near 1, this one is exactly zero
    there in any precision.
    """
    x = x.clamp(max=1.0)
    series = torch.full_like(x, power * (power + 1) / 2)
    for k in range(power - 1, 0, -1):
        series = series * x + k * (k + 1) / 2
    return (1 - x) ** 3 * series


class Coordination(nn.Module):
    """The smooth number of neighbours ``sum_j f(r_ij / cutoff)`` of each atom, f the polynomial envelope.

    Args:
        cutoff: Angstrom.
        power: of the envelope, at least 3.
    """

    def __init__(self, cutoff: float, power: int) -> None:
        super().__init__()
        self.cutoff, self.power = cutoff, power

    def forward(self, vector: torch.Tensor, edges: EdgeIndex, num_nodes: int) -> torch.Tensor:
        """(E, 3) float64 Angstrom -> (num_nodes,) float64; further nodes of ``edges`` must have no edges."""
        if uses_native(vector) and vector.dtype == torch.float64:
            return native.coordination(vector, edges.center_ptr[: num_nodes + 1], self.cutoff, self.power)
        envelope = polynomial_envelope(vector.norm(dim=1) / self.cutoff, self.power)
        return sum_by_index(envelope.unsqueeze(1), edges.center, num_nodes).squeeze(1)


def assemble_forces(
    gradient: torch.Tensor, vector: torch.Tensor, edges: EdgeIndex, num_nodes: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Forces and virials from the gradients of the energy with respect to the edge vectors.

    Args:
        gradient: (E, 3) float64 eV/Angstrom.
        vector: (E, 3) float64 Angstrom, from centre to neighbour; a constant.
        edges: of these vectors.
        num_nodes: N, at most that of ``edges``, whose further nodes must have no edges.

    Returns:
        Forces (N, 3) and (N, 3, 3) ``-sum_j r_ij (x) dE/dr_ij``: what the edges an atom is the centre of contribute to
        the virial, not symmetric.
    """
    if uses_native(gradient) and gradient.dtype == torch.float64:
        forces, virial = native.assemble(
            gradient, vector, edges.center_ptr, edges.neighbor, edges.neighbor_order, edges.neighbor_ptr, num_nodes
        )
        return forces, virial.view(-1, 3, 3)
    # r_ij = r_j - r_i: moving i forward shortens it, so i feels +gradient and j feels -gradient.
    forces = sum_by_index(gradient, edges.center, num_nodes) - sum_by_index(gradient, edges.neighbor, num_nodes)
    outer = (vector.unsqueeze(2) * gradient.unsqueeze(1)).flatten(1)
    return forces, -sum_by_index(outer, edges.center, num_nodes).view(-1, 3, 3)
