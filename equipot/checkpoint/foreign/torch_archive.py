"""Files of ``torch.save`` and ``torch.jit.save`` read as data: tensors, plain values, records of everything else."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from equipot.checkpoint.foreign.pickle_data import Name, Record, read_pickle
from equipot.checkpoint.header import read_content
from equipot.errors import CheckpointError

_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


@dataclass(frozen=True)
class Archive:
    """What a file of torch's holds.

    Attributes:
        path: the file.
        sha256: of the whole file.
        content: its main pickle as data.
        extra: the extra files of a TorchScript archive, by name.
        is_script: whether it is a TorchScript archive.
    """

    path: Path
    sha256: str
    content: Any
    extra: Mapping[str, bytes]
    is_script: bool


@dataclass(frozen=True)
class _Storage:
    dtype: torch.dtype
    content: bytearray


#: Bytes that all tensors of a file may hold together, for each byte of it, and besides: tensors share storages.
_MAX_SHARING, _MAX_SHARING_OF_SMALL = 16, 64_000_000


def read_archive(path: str | Path) -> Archive:
    """Read a file that ``torch.save`` (its zip form, of torch 1.6 and later) or ``torch.jit.save`` wrote.

    Nothing in the file is imported, called or executed: see :mod:`equipot.checkpoint.foreign.pickle_data`.

    Raises:
        CheckpointError: no such file, of another form, or damaged.
    """
    path = Path(path)
    content = read_content(path)
    if content[:1] == b"{" or content[8:9] == b"{":
        raise CheckpointError(f"{path}: this is a safetensors file; expected a checkpoint as torch.save writes it.")
    if content[:2] != b"PK":
        old = content[:1] == b"\x80"
        kind = "a bare pickle, or a file of torch before 1.6" if old else "not a file of torch.save"
        advice = "; load it with the program that wrote it and save it again with a recent torch" if old else ""
        raise CheckpointError(f"{path}: this is {kind}, expected the zip form of torch.save{advice}.")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as zipped:
            return _read(path, hashlib.sha256(content).hexdigest(), _Members(path, zipped, len(content)))
    except (zipfile.BadZipFile, EOFError, NotImplementedError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path}: the file is damaged or cut short ({error}). Take it again from where it came from."
        ) from None


class _Members:
    """The files of a zip archive under its top folder; none of them compressed beyond its size."""

    def __init__(self, path: Path, zipped: zipfile.ZipFile, size: int) -> None:
        self._path, self._zipped, self.size = path, zipped, size
        infos = zipped.infolist()
        if sum(info.file_size for info in infos) > 20 * size + 1_000_000:
            raise CheckpointError(f"{path}: unpacks to far more than its size; it is damaged or made to do harm.")
        self._by_name = {info.filename.partition("/")[2]: info for info in infos}
        if len(self._by_name) != len(infos):
            raise CheckpointError(f"{path}: its archive has a file twice; it is damaged.")

    @property
    def names(self) -> list[str]:
        return list(self._by_name)

    def read(self, name: str) -> bytes:
        if name not in self._by_name:
            raise CheckpointError(f"{self._path}: its archive has no {name}; it is damaged or not of torch.save.")
        return self._zipped.read(self._by_name[name])


def _refuse_packages(path: Path, names: list[str]) -> None:
    """Name the archives that hold Python code or compiled code instead of a checkpoint's data."""
    if any(name.startswith(".data/extern_modules") or name.endswith("/.data/extern_modules") for name in names):
        raise CheckpointError(
            f"{path}: this is a torch.package, as nequip-package of NequIP 0.7 and later writes it (.nequip.zip): "
            f"Python code with weights, which would have to be executed. Models of NequIP are taken in as "
            f"nequip-deploy of version 0.5 and 0.6 writes them (.pth)."
        )
    if any("aotinductor" in name for name in names):
        raise CheckpointError(
            f"{path}: this is a model compiled by AOTInductor, as nequip-compile writes it (.nequip.pt2): machine "
            f"code, from which no weights are taken. Models of NequIP are taken in as nequip-deploy of version 0.5 and "
            f"0.6 writes them (.pth)."
        )


