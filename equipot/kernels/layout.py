"""The channel-last feature layout: where each irrep's (component, channel) block lies in a flat feature vector.

e3nn stores an irrep of multiplicity C and order l as (C, 2l+1), called ``mul_ir``. Here the same numbers are stored as
(2l+1, C): the channels are contiguous, so that one channel mixing is one matrix product and one SIMD lane a channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from e3nn import o3


@dataclass(frozen=True)
class Block:
    """One irrep with its channels: ``channels`` copies of order ``l`` and parity ``p`` (+1 or -1)."""

    channels: int
    l: int
    p: int

    @property
    def dim(self) -> int:
        """Numbers stored: (2l+1) * channels."""
        return (2 * self.l + 1) * self.channels

    @property
    def components(self) -> int:
        """2l+1."""
        return 2 * self.l + 1

    @property
    def irrep(self) -> tuple[int, int]:
        """(l, p)."""
        return (self.l, self.p)


@dataclass(frozen=True)
class FeatureLayout:
    """An ordered set of blocks; features are (N, dim) tensors, block k at ``offsets[k]`` as (2l+1, channels)."""

    blocks: tuple[Block, ...]

    @classmethod
    def from_irreps(cls, irreps: o3.Irreps | str) -> FeatureLayout:
        """The layout of e3nn irreps, block by block, in the same order."""
        return cls(tuple(Block(mul, ir.l, ir.p) for mul, ir in o3.Irreps(irreps) if mul > 0))

    @cached_property
    def irreps(self) -> o3.Irreps:
        """The same blocks as e3nn irreps."""
        return o3.Irreps([(block.channels, (block.l, block.p)) for block in self.blocks])

    @cached_property
    def dim(self) -> int:
        """Numbers per atom."""
        return sum(block.dim for block in self.blocks)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Where each block starts."""
        offsets, position = [], 0
        for block in self.blocks:
            offsets.append(position)
            position += block.dim
        return tuple(offsets)

    def index(self, l: int, p: int) -> int | None:
        """Position of the irrep (l, p), or None."""
        for k, block in enumerate(self.blocks):
            if block.irrep == (l, p):
                return k
        return None

    def split(self, features: torch.Tensor) -> list[torch.Tensor]:
        """(N, dim) -> one (N, 2l+1, channels) view a block."""
        pieces = features.split([block.dim for block in self.blocks], dim=1)
        return [piece.unflatten(1, (block.components, block.channels)) for piece, block in zip(pieces, self.blocks)]

    @staticmethod
    def join(pieces: list[torch.Tensor]) -> torch.Tensor:
        """The inverse of :meth:`split`."""
        return pieces[0].flatten(1) if len(pieces) == 1 else torch.cat([piece.flatten(1) for piece in pieces], dim=1)

    def to_e3nn(self, features: torch.Tensor) -> torch.Tensor:
        """Channel-last (N, dim) -> e3nn's ``mul_ir`` order (N, dim)."""
        return torch.cat([piece.transpose(1, 2).flatten(1) for piece in self.split(features)], dim=1)

    def from_e3nn(self, features: torch.Tensor) -> torch.Tensor:
        """e3nn's ``mul_ir`` order (N, dim) -> channel-last (N, dim)."""
        pieces = features.split([block.dim for block in self.blocks], dim=1)
        return torch.cat(
            [
                piece.unflatten(1, (block.channels, block.components)).transpose(1, 2).flatten(1)
                for piece, block in zip(pieces, self.blocks)
            ],
            dim=1,
        )

    def __str__(self) -> str:
        return str(self.irreps)
