"""What the node-wise operations compute, as tables: which channels are mixed with which, and what a gate does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from equipot.kernels.layout import Block, FeatureLayout


@dataclass(frozen=True)
class MixingPlan:
    """Channel mixing of every irrep that occurs in both layouts; each irrep may occur once in a layout.

    Attributes:
        layout_in: of the features, (N, layout_in.dim).
        layout_out: of the result; irreps that the input lacks are zero.
    """

    layout_in: FeatureLayout
    layout_out: FeatureLayout

    @cached_property
    def source(self) -> tuple[int | None, ...]:
        """For each output block the input block it is mixed from, or None."""
        return tuple(self.layout_in.index(*block.irrep) for block in self.layout_out.blocks)

    @cached_property
    def rows(self) -> tuple[tuple[int, int, int, int, int, int], ...]:
        """(components, input offset, input channels, output offset, output channels, weight offset) of each matrix."""
        rows, position = [], 0
        for block, offset, source in zip(self.layout_out.blocks, self.layout_out.offsets, self.source):
            if source is not None:
                channels = self.layout_in.blocks[source].channels
                start = self.layout_in.offsets[source]
                rows.append((block.components, start, channels, offset, block.channels, position))
                position += channels * block.channels
        return tuple(rows)

    @cached_property
    def weight_size(self) -> int:
        """Numbers of all matrices of one species."""
        return sum(row[2] * row[4] for row in self.rows)

    @cached_property
    def key(self) -> str:
        """The plan as text, as operators take it."""
        return f"{self.layout_in} > {self.layout_out}"

    @classmethod
    def from_key(cls, key: str) -> MixingPlan:
        """The inverse of :attr:`key`."""
        layout_in, layout_out = key.split(" > ")
        return cls(FeatureLayout.from_irreps(layout_in), FeatureLayout.from_irreps(layout_out))


#: 1 / sqrt(E[silu(z)^2]) and 1 / sqrt(E[tanh(z)^2]), z standard normal, as e3nn's Monte Carlo estimate gives them:
#: weights trained elsewhere carry these digits. The same numbers stand in csrc/simd/activation.hpp.
SILU_SCALE = 1.6791767923989418
TANH_SCALE = 1.5937334472592695

#: What happens to a run of channels: scalars through scaled silu or tanh, an irrep times the silu of its own scalars.
SILU, TANH, GATED = range(3)


@dataclass(frozen=True)
class GatePlan:
    """The gate nonlinearity (Weiler et al., NeurIPS 2018) with the given result.

    Even scalars pass through silu, odd ones through tanh; each channel of l > 0 has an even scalar of its own, whose
    silu multiplies it. The gates stand behind the even scalars in the same block, the first of the input.

    Attributes:
        layout_out: of the result; each irrep at most once.
    """

    layout_out: FeatureLayout

    @cached_property
    def num_scalars(self) -> int:
        """Even scalars of the result."""
        return sum(block.channels for block in self.layout_out.blocks if block.irrep == (0, 1))

    @cached_property
    def gate_channels(self) -> tuple[int, ...]:
        """Gates of each block of l > 0."""
        return tuple(block.channels for block in self.layout_out.blocks if block.l > 0)

    @cached_property
    def layout_in(self) -> FeatureLayout:
        """What the layer before must produce."""
        others = [block for block in self.layout_out.blocks if block.irrep != (0, 1)]
        return FeatureLayout((Block(self.num_scalars + sum(self.gate_channels), 0, 1), *others))

    @cached_property
    def rows(self) -> tuple[tuple[int, int, int, int, int, int], ...]:
        """(kind, input offset, output offset, components, channels, offset of the gates) of each output block."""
        rows, gate, following = [], self.num_scalars, 1
        for block, offset in zip(self.layout_out.blocks, self.layout_out.offsets):
            if block.irrep == (0, 1):
                rows.append((SILU, 0, offset, 1, block.channels, 0))
                continue
            start = self.layout_in.offsets[following]
            following += 1
            rows.append((GATED if block.l else TANH, start, offset, block.components, block.channels, gate))
            gate += block.channels if block.l else 0
        return tuple(rows)

    @cached_property
    def key(self) -> str:
        """The plan as text, as operators take it."""
        return str(self.layout_out)

    @classmethod
    def from_key(cls, key: str) -> GatePlan:
        """The inverse of :attr:`key`."""
        return cls(FeatureLayout.from_irreps(key))
