"""A pickle that would run a command, under every suffix and in every wrapping, does nothing but be refused."""

from __future__ import annotations

import contextlib
import os
import pickle
import time
import zipfile

import pytest
import torch

from equipot.checkpoint.foreign import FAMILIES, convert
from equipot.checkpoint.foreign.pickle_data import Record, read_pickle
from equipot.checkpoint.foreign.torch_archive import read_archive
from equipot.errors import CheckpointError, EquipotError
from tests.unit.checkpoint.foreign.oracles import FOLDER

#: s: refusing a small file; endless without limits.
LONGEST = 20.0


class Hostile:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def _wrappings(folder, victim):
    hostile = Hostile(victim)
    yield "bare", pickle.dumps(hostile)
    yield "protocol 0", pickle.dumps(hostile, protocol=0)
    for name, content in (
        ("saved", hostile),
        (
            "in a checkpoint",
            {"model_state_dict": {"a": hostile}, "config": {"_type_map": hostile, "cutoff": hostile}, "epoch": 0},
        ),
    ):
        torch.save(content, folder / "torch")
        yield name, (folder / "torch").read_bytes()
    with zipfile.ZipFile(folder / "script", "w") as zipped:
        zipped.writestr("model/data.pkl", pickle.dumps(hostile))
        zipped.writestr("model/code/__torch__.py", "import os\nos.system('touch victim')")
    yield "TorchScript", (folder / "script").read_bytes()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "suffix", [".pth", ".pt", ".model", ".ckpt", ".eqp", ".safetensors", ".zip", ".nequip.pth", ""]
)
def test_does_nothing(tmp_path, family, suffix):
    victim = tmp_path / "victim"
    for number, (_, content) in enumerate(_wrappings(tmp_path, victim)):
        path = tmp_path / f"model{number}{suffix}"
        path.write_bytes(content)
        with pytest.raises(EquipotError):
            convert(family, path)
        assert not victim.exists()


def test_the_pickle_would_have_run(tmp_path):
    """The proof that the test above can fail."""
    victim = tmp_path / "victim"
    pickle.loads(pickle.dumps(Hostile(victim)))
    assert victim.exists()


def test_a_call_is_a_record(tmp_path):
    value = read_pickle(pickle.dumps(Hostile(tmp_path / "victim")), "file", {}, lambda identity: identity)
    assert isinstance(value, Record) and value.kind.name == "system" and not (tmp_path / "victim").exists()


def test_damaged_pickles_are_errors():
    content = pickle.dumps({"a": [1, 2.0, "x", (1, 2)], "b": {"c": None}})
    for position in range(len(content)):
        for value in (0, 0x2E, 0x52, 0x80, 0xFF):
            changed = content[:position] + bytes([value]) + content[position + 1 :]
            with contextlib.suppress(EquipotError):
                read_pickle(changed, "file", {}, lambda identity: identity)


@pytest.mark.parametrize("setting", ["num_convolution_layer", "act_scalar", "_type_map", "cutoff", "lmax"])
@pytest.mark.parametrize("value", [None, [], -3, "x", {}, 10**30, float("nan")])
def test_settings_of_another_form_are_an_error_that_names_the_file(tmp_path, setting, value):
    """Found by tests/robustness/fuzz_inputs.py: a missing or mistyped setting ended in a traceback."""
    content = torch.load(FOLDER / "sevennet_polynomial.pth", weights_only=False)
    if value is None:
        content["config"].pop(setting)
    else:
        content["config"][setting] = value
    torch.save(content, tmp_path / "mine.pth")
    with pytest.raises(CheckpointError, match=r"mine\.pth: .*[.)]$"):
        convert("sevennet", tmp_path / "mine.pth")


def nested(number: int, value=1):
    for _ in range(number):
        value = (value, value)
    return value


class AsKey:
    """A dictionary whose key takes 2**60 steps to hash; pickled without hashing it."""

    content = b"\x80\x02}(K\x01" + b"q\x00h\x00\x86" * 60 + b"K\x01u."


def archive(path, pickled: bytes, storages: dict[str, bytes] | None = None, folder="model"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr(f"{folder}/data.pkl", pickled)
        for name, content in (storages or {}).items():
            zipped.writestr(zipfile.ZipInfo(f"{folder}/data/{name}"), content)
    return path


#: Small pickles whose reader would not come to an end, or would fill the memory.
BOMBS = {
    "nested tuples as a key": AsKey.content,
    "nested tuples as a value": pickle.dumps({"model_state_dict": {}, "config": nested(60)}),
    "a list in itself": b"\x80\x02}(X\x10\x00\x00\x00model_state_dict}X\x06\x00\x00\x00config]q\x00h\x00au.",
    "one dictionary made again and again": (
        b"\x80\x02ccollections\nOrderedDict\nq\x00("
        + b"".join(b"K" + bytes([number % 256]) + b"K\x01\x86" for number in range(30_000))
        + b"lq\x010"
        + b"h\x00h\x01\x85R0" * 30_000
        + b"N."
    ),
    "a shape of many dimensions": (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
        b"X\x03\x00\x00\x00cpuK\x04tQK\x00(" + b"J\xff\xff\xff\x7f" * 50_000 + b"t(" + b"K\x01" * 50_000 + b"ttR."
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_small_files_that_ask_for_endless_work_are_refused_at_once(bomb, tmp_path):
    """Most of these hung, one in C where Ctrl-C does not reach."""
    path = archive(tmp_path / "model.pth", BOMBS[bomb], {"0": bytes(16)})
    begin = time.perf_counter()
    for family in FAMILIES:
        with pytest.raises(CheckpointError):
            convert(family, path)
    assert time.perf_counter() - begin < LONGEST


def test_tensors_that_share_a_storage_take_its_memory_once(tmp_path):
    """500 tensors on one storage of 8 MB took 3 GB."""
    whole = torch.zeros(1_000_000)
    torch.save(
        {"model_state_dict": {str(number): whole.view(-1) for number in range(10)}, "config": {}}, tmp_path / "a.pth"
    )
    tensors = read_archive(tmp_path / "a.pth").content["model_state_dict"]
    assert len({tensor.data_ptr() for tensor in tensors.values()}) == 1
    torch.save(
        {"model_state_dict": {str(number): whole.view(-1) for number in range(500)}, "config": {}}, tmp_path / "b.pth"
    )
    with pytest.raises(CheckpointError, match="far more than the file"):
        read_archive(tmp_path / "b.pth")


def test_modules_that_hold_each_other_twice_are_refused_at_once(tmp_path):
    """As a tree of 2**30 modules."""
    module = b"}K\x00K\x00s"
    for _ in range(30):
        module = (
            b"cmace.modules.models\nScaleShiftMACE\n)\x81}X\x08\x00\x00\x00_modules}(X\x01\x00\x00\x00a"
            + module
            + b"q\x00X\x01\x00\x00\x00bh\x00usb"
        )
    path = archive(tmp_path / "model.pth", b"\x80\x02" + module + b".")
    begin = time.perf_counter()
    with pytest.raises(CheckpointError, match="too deep, or too many"):
        convert("mace", path)
    assert time.perf_counter() - begin < LONGEST
