"""Which implementation the operations use, native or reference, and which gradients their backward passes compute.

The choice is made anew at every call, so that one model runs on either path. It is, from strong to weak: the innermost
:func:`use` block, the environment variable ``EQUIPOT_KERNELS``, ``auto``.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from functools import cache

import torch

from equipot.errors import UsageError
from equipot.kernels.native import library

#: What may be chosen: native where there are kernels, native or an error, never native.
KINDS = ("auto", "native", "reference")
#: What :func:`gradients_of` takes.
GRADIENTS = ("all", "inputs", "parameters")
VARIABLE = "EQUIPOT_KERNELS"
_DTYPES = (torch.float32, torch.float64)

_chosen: ContextVar[str | None] = ContextVar("equipot_kernels", default=None)
_wanted: ContextVar[str] = ContextVar("equipot_wanted_gradients", default="all")


def uses_native(tensor: torch.Tensor) -> bool:
    """Return whether operations on ``tensor`` run in the native kernels: a CPU tensor of float32 or float64.

    Cheap enough (well below a microsecond) to be asked at every call. Where ``auto`` finds no native kernels, it says
    once in the life of the process that the reference is slow.

    Raises:
        UsageError: ``native`` was asked for and the kernels are not there, or ``EQUIPOT_KERNELS`` has no meaning.
    """
    return _is_native(_chosen.get()) and tensor.is_cpu and tensor.dtype in _DTYPES


@contextlib.contextmanager
def use(kind: str | None) -> Iterator[None]:
    """Choose the kernels for the time of a ``with`` block, in this thread (or asyncio task).

    Args:
        kind: ``auto``: native where the package was built with them, else the reference; ``native``: an error where
            they are not there; ``reference``: pure torch. None: leave the choice as it is. A tensor that the native
            kernels do not serve (on a GPU, half precision) takes the reference in every case.

    Raises:
        UsageError: another value, or ``native`` where there are no native kernels.
    """
    if kind is None:
        yield
        return
    _is_native(_check(kind, "The choice of kernels"))
    token = _chosen.set(kind)
    try:
        yield
    finally:
        _chosen.reset(token)


def native_library() -> library.NativeLibrary | None:
    """Return the library of native kernels where the present choice means it, else None; errors as `uses_native`."""
    return library.load() if _is_native(_chosen.get()) else None


def instruction_set() -> str | None:
    """Return the instruction set of the native kernels in use (``plain``, ``avx2``, ``avx512``); None: reference."""
    loaded = native_library()
    return None if loaded is None else loaded.instruction_set


@contextlib.contextmanager
def gradients_of(kind: str) -> Iterator[None]:
    """Say which gradients the backward passes inside the block are for, so that the others are not computed.

    torch tells a backward function which of its inputs require a gradient, but not which of them this call of
    ``autograd.grad`` is after. The native kernels ask here; what is not wanted comes back as None. The reference path
    is not affected. The value at the time of the backward pass counts, in its thread (on a CPU that is the caller's).

    Args:
        kind: ``inputs``: what depends on the positions (harmonics, radial basis, node features), but no weights, tables
            and coefficients; ``parameters``: the weights and node features, but nothing of an edge's geometry;
            ``all``: both.

    Raises:
        UsageError: another value.
    """
    if kind not in GRADIENTS:
        raise UsageError(f"Gradients can be wanted of {', '.join(GRADIENTS)}, not {kind!r}.")
    token = _wanted.set(kind)
    try:
        yield
    finally:
        _wanted.reset(token)


def wanted_gradients() -> str:
    """Return what the innermost :func:`gradients_of` says, ``all`` without one."""
    return _wanted.get()


def wants_parameters() -> bool:
    """Return whether gradients of weights, tables and coefficients are wanted."""
    return _wanted.get() != "inputs"


def wants_geometry() -> bool:
    """Return whether gradients of harmonics, radial basis functions and edge vectors are wanted."""
    return _wanted.get() != "parameters"


@cache
def _is_native(kind: str | None) -> bool:
    """Whether a choice means the native kernels; None: what the environment says, read once."""
    if kind is None:
        kind = _check(os.environ.get(VARIABLE) or "auto", f"The environment variable {VARIABLE}")
    if kind == "reference":
        return False
    loaded = library.load()
    if not isinstance(loaded, str):
        return True
    if kind == "native":
        raise UsageError(f"The native kernels were asked for and are not there. {loaded}")
    _warn_of_reference(loaded)
    return False


@cache
def _warn_of_reference(reason: str) -> None:
    warnings.warn(
        f"equipot runs on its pure torch path, which gives the same numbers many times slower. {reason} "
        f"({VARIABLE}=reference chooses this path without a warning.)",
        stacklevel=2,
    )


def _check(kind: str, what: str) -> str:
    if kind not in KINDS:
        raise UsageError(f"{what} is {kind!r}, expected one of {', '.join(KINDS)}.")
    return kind
