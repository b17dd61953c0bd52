"""Linear maps between irreps: one matrix of channels an irrep, shared by all atoms or one for each species."""

from __future__ import annotations

import torch
from torch import nn

from equipot.kernels import ChannelMixing, FeatureLayout


def normal_matrix(*shape: int, fan_in: int) -> nn.Parameter:
    """A parameter drawn from a normal distribution of variance 1 / fan_in."""
    return nn.Parameter(torch.randn(*shape) * fan_in**-0.5)


class IrrepsLinear(nn.Module):
    """Mix the channels of every irrep that occurs in both layouts (e3nn's ``o3.Linear``).

    Irreps of the output that the input lacks are zero. Each irrep may occur once in a layout.

    Args:
        layout_in, layout_out: irreps of features and result.
        scalar_bias: add a bias, at first zero, to the even scalars of the result.
    """

    def __init__(self, layout_in: FeatureLayout, layout_out: FeatureLayout, *, scalar_bias: bool = False) -> None:
        super().__init__()
        self.layout_in, self.layout_out = layout_in, layout_out
        self.mixing = ChannelMixing(layout_in, layout_out)
        self.fan_in = _add_weights(self, ())
        scalars = layout_out.index(0, 1)
        self.bias = None
        if scalar_bias and scalars is not None:
            self.bias = nn.Parameter(torch.zeros(layout_out.blocks[scalars].channels))

    def forward(self, features: torch.Tensor, addend: torch.Tensor | None = None) -> torch.Tensor:
        """(N, layout_in.dim) -> (N, layout_out.dim), plus ``addend`` of the same shape."""
        mixed = self.mixing(features, [getattr(self, name) for name in self.fan_in], addend=addend)
        return mixed if self.bias is None else mixed + self.bias_row()

    def bias_row(self) -> torch.Tensor:
        """(layout_out.dim,): the bias where it goes, zeros elsewhere."""
        start = self.layout_out.offsets[self.layout_out.index(0, 1)]
        return nn.functional.pad(self.bias, (start, self.layout_out.dim - start - len(self.bias)))


class SpeciesLinear(nn.Module):
    """Mix the channels of every common irrep with a matrix of the atom's own species.

    The same map as e3nn's fully connected tensor product with a one-hot species vector, without its
    1/sqrt(num_species): an atom has one species only, so the fan-in is that of its channels.
    """

    def __init__(self, layout_in: FeatureLayout, layout_out: FeatureLayout, num_species: int) -> None:
        super().__init__()
        self.layout_in, self.layout_out, self.num_species = layout_in, layout_out, num_species
        self.mixing = ChannelMixing(layout_in, layout_out)
        self.fan_in = _add_weights(self, (num_species,))

    def forward(
        self, features: torch.Tensor, species: torch.Tensor, addend: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(N, layout_in.dim), species (N,) -> (N, layout_out.dim), plus ``addend`` of the same shape."""
        return self.mixing(features, [getattr(self, name) for name in self.fan_in], species, addend)


def _add_weights(module: IrrepsLinear | SpeciesLinear, leading: tuple[int, ...]) -> dict[str, int]:
    """Register ``weight_k`` (*leading, channels in, channels out) for each output block k that has an input.

    Returns:
        Name -> fan-in.
    """
    fan_in = {}
    for k, (block, source) in enumerate(zip(module.layout_out.blocks, module.mixing.plan.source)):
        if source is not None:
            channels = module.layout_in.blocks[source].channels
            module.register_parameter(f"weight_{k}", normal_matrix(*leading, channels, block.channels, fan_in=channels))
            fan_in[f"weight_{k}"] = channels
    return fan_in
