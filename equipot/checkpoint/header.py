"""The header of a tensor file, read with suspicion: everything is checked before anything is allocated."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from equipot.errors import CheckpointError

METADATA_KEY = "equipot"
MAX_HEADER_BYTES = 64_000_000
MAX_FILE_BYTES = 64 * 2**30
MAX_DEPTH = 200
#: Tensors of one file: a training checkpoint of the largest models has a few thousand.
MAX_TENSORS = 20_000

_ITEM_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "U16": 2,
    "U32": 4,
    "U64": 8,
    "BOOL": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E4M3FNUZ": 1,
    "F8_E5M2FNUZ": 1,
    "F8_E8M0": 1,
}


@dataclass(frozen=True)
class Header:
    """What a tensor file says before its tensors.

    Attributes:
        body: ``sha256``, ``document``, ``aliases``, ``views``.
        shapes: stored tensor name -> (dtype name in the file, shape).
    """

    body: dict[str, Any]
    shapes: dict[str, tuple[str, tuple[int, ...]]]

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document."""
        return self.body["document"]

    @property
    def num_values(self) -> int:
        """How many numbers the stored tensors hold."""
        return sum(prod(shape) for _, shape in self.shapes.values())


def read_content(path: str | Path) -> bytes:
    """The bytes of a regular file of bearable size; raises CheckpointError."""
    path = Path(path)
    try:
        if not path.is_file():
            kind = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else "does not exist"
            raise CheckpointError(f"{path}: {kind}; expected a model file or a checkpoint.")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise CheckpointError(f"{path}: {size} bytes, more than the {MAX_FILE_BYTES} that equipot reads.")
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error}).") from error


def parse_header(path: str | Path, content: bytes, size: int) -> Header:
    """Parse and check the header at the front of ``content``, of a file of ``size`` bytes.

    Raises:
        CheckpointError: not a tensor file of equipot, or damaged.
    """
    if content[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise CheckpointError(
            f"{path}: this is a pickle or torch.save file; equipot does not open those, since "
            "opening one can run code. Expected a file that equipot wrote."
        )
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > MAX_HEADER_BYTES or content[8:9] != b"{":
        raise CheckpointError(f"{path}: not a model or checkpoint file of equipot, or damaged at its very beginning.")
    if 8 + length > size:
        raise CheckpointError(f"{path}: the file is cut short ({size} bytes, {8 + length} or more expected).")
    number = content.count(b'"data_offsets"', 8, 8 + length)
    if number > MAX_TENSORS:
        raise CheckpointError(
            f"{path}: holds {number} tensors, more than the {MAX_TENSORS} of any model; it is damaged or made to do "
            "harm."
        )
    header = _loads(path, content[8 : 8 + length])
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not a table")
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not isinstance(metadata.get(METADATA_KEY), str):
        raise CheckpointError(
            f"{path}: a safetensors file, but not one that equipot wrote (no '{METADATA_KEY}' in its metadata)."
        )
    shapes, end = {}, 0
    for name, entry in header.items():
        shapes[name], last = _entry(path, name, entry)
        end = max(end, last)
    if 8 + length + end != size:
        raise CheckpointError(
            f"{path}: the file is cut short or has bytes too many ({size} bytes, {8 + length + end} expected)."
        )
    text = metadata[METADATA_KEY]
    body = _loads(path, text.encode("utf-8", "surrogatepass"))
    if (
        not isinstance(body, dict)
        or set(body) != {"sha256", "aliases", "views", "document"}
        or any(not isinstance(body[key], dict) for key in ("aliases", "views", "document"))
    ):
        raise _damaged(path, "its document is not of the expected form")
    if json.dumps(body, separators=(",", ":")) != text:
        raise _damaged(path, "its document is not written as equipot writes it")
    return Header(body, shapes)


def _entry(path, name: str, entry: Any) -> tuple[tuple[str, tuple[int, ...]], int]:
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        is_good = (
            all(type(number) is int and 0 <= number < 2**62 for number in (*shape, begin, end))
            and len(shape) <= 64
            and end - begin == prod(shape) * _ITEM_BYTES[dtype]
        )
    except (TypeError, KeyError, ValueError):
        is_good = False
    if not is_good:
        raise _damaged(path, f"the entry of tensor {name[:80]!r} makes no sense")
    return (dtype, shape), end


def _loads(path, text: bytes) -> Any:
    def refuse(constant: str):
        raise ValueError(f"{constant} is not a number")

    try:
        value = json.loads(text.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else "not JSON"
        raise _damaged(path, f"its header is {reason}") from None
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise _damaged(path, f"its header is nested deeper than {MAX_DEPTH} levels")
        level = [
            item
            for container in level
            if isinstance(container, dict | list)
            for item in (container.values() if isinstance(container, dict) else container)
        ]
    return value


def _damaged(path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path}: the file is damaged: {reason}. Take it again from where it came from.")
