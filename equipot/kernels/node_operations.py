"""Operations on the features of single atoms, native or reference, chosen at every call."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from equipot.kernels.layout import FeatureLayout
from equipot.kernels.native.channel_mixing import mix_operator
from equipot.kernels.native.gate import gate_operator
from equipot.kernels.native.join import join
from equipot.kernels.node_plans import SILU_SCALE, TANH_SCALE, GatePlan, MixingPlan
from equipot.kernels.selection import uses_native


class ChannelMixing:
    """Mix the channels of every irrep that occurs in both layouts, by matrices of all atoms or of the atom's species.

    Args:
        layout_in: of the features; each irrep may occur once.
        layout_out: of the result; irreps that the input lacks are zero.
    """

    def __init__(self, layout_in: FeatureLayout, layout_out: FeatureLayout) -> None:
        self.plan = MixingPlan(layout_in, layout_out)
        self._key = self.plan.key

    def __call__(
        self,
        features: torch.Tensor,
        weights: Sequence[torch.Tensor],
        species: torch.Tensor | None = None,
        addend: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Mix, and add ``addend``.

        Args:
            features: (N, layout_in.dim).
            weights: for each irrep of the output that the input has, in its order, (channels in, channels out), or
                (num_species, channels in, channels out) with ``species``.
            species: (N,) int64, row of the weights for each atom.
            addend: (N, layout_out.dim).

        Returns:
            (N, layout_out.dim).

        Raises:
            IndexError: a species is out of range.
            UsageError: shapes or dtypes that do not fit.
        """
        if not uses_native(features):
            mixed = self._reference(features, weights, species)
            return mixed if addend is None else mixed + addend
        if not weights:
            flat, species = features.new_empty(1, 0), None
        else:
            flat = join(1 if species is None else len(weights[0]), weights)
        return mix_operator(features, flat, species, addend, self._key, False)

    def _reference(
        self, features: torch.Tensor, weights: Sequence[torch.Tensor], species: torch.Tensor | None
    ) -> torch.Tensor:
        inputs, outputs, remaining = self.plan.layout_in.split(features), [], iter(weights)
        for block, source in zip(self.plan.layout_out.blocks, self.plan.source):
            if source is None:
                outputs.append(features.new_zeros(len(features), block.components, block.channels))
            elif species is None:
                outputs.append(inputs[source] @ next(remaining))
            else:
                outputs.append(mix_by_species(inputs[source], next(remaining), species))
        return self.plan.layout_out.join(outputs)


def mix_by_species(x: torch.Tensor, weight: torch.Tensor, species: torch.Tensor) -> torch.Tensor:
    """(N, components, channels in) with (num_species, channels in, channels out), in pure torch.

    One matrix product with every species' matrix, then keep each atom's own: cheaper than a matrix an atom.
    """
    num_species = len(weight)
    if num_species == 1:
        return x @ weight[0]
    if num_species > 8:
        order = species.argsort(stable=True)
        counts = torch.bincount(species, minlength=num_species).tolist()
        parts = [part @ weight[z] for z, part in enumerate(x[order].split(counts)) if len(part)]
        return torch.cat(parts)[order.argsort()] if parts else x.new_zeros(0, x.shape[1], weight.shape[2])
    every = (x @ weight.permute(1, 0, 2).flatten(1)).unflatten(2, (num_species, weight.shape[2]))
    index = species.view(-1, 1, 1, 1).expand(-1, x.shape[1], 1, weight.shape[2])
    return every.gather(2, index).squeeze(2)


class GatedActivation:
    """The gate nonlinearity (Weiler et al., NeurIPS 2018); see :class:`equipot.kernels.node_plans.GatePlan`.

    Args:
        layout_out: of the result; each irrep may occur once.

    Attributes:
        layout_in: what the layer before must produce.
    """

    def __init__(self, layout_out: FeatureLayout) -> None:
        self.plan = GatePlan(layout_out)
        self.layout_in = self.plan.layout_in
        self._key = self.plan.key

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """(N, layout_in.dim) -> (N, layout_out.dim).

        Raises:
            UsageError: shapes that do not fit, or a third derivative on the native path.
        """
        return gate_operator(features, self._key) if uses_native(features) else self._reference(features)

    def _reference(self, features: torch.Tensor) -> torch.Tensor:
        plan = self.plan
        even, *others = self.layout_in.split(features)
        activated = SILU_SCALE * torch.nn.functional.silu(even)
        scalars, *gates = activated.split([plan.num_scalars, *plan.gate_channels], dim=2)
        gates, others, outputs = iter(gates), iter(others), []
        for block in plan.layout_out.blocks:
            if block.irrep == (0, 1):
                outputs.append(scalars)
            elif block.l == 0:
                outputs.append(TANH_SCALE * torch.tanh(next(others)))
            else:
                outputs.append(next(others) * next(gates))
        return plan.layout_out.join(outputs)


def scaled_silu(x: torch.Tensor) -> torch.Tensor:
    """silu with unit second moment of a (..., n) tensor.

    Raises:
        UsageError: a third derivative on the native path.
    """
    if not uses_native(x):
        return SILU_SCALE * torch.nn.functional.silu(x)
    n = x.shape[-1]
    return gate_operator(x if x.dim() == 2 else x.reshape(-1, n), f"{n}x0e").view(x.shape)
