"""Overrides are read as the file is, and refused in the same way."""

from __future__ import annotations

import pytest

from equipot.config import load_config
from equipot.errors import ConfigError

TEXT = """\
data: {train: [cu.xyz]}
training: {batch_size: 4}
properties:
  - {name: Cu, lattice: fcc, lattice_constant: 3.6}
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(TEXT)
    return path


def test_values_of_every_kind(path):
    config = load_config(
        path,
        [
            "optimizer.learning_rate=1e-3",
            "data.elements=[No, Cu]",
            "training.clip_norm=null",
            "model.zbl=true",
            "data.config_weights={bulk: 2, '1': 3}",
            "properties.0.name=Cu3Au",
            "loss.stage_two.start=0.5",
            "model.l_max=3",
            "name='ab'",
            "training.batch_size=null",
            "training.batch_edges=900",
        ],
    )
    assert config.optimizer.learning_rate == 1e-3
    assert config.data.elements == ("No", "Cu")
    assert config.training.clip_norm is None and config.training.batch_size is None
    assert config.training.batch_edges == 900
    assert config.model.zbl is True and config.model.options == {"l_max": 3}
    assert config.data.config_weights == {"bulk": 2.0, "1": 3.0}
    assert config.properties[0].name == "Cu3Au" and config.properties[0].lattice == "fcc"
    assert config.loss.stage_two.start == 0.5 and config.name == "ab"


def test_equals_sign_in_the_value(path):
    assert load_config(path, ["data.source=https://x.org/?a=b"]).data.source == "https://x.org/?a=b"


def test_whole_section_is_replaced(path):
    assert load_config(path, ["training={epochs: 3}"]).training.batch_size == 5


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("training.epochs", ["expected section.key=value"]),
        ("=3", ["expected section.key=value"]),
        ("training..epochs=3", ["expected section.key=value"]),
        ("training.epochs=", ["no value after '='", "training.epochs=null"]),
        ("training.epoch=3", ["training.epoch is not a known key", "did you mean training.epochs?"]),
        ("train.epochs=3", ["train is not a known key", "training"]),
        ("epochs=3", ["did you mean training.epochs?"]),
        ("training.epochs=ten", ["training.epochs is the text 'ten'"]),
        ("training.epochs.x=3", ["training.epochs is a mapping"]),
        ("training.batch_size.x=3", ["training.batch_size is 4, which has no 'x'"]),
        ("properties.1.name=Cu", ["properties.1 picks no item of a list of 1"]),
        ("properties.x.name=Cu", ["properties.x picks no item"]),
        ("data.validation=[a", ["override"]),
        ("data.validation=*x", ["anchors"]),
        ("data.validation=!!python/name:os.system", ["the tag"]),
        ("training.batch_edges=100", ["training.batch_edges is 100 and training.batch_size is 4"]),
    ],
)
def test_wrong(path, override, parts):
    with pytest.raises(ConfigError) as caught:
        load_config(path, [override])
    message = str(caught.value)
    assert message.startswith(f"override '{override}'"), message
    for part in parts:
        assert part in message, message


def test_twice(path):
    with pytest.raises(ConfigError, match=r"training\.epochs is overridden twice"):
        load_config(path, ["training.epochs=3", "training.epochs=4"])


def test_error_in_the_file_still_names_the_line(path):
    path.write_text(TEXT + "seed: x\n")
    with pytest.raises(ConfigError, match="line 5: seed is the text 'x'"):
        load_config(path, ["training.epochs=3"])
