"""Files with several heads that are damaged, or of another making."""

from __future__ import annotations

import pytest
import torch

from equipot.checkpoint import load_model, read_model_document, save_model, tensor_file
from equipot.checkpoint.heads import choose_head
from equipot.errors import CheckpointError, UsageError
from tests.systems import make_potential


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    path = tmp_path_factory.mktemp("heads") / "two.eqp"
    one, two = make_potential("mace", "float32"), make_potential("mace", "float32", seed=1)
    save_model(path, one, metadata={"head": "one"}, heads={"two": two})
    return tensor_file.read(path)


def broken(parts, tmp_path, change):
    import copy

    tensors, document = dict(parts[0]), copy.deepcopy(parts[1])
    change(tensors, document)
    tensor_file.write(tmp_path / "broken.eqp", tensors, document)
    return tmp_path / "broken.eqp"


OWN = "heads/two/architecture.embedding"
CASES = {
    "lacks its tensors": lambda tensors, document: tensors.pop(OWN),
    "belong to no head": lambda tensors, document: tensors.update({"heads/three/evil": torch.ones(1)}),
    "has shape": lambda tensors, document: tensors.update({OWN: torch.zeros(2, 2)}),
    "is not part of the model": lambda tensors, document: (
        document["heads"]["two"]["tensors"].append("evil"),
        tensors.update({"heads/two/evil": torch.ones(1)}),
    ),
    "'heads' is not what it should be": lambda tensors, document: document.update(heads=["one", "two"]),
    "'heads' is not what": lambda tensors, document: document["heads"]["one"].pop("probe"),
    "'heads' is not what it": lambda tensors, document: document["heads"]["two"].update(tensors=[1]),
    "atomic energies in its document": lambda tensors, document: document["heads"]["two"].update(
        atomic_energies={"H": 1.0}
    ),
    "on its test cluster": lambda tensors, document: document["heads"]["two"].update(probe=[0.0] * 8),
}


@pytest.mark.parametrize("message", CASES)
def test_a_damaged_head_is_refused(parts, tmp_path, message):
    path = broken(parts, tmp_path, CASES[message])
    with pytest.raises(CheckpointError, match=message):
        load_model(path, head="two")


def test_the_other_head_is_not_affected(parts, tmp_path):
    path = broken(parts, tmp_path, CASES["on its test cluster"])
    assert load_model(path, head="one").metadata["head"] == "one"


def test_files_with_one_head_stay_in_the_version_others_read(tmp_path):
    save_model(tmp_path / "one.eqp", make_potential("nequip"), metadata={"head": "PBE"})
    assert tensor_file.read(tmp_path / "one.eqp")[1]["format_version"] == 1
    assert read_model_document(tmp_path / "one.eqp")["heads"] is None
    assert load_model(tmp_path / "one.eqp", head="pbe").metadata["head"] == "PBE"
    with pytest.raises(UsageError, match="no head 'r2SCAN'; it has one head, PBE"):
        load_model(tmp_path / "one.eqp", head="r2SCAN")


def test_choosing():
    assert choose_head("x", None, []) is None and choose_head("x", None, ["a"]) == "a"
    assert choose_head("x", "A", ["a", "b"]) == "a" and choose_head("x", "A", ["a", "A"]) == "A"
    for head, heads, message in (
        (None, ["a", "b"], "several heads"),
        ("c", ["a", "b"], "its heads are a, b"),
        ("c", [], "one head, without a name"),
        ("Aa", ["aa", "AA"], "no head 'Aa'"),
    ):
        with pytest.raises(UsageError, match=message):
            choose_head("x", head, heads)
