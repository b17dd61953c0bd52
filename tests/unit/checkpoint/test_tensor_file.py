"""A tensor file gives back exactly what was written, or says that it is damaged; never a crash, never code run."""

from __future__ import annotations

import json
import os
import pickle
import stat
import struct
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch

from equipot.checkpoint import atomic, tensor_file
from equipot.checkpoint.header import METADATA_KEY, parse_header, read_content
from equipot.errors import CheckpointError

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
    torch.complex64,
    torch.complex128,
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "x.safetensors"
    tensors = {"weights": torch.arange(600, dtype=torch.float32).view(20, 30), "step": torch.tensor(3)}
    tensor_file.write(path, tensors, {"name": "é", "values": [1, 2.5, None]})
    return path


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5,), (2, 3)], ids=str)
def test_every_dtype_and_shape(tmp_path, dtype, shape):
    values = torch.randn(shape, dtype=torch.complex128) if dtype.is_complex else torch.randn(shape) * 3
    tensor = values.to(dtype)
    tensor_file.write(tmp_path / "x", {"a": tensor}, {})
    found = tensor_file.read(tmp_path / "x")[0]["a"]
    assert found.dtype == dtype and found.shape == tensor.shape and torch.equal(found, tensor)


def test_special_numbers_keep_their_bits(tmp_path):
    tensor = torch.tensor([np.nan, np.inf, -np.inf, -0.0, 5e-324], dtype=torch.float64)
    tensor_file.write(tmp_path / "x", {"a": tensor}, {})
    found = tensor_file.read(tmp_path / "x")[0]["a"]
    assert torch.equal(found.view(torch.int64), tensor.view(torch.int64))


def test_shared_and_non_contiguous(tmp_path):
    base = torch.randn(6, 4, dtype=torch.complex64).real
    tensors = {
        "a": base,
        "tied": base,
        "transposed": base.t(),
        "rows": base[1:3],
        "every": base[::2],
        "expanded": base[0].expand(3, 4),
        "conjugate": torch.randn(3, dtype=torch.complex64).conj(),
        "parameter": torch.nn.Parameter(torch.randn(3)),
    }
    tensor_file.write(tmp_path / "x", tensors, {})
    found, _ = tensor_file.read(tmp_path / "x")
    assert list(found) and set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor), name
    assert found["a"] is found["tied"]
    found["rows"].zero_()
    assert torch.equal(found["a"], base)  # no other two share memory
    content = read_content(tmp_path / "x")
    assert len(parse_header(tmp_path / "x", content, len(content)).shapes) == len(tensors) - 1


def test_tied_weights_of_a_module(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    module[1].weight = module[0].weight
    tensor_file.write(tmp_path / "x", module.state_dict(), {})
    other = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    other.load_state_dict(tensor_file.read(tmp_path / "x")[0], strict=True)
    assert torch.equal(other[1].weight, module[0].weight)


def test_any_safetensors_reader_opens_it_and_bytes_do_not_depend_on_the_run(file, tmp_path):
    assert set(safetensors.torch.load_file(file)) == {"weights", "step"}
    tensors, document = tensor_file.read(file)
    tensor_file.write(tmp_path / "again", tensors, document)
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("tensors", "document", "part"),
    [
        ({"a": torch.eye(2).to_sparse()}, {}, "a is sparse"),
        ({"a": torch.empty(2, device="meta")}, {}, "without data"),
        ({"a": [1.0]}, {}, "'a' is list"),
        ({}, {"a": float("nan")}, "not plain JSON"),
        ({}, {"a": {1: 2}}, "not plain JSON"),
        ({}, {"a": (1, 2)}, "not plain JSON"),
        ({}, {"a": object()}, "not plain JSON"),
    ],
)
def test_what_cannot_be_stored_leaves_the_old_file(file, tensors, document, part):
    before = file.read_bytes()
    with pytest.raises(CheckpointError, match=part):
        tensor_file.write(file, tensors, document)
    assert file.read_bytes() == before and os.listdir(file.parent) == [file.name]


def test_umask_is_respected(tmp_path):
    old = os.umask(0o027)
    try:
        tensor_file.write(tmp_path / "x", {}, {})
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_disk_full(file, monkeypatch):
    before = file.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        tensor_file.write(file, {"a": torch.ones(3)}, {})
    assert file.read_bytes() == before and os.listdir(file.parent) == [file.name]


def test_folder_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="The folder does not exist"):
        tensor_file.write(tmp_path / "no" / "x", {}, {})


# --- damage


def test_cut_short_anywhere(file):
    content = file.read_bytes()
    for length in {*range(0, len(content), 97), len(content) - 1, 7, 8, 9}:
        file.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            tensor_file.read(file)


def test_bytes_too_many(file):
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(CheckpointError, match="bytes too many"):
        tensor_file.read(file)


