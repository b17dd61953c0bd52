"""A pickle that would run a command, under every suffix and in every wrapping, does nothing but be refused."""

from __future__ import annotations

import contextlib
import os
import pickle
import zipfile

import pytest
import torch

from equipot.checkpoint.foreign import FAMILIES, convert
from equipot.checkpoint.foreign.pickle_data import Record, read_pickle
from equipot.errors import CheckpointError, EquipotError
from tests.unit.checkpoint.foreign.oracles import FOLDER


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
