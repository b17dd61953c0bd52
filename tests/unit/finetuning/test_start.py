"""Before the first step: what trains predicts what the base predicts, and only what shall train does."""

from __future__ import annotations

import pytest
import torch

from equipot.config import FinetuneConfig
from equipot.errors import ConfigError, NumericalError
from equipot.finetuning import start as start_module
from equipot.finetuning import start_from
from equipot.finetuning.base import Base
from equipot.finetuning.blocks import blocks, parameter_names
from tests.unit.finetuning.systems import ATOMIC_ENERGIES, OFFSETS, crystals, graphs_of, labelled, tiny_base

NEW = {element: energy + OFFSETS[element] for element, energy in ATOMIC_ENERGIES.items()}


def base_of(potential) -> Base:
    return Base(potential, "base.eqp", "0")


def begin(potential=None, **keys):
    potential = tiny_base() if potential is None else potential
    graphs = graphs_of(labelled(crystals(4), potential))
    return start_from(base_of(potential), FinetuneConfig(**keys), NEW, graphs)


def test_the_start_equals_the_base():
    start = begin()
    assert start.equality.energy == 0 and start.equality.forces == 0 and start.equality.num_graphs == 4
    assert "0 meV/atom" in start.equality.line() and "4 frames" in start.equality.line()
    assert start.potential.atomic_energies.tolist() == list(NEW.values())
    assert start.zero_shot.atomic_energies.tolist() == list(NEW.values())


def test_a_start_that_differs_is_refused(monkeypatch):
    """The error this check is for: a tensor that was not taken over."""

    def forgetful(potential):
        result = plain_copy(potential)
        with torch.no_grad():
            result.architecture.readout.weights[0].mul_(1.001)
        return result

    plain_copy = start_module.plain_copy
    monkeypatch.setattr(start_module, "plain_copy", forgetful)
    with pytest.raises(NumericalError, match="differs from its base by"):
        begin()


@pytest.mark.parametrize(
    "keys, trained",
    [
        ({"train": ("readout",)}, ["architecture.readout.weights.0"]),
        ({"train": (r"layers\.1\.linear",)}, ["architecture.layers.1.linear.weight_0"]),
        ({"freeze": ("layer_0", "layer_1", "embedding")}, ["architecture.readout.weights.0"]),
    ],
)
def test_what_trains(keys, trained):
    assert parameter_names(begin(mode="frozen", **keys).potential) == trained


def test_blocks_hold_every_parameter():
    for architecture in ("nequip", "mace"):
        names = parameter_names(tiny_base(architecture))
        found = blocks(names)
        assert set().union(*found.values()) == set(names)
        kinds = [found[block] for block in found if not block.startswith(("layer_", "last_", "radial_"))]
        assert sum(map(len, kinds)) == len(names)  # each is in one kind


@pytest.mark.parametrize("key", ["train", "freeze"])
def test_a_pattern_that_matches_nothing_lists_the_names(key):
    with pytest.raises(ConfigError) as caught:
        begin(mode="frozen", **{key: ("raedout",)})
    text = str(caught.value)
    assert f"finetune.{key}: 'raedout' matches no parameter" in text and "readout" in text
    assert "architecture.layers.0.linear.weight_0" in text


def test_freezing_everything_is_refused():
    with pytest.raises(ConfigError, match="nothing is left to train"):
        begin(mode="frozen", freeze=(".",))
