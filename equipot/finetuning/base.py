"""The finished potential a fine-tuning begins with: found, read, and described for the metadata of what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from equipot.checkpoint import head_names, load_model, read_model_document
from equipot.config import FinetuneConfig
from equipot.data.paths import file_sha256
from equipot.errors import UsageError
from equipot.finetuning.low_rank import merged_state
from equipot.models import Potential


@dataclass(frozen=True)
class Base:
    """A base model.

    Attributes:
        potential: in evaluation mode, on the CPU, its parameters frozen.
        path: absolute.
        sha256: of the file.
        other_heads: names of further levels of theory in the file.
    """

    potential: Potential
    path: Path
    sha256: str
    other_heads: tuple[str, ...] = ()

    @property
    def head(self) -> str:
        """The name of the base's head beside a new one."""
        return self.potential.metadata.get("head") or "base"

    def facts(self) -> dict[str, Any]:
        """What the metadata of a fine-tuned model say of its base; without the folders of this machine."""
        metadata = self.potential.metadata
        kept = ("name", "licence", "citation", "level_of_theory", "head", "training_data", "converted_from")
        return {
            "file": self.path.name,
            "sha256": self.sha256,
            **{key: metadata[key] for key in kept if metadata.get(key) is not None},
        }


def find_base(config: FinetuneConfig, directory: str | Path) -> Path:
    """The base's model file: as named (from the configuration's folder or the present one), or in a run folder.

    Raises:
        UsageError: no base is named, or it is not there.
    """
    if config.base is None:
        raise UsageError(
            "The fine-tuning has no base: say equipot finetune BASE CONFIG, or finetune.base in the configuration."
        )
    given = Path(config.base).expanduser()
    places = [given] if given.is_absolute() else [Path(directory) / given, Path.cwd() / given]
    for place in places:
        if place.is_dir() and (place / "model.eqp").is_file():
            return (place / "model.eqp").resolve()
        if place.is_file():
            return place.resolve()
    looked = " nor as ".join(dict.fromkeys(map(str, places)))
    raise UsageError(
        f"The base model is not there as {looked}: give a model file (.eqp) or the folder of a run that "
        "has been trained."
    )


def load_base(config: FinetuneConfig, directory: str | Path) -> Base:
    """Find and read the base.

    Raises:
        UsageError: see :func:`find_base`.
        CheckpointError: not a model file, or damaged.
        UsageError: it has several heads and none is chosen, or one that is not there.
    """
    path = find_base(config, directory)
    potential = load_model(path, head=config.base_head).requires_grad_(False)
    others = tuple(name for name in head_names(read_model_document(path)) if name != potential.metadata.get("head"))
    return Base(potential, path, file_sha256(path), others)


def plain_copy(potential: Potential) -> Potential:
    """A new ordinary potential with the weights of another, corrections merged, trainable as one built anew is."""
    with torch.random.fork_rng(devices=[]):
        result = Potential(potential.config).to(potential.device)
    result.load_state_dict(merged_state(potential))
    result.metadata = dict(potential.metadata)
    return result.eval()
