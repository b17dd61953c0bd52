"""Virials for the heat flux by automatic differentiation in the unfolded structure: the definition, for any potential.

Marcel F. Langer, J. Thorben Frank and Florian Knoop, "Stress and heat flux via automatic differentiation", and
Langer et al., Phys. Rev. B 108, L100302 (2023): the heat flux of a potential whose atoms' energies reach further than
their neighbours is that of the barycentre of the energy in the infinite structure, not in the folded cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from equipot.errors import UsageError
from equipot.kernels import gradients_of
from equipot.kernels.reference import sum_by_index

if TYPE_CHECKING:
    from equipot.graph import AtomicGraph
    from equipot.models.potential import Potential


def centroid_virials(potential: Potential, graph: AtomicGraph) -> torch.Tensor:
    """Per-atom virials W_j = sum_i (r_i - r_j) (x) dU_i/dr_j over all atoms i of the infinite structure.

    The potential part of the heat flux is sum_j W_j v_j, and the sum of W_j is the virial of the structure. Every atom
    that an energy of the cell depends on is there as an atom of its own, so the work is that of a few cells or, for
    small ones, of many.

    Args:
        potential: it is known how many cutoffs far its energies reach.
        graph: N atoms, one structure or several.

    Returns:
        (N, 3, 3) float64 eV, position first; not symmetric.

    Raises:
        UsageError: it is not known how far the architecture's energies reach.
        ElementError: an atom of an element the potential does not know.
    """
    layers = potential.num_layers
    if layers is None:
        raise UsageError(
            "The heat flux needs to know how far an atom's energy reaches, and "
            f"{type(potential.architecture).__name__} does not tell."
        )
    species = potential.species(graph.atomic_numbers)
    atom, translation, center, neighbor = _unfold(graph, layers)
    cell = graph.cell.index_select(0, graph.graph_index.index_select(0, atom))
    positions = graph.positions.index_select(0, atom) + (translation.unsqueeze(1).to(cell.dtype) @ cell).squeeze(1)
    positions = positions.detach().requires_grad_()
    with torch.enable_grad():
        vector = positions.index_select(0, neighbor) - positions.index_select(0, center)
        energies = potential.node_energies(species.index_select(0, atom), center, neighbor, vector)
        energies = energies[: graph.num_nodes]  # the others stand for atoms at the rim
        barycenter = [(graph.positions[:, a].detach() * energies).sum() for a in range(3)]
        gradient, *of_barycenter = (_gradient(value, positions) for value in (energies.sum(), *barycenter))
    by_image = torch.stack([of_barycenter[a] - positions.detach()[:, a : a + 1] * gradient for a in range(3)], dim=1)
    return sum_by_index(by_image.flatten(1), atom, graph.num_nodes).unflatten(1, (3, 3))


def _gradient(value: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    if not value.requires_grad:
        return torch.zeros_like(positions)
    with gradients_of("inputs"):
        (gradient,) = torch.autograd.grad(value, positions, retain_graph=True, allow_unused=True)
    return torch.zeros_like(positions) if gradient is None else gradient


def _unfold(graph: AtomicGraph, num_hops: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images of atoms that can be reached in so many edges, those of the graph itself first.

    Returns:
        (M,) atom and (M, 3) lattice translation of each image; (E,) centre and neighbour of the edges among them,
        sorted by centre, complete for all images but the last ones reached.
    """
    num_nodes, device = graph.num_nodes, graph.positions.device
    center, neighbor = graph.edge_index
    shift = graph.edge_shift.to(torch.int64)
    degree = torch.bincount(center, minlength=num_nodes)
    first = degree.cumsum(0) - degree
    reach = num_hops * int(shift.abs().max()) if len(shift) else 0

    def key(atom: torch.Tensor, translation: torch.Tensor) -> torch.Tensor:
        digits = translation + reach
        for a in range(3):
            atom = atom * (2 * reach + 1) + digits[:, a]
        return atom

    atom, translation = (
        torch.arange(num_nodes, device=device),
        torch.zeros(num_nodes, 3, dtype=torch.int64, device=device),
    )
    begin, centers, ends = 0, [], []
    for _ in range(num_hops):
        # All edges of the images reached last.
        rim = torch.arange(begin, len(atom), device=device)
        count = degree[atom[rim]]
        source = rim.repeat_interleave(count)
        within = torch.arange(len(source), device=device) - (count.cumsum(0) - count).repeat_interleave(count)
        edge = first[atom[source]] + within
        end_atom, end_translation = neighbor[edge], translation[source] + shift[edge]
        end_key, own_key = key(end_atom, end_translation), key(atom, translation)
        is_new = ~torch.isin(end_key, own_key)
        found, where = torch.unique(end_key[is_new], return_inverse=True)
        representative = torch.empty(len(found), dtype=torch.int64, device=device)
        representative[where] = is_new.nonzero().squeeze(1)
        begin = len(atom)
        atom = torch.cat([atom, end_atom[representative]])
        translation = torch.cat([translation, end_translation[representative]])
        sorted_key, order = torch.sort(key(atom, translation))
        centers.append(source)
        ends.append(order[torch.searchsorted(sorted_key, end_key)])
    empty = torch.empty(0, dtype=torch.int64, device=device)
    return atom, translation, torch.cat([*centers, empty]), torch.cat([*ends, empty])
