"""The engine's C header is plain C, and the library, the plugin and Python have the functions it declares."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from equipot.interfaces.lammps import plugin
from equipot.kernels.native import header, library

needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler (gcc) here")


def _syntax(compiler: str, source: Path, *options: str) -> str:
    command = [compiler, *options, "-fsyntax-only", "-Wall", "-Werror", str(source)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def test_every_function_is_in_the_library_with_its_signature() -> None:
    loaded = library.load()
    assert not isinstance(loaded, str), loaded
    signatures = header.header().signatures
    assert signatures["equipot_engine_load"] == (ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int64))
    assert signatures["equipot_engine_error"] == (ctypes.c_char_p, ())
    assert signatures["equipot_engine_destroy"] == (None, (ctypes.c_void_p,))
    result, arguments = signatures["equipot_engine_run"]
    assert result is ctypes.c_int and arguments[1] is ctypes.c_int
    assert arguments[-2] is header.header().callbacks["EquipotExchange"]
    # As many as a reader counts, so that none is overlooked.
    assert len(signatures) == len(re.findall(r"^[^ *#].*\bequipot_\w+\(", header.PATH.read_text(), re.MULTILINE))
    for name, (result, arguments) in signatures.items():
        function = getattr(loaded.functions, name)
        assert (function.restype, tuple(function.argtypes)) == (result, arguments)


def test_a_declaration_that_is_not_understood_is_refused() -> None:
    text = header.PATH.read_text()
    with pytest.raises(ValueError, match="float"):
        header.parse(text + "\nint equipot_engine_other(float x);\n")
    with pytest.raises(ValueError, match="EQUIPOT_ABI_VERSION"):
        header.parse(text.replace("#define EQUIPOT_ABI_VERSION", "#define OTHER"))


@needs_compiler
def test_the_header_is_plain_c(tmp_path: Path) -> None:
    source = tmp_path / "plain.c"
    source.write_text(f'#include "{header.PATH}"\nint main(void) {{ return EQUIPOT_ABI_VERSION == 0; }}\n')
    assert not _syntax("gcc", source, "-std=c99", "-pedantic")


@needs_compiler
def test_library_and_plugin_follow_the_header(tmp_path: Path) -> None:
    """With another declaration neither compiles."""
    sources = header.PATH.parents[1]
    (tmp_path / "engine").mkdir()
    declared = "equipot_engine_load(const char* bytes, int64_t size)"
    assert declared in header.PATH.read_text()
    changed = header.PATH.read_text().replace(declared, declared.replace("int64_t", "double"))
    (tmp_path / "engine" / "engine_api.h").write_text(changed)
    library_source = tmp_path / "engine_api.cpp"
    library_source.write_text((sources / "engine" / "engine_api.cpp").read_text())
    options = ("-std=c++17", f"-I{tmp_path}", f"-I{sources}")
    assert not _syntax("g++", sources / "engine" / "engine_api.cpp", "-fopenmp", "-std=c++17", f"-I{sources}")
    assert "conflicting declaration" in _syntax("g++", library_source, "-fopenmp", *options)
    plugin_source = tmp_path / "plugin.cpp"
    plugin_source.write_text(
        '#include "engine_library.hpp"\nvoid* load(const equipot_lammps::EngineLibrary& library) '
        '{ EquipotEngine* (*function)(const char*, int64_t) = library.load; return function("", 0); }\n'
    )
    options = ("-std=c++17", f"-I{tmp_path}", f"-I{plugin.SOURCE}")
    assert "invalid conversion" in _syntax("g++", plugin_source, *options)
