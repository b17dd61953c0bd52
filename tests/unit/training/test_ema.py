"""The average of the weights by its definition, its swap, and its state."""

from __future__ import annotations

import pytest
import torch

from equipot.errors import CheckpointError
from equipot.training.ema import ExponentialMovingAverage
from tests.unit.training.systems import PairPotential


def move(module, amount):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += amount


def test_by_definition_with_the_start_up():
    module = PairPotential()
    expected, ema = module.hidden.detach().clone(), ExponentialMovingAverage(module, 0.5)
    for n in range(1, 20):
        move(module, 0.1 * n)
        ema.update()
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * module.hidden.detach()
    assert torch.allclose(ema.weights()["hidden"], expected, rtol=1e-13)


def test_swap_shows_the_average_and_puts_back_to_the_bit_even_after_an_error():
    module = PairPotential()
    ema = ExponentialMovingAverage(module, 0.9)
    move(module, 1.0)
    ema.update()
    before, versions = module.hidden.detach().clone(), module.hidden._version
    with pytest.raises(ZeroDivisionError), ema.swapped():
        assert torch.equal(module.hidden, ema.weights()["hidden"]) and not torch.equal(module.hidden, before)
        raise ZeroDivisionError
    assert torch.equal(module.hidden, before)
    assert module.hidden._version > versions  # whoever caches something made of the weights can see it


def test_without_decay_the_weights_themselves_are_used():
    module = PairPotential()
    ema = ExponentialMovingAverage(module, None)
    move(module, 1.0)
    ema.update()
    with ema.swapped():
        assert torch.equal(module.hidden, ema.weights()["hidden"])


def test_frozen_parameters_are_left_out():
    module = PairPotential()
    module.bias.requires_grad_(False)
    assert set(ExponentialMovingAverage(module).weights()) == {"hidden", "out"}


def test_state_round_trip_and_refusal():
    module = PairPotential()
    ema, other = ExponentialMovingAverage(module), ExponentialMovingAverage(module)
    move(module, 1.0)
    ema.update()
    other.load_state_dict(ema.state_dict())
    assert other.num_updates == 1 and torch.equal(other.weights()["out"], ema.weights()["out"])
    with pytest.raises(CheckpointError, match="ema_decay"):
        ExponentialMovingAverage(module, None).load_state_dict(ema.state_dict())
