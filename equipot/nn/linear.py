"""Linear maps between irreps: one matrix of channels an irrep, shared by all atoms or one for each species."""

from __future__ import annotations

import torch
from torch import nn

from equipot.kernels import FeatureLayout


def normal_matrix(*shape: int, fan_in: int) -> nn.Parameter:
    """A parameter drawn from a normal distribution of variance 1 / fan_in."""
    return nn.Parameter(torch.randn(*shape) * fan_in**-0.5)


class IrrepsLinear(nn.Module):
    """Mix the channels of every irrep that occurs in both layouts (e3nn's ``o3.Linear`` without biases).

    Irreps of the output that the input lacks are zero. Each irrep may occur once in a layout.
    """

    def __init__(self, layout_in: FeatureLayout, layout_out: FeatureLayout) -> None:
        super().__init__()
        self.layout_in, self.layout_out = layout_in, layout_out
        self.source = [layout_in.index(*block.irrep) for block in layout_out.blocks]
        self.fan_in: dict[str, int] = {}
        for k, (block, source) in enumerate(zip(layout_out.blocks, self.source)):
            if source is not None:
                channels = layout_in.blocks[source].channels
                self.register_parameter(f"weight_{k}", normal_matrix(channels, block.channels, fan_in=channels))
                self.fan_in[f"weight_{k}"] = channels

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, layout_in.dim) -> (N, layout_out.dim)."""
        inputs, outputs = self.layout_in.split(features), []
        for k, (block, source) in enumerate(zip(self.layout_out.blocks, self.source)):
            if source is None:
                outputs.append(features.new_zeros(len(features), block.components, block.channels))
            else:
                outputs.append(inputs[source] @ getattr(self, f"weight_{k}"))
        return self.layout_out.join(outputs)


class SpeciesLinear(nn.Module):
    """Mix the channels of every common irrep with a matrix of the atom's own species.

    The same map as e3nn's fully connected tensor product with a one-hot species vector, without its
    1/sqrt(num_species): an atom has one species only, so the fan-in is that of its channels.
    """

    def __init__(self, layout_in: FeatureLayout, layout_out: FeatureLayout, num_species: int) -> None:
        super().__init__()
        self.layout_in, self.layout_out, self.num_species = layout_in, layout_out, num_species
        self.source = [layout_in.index(*block.irrep) for block in layout_out.blocks]
        self.fan_in: dict[str, int] = {}
        for k, (block, source) in enumerate(zip(layout_out.blocks, self.source)):
            if source is not None:
                channels = layout_in.blocks[source].channels
                weight = normal_matrix(num_species, channels, block.channels, fan_in=channels)
                self.register_parameter(f"weight_{k}", weight)
                self.fan_in[f"weight_{k}"] = channels

    def forward(self, features: torch.Tensor, species: torch.Tensor) -> torch.Tensor:
        """(N, layout_in.dim), species (N,) -> (N, layout_out.dim)."""
        inputs, outputs = self.layout_in.split(features), []
        for k, (block, source) in enumerate(zip(self.layout_out.blocks, self.source)):
            if source is None:
                outputs.append(features.new_zeros(len(features), block.components, block.channels))
            else:
                outputs.append(self._mix(inputs[source], getattr(self, f"weight_{k}"), species))
        return self.layout_out.join(outputs)

    def _mix(self, x: torch.Tensor, weight: torch.Tensor, species: torch.Tensor) -> torch.Tensor:
        """One matrix product with every species' matrix, then keep each atom's own: cheaper than a matrix an atom."""
        if self.num_species == 1:
            return x @ weight[0]
        if self.num_species > 8:
            order = species.argsort(stable=True)
            counts = torch.bincount(species, minlength=self.num_species).tolist()
            parts = [part @ weight[z] for z, part in enumerate(x[order].split(counts)) if len(part)]
            return torch.cat(parts)[order.argsort()] if parts else x.new_zeros(0, x.shape[1], weight.shape[2])
        every = (x @ weight.permute(1, 0, 2).flatten(1)).unflatten(2, (self.num_species, weight.shape[2]))
        index = species.view(-1, 1, 1, 1).expand(-1, x.shape[1], 1, weight.shape[2])
        return every.gather(2, index).squeeze(2)
