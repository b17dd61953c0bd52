"""Every wrong configuration gets one sentence that says where, what was found and what was expected."""

from __future__ import annotations

import pytest

from equipot.config import load_config
from equipot.errors import ConfigError

GOOD = """\
name: copper
data:
  train: [cu.xyz]
"""

# (what is written after GOOD, what the message must hold)
WRONG = [
    # unknown keys, with the nearest name or the right section
    ("trainig: {}\n", ["line 4", "trainig is not a known key", "did you mean training?"]),
    ("training: {epoch: 3}\n", ["line 4", "training.epoch", "did you mean training.epochs?"]),
    ("training:\n  batchsize: 3\n", ["line 5", "training.batchsize", "training.batch_size?"]),
    ("epochs: 3\n", ["epochs is not a known key", "did you mean training.epochs?"]),
    ("learning_rate: 3\n", ["did you mean optimizer.learning_rate?"]),
    ("training: {cutoff: 3}\n", ["did you mean model.cutoff?"]),
    ("xyzzy: 3\n", ["xyzzy is not a known key", "valid here: name, run_directory, seed"]),
    ("__class__: 3\n", ["__class__ is not a known key"]),
    ("model: {options: {l_max: 1}}\n", ["model.options is not a key", "directly under model"]),
    ("loss: {stage_two: {beginning: 0.5}}\n", ["loss.stage_two.beginning is not a known key"]),
    (
        "properties: [{name: Cu, lattice: fcc, lattice_constant: 3.6, latice: bcc}]\n",
        ["properties.0.latice", "did you mean properties.0.lattice?"],
    ),
    # wrong types
    ("training: {epochs: ten}\n", ["training.epochs is the text 'ten'", "a whole number of at least 1"]),
    ("training: {epochs: 12.5}\n", ["training.epochs is 12.5", "a whole number"]),
    ("training: {epochs: 12.0}\n", ["training.epochs is 12.0", "write 12"]),
    ("training: {epochs: true}\n", ["training.epochs is true", "a whole number"]),
    ("training: {epochs: 010}\n", ["training.epochs is the text '010'"]),
    ("training: {epochs: 12:30:00}\n", ["training.epochs is the text '12:30:00'"]),
    ("training: {epochs: null}\n", ["training.epochs is null", "a whole number"]),
    ("training: {epochs: [3]}\n", ["training.epochs is a list of 1 value"]),
    ("training: 3\n", ["training is 3, expected a mapping"]),
    ("training:\n", ["training is null, expected a mapping"]),
    ("model: {cutoff: '5'}\n", ["model.cutoff is the text '5'", "a number above 0"]),
    ("model: {cutoff: true}\n", ["model.cutoff is true"]),
    ("model: {zbl: yes}\n", ["model.zbl is the text 'yes'", "true or false"]),
    ("model: {zbl: 1}\n", ["model.zbl is 1", "true or false"]),
    ("name: 3\n", ["line 4", "name' is given a second time", "first at line 1"]),
    ("run_directory: 3\n", ["run_directory is 3, expected text"]),
    ("properties: {name: Cu}\n", ["properties is a mapping, expected a list of mappings"]),
    ("optimizer: {betas: [0.9]}\n", ["optimizer.betas is a list of 1 value", "a list of 2 values"]),
    ("optimizer: {betas: [0.9, x]}\n", ["optimizer.betas.1 is the text 'x'"]),
    # out of range
    ("training: {epochs: 0}\n", ["training.epochs is 0", "at least 1"]),
    ("training: {ema_decay: 1.0}\n", ["training.ema_decay is 1.0", "below 1", "or null"]),
    ("training: {clip_norm: .nan}\n", ["training.clip_norm is nan, expected a finite number"]),
    ("training: {clip_norm: .inf}\n", ["training.clip_norm is inf, expected a finite number"]),
    ("training: {clip_norm: 1e999}\n", ["training.clip_norm is inf, expected a finite number"]),
    ("training: {num_workers: 100000}\n", ["training.num_workers is 100000", "at most 1024"]),
    ("model: {cutoff: -5}\n", ["model.cutoff is -5", "above 0"]),
    ("model: {cutoff: 5000}\n", ["model.cutoff is 5000", "at most 50"]),
    ("optimizer: {learning_rate: 0}\n", ["optimizer.learning_rate is 0", "above 0"]),
    ("optimizer: {parameter_groups: {'(': 1}}\n", ["optimizer.parameter_groups.(", "a regular expression"]),
    ("loss: {energy_weight: -1}\n", ["loss.energy_weight is -1", "at least 0"]),
    ("loss: {stage_two: {start: 1.0}}\n", ["loss.stage_two.start is 1.0", "below 1"]),
    ("seed: -1\n", ["seed is -1"]),
    ("seed: 99999999999999999999999\n", ["seed is 99999999999999999999999"]),
    # words that are not among the choices
    ("loss: {energy: hubber}\n", ["loss.energy is the text 'hubber'", "'mae' or 'huber'; did you mean 'huber'?"]),
    ("device: gpu\n", ["device is the text 'gpu'", "'auto', 'cpu' or 'cuda'"]),
    ("model: {dtype: float16}\n", ["model.dtype", "'float32' or 'float64'"]),
    ("model: {scale: atuo}\n", ["model.scale is the text 'atuo'", "did you mean 'auto'?"]),
    ("model: {scale: {Cu: a}}\n", ["model.scale.Cu is the text 'a'", "a number"]),
    ("model: {scale: {Qq: 1}}\n", ["model.scale.Qq is not a valid key", "the symbol of a chemical element"]),
    ("model: {scale: {cu: 1}}\n", ["did you mean 'Cu'?"]),
    ("model: {architecture: os.system}\n", ["model.architecture is the text 'os.system'", "a word"]),
    ("properties: [{name: Cu, lattice: fc, lattice_constant: 3.6}]\n", ["properties.0.lattice", "did you mean 'fcc'?"]),
    ("properties: [{name: Xx, lattice: fcc, lattice_constant: 3.6}]\n", ["name is 'Xx'", "chemical formula"]),
    ("properties: [{name: Cu, lattice: fcc}]\n", ["properties.0 has no 'lattice_constant'"]),
    (
        "properties: [{name: Cu, lattice: fcc, lattice_constant: 3.6, reference: {C45: 1}}]\n",
        ["properties.0.reference.C45 is not a valid key", "did you mean 'C44'?"],
    ),
    (
        "properties: [{name: Cu, lattice: fcc, lattice_constant: 3.6}, {name: Cu, lattice: bcc, lattice_constant: 3}]",
        ["properties.1.name is 'Cu' a second time"],
    ),
    # keys without effect, keys that do not go together
    ("training: {batch_size: 5, batch_edges: 100}\n", ["training.batch_edges is 100", "training.batch_size is 5"]),
    ("optimizer: {name: soap, momentum: 0.9}\n", ["optimizer.momentum has no effect", "sgd"]),
    ("optimizer: {name: sgd, betas: [0.9, 0.99]}\n", ["optimizer.betas has no effect"]),
    ("optimizer: {name: adam, precondition_frequency: 5}\n", ["precondition_frequency has no effect", "soap"]),
    ("schedule: {factor: 0.5}\n", ["schedule.factor has no effect", "plateau"]),
    ("schedule: {name: cosine, patience: 5}\n", ["schedule.patience has no effect", "plateau"]),
    ("schedule: {name: plateau, final_fraction: 0.1}\n", ["schedule.final_fraction has no effect", "cosine"]),
    ("loss: {energy: mse, forces: mae, stress: mse, delta: 0.05}\n", ["loss.delta has no effect", "huber and norm"]),
    ("loss: {energy_weight: 0, forces_weight: 0, stress_weight: 0}\n", ["loss.forces_weight", "at least one weight"]),
]

