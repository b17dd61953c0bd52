"""Every wrong configuration is one sentence that names the key, on standard error, with exit code 2."""

from __future__ import annotations

import pytest

#: What is written to the file, and what the complaint must say.
FILES = [
    ("", ("run.yaml", "data.train")),
    ("- a\n- b\n", ("run.yaml",)),
    ("name: [unclosed\n", ("run.yaml", "line")),
    ("\tname: tab\n", ("run.yaml", "line")),
    ("name: !!python/object/apply:os.system [touch owned]\n", ("run.yaml", "line 1")),
    ("data: {train: [frames.xyz]}\ndata: {train: [frames.xyz]}\n", ("line 2", "data")),
    ("dat: {train: [frames.xyz]}\n", ("line 1", "did you mean data?")),
    ("data: {train: [frames.xyz]}\ntrainning: {epochs: 3}\n", ("line 2", "did you mean training?")),
    ("data: {train: [frames.xyz]}\ntraining: {epoch: 3}\n", ("training.epoch", "did you mean training.epochs?")),
    ("data: {train: [frames.xyz]}\ntraining: {epochs: many}\n", ("training.epochs", "many")),
    ("data: {train: [frames.xyz]}\ntraining: {epochs: 0}\n", ("training.epochs",)),
    ("data: {train: [frames.xyz]}\ntraining: {batch_size: 2, batch_edges: 100}\n", ("training.batch_edges",)),
    ("data: {train: [frames.xyz]}\nloss: {energy: rmse}\n", ("loss.energy", "rmse")),
    ("data: {train: [frames.xyz]}\nloss: {energy_weight: 0, forces_weight: 0, stress_weight: 0}\n", ("weight",)),
    ("data: {train: [frames.xyz]}\nmodel: {cutoff: -1}\n", ("model.cutoff",)),
    ("data: {train: [frames.xyz]}\nmodel: {cutoff: .nan}\n", ("model.cutoff",)),
    ("data: {train: [frames.xyz]}\nmodel: {architecture: mase}\n", ("model.architecture", "mace")),
    ("data: {train: [frames.xyz]}\nmodel: {preset: huge}\n", ("model.preset", "huge")),
    ("data: {train: [frames.xyz]}\nmodel: {num_chanels: 8}\n", ("num_chanels", "num_channels")),
    ("data: {train: [frames.xyz]}\nmodel: {l_max: two}\n", ("l_max",)),
    ("data: {train: [frames.xyz]}\nmodel: {dtype: float16}\n", ("model.dtype",)),
    ("data: {train: [frames.xyz]}\noptimizer: {learning_rate: 1e400}\n", ("optimizer.learning_rate",)),
    ("data: {train: [frames.xyz]}\noptimizer: {name: lion}\n", ("optimizer.name", "lion")),
    ("data: {train: [frames.xyz]}\noptimizer: {parameter_groups: {'[': 1.0}}\n", ("parameter_groups",)),
    ("data: {train: [frames.xyz], generate: cu_au_emt}\n", ("data.train", "data.generate")),
    ("data: {train: [frames.xyz], split: {validation: 0.6, test: 0.6}}\n", ("data.split.validation",)),
    ("data: {train: [frames.xyz], split: {method: group}}\n", ("data.split.group_key",)),
    ("data: {train: [frames.xyz], elements: [Cu, Zz]}\n", ("data.elements", "Zz")),
    ("data: {train: [frames.xyz], atomic_energies: {Cu: 1.0}}\n", ("Au",)),
    ("data: {train: [frames.xyz], config_weights: {volumes: 2.0}}\n", ("volumes", "'volume'")),
    (
        "data: {train: [frames.xyz]}\nproperties: [{name: Cu, lattice: fcb, lattice_constant: 3.6}]\n",
        ("lattice", "fcb"),
    ),
    (
        "data: {train: [frames.xyz]}\nproperties: [{name: Fe, lattice: bcc, lattice_constant: 2.9, reference: emt}]\n",
        ("Fe", "EMT"),
    ),
    ("data: {train: [frames.xyz]}\nproperties: [{name: CuAu, lattice: l12, lattice_constant: 3.7}]\n", ("CuAu",)),
    ("data: {train: [frames.xyz]}\nname: ../up\n", ("name",)),
]


@pytest.mark.parametrize(("text", "parts"), FILES, ids=[text.replace("\n", "; ") or "empty" for text, _ in FILES])
def test_wrong_file(mistake, here, text, parts):
    (here / "run.yaml").write_text(text)
    sentence = mistake("train", "run.yaml", code=2)
    for part in parts:
        assert part in sentence


OVERRIDES = [
    ("training.epocs=3", "did you mean training.epochs?"),
    ("training.epochs=", "no value"),
    ("epochs=3", "epochs"),
    ("=3", "section.key"),
    ("training.epochs=2.5", "training.epochs"),
    ("model=5", "model"),
    ("training.epochs.more=1", "training.epochs"),
]


@pytest.mark.parametrize(("override", "part"), OVERRIDES)
def test_wrong_override(mistake, override, part):
    assert part in mistake("train", "run.yaml", override, code=2)


def test_the_same_override_twice(mistake):
    assert "twice" in mistake("train", "run.yaml", "training.epochs=2", "training.epochs=3", code=2)


def test_no_such_file(mistake):
    assert "absent.yaml" in mistake("train", "absent.yaml", code=2)


def test_a_folder(mistake):
    assert "empty" in mistake("train", "empty", code=2)


def test_a_binary_file(mistake, here):
    (here / "run.yaml").write_bytes(bytes(range(256)))
    assert "run.yaml" in mistake("train", "run.yaml", code=2)


def test_a_gpu_that_is_not_there(mistake):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert "CUDA" in mistake("train", "run.yaml", "device=cuda", code=2)


def test_the_tag_was_not_obeyed(mistake, here):
    (here / "run.yaml").write_text("name: !!python/object/apply:os.system ['touch owned']\n")
    mistake("train", "run.yaml", code=2)
    assert not (here / "owned").exists()