@pytest.mark.parametrize("num_bits", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_flipped_bits_in_every_byte_of_the_header_and_some_of_the_data(file, num_bits):
    content = file.read_bytes()
    header = 8 + struct.unpack("<Q", content[:8])[0]
    bits = [(position, (position + k) % 8) for position in range(header) for k in range(num_bits)]
    bits += [(position, position % 8) for position in range(header, len(content), 7)]
    for position, bit in bits:
        damaged = bytearray(content)
        damaged[position] ^= 1 << bit
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            tensor_file.read(file)


def test_changed_tensor_with_a_valid_form(file):
    tensors = safetensors.torch.load_file(file)
    with safetensors.safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    tensors["weights"][3, 3] += 1
    safetensors.torch.save_file(tensors, file, metadata)
    with pytest.raises(CheckpointError, match="sha256"):
        tensor_file.read(file)


class _Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("form", ["pickle 2", "pickle 4", "pickle 0", "torch", "old torch"])
@pytest.mark.parametrize("name", ["model.eqp", "x.safetensors", "model.pt"])
def test_pickles_are_refused_and_never_run(tmp_path, form, name):
    path, trace = tmp_path / name, tmp_path / "executed"
    if form.endswith("torch"):
        torch.save({"a": _Payload(trace)}, path, _use_new_zipfile_serialization=form == "torch")
    else:
        path.write_bytes(pickle.dumps(_Payload(trace), protocol=int(form[-1])))
    with pytest.raises(CheckpointError):
        tensor_file.read(path)
    with pytest.raises(CheckpointError):
        parse_header(path, read_content(path), path.stat().st_size)
    assert not trace.exists()


def craft(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


BODY = {"sha256": "0", "aliases": {}, "views": {}, "document": {}}


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}, b""),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"0000"),
        ({"a": {"dtype": "F32", "shape": [2**61, 8], "data_offsets": [0, 0]}}, b""),
        ({"a": {"dtype": "os.system", "shape": [1], "data_offsets": [0, 4]}}, b"0000"),
        ({"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, b"0000"),
        (
            {
                "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                "b": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]},
            },
            b"000000",
        ),
        ({"a": 3}, b""),
        ({"a": {"dtype": ["F32"], "shape": {}, "data_offsets": None}}, b""),
        ([], b""),
        (b"{" * 1000, b""),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b""),
        (b'{"a":' + b"9" * 10_000 + b"}", b""),
        (b"\xff\xfe{", b""),
    ],
)
def test_crafted_headers(tmp_path, header, data):
    path = tmp_path / "x"
    if isinstance(header, dict):
        metadata = {METADATA_KEY: json.dumps(BODY, separators=(",", ":"))}
        header = {"__metadata__": metadata, **header}
    craft(path, header, data)
    with pytest.raises(CheckpointError):
        tensor_file.read(path)


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        "x",
        {**BODY, "more": 1},
        {**BODY, "document": []},
        {**BODY, "sha256": None},
        {**BODY, "document": json.loads("[" * 190 + "]" * 190)},
        {**BODY, "aliases": {"a": "b"}},
        {**BODY, "views": {"a": "complex64"}},
    ],
)
def test_crafted_documents(tmp_path, body):
    path = tmp_path / "x"
    safetensors.torch.save_file({}, path, {METADATA_KEY: json.dumps(body, separators=(",", ":"))})
    with pytest.raises(CheckpointError):
        tensor_file.read(path)


def test_1000_deep_document(tmp_path):
    text = json.dumps(BODY, separators=(",", ":")).replace(
        '"document":{}', '"document":' + '{"a":' * 1000 + "1" + "}" * 1001
    )
    safetensors.torch.save_file({}, tmp_path / "x", {METADATA_KEY: text})
    with pytest.raises(CheckpointError, match="damaged"):
        tensor_file.read(tmp_path / "x")


def test_huge_length_and_other_files(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(struct.pack("<Q", 2**63) + b"{}")
    with pytest.raises(CheckpointError, match="not a model or checkpoint file"):
        tensor_file.read(path)
    with pytest.raises(CheckpointError, match="is a folder"):
        tensor_file.read(tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        tensor_file.read(tmp_path / "absent")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="not a regular file"):
        tensor_file.read(tmp_path / "pipe")
    safetensors.torch.save_file({"a": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match="not one that equipot wrote"):
        tensor_file.read(path)


def test_what_a_killed_process_left_is_removed_when_the_file_is_written_again(tmp_path):
    """Found by tests/robustness/fault_table.py: the temporary file of a killed `equipot convert` stayed for ever."""
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    path = tmp_path / "model.eqp"
    with atomic.temporary_name(path) as name:
        name.write_bytes(b"half")
        mine = name.name
        machine = mine.removeprefix(".model.eqp.").split("-")[0]
        names = {number: f".model.eqp.{machine}-{number}-00000000.tmp" for number in (int(ended.stdout), os.getppid())}
        names[0] = f".model.eqp.abcdef-{int(ended.stdout)}-00000000.tmp"  # of another machine
        for other in (*names.values(), ".other.eqp.tmp"):
            (tmp_path / other).write_bytes(b"half")
        atomic.write_atomically(path, b"whole")
        assert set(os.listdir(tmp_path)) == {"model.eqp", ".other.eqp.tmp", mine, names[0], names[os.getppid()]}
    assert mine not in os.listdir(tmp_path)


def test_what_could_not_be_read_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(tensor_file, "MAX_HEADER_BYTES", 10_000)
    target = tmp_path / "a.eqp"
    tensor_file.write(target, {"x": torch.ones(2)}, {"note": "short"})
    with pytest.raises(CheckpointError, match="not written, since its description would take"):
        tensor_file.write(target, {"x": torch.ones(2)}, {"note": "long" * 5000})
    deep = "bottom"
    for _ in range(300):
        deep = [deep]
    with pytest.raises(CheckpointError, match="could not be read again"):
        tensor_file.write(target, {"x": torch.ones(2)}, {"note": deep})
    assert tensor_file.read(target)[1] == {"note": "short"} and len(list(tmp_path.iterdir())) == 1
