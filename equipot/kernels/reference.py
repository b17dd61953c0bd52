"""The reference operations in pure torch: the definition every faster backend is held against.

All of them are differentiable any number of times by autograd. Index arguments are int64; float arguments share one
dtype. Edges are sorted by centre.
"""

from __future__ import annotations

import torch
from e3nn import o3
from torch import nn

from equipot.kernels.plans import ConvolutionPlan, ProductBasisPlan


class SphericalHarmonics(nn.Module):
    """e3nn's real spherical harmonics Y_0..Y_l_max of the edge directions, component normalised."""

    def __init__(self, l_max: int) -> None:
        super().__init__()
        self.orders = list(range(l_max + 1))

    def forward(self, edge_vector: torch.Tensor) -> torch.Tensor:
        """(E, 3) vectors of any length -> (E, (l_max+1)^2)."""
        return o3.spherical_harmonics(self.orders, edge_vector, normalize=True, normalization="component")


class Convolution(nn.Module):
    """``out_i = sum_j w_ij (x_j (x) Y_ij)`` over the paths of a plan."""

    def __init__(self, plan: ConvolutionPlan) -> None:
        super().__init__()
        self.plan = plan
        self._groups = []
        for k, block in enumerate(plan.input.blocks):
            members = [n for n, path in enumerate(plan.paths) if path.input == k]
            if not members:
                continue
            tables, path_of_row, rows = [], [], []
            for position, n in enumerate(members):
                path = plan.paths[n]
                coupling = plan.coefficients(path)
                width = coupling.shape[2]
                table = torch.zeros((plan.l_max + 1) ** 2, width, block.components, dtype=torch.float64)
                table[path.l2**2 : (path.l2 + 1) ** 2] = coupling.permute(1, 2, 0)
                tables.append(table)
                path_of_row += [position] * width
                rows.append(width)
            self.register_buffer(f"_table_{k}", torch.cat(tables, dim=1).flatten(1), persistent=False)
            self.register_buffer(f"_path_of_row_{k}", torch.tensor(path_of_row), persistent=False)
            self._groups.append((k, members, rows))

    def forward(
        self,
        features: torch.Tensor,
        harmonics: torch.Tensor,
        weights: torch.Tensor,
        center: torch.Tensor,
        neighbor: torch.Tensor,
    ) -> torch.Tensor:
        """Gather neighbours, couple with the harmonics, weight, and sum into the centres.

        Args:
            features: (N, plan.input.dim).
            harmonics: (E, (l_max+1)^2).
            weights: (E, plan.num_weights).
            center: (E,) receiver i of each edge, ascending.
            neighbor: (E,) sender j of each edge.

        Returns:
            (N, plan.output.dim).
        """
        plan, inputs = self.plan, self.plan.input.split(features)
        path_weights = weights.split(list(plan.path_channels), dim=1)
        collected: list[torch.Tensor | None] = [None] * len(plan.paths)
        for k, members, rows in self._groups:
            block = plan.input.blocks[k]
            sent = inputs[k].flatten(1).index_select(0, neighbor).unflatten(1, (block.components, block.channels))
            coupling = harmonics @ getattr(self, f"_table_{k}").to(harmonics.dtype)
            if block.components == 1:
                message = coupling.unsqueeze(2) * sent
            else:
                message = torch.bmm(coupling.unflatten(1, (-1, block.components)), sent)
            weight = torch.stack([path_weights[n] for n in members], dim=1)
            message = message * weight.index_select(1, getattr(self, f"_path_of_row_{k}"))
            summed = sum_by_index(message.flatten(1), center, len(features)).unflatten(1, (-1, block.channels))
            for n, piece in zip(members, summed.split(rows, dim=1)):
                collected[n] = piece
        outputs = []
        for output in range(len(plan.output.blocks)):
            outputs.append(torch.cat([collected[n] for n, path in enumerate(plan.paths) if path.output == output], 2))
        return plan.output.join(outputs)


class ProductBasis(nn.Module):
    """Symmetric contraction of node features by monomials: every distinct product once, then one matrix product."""

    def __init__(self, plan: ProductBasisPlan) -> None:
        super().__init__()
        self.plan = plan
        self._register_monomials()
        for order in range(1, plan.correlation + 1):
            rows = [plan.coefficients(l, order).flatten(0, 1) for l in plan.l_out]
            self.register_buffer(f"_coefficients_{order}", torch.cat(rows), persistent=False)

    def _register_monomials(self) -> None:
        """Tables that grow products one factor at a time: level n holds every needed prefix of n indices."""
        previous: list[tuple[int, ...]] = []
        for level in range(1, self.plan.correlation + 1):
            longer = [index for order in self.plan.monomials[level - 1 :] for index in order]
            prefixes = sorted({index[:level] for index in longer})
            position = {prefix: n for n, prefix in enumerate(prefixes)}
            self.register_buffer(f"_last_{level}", torch.tensor([p[-1] for p in prefixes]), persistent=False)
            if level > 1:
                parent = torch.tensor([previous.index(prefix[:-1]) for prefix in prefixes])
                self.register_buffer(f"_parent_{level}", parent, persistent=False)
            chosen = torch.tensor([position[index] for index in self.plan.monomials[level - 1]])
            self.register_buffer(f"_chosen_{level}", chosen, persistent=False)
            previous = prefixes

    def forward(self, features: torch.Tensor, weights: list[torch.Tensor], species: torch.Tensor) -> list[torch.Tensor]:
        """Contract products of the features.

        Args:
            features: (N, (l_max+1)^2, C), the components of all orders stacked, natural parity.
            weights: one (num_species, num_paths, C) tensor for each (l, order) of ``plan.terms``.
            species: (N,) row of the weights for each atom.

        Returns:
            One (N, 2l+1, C) tensor for each l of ``plan.l_out``.
        """
        plan, by_term = self.plan, dict(zip(self.plan.terms, weights))
        outputs: list[torch.Tensor | None] = [None] * len(plan.l_out)
        product = None
        for order in range(1, plan.correlation + 1):
            factor = features.index_select(1, getattr(self, f"_last_{order}"))
            product = factor if product is None else product.index_select(1, getattr(self, f"_parent_{order}")) * factor
            monomials = product.index_select(1, getattr(self, f"_chosen_{order}"))
            contracted = torch.matmul(getattr(self, f"_coefficients_{order}").to(features.dtype), monomials)
            sizes = [(2 * l + 1) * plan.num_paths(l, order) for l in plan.l_out]
            for k, (l, piece) in enumerate(zip(plan.l_out, contracted.split(sizes, dim=1))):
                weight = by_term[l, order].index_select(0, species).unsqueeze(1)
                term = (piece.unflatten(1, (2 * l + 1, -1)) * weight).sum(2)
                outputs[k] = term if outputs[k] is None else outputs[k] + term
        return outputs


def sum_by_index(values: torch.Tensor, index: torch.Tensor, size: int) -> torch.Tensor:
    """Sum rows of (E, D) into (size, D) by (E,) index."""
    # scatter_add with an expanded index takes torch's blocked path, twice as fast as index_add here.
    return values.new_zeros(size, values.shape[1]).scatter_add(0, index.unsqueeze(1).expand_as(values), values)
