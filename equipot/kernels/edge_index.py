"""The edges of a batch in both orders, by receiver and by sender, computed once and shared by all layers."""

from __future__ import annotations

from ctypes import c_int64, c_void_p
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from equipot.errors import UsageError
from equipot.kernels.native import library
from equipot.kernels.native.operator import address, operator


class EdgeIndex(NamedTuple):
    """Edges sorted by centre, with the pointers a pass over atoms needs; all int64.

    Attributes:
        center: (E,) receiver i of each edge, ascending.
        neighbor: (E,) sender j of each edge.
        center_ptr: (N + 1,) the edges of centre i are ``center_ptr[i]:center_ptr[i + 1]``.
        neighbor_order: (E,) numbers of the edges sorted by neighbour, those of one neighbour ascending.
        neighbor_ptr: (N + 1,) atom j sends ``neighbor_order[neighbor_ptr[j]:neighbor_ptr[j + 1]]``.
    """

    center: Tensor
    neighbor: Tensor
    center_ptr: Tensor
    neighbor_order: Tensor
    neighbor_ptr: Tensor

    @classmethod
    def build(cls, center: Tensor, neighbor: Tensor, num_nodes: int) -> EdgeIndex:
        """Sort by neighbour and count, in O(N + E).

        Args:
            center: (E,) int64, ascending.
            neighbor: (E,) int64.
            num_nodes: N.

        Raises:
            UsageError: centres that do not ascend, or indices outside 0..N-1 (not checked on a GPU, where looking
                would wait for it).
        """
        if center.is_cpu and (torch.compiler.is_compiling() or not isinstance(library.load(), str)):
            center, neighbor = center.contiguous(), neighbor.contiguous()
            return cls(center, neighbor, *_sort_edges(center, neighbor, num_nodes))
        return cls(center, neighbor, *_sort_with_torch(center, neighbor, num_nodes))


def _sort_with_torch(center: Tensor, neighbor: Tensor, num_nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    if center.is_cpu and len(center):
        _raise_for(
            1
            if min(center.min(), neighbor.min()) < 0 or max(center.max(), neighbor.max()) >= num_nodes
            else 2
            if bool((center[1:] < center[:-1]).any())
            else 0,
            num_nodes,
        )
    return _pointer(center, num_nodes), torch.argsort(neighbor, stable=True), _pointer(neighbor, num_nodes)


def _pointer(index: Tensor, num_nodes: int) -> Tensor:
    return torch.nn.functional.pad(torch.bincount(index, minlength=num_nodes).cumsum(0), (1, 0))


@cache
def _native_sort() -> Any:
    function = library.load().functions.equipot_edge_index
    function.argtypes = [c_int64, c_int64, *[c_void_p] * 5]
    return function


def _compute(center: Tensor, neighbor: Tensor, num_nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    if isinstance(library.load(), str):  # traced where the library was, run where it is not
        return _sort_with_torch(center, neighbor, num_nodes)
    if center.dtype != torch.int64 or neighbor.dtype != torch.int64 or center.shape != neighbor.shape:
        raise UsageError(
            f"An edge index is two int64 tensors of one length, found {center.dtype} "
            f"{tuple(center.shape)} and {neighbor.dtype} {tuple(neighbor.shape)}."
        )
    outputs = _fake(center, neighbor, num_nodes)
    _raise_for(
        _native_sort()(
            num_nodes,
            len(center),
            address(center.contiguous()),
            address(neighbor.contiguous()),
            *(tensor.data_ptr() for tensor in outputs),
        ),
        num_nodes,
    )
    return outputs


def _raise_for(problem: int, num_nodes: int) -> None:
    if problem == 1:
        raise UsageError(f"An edge names an atom outside 0..{num_nodes - 1}.")
    if problem == 2:
        raise UsageError("The edges must be sorted by their centre (the first row of edge_index).")


def _fake(center: Tensor, neighbor: Tensor, num_nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    return center.new_empty(num_nodes + 1), torch.empty_like(center), center.new_empty(num_nodes + 1)


_sort_edges = operator(
    "sort_edges(Tensor center, Tensor neighbor, SymInt num_nodes) -> (Tensor, Tensor, Tensor)",
    compute=_compute,
    fake=_fake,
)