def _read(path: Path, sha256: str, members: _Members) -> Archive:
    _refuse_packages(path, members.names)
    if "byteorder" in members.names and members.read("byteorder").strip() not in (b"little", b""):
        raise CheckpointError(f"{path}: written on a big-endian machine, which is not read.")
    is_script = any(name.startswith("code/") for name in members.names)
    storages: dict[str, _Storage] = {}
    left = _MAX_SHARING_OF_SMALL + _MAX_SHARING * members.size

    def persistent(identity: Any) -> _Storage:
        if not isinstance(identity, tuple) or len(identity) < 3 or identity[0] != "storage":
            raise CheckpointError(f"{path}: a reference that is no storage.")
        kind, key = identity[1], identity[2]
        dtype = _DTYPES.get(kind.name) if isinstance(kind, Name) else None
        if dtype is None or not isinstance(key, str):
            named = kind if isinstance(kind, Name) else type(kind).__name__
            raise CheckpointError(f"{path}: a tensor of type {named}, which is not read.")
        if key not in storages:
            storages[key] = _Storage(dtype, bytearray(members.read(f"data/{key}")))
        return _Storage(dtype, storages[key].content)

    def tensor(storage: _Storage, offset: int, size: tuple, stride: tuple, *_: Any) -> torch.Tensor:
        made = _tensor(path, storage, offset, size, stride)
        nonlocal left
        left -= made.numel() * made.element_size()
        if left < 0:
            raise CheckpointError(f"{path}: its tensors hold far more than the file; it is damaged or made to do harm.")
        return made

    makers = {
        ("collections", "OrderedDict"): _ordered_dict,
        ("collections", "defaultdict"): lambda *_: {},
        ("torch._utils", "_rebuild_tensor_v2"): tensor,
        ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
        ("torch._utils", "_rebuild_parameter_with_state"): lambda data, *_: data,
        ("torch.jit._pickle", "build_intlist"): list,
        ("torch.jit._pickle", "build_doublelist"): list,
        ("torch.jit._pickle", "build_boollist"): list,
        ("torch.jit._pickle", "build_tensorlist"): list,
        ("torch.jit._pickle", "restore_type_tag"): lambda value, _: value,
        ("torch", "Size"): tuple,
        ("builtins", "slice"): lambda *arguments: ("slice", *arguments),
    }
    content = read_pickle(members.read("data.pkl"), str(path), makers, persistent)
    extra = {name.removeprefix("extra/"): members.read(name) for name in members.names if name.startswith("extra/")}
    return Archive(path, sha256, content, extra, is_script)


def _ordered_dict(pairs: Any = ()) -> dict:
    return {pair[0]: pair[1] for pair in pairs}


def _tensor(path: Path, storage: _Storage, offset: int, size: tuple, stride: tuple) -> torch.Tensor:
    if not isinstance(storage, _Storage) or len(size) != len(stride):
        raise CheckpointError(f"{path}: a tensor without a storage.")
    available = len(storage.content) // storage.dtype.itemsize
    numbers = [offset, *size, *stride]
    if len(size) > 64 or not all(type(number) is int and 0 <= number < 2**40 for number in numbers):
        raise CheckpointError(f"{path}: a tensor whose shape makes no sense.")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride)) if prod(size) else -1
    # No broadcast views: they ask for more numbers than the file has.
    if last >= available or prod(size) > max(available, 1):
        raise CheckpointError(f"{path}: the file is cut short: a tensor of shape {tuple(size)} exceeds its data.")
    if not prod(size):
        return torch.empty(tuple(size), dtype=storage.dtype)
    flat = torch.frombuffer(storage.content, dtype=storage.dtype, count=available)
    return torch.as_strided(flat, tuple(size), tuple(stride), offset)  # no copy: many tensors may share a storage


def plain(value: Any, depth: int = 0) -> Any:
    """Plain Python values where a nest holds NumPy scalars and arrays; other records stay what they are."""
    if depth > 100:
        raise CheckpointError("The file's settings are nested too deep.")
    if isinstance(value, dict):
        return {plain(key, depth + 1): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(item, depth + 1) for item in value)
    if isinstance(value, Record) and value.kind is not None:
        return _from_numpy(value, depth)
    return value


def _from_numpy(record: Record, depth: int) -> Any:
    module, name = record.kind.module, record.kind.name
    if module.startswith("numpy") and name == "scalar":
        dtype, content = record.arguments
        return np.frombuffer(_latin(content), dtype=_numpy_dtype(dtype), count=1)[0].item()
    if module.startswith("numpy") and name == "_reconstruct" and isinstance(record.other_state, tuple):
        _, shape, dtype, is_fortran, content = record.other_state
        array = np.frombuffer(_latin(content), dtype=_numpy_dtype(dtype))
        return array.reshape(shape, order="F" if is_fortran else "C").tolist()
    if module in ("builtins", "__builtin__") and name in ("set", "frozenset"):
        return [plain(item, depth + 1) for item in record.items or (record.arguments[0] if record.arguments else ())]
    return record


def _latin(content: Any) -> bytes:
    """Bytes, which Python 3 writes into old protocols as ``_codecs.encode(text, 'latin1')``."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, Record) and str(content.kind) == "_codecs.encode":
        return content.arguments[0].encode("latin1")
    raise CheckpointError("A NumPy number in the file is not of the expected form.")


def _numpy_dtype(record: Any) -> np.dtype:
    text = record.arguments[0] if isinstance(record, Record) and record.arguments else record
    if text not in ("f8", "f4", "i8", "i4", "i2", "u1", "b1"):
        raise CheckpointError(f"A NumPy number of type {text!r} in the file is not read.")
    return np.dtype(f"<{text}" if text not in ("u1", "b1") else text)
