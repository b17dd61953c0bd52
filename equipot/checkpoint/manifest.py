"""The step checkpoints of a run: tensor files, each made complete by a manifest that is written after it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from equipot.checkpoint import tensor_file
from equipot.checkpoint.atomic import TEMPORARY_SUFFIX, write_json
from equipot.errors import CheckpointError
from equipot.version import __version__

_logger = logging.getLogger(__name__)
_FILE = re.compile(r"step-(\d{8,12})(?:-(\d{1,4}))?\.safetensors")
_MANIFEST = re.compile(r"step-(\d{8,12})(?:-(\d{1,4}))?\.json")
_MAX_MANIFEST_BYTES = 100_000


@dataclass(frozen=True)
class StepCheckpoint:
    """A checkpoint that has a manifest; its content is verified when it is loaded.

    Attributes:
        step: optimiser steps done when it was written.
        serial: 0, or a count that tells checkpoints of the same step apart.
        manifest: path of the manifest; the tensor file has the same name with another ending.
    """

    step: int
    serial: int
    manifest: Path

    @property
    def path(self) -> Path:
        """The tensor file."""
        return self.manifest.with_suffix(".safetensors")


class StepCheckpoints:
    """The folder of step checkpoints.

    A checkpoint counts once its manifest is there, and is trusted only if size and sha256 agree with the manifest and
    the file's own hash with its content. No file is ever overwritten: a second checkpoint of one step gets a serial.

    Args:
        folder: where they are; made when the first is saved.
        keep: how many to keep.
    """

    def __init__(self, folder: Path, keep: int = 2):
        self.folder, self.keep = folder, keep

    def save(self, tensors: Mapping[str, Tensor], document: Mapping[str, Any], step: int) -> Path:
        """Write a checkpoint, then remove the older ones beyond ``keep``.

        Args:
            tensors: by name.
            document: JSON-able; its ``epoch``, if any, is repeated in the manifest.
            step: optimiser steps done, 0 or more.

        Returns:
            The tensor file.

        Raises:
            CheckpointError: the disk did not take it; the checkpoints before it are untouched.
        """
        if self.folder.is_symlink():
            raise CheckpointError(f"{self.folder}: is a link; equipot does not write through links in a run folder.")
        try:
            return self._save(tensors, document, step)
        except (CheckpointError, OSError) as error:
            if self.folder.is_dir():
                raise error if isinstance(error, CheckpointError) else _not_written(self.folder, error) from error
        _logger.warning("%s: was removed while a checkpoint was written; it is made and written again.", self.folder)
        try:
            return self._save(tensors, document, step)
        except OSError as error:
            raise _not_written(self.folder, error) from error

    def _save(self, tensors: Mapping[str, Tensor], document: Mapping[str, Any], step: int) -> Path:
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"{self.folder}: cannot be made ({error.strerror}).") from error
        present = [
            int(found[2] or 0) for found in map(_FILE.fullmatch, self._names()) if found and int(found[1]) == step
        ]
        serial = max(present) + 1 if present else 0
        path = self.folder / (f"step-{step:08d}" + (f"-{serial}" if serial else "") + ".safetensors")
        try:
            tensor_file.write(path, tensors, {**document, "step": step})
            write_json(
                path.with_suffix(".json"),
                {
                    "format": "equipot-checkpoint",
                    "format_version": 1,
                    "file": path.name,
                    "size": path.stat().st_size,
                    "sha256": _sha256(path),
                    "step": step,
                    "epoch": document.get("epoch"),
                    **_versions(),
                    "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                },
            )
        except (CheckpointError, OSError):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            raise
        self._prune()
        return path

    def complete(self) -> list[StepCheckpoint]:
        """Checkpoints that have a manifest, newest first, not yet verified."""
        found = [(_MANIFEST.fullmatch(name), name) for name in self._names()]
        result = [
            StepCheckpoint(int(match[1]), int(match[2] or 0), self.folder / name) for match, name in found if match
        ]
        return sorted(result, key=lambda checkpoint: (checkpoint.step, checkpoint.serial), reverse=True)

    def load(self, checkpoint: StepCheckpoint) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Verify and read one checkpoint.

        Raises:
            CheckpointError: its manifest or its file is damaged, or the manifest points elsewhere.
        """
        manifest, path = _read_manifest(checkpoint.manifest), checkpoint.path
        if manifest.get("file") != path.name:
            raise CheckpointError(
                f"{checkpoint.manifest}: names the file {str(manifest.get('file'))[:80]!r}, expected "
                f"{path.name!r} in the same folder."
            )
        if path.is_symlink() or self.folder.is_symlink():
            raise CheckpointError(
                f"{path}: is a link or lies in one, expected a regular file; equipot does not "
                "follow links in a run folder."
            )
        if manifest.get("step") != checkpoint.step:
            raise CheckpointError(
                f"{checkpoint.manifest}: says step {manifest.get('step')}, expected {checkpoint.step}."
            )
        if not path.is_file():
            raise CheckpointError(f"{path}: the file is missing.")
        if path.stat().st_size != manifest.get("size") or _sha256(path) != manifest.get("sha256"):
            raise CheckpointError(f"{path}: size or sha256 differ from the manifest; the file is damaged.")
        return tensor_file.read(path)

    def latest(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The newest checkpoint that verifies; a damaged one is passed over with a warning.

        Returns:
            (tensors, document), the document with the key ``step``; None when no checkpoint was ever completed.

        Raises:
            CheckpointError: there are checkpoints, and every one is damaged.
        """
        failures = []
        for checkpoint in self.complete():
            try:
                result = self.load(checkpoint)
            except CheckpointError as error:
                _logger.warning("Checkpoint of step %d is passed over: %s", checkpoint.step, error)
                failures.append(error)
            else:
                _compare_versions(checkpoint)
                return result
        if failures:
            raise CheckpointError(
                f"{self.folder}: none of the {len(failures)} checkpoints can be used; the newest: {failures[0]}"
            )
        return None

    def clean(self) -> None:
        """Remove what a killed process left: temporary files, and tensor files without a manifest."""
        names = set(self._names())
        for name in names:
            is_orphan = _FILE.fullmatch(name) and name.removesuffix(".safetensors") + ".json" not in names
            if is_orphan or (name.startswith(".step-") and name.endswith(TEMPORARY_SUFFIX)):
                (self.folder / name).unlink(missing_ok=True)

    def remove_all(self) -> None:
        """Remove every checkpoint, and the folder if nothing else is in it."""
        for checkpoint in self.complete():
            self._remove(checkpoint)
        self.clean()
        if self.folder.is_dir() and not self.folder.is_symlink() and not self._names():
            self.folder.rmdir()

    def _prune(self) -> None:
        for checkpoint in self.complete()[self.keep :]:
            self._remove(checkpoint)

    def _remove(self, checkpoint: StepCheckpoint) -> None:
        try:
            checkpoint.manifest.unlink(missing_ok=True)  # first: a manifest promises a file
            checkpoint.path.unlink(missing_ok=True)
        except OSError as error:
            _logger.warning("%s: cannot be removed (%s).", checkpoint.path, error.strerror)

    def _names(self) -> list[str]:
        try:
            return [path.name for path in self.folder.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []


def _versions() -> dict[str, str]:
    return {"equipot": __version__, "torch": str(torch.__version__)}


def _compare_versions(checkpoint: StepCheckpoint) -> None:
    """Warn where a checkpoint was written by other versions than those that go on with it."""
    manifest = _read_manifest(checkpoint.manifest)
    written = {name: str(manifest.get(name, "of a version that did not say"))[:40] for name in _versions()}
    other = [f"{name} {written[name]} (now {here})" for name, here in _versions().items() if written[name] != here]
    if other:
        _logger.warning(
            "The checkpoint of step %d was written with %s; what goes on from it is not to the bit what it would have "
            "been.",
            checkpoint.step,
            " and ".join(other),
        )


def _not_written(folder: Path, error: OSError) -> CheckpointError:
    return CheckpointError(f"{folder}: a checkpoint cannot be written ({error.strerror or error}).")


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        if path.is_symlink() or path.stat().st_size > _MAX_MANIFEST_BYTES:
            raise CheckpointError(f"{path}: is a link or larger than a manifest is; equipot does not read it.")
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the manifest cannot be read ({error}).") from None
    if not isinstance(manifest, dict) or manifest.get("format") != "equipot-checkpoint":
        raise CheckpointError(f"{path}: not a manifest of equipot.")
    if manifest.get("format_version") != 1:
        raise CheckpointError(
            f"{path}: format version {manifest.get('format_version')}, expected 1; it was written by a newer equipot."
        )
    return manifest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