# the same for the data section, which GOOD already holds
WRONG_DATA = [
    ("{train: cu.xyz}", ["data.train is the text 'cu.xyz'", "write [cu.xyz]"]),
    ("{train: [1]}", ["data.train.0 is 1, expected text"]),
    ("{train: [a.xyz, '']}", ["data.train.1", "text that is not empty"]),
    ("{train: [a.xyz, a.xyz]}", ["data.train lists 'a.xyz' twice"]),
    ("{}", ["data.train is not given", "data.generate"]),
    ("{validation: [a.xyz]}", ["data.validation is given without data.train"]),
    ("{generate: cu_au_emt, train: [a.xyz]}", ["data.train is given together with data.generate"]),
    ("{generate: cu_au}", ["data.generate is the text 'cu_au'", "did you mean 'cu_au_emt'?"]),
    ("{generate: cu_au_emt, units: {energy: Ha}}", ["data.units.energy has no effect"]),
    ("{train: [a.xyz], elements: [C, N, On]}", ["data.elements.2 is the text 'On'", "a chemical element"]),
    ("{train: [a.xyz], elements: [1, 6]}", ["data.elements.0 is 1", "a chemical element"]),
    ("{train: [a.xyz], elements: []}", ["data.elements is an empty list"]),
    ("{train: [a.xyz], elements: [Cu, Cu]}", ["data.elements names an element twice"]),
    ("{train: [a.xyz], elements: Cu}", ["data.elements is the text 'Cu'", "'auto' or a list"]),
    ("{train: [a.xyz], atomic_energies: isolatd}", ["data.atomic_energies", "did you mean 'isolated'?"]),
    ("{train: [a.xyz], atomic_energies: {Cu: null}}", ["data.atomic_energies.Cu is null", "a number"]),
    ("{train: [a.xyz], config_weights: {bulk: -1}}", ["data.config_weights.bulk is -1", "at least 0"]),
    ("{train: [a.xyz], units: {stress: Pa}}", ["data.units.stress", "'GPa'"]),
    ("{train: [a.xyz], keys: {energy: ''}}", ["data.keys.energy", "text that is not empty or null"]),
    ("{train: [a.xyz], split: {validation: 0.6, test: 0.6}}", ["data.split.validation", "less than 1"]),
    ("{train: [a.xyz], split: {method: group}}", ["data.split.group_key is not given"]),
    ("{train: [a.xyz], split: {group_key: sys}}", ["data.split.group_key has no effect", "method: group"]),
    (
        "{train: [a.xyz], validation: [b.xyz], split: {validation: 0.1}}",
        ["data.split.validation has no effect", "data.validation names the files"],
    ),
    ("{train: [a.xyz], validation: [b.xyz], test: [c.xyz], split: {seed: 3}}", ["data.split.seed has no effect"]),
    ("{train: [a.xyz], min_distance: -0.1}", ["data.min_distance is -0.1", "at least 0"]),
]


def check(tmp_path, text: str, parts: list[str]) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert message.startswith(str(path)), message
    assert "line " in message or "data.train is not given" in message, message
    assert "\n" not in message and "Traceback" not in message
    for part in parts:
        assert part in message, f"{part!r} not in {message!r}"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("text", "parts"), WRONG, ids=[text.strip()[:60] for text, _ in WRONG])
def test_wrong_section(tmp_path, text, parts):
    check(tmp_path, GOOD + text, parts)


@pytest.mark.parametrize(("text", "parts"), WRONG_DATA, ids=[text[:60] for text, _ in WRONG_DATA])
def test_wrong_data_section(tmp_path, text, parts):
    check(tmp_path, f"data: {text}\n", parts)


def test_line_of_the_wrong_value_not_of_its_section(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(GOOD + "training:\n  # a comment\n  epochs: 3\n\n  batch_size: 0\n")
    with pytest.raises(ConfigError, match=r"line 8: training\.batch_size is 0"):
        load_config(path)
