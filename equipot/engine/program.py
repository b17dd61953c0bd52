"""The C++ engine, built from a document: structures in, results out, as plain arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from equipot.errors import UsageError
from equipot.kernels.native import library
from equipot.kernels.native.header import header

_EXCHANGE = header().callbacks["EquipotExchange"]


class Program:
    """A program that runs. Not to be used by two threads at once.

    Args:
        document: made by :class:`equipot.kernels.document.Document`.

    Raises:
        UsageError: there are no native kernels, or the engine refuses the document.
        MemoryError: it is too large.
    """

    def __init__(self, document: bytes) -> None:
        self._engine = None
        loaded = library.load()
        if isinstance(loaded, str):
            raise UsageError(loaded)
        self._functions = loaded.functions
        self._engine = self._functions.equipot_engine_load(document, len(document))
        if self._engine is None:
            self._raise("the potential")
        self._dtype = np.dtype(np.float64 if self._functions.equipot_engine_is_double(self._engine) else np.float32)

    def __del__(self) -> None:
        if self._engine is not None:
            self._functions.equipot_engine_destroy(self._engine)

    def _raise(self, what: str) -> None:
        message = self._functions.equipot_engine_error().decode()
        if message == "not enough memory":
            raise MemoryError("The engine has not enough memory for a structure of this size.")
        raise UsageError(f"The engine refuses {what}: {message}.")

    def _call(self, name: str, *arguments: Any) -> None:
        if getattr(self._functions, f"equipot_engine_{name}")(self._engine, *arguments):
            self._raise(f"the call {name}")

    def set_list(
        self,
        species: np.ndarray,
        center: np.ndarray,
        neighbor: np.ndarray,
        shift: np.ndarray,
        positions: np.ndarray,
        cell: np.ndarray,
    ) -> None:
        """Take in a neighbour list with skin; int32, int64, int64, int64, float64 and float64 arrays."""
        self._call(
            "set_list",
            len(species),
            _at(species),
            len(center),
            _at(center),
            _at(neighbor),
            _at(shift),
            _at(positions),
            _at(cell),
        )

    def set_points(
        self,
        species: np.ndarray,
        atom_point: np.ndarray,
        point_node: np.ndarray,
        start: np.ndarray,
        point: np.ndarray,
        positions: np.ndarray,
    ) -> np.ndarray:
        """Take in a list of pairs from atoms to points: atoms and images of atoms.

        Args:
            species: (num_nodes,) int32, of the atoms to evaluate and then of the halo.
            atom_point: (num_atoms,) int32, which point an atom itself is.
            point_node: (num_points,) int32, of which node a point is an image.
            start: (num_atoms + 1,) int64, pairs of each atom.
            point: (num_pairs,) int32, where they end.
            positions: (num_points, 3) float64 Angstrom, for the order of the atoms only.

        Returns:
            (num_nodes,) int64, the row of each node in an exchange.
        """
        places = ctypes.c_void_p()
        self._num_rows = len(species)
        self._call(
            "set_points",
            len(atom_point),
            len(species),
            len(positions),
            _at(species),
            _at(atom_point),
            _at(point_node),
            _at(start),
            _at(point),
            _at(positions),
            ctypes.addressof(places),
        )
        if not len(species):
            return np.empty(0, dtype=np.int64)
        return np.ctypeslib.as_array(ctypes.cast(places, ctypes.POINTER(ctypes.c_int64)), (len(species),)).copy()

    def update(self, positions: np.ndarray, cell: np.ndarray | None, num_threads: int) -> tuple[int, int, float]:
        """Move the atoms or points of the present list; float64 arrays.

        Returns:
            The two atoms (points) of the list that are closest (-1 where it is empty) and their distance.
        """
        pair, distance = (ctypes.c_int64 * 2)(), ctypes.c_double()
        self._call("update", _at(positions), _at(cell), num_threads, ctypes.addressof(pair), ctypes.addressof(distance))
        return pair[0], pair[1], distance.value

    def run(
        self,
        num_threads: int,
        outputs: Sequence[np.ndarray | None],
        exchange: Callable[[np.ndarray], None] | None = None,
    ) -> None:
        """Fill ``outputs``, all float64.

        With a list of points forces and virials of atoms are by point, and added to.

        Args:
            num_threads: at most this many.
            outputs: node energies (num_atoms,), forces (num_atoms, 3), virial (3, 3), node virials and centroid virials
                (num_atoms, 3, 3); None, or missing at the end: not wanted.
            exchange: called with rows by node, in the order of ``set_points``' result; has to fill those of the halo.
        """
        failure: list[BaseException] = []

        def called(_: int, rows: int, row_bytes: int) -> None:
            if failure:
                return
            try:
                exchange(self._rows(rows, row_bytes))
            except BaseException as error:  # must not be lost in C++
                failure.append(error)

        function = _EXCHANGE() if exchange is None else _EXCHANGE(called)
        wanted = [*map(_at, outputs), *[None] * (5 - len(outputs))]
        self._call("run", num_threads, *wanted, function, None)
        if failure:
            raise failure[0]

    def _rows(self, address: int, row_bytes: int) -> np.ndarray:
        columns = row_bytes // self._dtype.itemsize
        kind = ctypes.POINTER(ctypes.c_double if self._dtype == np.float64 else ctypes.c_float)
        return np.ctypeslib.as_array(ctypes.cast(address, kind), (self._num_rows, columns))

    def num_bytes(self) -> int:
        """Memory of the present structure in the engine."""
        return self._functions.equipot_engine_bytes(self._engine)


def _at(array: np.ndarray | None) -> int | None:
    return None if array is None else array.ctypes.data
