"""Older model files brought up to the present format, one function a version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from equipot.errors import CheckpointError

#: Version of the model files this package writes. A change of the document's form or of the names or shapes of tensors
#: raises it by one, adds a function to MIGRATIONS and a golden file to the tests.
FORMAT_VERSION = 2

Tensors = dict[str, Tensor]
#: Takes document and tensors of one version and returns those of the next. The tensors are None where only the
#: document is wanted.
Migration = Callable[[dict[str, Any], Tensors | None], tuple[dict[str, Any], Tensors | None]]

#: version -> function from that version to the next.
MIGRATIONS: dict[int, Migration] = {}


def _heads(document: dict[str, Any], tensors: Tensors | None) -> tuple[dict[str, Any], Tensors | None]:
    """Version 2 may hold several heads. Files with one are still written in version 1."""
    return {**document, "heads": None}, tensors


MIGRATIONS[1] = _heads


def migrate(
    document: Mapping[str, Any],
    tensors: Tensors | None,
    *,
    where: str,
    migrations: Mapping[int, Migration] | None = None,
    target: int | None = None,
) -> tuple[dict[str, Any], Tensors | None]:
    """Bring a model file's content up to the present version.

    Args:
        document: with ``format_version``.
        tensors: by name, or None to migrate the document alone.
        where: the file, for messages.
        migrations, target: the table of steps and the version wanted, by default this package's.

    Returns:
        (document, tensors) of the present version; the arguments are left as they are.

    Raises:
        CheckpointError: the version is newer than this package, or not a version.
    """
    migrations = MIGRATIONS if migrations is None else migrations
    target = FORMAT_VERSION if target is None else target
    version = document.get("format_version")
    if type(version) is not int or version < 1:
        raise CheckpointError(
            f"{where}: the format version is {version!r}, expected a whole number from 1 to {target}."
        )
    if version > target:
        raise CheckpointError(
            f"{where}: format version {version}, and this equipot reads up to {target}. It was "
            f"written by equipot {document.get('equipot_version', 'of a later date')}; update "
            "equipot to open it."
        )
    document, tensors = dict(document), None if tensors is None else dict(tensors)
    while version < target:
        if version not in migrations:
            raise CheckpointError(f"{where}: format version {version} can no longer be read.")
        document, tensors = migrations[version](document, tensors)
        version += 1
        document["format_version"] = version
    return document, tensors
