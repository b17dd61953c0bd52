"""The engine's C header as Python reads it: the ctypes signature of every entry point, and the interface's version."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

#: Included by the library and by the LAMMPS plugin.
PATH = Path(__file__).parents[1] / "csrc" / "engine" / "engine_api.h"
_VALUES = {"void": None, "int": ctypes.c_int, "int64_t": ctypes.c_int64, "double": ctypes.c_double}
_FUNCTION = re.compile(r"([\w ]+?[\s*]+)(equipot_\w+)\(([^()]*)\);")
_CALLBACK = re.compile(r"typedef ([\w ]+?[\s*]*)\(\*(\w+)\)\(([^()]*)\);")


@dataclass(frozen=True)
class Header:
    """What the header declares.

    Attributes:
        abi_version: of the native kernels' entry points.
        signatures: result and arguments of each function by its name, as ctypes has them.
        callbacks: types of function pointers by their names.
    """

    abi_version: int
    signatures: dict[str, tuple[Any, tuple[Any, ...]]]
    callbacks: dict[str, Any]


def parse(text: str) -> Header:
    """Read declarations in C.

    Args:
        text: of the header.

    Raises:
        ValueError: a declaration with a type this does not know, or no version.
    """
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)
    version = re.search(r"^#define EQUIPOT_ABI_VERSION (\d+)$", text, re.MULTILINE)
    if version is None:
        raise ValueError(f"{PATH.name} does not define EQUIPOT_ABI_VERSION.")
    text = re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
    callbacks: dict[str, Any] = {}
    for result, name, arguments in _CALLBACK.findall(text):
        callbacks[name] = ctypes.CFUNCTYPE(_type(result, {}), *_arguments(arguments, {}))
    signatures = {
        name: (_type(result, callbacks), _arguments(arguments, callbacks))
        for result, name, arguments in _FUNCTION.findall(_CALLBACK.sub("", text))
    }
    return Header(int(version.group(1)), signatures, callbacks)


@cache
def header() -> Header:
    """The header that belongs to this package.

    Raises:
        OSError: it is not there.
    """
    return parse(PATH.read_text())


def _arguments(text: str, callbacks: dict[str, Any]) -> tuple[Any, ...]:
    if text.strip() == "void":
        return ()
    # Every argument has a name, which is its last word.
    return tuple(_type(re.sub(r"\w+$", "", argument.strip()), callbacks) for argument in text.split(","))


def _type(text: str, callbacks: dict[str, Any]) -> Any:
    words = text.replace("*", " * ").split()
    if words == ["const", "char", "*"]:
        return ctypes.c_char_p
    if "*" in words:
        return ctypes.c_void_p
    if len(words) == 1 and words[0] in {**_VALUES, **callbacks}:
        return callbacks[words[0]] if words[0] in callbacks else _VALUES[words[0]]
    raise ValueError(f"{PATH.name} declares something of the type {' '.join(words)!r}, which is not understood.")
