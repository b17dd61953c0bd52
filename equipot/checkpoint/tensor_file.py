"""One file of tensors with a JSON document: a safetensors file whose metadata carries the document and a sha256.

The single metadata entry ``equipot`` is JSON with ``sha256``, ``document``, ``aliases`` (names that share another's
tensor) and ``views`` (complex tensors, stored as pairs of numbers). The hash covers everything but itself: the JSON
and each tensor's name, dtype, shape and bytes. Any safetensors reader opens the file; reading it runs no code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from equipot.checkpoint.atomic import write_atomically
from equipot.checkpoint.header import (
    MAX_HEADER_BYTES,
    MAX_TENSORS,
    METADATA_KEY,
    Header,
    parse_header,
    read_content,
)
from equipot.errors import CheckpointError

_COMPLEX = {torch.complex32: torch.float16, torch.complex64: torch.float32, torch.complex128: torch.float64}


def write(path: str | Path, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> str:
    """Write tensors and a document, atomically.

    Tensors may be of any dense dtype and layout, on any device, share memory or be views of each other. Those that
    are the same tensor are stored once and are the same tensor again after ``read``.

    Args:
        path: the file; replaced if it exists.
        tensors: by name.
        document: JSON-able (finite numbers, text keys).

    Returns:
        The sha256 the file carries.

    Raises:
        CheckpointError: a tensor or document that cannot be stored, or a disk that does not take the file. What was
            at ``path`` before is then untouched.
    """
    stored, aliases, views = _separate(path, tensors)
    if len(stored) > MAX_TENSORS:
        raise CheckpointError(f"{path}: {len(stored)} tensors, more than the {MAX_TENSORS} that would be read again.")
    body = {"aliases": aliases, "views": views, "document": dict(document)}
    try:
        text = _dump(body)
        if json.loads(text) != body:
            raise ValueError("it does not survive a round trip (tuples, or keys that are not text)")
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the document is not plain JSON: {error}.") from None
    digest = _hash(stored, text)
    metadata = {METADATA_KEY: _dump({"sha256": digest, **body})}
    content = safetensors.torch.save(stored, metadata)
    _check_readable(path, content)
    write_atomically(path, content)
    return digest


def _check_readable(path: str | Path, content: bytes) -> None:
    """Refuse to write what ``read`` would refuse."""
    length = int.from_bytes(content[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{path}: not written, since its description would take {length / 1e6:.0f} MB and equipot reads files with "
            f"at most {MAX_HEADER_BYTES / 1e6:.0f} MB of it. Put less into the metadata."
        )
    try:
        parse_header(path, content, len(content))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: not written, since it could not be read again ({error}).") from None


def read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file written by ``write`` and verify all of it.

    Args:
        path: the file.

    Returns:
        (tensors on the CPU by name, document).

    Raises:
        CheckpointError: no such file, not such a file, or damaged (cut short, changed bits).
    """
    content = read_content(path)
    return decode(path, content, parse_header(path, content, len(content)))


def decode(path: str | Path, content: bytes, header: Header) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and document from the whole content of a file whose header was parsed; verifies the hash."""
    try:
        stored = safetensors.torch.load(content)
    except (SafetensorError, AssertionError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: the file is damaged ({error}).") from None
    body = {key: header.body[key] for key in ("aliases", "views", "document")}
    if _hash(stored, _dump(body)) != header.body["sha256"]:
        raise CheckpointError(
            f"{path}: the file is damaged: its content does not have the sha256 it was written "
            "with. Take it again from where it came from."
        )
    try:
        tensors = {
            name: torch.view_as_complex(tensor) if name in body["views"] else tensor for name, tensor in stored.items()
        }
        return tensors | {name: tensors[target] for name, target in body["aliases"].items()}, body["document"]
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{path}: the tables of shared and complex tensors do not fit ({error}).") from None


def _separate(path, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str], dict[str, str]]:
    """Independent contiguous CPU copies, names of the same tensor, and names of complex ones."""
    stored, aliases, views, first = {}, {}, {}, {}
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise CheckpointError(f"{path}: {name!r} is {type(tensor).__name__}, expected a tensor with a name.")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise CheckpointError(f"{path}: {name} is sparse, quantised or without data, expected a dense tensor.")
        identity = (
            tensor.device,
            tensor.data_ptr(),
            tensor.dtype,
            tensor.shape,
            tensor.stride(),
            tensor.is_conj(),
            tensor.is_neg(),
        )
        if tensor.numel() and identity in first:
            aliases[name] = first[identity]
            continue
        first[identity] = name
        copy = tensor.detach().resolve_conj().resolve_neg().cpu()
        if copy.dtype in _COMPLEX:
            views[name] = str(copy.dtype).removeprefix("torch.")
            copy = torch.view_as_real(copy.contiguous())
        stored[name] = copy.contiguous().clone()
    return stored, aliases, views


def _dump(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _hash(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode("ascii"))
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(_dump([name, str(tensor.dtype), list(tensor.shape)]).encode("ascii"))
        if tensor.numel():
            digest.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()
