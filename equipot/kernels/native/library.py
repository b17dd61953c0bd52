"""Find and load the compiled library for this CPU, or say why there is none."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch  # noqa: F401  loads its OpenMP runtime first: ours then shares it, and there is one thread pool

from equipot.kernels.native.header import header

INSTRUCTION_SETS = ("plain", "avx2", "avx512")


@dataclass(frozen=True)
class NativeLibrary:
    """A loaded library.

    Attributes:
        functions: its C entry points.
        instruction_set: ``plain``, ``avx2`` or ``avx512``.
        path: the file.
    """

    functions: ctypes.CDLL
    instruction_set: str
    path: Path


@cache
def load() -> NativeLibrary | str:
    """The library for this CPU, or a sentence that says why the native kernels cannot be used.

    ``EQUIPOT_INSTRUCTION_SET`` (plain, avx2, avx512) asks for a narrower set than the widest one, for tests.
    """
    plain = _open("plain")
    if isinstance(plain, str):
        return plain
    best = INSTRUCTION_SETS[plain.equipot_best_instruction_set()]
    asked = os.environ.get("EQUIPOT_INSTRUCTION_SET", "")
    if asked:
        if asked not in INSTRUCTION_SETS:
            return f"EQUIPOT_INSTRUCTION_SET is {asked!r}, expected one of {', '.join(INSTRUCTION_SETS)}."
        if INSTRUCTION_SETS.index(asked) > INSTRUCTION_SETS.index(best):
            return f"EQUIPOT_INSTRUCTION_SET asks for {asked}, which this CPU does not run; it runs {best}."
        best = asked
    functions = _open(best)
    if isinstance(functions, str):
        return functions
    return NativeLibrary(functions, best, _path(best))


def _path(name: str) -> Path:
    return Path(__file__).with_name(f"libequipot_{name}.so")


def _open(name: str) -> ctypes.CDLL | str:
    path = _path(name)
    if not path.exists():
        return (
            f"The native kernels were not built ({path.name} is missing); install the package again where there is "
            "a C++ compiler."
        )
    try:
        functions = ctypes.CDLL(str(path))
    except OSError as error:
        return f"The native kernels cannot be loaded: {error}."
    found, expected = functions.equipot_abi_version(), header().abi_version
    if found != expected:
        return (
            f"The native kernels are of another version of the package (interface {found}, expected {expected}); "
            "install the package again."
        )
    for name, (result, arguments) in header().signatures.items():
        function = getattr(functions, name)
        function.restype, function.argtypes = result, arguments
    return functions
