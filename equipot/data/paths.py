"""Where the files named in a configuration are: data.root, else EQUIPOT_DATA, else beside the configuration."""

from __future__ import annotations

import contextlib
import difflib
import glob
import hashlib
import os
from dataclasses import replace
from pathlib import Path

from equipot.config.schema import DataConfig
from equipot.data.formats import ACCEPTED, format_of
from equipot.errors import DataError

#: Environment variable that names the folder of published data sets.
DATA_VARIABLE = "EQUIPOT_DATA"
#: Names of a folder among which the nearest is looked for.
_MOST_NAMES = 5000


def resolve_file(name: str, config: DataConfig, config_directory: str | Path) -> Path:
    """Find one file of a configuration.

    A path from the root of the file system is taken as it is. Otherwise the name is relative to ``data.root`` where
    that is given (itself relative to the configuration's folder), else to the folder in the variable EQUIPOT_DATA, and
    where the variable is not set or its folder lacks the file, to the configuration's folder.

    Raises:
        DataError: The file is in none of these places; says which were looked at and the nearest name there, where the
            data can be got (``data.source``) and how to set the variable.
    """
    given = Path(name).expanduser()
    places = [folder / given for folder in _folders(given, config, config_directory)]
    for place in places:
        if place.exists():
            return place
    looked = " nor as ".join(str(place) for place in places)
    raise DataError(f"The data file '{name}' is not there as {looked}.{_advice(name, given, places, config)}")


def expand_files(config: DataConfig, config_directory: str | Path) -> tuple[DataConfig, list[str]]:
    """Write out the patterns (``runs/*/vasprun.xml``) and folders among the files of a configuration.

    A folder stands for the files of an accepted kind that lie in it (not in folders below it); ``**`` in a pattern goes
    through all folders below. What a name stands for is taken from the first place of :func:`resolve_file` that has it,
    in alphabetical order.

    Returns:
        The configuration with file names only, and a sentence for each name that stood for others.

    Raises:
        DataError: a pattern that fits no file, a folder without one or with a vasprun.xml and an OUTCAR of one run, a
            file that is named twice.
    """
    named: dict[str, tuple[str, ...]] = {}
    lines: list[str] = []
    origins: dict[str, tuple[str, str]] = {}
    for part in ("train", "validation", "test"):
        files: list[str] = []
        for name in getattr(config, part):
            found = _stands_for(name, config, config_directory)
            for file in found:
                other_part, other = origins.get(file, (part, name))
                if file in origins and (found != [name] or other != file):
                    raise DataError(
                        f"The data file '{file}' is named twice: by '{other}' in data.{other_part} and by '{name}' in "
                        f"data.{part}. Each frame belongs to one of them: choose patterns that do not overlap."
                    )
                origins.setdefault(file, (part, name))
            if found != [name]:
                lines.append(f"data.{part}: '{name}' stands for {len(found)} files ({_listed(found)})")
            files += found
        named[part] = tuple(files)
    return replace(config, **named), lines


def _stands_for(name: str, config: DataConfig, config_directory: str | Path) -> list[str]:
    given = Path(name).expanduser()
    places = _folders(given, config, config_directory)
    for folder in places:
        place = folder / given
        if place.is_dir():
            return [str(Path(name) / file) for file in _in_folder(place)]
        if place.exists():
            return [name]
    if not any(sign in name for sign in "*?["):
        return [name]  # resolve_file says that it is not there
    for folder in places:
        found = sorted(glob.glob(str(given), root_dir=None if given.is_absolute() else folder, recursive=True))
        files = [file for file in found if (folder / file).is_file()]
        for file in files:
            format_of(folder / file)
        if files:
            return files
    looked = " nor in ".join(str(place) for place in places)
    raise DataError(
        f"The pattern '{name}' fits no file in {looked}."
        + _advice(name, given, [folder / given for folder in places], config)
    )


def _in_folder(folder: Path) -> list[str]:
    """The files of a folder that can be read."""
    formats: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            with contextlib.suppress(DataError):
                formats[path.name] = format_of(path)
    if not formats:
        raise DataError(
            f"The folder {folder} holds no file that can be read. Accepted are {ACCEPTED}. For files in folders "
            f"below it write a pattern, as in '{folder.name}/*/vasprun.xml'."
        )
    if {"vasprun", "outcar"} <= set(formats.values()):
        raise DataError(
            f"The folder {folder} holds a vasprun.xml and an OUTCAR, which may be of one run: name the one "
            f"that is meant."
        )
    return list(formats)


def _folders(given: Path, config: DataConfig, config_directory: str | Path) -> list[Path]:
    """Where a name is looked for, in order; a path from the root of the file system replaces any of them."""
    directory = Path(config_directory)
    if given.is_absolute():
        return [Path(given.anchor)]
    if config.root is not None:
        return [directory / Path(config.root).expanduser()]
    variable = os.environ.get(DATA_VARIABLE)
    return [*([Path(variable).expanduser()] if variable else []), directory]


def _advice(name: str, given: Path, places: list[Path], config: DataConfig) -> str:
    """The nearest name, where the data come from and how to say where they are."""
    text = ""
    if (close := _nearest(places)) is not None:
        text += f" Did you mean {close}?"
    if config.source:
        text += f" It comes from {config.source}."
    if not given.is_absolute() and config.root is None:
        variable = os.environ.get(DATA_VARIABLE)
        state = f"(it is {variable})" if variable else "(it is not set)"
        text += (
            f" Set the variable {DATA_VARIABLE} {state} or data.root to the folder that holds "
            f"'{given.parts[0] if given.parts else name}'."
        )
    return text


def _nearest(places: list[Path]) -> str | None:
    """The path most like one that is not there: the first part of it that is missing is looked for among its like."""
    for place in places:
        there = place
        while not there.parent.is_dir() and there != there.parent:
            there = there.parent
        try:
            names = sorted(os.listdir(there.parent))[:_MOST_NAMES]
        except OSError:
            continue
        by_lower = {name.lower(): name for name in reversed(names)}
        if close := difflib.get_close_matches(there.name.lower(), by_lower, n=1, cutoff=0.6):
            return str(there.parent / by_lower[close[0]] / place.relative_to(there))
    return None


def _listed(files: list[str]) -> str:
    return ", ".join(files) if len(files) <= 4 else f"{files[0]}, {files[1]}, ..., {files[-1]}"


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
