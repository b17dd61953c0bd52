"""Where the files named in a configuration are: data.root, else EQUIPOT_DATA, else beside the configuration."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from equipot.config.schema import DataConfig
from equipot.errors import DataError

#: Environment variable that names the folder of published data sets.
DATA_VARIABLE = "EQUIPOT_DATA"


def resolve_file(name: str, config: DataConfig, config_directory: str | Path) -> Path:
    """Find one file of a configuration.

    A path from the root of the file system is taken as it is. Otherwise the name is relative to ``data.root`` where
    that is given (itself relative to the configuration's folder), else to the folder in the variable EQUIPOT_DATA, and
    where the variable is not set or its folder lacks the file, to the configuration's folder.

    Raises:
        DataError: The file is in none of these places; says which were looked at, where the data can be got
            (``data.source``) and how to set the variable.
    """
    given = Path(name).expanduser()
    directory = Path(config_directory)
    variable = os.environ.get(DATA_VARIABLE)
    if given.is_absolute():
        places = [given]
    elif config.root is not None:
        places = [directory / Path(config.root).expanduser() / given]
    else:
        places = [Path(variable).expanduser() / given] if variable else []
        places.append(directory / given)
    for place in places:
        if place.exists():
            return place
    looked = " nor as ".join(str(place) for place in places)
    message = f"The data file '{name}' is not there as {looked}."
    if config.source:
        message += f" It comes from {config.source}."
    if not given.is_absolute() and config.root is None:
        state = f"(it is {variable})" if variable else "(it is not set)"
        message += (
            f" Set the variable {DATA_VARIABLE} {state} or data.root to the folder that holds "
            f"'{given.parts[0] if given.parts else name}'."
        )
    raise DataError(message)


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
