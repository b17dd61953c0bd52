"""Build of the native kernels: one shared library an instruction set, from the same C++17 sources.

Everything else about the package stands in pyproject.toml. The libraries are plain C++ with C entry points: no Python
and no torch headers. Which of them is used is decided when the package is imported, by the CPU it runs on. Where
there is no C++ compiler the installation goes on without them, and the package runs on its pure torch path.
"""

from __future__ import annotations

import platform
from copy import copy
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCE = Path("equipot/kernels/csrc")
COMMON = [
    "-std=c++17",
    "-O3",
    "-g0",
    "-fopenmp",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-ffp-contract=fast",
    "-Wall",
    "-Wno-psabi",
]
INSTRUCTION_SETS = {"plain": []}
if platform.machine().lower() in ("x86_64", "amd64"):
    INSTRUCTION_SETS["avx2"] = ["-march=x86-64-v3"]
    INSTRUCTION_SETS["avx512"] = ["-march=x86-64-v4", "-mprefer-vector-width=512"]


class KernelLibrary(Extension):
    """A shared library without a Python module in it."""


class BuildKernels(build_ext):
    """Compile the libraries side by side, and leave Python's name suffix and init function away."""

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split("."))) + ".so"

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return []

    def build_extension(self, ext: Extension) -> None:
        # Objects of the same sources for different instruction sets, compiled at the same time: each in its own folder.
        own = copy(self)
        own.build_temp = str(Path(self.build_temp, ext.name.rsplit(".", 1)[-1]))
        build_ext.build_extension(own, ext)

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or True  # one job a library, as many as there are cores


sources = sorted(str(path) for path in SOURCE.rglob("*.cpp"))
headers = sorted(str(path) for pattern in ("*.h", "*.hpp") for path in SOURCE.rglob(pattern))
setup(
    ext_modules=[
        KernelLibrary(
            f"equipot.kernels.native.libequipot_{name}",
            sources,
            depends=headers,
            include_dirs=[str(SOURCE)],
            extra_compile_args=COMMON + flags,
            extra_link_args=["-fopenmp"],
            language="c++",
            optional=True,
        )
        for name, flags in INSTRUCTION_SETS.items()
    ],
    cmdclass={"build_ext": BuildKernels},
)
