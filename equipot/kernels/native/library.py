"""Find and load the compiled library for this CPU, or say why there is none."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch  # noqa: F401  loads its OpenMP runtime first: ours then shares it, and there is one thread pool

from equipot.kernels.native.header import header
from equipot.system.forking import survive_forks

_logger = logging.getLogger(__name__)
INSTRUCTION_SETS = ("plain", "avx2", "avx512")
#: What a CPU must have to run a set, as Linux names it in /proc/cpuinfo; csrc/library.cpp asks for the same.
_NEEDS = {
    "avx2": {"avx2", "fma", "bmi2"},
    "avx512": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}
survive_forks()


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
    runs = _widest()
    asked = os.environ.get("EQUIPOT_INSTRUCTION_SET", "")
    if asked:
        if asked not in INSTRUCTION_SETS:
            return f"EQUIPOT_INSTRUCTION_SET is {asked!r}, expected one of {', '.join(INSTRUCTION_SETS)}."
        if INSTRUCTION_SETS.index(asked) > runs:
            return (
                f"EQUIPOT_INSTRUCTION_SET asks for {asked}, which this CPU does not run; it runs "
                f"{INSTRUCTION_SETS[runs]}."
            )
        functions = _open(asked)
        return functions if isinstance(functions, str) else NativeLibrary(functions, asked, _path(asked))
    reasons = []
    for name in reversed(INSTRUCTION_SETS[: runs + 1]):
        functions = _open(name)
        if isinstance(functions, str):
            reasons.append(functions)
            continue
        if reasons:
            _logger.warning("%s Those for %s are used instead, which are slower.", reasons[0], name)
        return NativeLibrary(functions, name, _path(name))
    return reasons[0]


def _widest() -> int:
    """Return the place in ``INSTRUCTION_SETS`` of the widest set that this CPU runs."""
    plain = _open("plain")
    if not isinstance(plain, str):
        return plain.equipot_best_instruction_set()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    flags = set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ()))
    return max((number for number, name in enumerate(INSTRUCTION_SETS) if _NEEDS.get(name, set()) <= flags), default=0)


def _path(name: str) -> Path:
    return Path(__file__).with_name(f"libequipot_{name}.so")


def _open(name: str) -> ctypes.CDLL | str:
    path = _path(name)
    if not path.exists():
        return (
            f"The native kernels were not built ({path.name} is missing); install the package again where there is "
            "a C++ compiler."
        )
    if not is_whole(path):
        return f"The native kernels are damaged ({path.name} is cut short); install the package again."
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


def is_whole(path: Path) -> bool:
    """Return whether a shared library has all of what its header says; loading a shorter one kills the process.

    Only 64-bit ELF of this machine's byte order is looked at; other files are left to the loader.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(64)
        if head[:4] != b"\x7fELF":
            return platform.system() != "Linux"
        if len(head) < 64:
            return False
        if head[4:6] != b"\x02\x01":
            return True
        programs, sections = struct.unpack_from("<QQ", head, 32)
        program_size, program_count, section_size, section_count = struct.unpack_from("<HHHH", head, 54)
        if max(programs + program_size * program_count, sections + section_size * section_count) > size:
            return False
        file.seek(programs)
        table = file.read(program_size * program_count)
    for number in range(program_count):
        offset, _, _, length = struct.unpack_from("<QQQQ", table, number * program_size + 8)
        if offset + length > size:
            return False
    return True
