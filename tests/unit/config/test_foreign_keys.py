"""Keys of MACE, NequIP and SevenNet are answered with what they are here."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import get_args

import pytest

from equipot.config import load_config
from equipot.config.build import field_hints
from equipot.config.foreign import _ANSWERS
from equipot.config.schema import Config
from equipot.errors import ConfigError
from equipot.models.mace import MACEOptions
from equipot.models.nequip import NequIPOptions
from equipot.models.registry import resolve_options

GOOD = "name: copper\ndata:\n  train: [cu.xyz]\n"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("r_max: 5.0\n", "MACE's and NequIP's r_max is model.cutoff (Angstrom) here"),
        ("max_num_epochs: 100\n", "MACE's max_num_epochs is training.epochs here"),
        ("lr: 0.01\n", "lr is optimizer.learning_rate here"),
        ("optimizer: {lr: 0.01}\n", "lr is optimizer.learning_rate here"),
        ("batch_size: 4\n", "did you mean training.batch_size?"),
        ("num_interactions: 2\n", "MACE's num_interactions is model.num_layers here"),
        ("correlation: 3\n", "MACE's correlation is model.correlation (architecture: mace) here"),
        ("hidden_irreps: 128x0e + 128x1o\n", "(this one: num_channels: 128, feature_l_max: 1)"),
        ("num_convolution_layer: 5\n", "SevenNet's num_convolution_layer is model.num_layers here"),
        ("training: {max_epochs: 5}\n", "did you mean training.epochs?"),
        ("training: {epoch: 5}\n", "did you mean training.epochs?"),
        ("properties: [{r_max: 5}]\n", "r_max is model.cutoff"),
    ],
)
def test_the_answer_names_our_key(text, answer, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(GOOD + text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert answer in str(caught.value) and "line 4" in str(caught.value)


@pytest.mark.parametrize(
    ("architecture", "key", "answer"),
    [
        ("mace", "r_max", "model.cutoff"),
        ("mace", "num_interactions", "model.num_layers"),
        ("nequip", "num_features", "model.num_channels"),
        ("nequip", "lmax", "did you mean model.l_max?"),
    ],
)
def test_keys_of_the_model_section(architecture, key, answer):
    with pytest.raises(ConfigError) as caught:
        resolve_options(architecture, None, {key: 2})
    assert answer in str(caught.value) and "did you mean model.l_max" not in str(caught.value).replace(answer, "")


def _paths(cls, prefix=""):
    for field in fields(cls):
        yield prefix + field.name
        for section in (field_hints(cls)[field.name], *get_args(field_hints(cls)[field.name])):
            if isinstance(section, type) and is_dataclass(section):
                yield from _paths(section, f"{prefix}{field.name}.")


def test_every_answer_is_a_key_that_there_is():
    known = set(_paths(Config)) | {
        f"model.{field.name}" for cls in (MACEOptions, NequIPOptions) for field in fields(cls)
    }
    for key, (_, answer) in _ANSWERS.items():
        named = [word.strip("(),:") for word in answer.split() if "." in word or word in ("seed", "name")]
        words = [word for word in named if word.split(".")[0] in {field.name for field in fields(Config)}]
        assert all(word in known for word in words), (key, words)
        assert words or "section" in answer or "run_directory" in answer or "no key" in answer or "--resume" in answer
