"""The neighbour list in C++: counted first, then written once, in order, into arrays of the right size.

Takes the cell as ``search.make_frame`` prepared it. Needs the memory of the list and little more; where the structure
is one that bins do not help with (a dense cluster in a huge box, thousands of images), it declines.
"""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np
import torch

from equipot.graph.search import Frame
from equipot.kernels.native.library import NativeLibrary

#: Comparisons of two atoms beyond which the search is left to others: this plus so many an atom (seconds of time).
_MAX_TESTS, _MAX_TESTS_PER_ATOM = 3e8, 1e5
#: Fewer atoms than this are searched by one thread.
_MIN_ATOMS_TO_SHARE = 500
_TOO_MANY_TESTS = -1
_SMALL_SHIFT = 127


def count_edges(
    native: NativeLibrary, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float, frame: Frame
) -> Search | None:
    """Count the edges of every atom; None where the search would take too long."""
    search = Search(native, positions, cell, pbc, cutoff, frame)
    return search if search.num_edges >= 0 else None


class Search:
    """A search that has counted.

    Attributes:
        num_edges: how many edges there are.
    """

    def __init__(
        self,
        native: NativeLibrary,
        positions: np.ndarray,
        cell: np.ndarray,
        pbc: np.ndarray,
        cutoff: float,
        frame: Frame,
    ) -> None:
        count, self._fill = _entry_points(native)
        num_atoms = len(positions)
        box = frame.box
        self._positions = np.ascontiguousarray(positions)
        # As struct Frame and struct Lattice of csrc/geometry/neighbors.cpp.
        self._frame = np.concatenate(
            (
                box.vectors.ravel(),
                box.inverse.ravel(),
                box.origin,
                box.heights,
                cell.ravel(),
                (frame.radius, cutoff, _MAX_TESTS + _MAX_TESTS_PER_ATOM * num_atoms),
            )
        )
        self._lattice = np.concatenate(
            (pbc, np.eye(3).ravel() if frame.operation is None else frame.operation.ravel())
        ).astype(np.int64)
        self._first = np.empty(num_atoms + 1, dtype=np.int64)
        largest_shift = ctypes.c_int64()
        num_threads = torch.get_num_threads() if num_atoms >= _MIN_ATOMS_TO_SHARE else 1
        self._shared = (
            self._frame.ctypes.data,
            self._lattice.ctypes.data,
            self._positions.ctypes.data,
            num_atoms,
            num_threads,
            self._first.ctypes.data,
        )
        self.num_edges = count(*self._shared, ctypes.byref(largest_shift))
        if self.num_edges < _TOO_MANY_TESTS:
            raise MemoryError
        self._shift_dtype = np.int8 if largest_shift.value <= _SMALL_SHIFT else np.int64

    def fill(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return centre, neighbour, (E,) int64, shift, (E, 3), and distance, (E,) float64."""
        center, neighbor = (np.empty(self.num_edges, dtype=np.int64) for _ in range(2))
        shift, distance = np.empty((self.num_edges, 3), dtype=self._shift_dtype), np.empty(self.num_edges)
        if (
            self._fill(
                *self._shared,
                self._shift_dtype == np.int8,
                center.ctypes.data,
                neighbor.ctypes.data,
                shift.ctypes.data,
                distance.ctypes.data,
            )
            != 0
        ):
            raise MemoryError
        return center, neighbor, shift, distance


@cache
def _entry_points(native: NativeLibrary) -> tuple:
    pointer, whole, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    count, fill = native.functions.equipot_count_neighbors, native.functions.equipot_fill_neighbors
    count.argtypes = (pointer, pointer, pointer, whole, number, pointer, pointer)
    fill.argtypes = (pointer, pointer, pointer, whole, number, pointer, number, pointer, pointer, pointer, pointer)
    count.restype = fill.restype = whole
    return count, fill
