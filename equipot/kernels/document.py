"""The document a potential is lowered to: buffers and operations one by one, as bytes the C++ engine is built from.

The format is described in ``kernels/csrc/engine/engine_document.hpp``. A document holds everything the
engine needs, so that a process without Python can run it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from equipot.kernels.native.convolution_plan import plan_numbers
from equipot.kernels.native.product_basis import program_numbers
from equipot.kernels.plans import ConvolutionPlan, ProductBasisPlan
from equipot.kernels.product_program import ProductProgram

MAGIC = b"equipot1"
#: Atoms that go through all node-wise operations of a stage before the next ones do.
TILE = 12


@dataclass(frozen=True)
class LinearBlock:
    """Channel mixing of one irrep: ``weights`` (num_sets, in_channels, out_channels); one set, or one a species."""

    components: int
    in_offset: int
    out_offset: int
    weights: torch.Tensor


@dataclass(frozen=True)
class GateItem:
    """What a gate does to a run of channels: ``kind`` is ``silu``, ``tanh`` or ``gated``."""

    kind: str
    in_offset: int
    out_offset: int
    components: int
    channels: int
    gate_offset: int = 0


class Document:
    """A program under construction.

    Args:
        dtype: of the network.
        num_species: rows of every table by species.
        cutoff: Angstrom.
        l_max: of the edges' harmonics.
        num_intervals: of the radial splines.
        vector_bytes: of a register of the widest instruction set it shall run on.
    """

    def __init__(
        self, dtype: torch.dtype, num_species: int, cutoff: float, l_max: int, num_intervals: int, vector_bytes: int
    ) -> None:
        #: Numbers of the network's dtype in a register: the width of the embedding has to be a multiple.
        self.lanes = vector_bytes // torch.empty(0, dtype=dtype).element_size()
        #: Columns of each buffer.
        self.dims: list[int] = []
        self._parts = [MAGIC]
        self._add("engine", [dtype == torch.float64, num_species, l_max, num_intervals, TILE, self.lanes], [cutoff])

    def _add(self, name: str, integers: Iterable, *reals: Sequence[float] | torch.Tensor | None) -> None:
        whole = np.array([int(value) for value in integers], dtype="<i8")
        broken = [np.asarray(_doubles(array), dtype="<f8").ravel() for array in reals if array is not None]
        self._parts += [
            struct.pack("<16sqq", name.encode(), len(whole), sum(map(len, broken))),
            whole.tobytes(),
            *(array.tobytes() for array in broken),
        ]

    def to_bytes(self) -> bytes:
        """The document; complete after :meth:`finish`."""
        return b"".join(self._parts)

    def tables(self, break_interval: int, table_of_pair: np.ndarray | None) -> None:
        """Say the form of all radial tables, before any operation.

        Args:
            break_interval: first interval of the second piece of the splines, whose rows come three later; -1: splines
                in one piece.
            table_of_pair: (num_species, num_species) integers: which of the tables, one behind the other, serves a pair
                of centre and neighbour; None: one table serves all.
        """
        table = [] if table_of_pair is None else table_of_pair.ravel().tolist()
        self._add("tables", [break_interval, max(table, default=0) + 1, len(table), *table])

    def buffer(self, dim: int) -> int:
        """An array of (atoms, dim); its number."""
        self.dims.append(dim)
        self._add("buffer", [dim])
        return len(self.dims) - 1

    def embedding(
        self, output: int, l_max: int, table: torch.Tensor, density: int = -1, density_table: torch.Tensor | None = None
    ) -> None:
        """Begin the first stage: sums over neighbours of harmonics times ``table`` (rows, num_radial) functions.

        The output is (species of the neighbour, (l_max+1)^2, num_radial).
        """
        self._add("embedding", [output, l_max, table.shape[1], density], table, density_table)

    def convolution(
        self,
        plan: ConvolutionPlan,
        input: int,
        output: int,
        table: torch.Tensor,
        density: int = -1,
        density_table: torch.Tensor | None = None,
    ) -> None:
        """Begin a stage with the convolution of ``plan`` and ``table`` (rows, num_weights)."""
        paths, coefficients = plan_numbers(plan)
        self._add(
            "convolution",
            [
                input,
                output,
                plan.l_max,
                plan.input.dim,
                plan.output.dim,
                plan.num_weights,
                len(plan.paths),
                *paths,
                density,
            ],
            coefficients,
            table,
            density_table,
        )

    def rows(self, output: int, table: torch.Tensor) -> None:
        """output += table[species]; ``table`` (num_species, dim)."""
        self._add("rows", [output], table)

    def linear(self, input: int, output: int, blocks: Sequence[LinearBlock]) -> None:
        """output += input @ weights, block by block."""
        rows, offset = [], 0
        for block in blocks:
            _, in_channels, out_channels = block.weights.shape
            rows += [block.components, block.in_offset, in_channels, block.out_offset, out_channels, offset]
            offset += in_channels * out_channels
        weights = torch.cat([block.weights.flatten(1) for block in blocks], dim=1)
        self._add("linear", [input, output, *weights.shape, len(blocks), *rows], weights)

    def copy(self, input: int, output: int, blocks: Sequence[tuple[int, int]]) -> None:
        """output += input; ``blocks`` are (components, channels) one after the other."""
        rows, offset = [], 0
        for components, channels in blocks:
            rows.append(LinearBlock(components, offset, offset, torch.eye(channels, dtype=torch.float64).unsqueeze(0)))
            offset += components * channels
        self.linear(input, output, rows)

    def gate(self, input: int, output: int, items: Sequence[GateItem]) -> None:
        """output = gate(input)."""
        kinds = {"silu": 0, "tanh": 1, "gated": 2}
        rows = [
            number
            for item in items
            for number in (
                kinds[item.kind],
                item.in_offset,
                item.out_offset,
                item.components,
                item.channels,
                item.gate_offset,
            )
        ]
        self._add("gate", [input, output, len(items), *rows])

    def invariants(self, input: int, output: int, blocks: Sequence[tuple[int, int]]) -> None:
        """output = mean over components of input squared; ``blocks`` are (components, channels) one after the other."""
        self._add("invariants", [input, output, len(blocks), *(number for block in blocks for number in block)])

    def density_scale(self, input: int, density: int, output: int) -> None:
        """output = input / (1 + density)."""
        self._add("density_scale", [input, density, output])

    def product(self, input: int, output: int, plan: ProductBasisPlan, weights: torch.Tensor) -> None:
        """The product basis of ``plan``; ``weights`` (num_species, num_paths, channels)."""
        integers, values = program_numbers(ProductProgram.build(plan))
        self._add("product", [input, output, weights.shape[2], *integers], values, weights)

    def readout(self, input: int, offset: int, vector: torch.Tensor) -> None:
        """network energy += input[:, offset:] . vector."""
        self._add("readout", [input, offset, len(vector)], vector)

    def finish(
        self,
        scale: torch.Tensor,
        shift: torch.Tensor,
        atomic_energies: torch.Tensor,
        *,
        exact_isolated_atoms: bool,
        charge: torch.Tensor | None,
        radius: torch.Tensor | None,
        repulsion: Sequence[float] | None = None,
    ) -> None:
        """The last records; arguments as in ``Potential``, by species; ``repulsion``: its constants in a row."""
        if repulsion is not None:
            self._add("repulsion", [], repulsion)
        self._add("finish", [exact_isolated_atoms, charge is not None], scale, shift, atomic_energies, charge, radius)


def _doubles(values: Sequence[float] | torch.Tensor) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    return np.ascontiguousarray(values, dtype=np.float64)
