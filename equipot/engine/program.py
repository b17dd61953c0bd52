"""A program of the C++ engine: buffers and operations are added one by one, then it runs structures."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from equipot.errors import UsageError
from equipot.kernels.native import library

#: Atoms that go through all node-wise operations of a stage before the next ones do.
TILE = 12

_POINTER, _INT, _LONG, _DOUBLE = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_double
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "error": (ctypes.c_char_p, ()),
    "create": (_POINTER, (_INT, _LONG, _DOUBLE, _INT, _INT, _LONG)),
    "destroy": (None, (_POINTER,)),
    "tables": (_INT, (_POINTER, _INT, _LONG, _LONG, _POINTER)),
    "repulsion": (_INT, (_POINTER, _POINTER)),
    "buffer": (_INT, (_POINTER, _LONG)),
    "embedding": (_INT, (_POINTER, _INT, _INT, _LONG, _POINTER, _INT, _POINTER)),
    "convolution": (_INT, (_POINTER, _POINTER, _INT, _INT, _POINTER, _INT, _POINTER)),
    "rows": (_INT, (_POINTER, _INT, _POINTER)),
    "linear": (_INT, (_POINTER, _INT, _INT, _LONG, _POINTER, _LONG, _LONG, _POINTER)),
    "gate": (_INT, (_POINTER, _INT, _INT, _LONG, _POINTER)),
    "density_scale": (_INT, (_POINTER, _INT, _INT, _INT)),
    "product": (_INT, (_POINTER, _INT, _INT, _POINTER, _LONG, _POINTER)),
    "readout": (_INT, (_POINTER, _INT, _LONG, _LONG, _POINTER)),
    "finish": (_INT, (_POINTER, _LONG, _POINTER, _POINTER, _POINTER, _INT, _POINTER, _POINTER)),
    "set_list": (_INT, (_POINTER, _LONG, _POINTER, _LONG, *[_POINTER] * 5)),
    "run": (_INT, (_POINTER, _POINTER, _POINTER, _DOUBLE, _INT, *[_POINTER] * 6)),
    "run_edges": (_INT, (_POINTER, _LONG, *[_POINTER] * 4, _INT, _POINTER, _POINTER)),
    "bytes": (_LONG, (_POINTER,)),
}


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


class Program:
    """A program under construction, and after :meth:`finish` one that runs. Not to be used by two threads at once.

    Args:
        dtype: of the network.
        num_species: rows of every table by species.
        cutoff: Angstrom.
        l_max: of the edges' harmonics.
        num_intervals: of the radial splines.

    Raises:
        UsageError: there are no native kernels, or the engine refuses an operation.
    """

    def __init__(self, dtype: torch.dtype, num_species: int, cutoff: float, l_max: int, num_intervals: int) -> None:
        loaded = library.load()
        if isinstance(loaded, str):
            raise UsageError(loaded)
        self._functions = {}
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(loaded.functions, f"equipot_engine_{name}")
            function.restype, function.argtypes = result, arguments
            self._functions[name] = function
        #: Numbers of the network's dtype in a register: the width of the embedding has to be a multiple.
        self.lanes = loaded.functions.equipot_vector_bytes() // torch.empty(0, dtype=dtype).element_size()
        #: Columns of each buffer.
        self.dims: list[int] = []
        self._engine = self._functions["create"](
            int(dtype == torch.float64), num_species, cutoff, l_max, num_intervals, TILE)
        if self._engine is None:
            raise UsageError(f"The engine has no harmonics of l_max = {l_max}.")

    def __del__(self) -> None:
        if getattr(self, "_engine", None) is not None:
            self._functions["destroy"](self._engine)

    def _call(self, name: str, *arguments: Any) -> None:
        if self._functions[name](self._engine, *arguments):
            message = self._functions["error"]().decode()
            if message == "not enough memory":
                raise MemoryError("The engine has not enough memory for a structure of this size.")
            raise UsageError(f"The engine refuses the operation {name}: {message}.")

    # --- building

    def tables(self, break_interval: int, table_of_pair: np.ndarray | None) -> None:
        """Say the form of all radial tables, before any operation.

        Args:
            break_interval: first interval of the second piece of the splines, whose rows come three later; -1: splines
                in one piece.
            table_of_pair: (num_species, num_species) int32: which of the tables, one behind the other, serves a pair of
                centre and neighbour; None: one table serves all.
        """
        num_species, num_tables = (0, 1) if table_of_pair is None else (len(table_of_pair), int(table_of_pair.max()) + 1)
        self._call("tables", break_interval, num_species, num_tables, _at(table_of_pair))

    def buffer(self, dim: int) -> int:
        """An array of (atoms, dim); its number."""
        self.dims.append(dim)
        return self._functions["buffer"](self._engine, dim)

    def embedding(self, output: int, l_max: int, table: torch.Tensor, density: int = -1,
                  density_table: torch.Tensor | None = None) -> None:
        """Begin the first stage: sums over neighbours of harmonics times ``table`` (rows, num_radial) functions.

        The output is (species of the neighbour, (l_max+1)^2, num_radial).
        """
        table, density_table = _doubles(table), _doubles(density_table)
        self._call("embedding", output, l_max, table.shape[1], _at(table), density, _at(density_table))

    def convolution(self, plan: int, input: int, output: int, table: torch.Tensor, density: int = -1,
                    density_table: torch.Tensor | None = None) -> None:
        """Begin a stage with the convolution of ``plan`` (address of a C++ plan) and ``table`` (rows, num_weights)."""
        table, density_table = _doubles(table), _doubles(density_table)
        self._call("convolution", plan, input, output, _at(table), density, _at(density_table))

    def rows(self, output: int, table: torch.Tensor) -> None:
        """output += table[species]; ``table`` (num_species, dim)."""
        table = _doubles(table)
        self._call("rows", output, _at(table))

    def linear(self, input: int, output: int, blocks: Sequence[LinearBlock]) -> None:
        """output += input @ weights, block by block."""
        rows, offset = [], 0
        for block in blocks:
            _, in_channels, out_channels = block.weights.shape
            rows.append([block.components, block.in_offset, in_channels, block.out_offset, out_channels, offset])
            offset += in_channels * out_channels
        weights = _doubles(torch.cat([block.weights.flatten(1) for block in blocks], dim=1))
        table = np.array(rows, dtype=np.int64)
        self._call("linear", input, output, len(rows), _at(table), *weights.shape, _at(weights))

    def gate(self, input: int, output: int, items: Iterable[GateItem]) -> None:
        """output = gate(input)."""
        kinds = {"silu": 0, "tanh": 1, "gated": 2}
        table = np.array([[kinds[item.kind], item.in_offset, item.out_offset, item.components, item.channels,
                           item.gate_offset] for item in items], dtype=np.int64)
        self._call("gate", input, output, len(table), _at(table))

    def density_scale(self, input: int, density: int, output: int) -> None:
        """output = input / (1 + density)."""
        self._call("density_scale", input, density, output)

    def product(self, input: int, output: int, program: int, weights: torch.Tensor) -> None:
        """The product basis of ``program`` (address); ``weights`` (num_species, num_paths, channels)."""
        weights = _doubles(weights)
        self._call("product", input, output, program, weights.shape[2], _at(weights))

    def readout(self, input: int, offset: int, vector: torch.Tensor) -> None:
        """network energy += input[:, offset:] . vector."""
        vector = _doubles(vector)
        self._call("readout", input, offset, len(vector), _at(vector))

    def finish(self, scale: torch.Tensor, shift: torch.Tensor, atomic_energies: torch.Tensor, *,
               exact_isolated_atoms: bool, charge: torch.Tensor | None, radius: torch.Tensor | None,
               repulsion: Sequence[float] | None = None) -> None:
        """Plan the program; arguments as in ``Potential``, by species; ``repulsion``: the constants in a row."""
        if repulsion is not None:
            constants = np.array(repulsion, dtype=np.float64)
            self._call("repulsion", _at(constants))
        arrays = [_doubles(array) for array in (scale, shift, atomic_energies, charge, radius)]
        pointers = [_at(array) for array in arrays]
        self._call("finish", len(scale), *pointers[:3], int(exact_isolated_atoms), *pointers[3:])

    # --- running

    def set_list(self, species: np.ndarray, center: np.ndarray, neighbor: np.ndarray, shift: np.ndarray,
                 positions: np.ndarray, cell: np.ndarray) -> None:
        """Take in a neighbour list with skin; int32, int64, int64, int64, float64 and float64 arrays."""
        self._call("set_list", len(species), _at(species), len(center), _at(center), _at(neighbor), _at(shift),
                   _at(positions), _at(cell))

    def run(self, positions: np.ndarray, cell: np.ndarray, min_distance: float, num_threads: int,
            outputs: Sequence[np.ndarray | None]) -> tuple[int, int, float]:
        """Fill ``outputs`` (node energies, forces, virial, node virials; None: not wanted), all float64.

        Returns:
            The two atoms of the list that are closest (-1 where it is empty) and their distance; where that is below
            ``min_distance`` nothing was computed.
        """
        pair, distance = (ctypes.c_int64 * 2)(), ctypes.c_double()
        self._call("run", _at(positions), _at(cell), min_distance, num_threads, *map(_at, outputs),
                   ctypes.addressof(pair), ctypes.addressof(distance))
        return pair[0], pair[1], distance.value

    def run_edges(self, species: np.ndarray, center_ptr: np.ndarray, neighbor: np.ndarray, vectors: np.ndarray,
                  num_threads: int, node_energy: np.ndarray, edge_gradient: np.ndarray | None) -> None:
        """Evaluate edges as they are given: every one within the cutoff and with its reverse, sorted by centre."""
        self._call("run_edges", len(species), _at(species), _at(center_ptr), _at(neighbor), _at(vectors), num_threads,
                   _at(node_energy), _at(edge_gradient))

    def num_bytes(self) -> int:
        """Memory of the present structure in the engine."""
        return self._functions["bytes"](self._engine)


def _doubles(values: torch.Tensor | None) -> np.ndarray | None:
    """Contiguous float64; kept by the caller for as long as C++ reads it."""
    return None if values is None else np.ascontiguousarray(values.detach().cpu().numpy(), dtype=np.float64)


def _at(array: np.ndarray | None) -> int | None:
    return None if array is None else array.ctypes.data
