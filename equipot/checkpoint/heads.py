"""Heads: several levels of theory in one model file, each a potential of its own that shares tensors with the others.

The first head's tensors stand in the file under their own names; of another head only those that differ, as
``heads/NAME/tensor``. The document has an entry for each head: which tensors are its own, its atomic energies, the
energies of its test cluster, and its metadata. Loading one gives an ordinary potential.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from equipot.checkpoint.probe import probe_energies
from equipot.errors import CheckpointError, UsageError
from equipot.models import Potential

_PREFIX = "heads/"


def choose_head(where: str, head: str | None, heads: Sequence[str], what: str = "levels of theory") -> str | None:
    """The head meant; upper and lower case are the same where that is not ambiguous.

    Args:
        where: the file, for messages.
        head: as the user says it.
        heads: names of all; none: the model has one head without a name.
        what: the heads are.

    Raises:
        UsageError: none of several was chosen, or one that is not there.
    """
    if head is None and len(heads) > 1:
        raise UsageError(
            f"{where}: the model has several heads ({what}): {', '.join(heads)}. Choose one with --head "
            "(in Python: head=; for the base of a fine-tuning finetune.base_head)."
        )
    if head is None:
        return heads[0] if heads else None
    if head in heads:
        return head
    same = [name for name in heads if name.lower() == head.lower()]
    if len(same) == 1:
        return same[0]
    known = (
        f"its heads are {', '.join(heads)}"
        if len(heads) > 1
        else f"it has one head, {heads[0]}"
        if heads
        else "it has one head, without a name"
    )
    raise UsageError(f"{where}: there is no head {head!r}; {known}.")


def pack_heads(path: Any, heads: Mapping[str, Potential]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file with several heads, and the entries of its document.

    Args:
        path: of the file, for messages.
        heads: name -> potential; all have the same configuration.

    Raises:
        UsageError: configurations that differ, or a name that cannot be part of a tensor's name.
    """
    first, *others = heads
    tensors, entries = dict(heads[first].state_dict()), {}
    for name, potential in heads.items():
        if not name or "/" in name:
            raise UsageError(
                f"{path}: a head cannot be named {name!r} in a file of several. Write it into a file of "
                "its own (convert: --head)."
            )
        if potential.config != heads[first].config:
            raise UsageError(
                f"{path}: the heads {first} and {name} are of different architecture, elements or "
                "precision, or repel at different strength; one file holds heads that differ in their "
                "weights only. Write each into a file of its own (convert: --head)."
            )
        own = (
            [key for key, tensor in potential.state_dict().items() if not torch.equal(tensor, tensors[key])]
            if name in others
            else []
        )
        tensors |= {f"{_PREFIX}{name}/{key}": potential.state_dict()[key] for key in own}
        entries[name] = {
            "tensors": own,
            "probe": probe_energies(potential),
            "metadata": dict(potential.metadata),
            "atomic_energies": dict(zip(potential.elements, potential.atomic_energies.tolist())),
        }
    return tensors, entries


def unpack_head(
    path: Any, name: str, document: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The document and the tensors that a file with one head would have.

    Raises:
        CheckpointError: its tensors are not there, or there are tensors of no head.
    """
    entry = document["heads"][name]
    shared = {key: tensor for key, tensor in tensors.items() if not key.startswith(_PREFIX)}
    known = {f"{_PREFIX}{other}/{key}" for other, its in document["heads"].items() for key in its["tensors"]}
    extra = sorted(key for key in tensors if key.startswith(_PREFIX) and key not in known)
    if extra:
        raise CheckpointError(f"{path}: its tensors {', '.join(extra[:8])} belong to no head.")
    missing = [key for key in entry["tensors"] if f"{_PREFIX}{name}/{key}" not in tensors]
    if missing:
        raise CheckpointError(f"{path}: the head {name} lacks its tensors {', '.join(map(str, missing[:8]))}.")
    own = {key: tensors[f"{_PREFIX}{name}/{key}"] for key in entry["tensors"]}
    return {
        **document,
        "atomic_energies": entry["atomic_energies"],
        "probe": entry["probe"],
        "metadata": {**entry["metadata"], "head": name},
    }, {**shared, **own}


def check_entries(path: Any, heads: Any) -> None:
    """Raise CheckpointError where a document's ``heads`` is not of the expected form."""
    kinds = {"tensors": list, "probe": list | None, "metadata": dict, "atomic_energies": dict}
    is_good = heads is None or (
        isinstance(heads, dict)
        and len(heads) > 1
        and all(
            isinstance(entry, dict)
            and set(entry) == set(kinds)
            and all(isinstance(entry[key], kind) for key, kind in kinds.items())
            and all(isinstance(key, str) for key in entry["tensors"])
            and (entry["probe"] is None or all(isinstance(energy, float) for energy in entry["probe"]))
            for entry in heads.values()
        )
    )
    if not is_good:
        raise CheckpointError(f"{path}: the document's 'heads' is not what it should be.")
