"""Parameter groups, freezing, and an optimiser state that continues to the bit after a round trip through a file."""

from __future__ import annotations

import pytest
import torch

from equipot.checkpoint import flatten_state, tensor_file, unflatten_state
from equipot.config.schema import LossConfig, OptimizerConfig
from equipot.errors import CheckpointError, ConfigError
from equipot.graph import collate
from equipot.training.ema import ExponentialMovingAverage
from equipot.training.loss import Loss
from equipot.training.optimizer import build_optimizer, describe_groups, load_optimizer_state, optimizer_state
from equipot.training.step import training_step
from tests.unit.training.systems import PairPotential, crystals, real_potential

NAMES = ["soap", "adamw", "adam", "sgd"]


def rates(optimizer):
    return {name: group["lr"] for group in optimizer.param_groups for name in group["names"]}


def steps(potential, optimizer, count):
    graph, ema = collate(crystals(3)), ExponentialMovingAverage(potential)
    for _ in range(count):
        training_step(potential, [graph], Loss(LossConfig(), 1.0), optimizer, ema)


def test_rates_are_base_times_own_factor_times_matching_patterns():
    config = OptimizerConfig(learning_rate=0.1, parameter_groups={"^bias$": 3.0, "b|h": 2.0})
    result = rates(build_optimizer(PairPotential(width=4), config))
    assert result == pytest.approx({"hidden": 0.1 * 0.5 * 2.0, "bias": 0.1 * 3.0 * 2.0, "out": 0.1 * 0.5})


def test_every_parameter_of_a_real_model_is_in_one_group():
    potential = real_potential("mace")
    result = rates(build_optimizer(potential, OptimizerConfig(learning_rate=0.02)))
    expected = {name: 0.02 * factor for name, factor in potential.learning_rate_factors().items()}
    trained = {name for name, parameter in potential.named_parameters() if parameter.requires_grad}
    assert result == pytest.approx({name: expected[name] for name in trained})
    assert len(set(result.values())) > 1


@pytest.mark.parametrize("name", NAMES)
def test_zero_freezes_to_the_bit(name):
    potential = PairPotential()
    optimizer = build_optimizer(potential, OptimizerConfig(name=name, parameter_groups={"bias|out": 0.0}))
    before = {key: value.clone() for key, value in potential.state_dict().items()}
    steps(potential, optimizer, 4)
    changed = [key for key, value in potential.state_dict().items() if not torch.equal(value, before[key])]
    assert changed == ["hidden"]
    assert not potential.bias.requires_grad and "frozen" in "\n".join(describe_groups(potential, optimizer))


def test_a_pattern_without_match_lists_the_names():
    with pytest.raises(ConfigError, match=r"'radial' matches no parameter.*hidden, bias, out"):
        build_optimizer(PairPotential(), OptimizerConfig(parameter_groups={"radial": 0.5}))


def test_freezing_everything_is_refused():
    with pytest.raises(ConfigError, match="freezes every parameter"):
        build_optimizer(PairPotential(), OptimizerConfig(parameter_groups={"": 0.0}))


def test_weight_decay_spares_vectors():
    potential = PairPotential()
    with torch.no_grad():
        potential.bias += 1.0
    optimizer = build_optimizer(potential, OptimizerConfig(name="adamw", weight_decay=0.5))
    decays = {name: group["weight_decay"] for group in optimizer.param_groups for name in group["names"]}
    assert decays == {"hidden": 0.5, "bias": 0.0, "out": 0.5}


def test_table_of_groups_adds_up():
    potential = real_potential()
    lines = describe_groups(potential, build_optimizer(potential, OptimizerConfig()))
    assert sum(int(line.split()[1]) for line in lines[1:]) == sum(p.numel() for p in potential.parameters())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_state_goes_on_to_the_bit_after_a_file(tmp_path, name, dtype):
    def start():
        potential = real_potential(dtype=dtype, radial_hidden=(8,))
        return potential, build_optimizer(potential, OptimizerConfig(name=name, precondition_frequency=3
                                                                     if name == "soap" else None))

    whole, whole_optimizer = start()
    steps(whole, whole_optimizer, 8)
    first, first_optimizer = start()
    steps(first, first_optimizer, 4)
    tensors, skeleton = flatten_state(optimizer_state(first_optimizer))
    tensor_file.write(tmp_path / "state.safetensors", tensors, {"state": skeleton})
    tensors, document = tensor_file.read(tmp_path / "state.safetensors")
    second, second_optimizer = start()
    second.load_state_dict({key: value.clone() for key, value in first.state_dict().items()})
    load_optimizer_state(second_optimizer, unflatten_state(tensors, document["state"]))
    steps(second, second_optimizer, 4)
    for (key, value), other in zip(whole.state_dict().items(), second.state_dict().values()):
        assert torch.equal(value, other), key


@pytest.mark.parametrize("largest", [10_000, 6])
def test_soap_equals_the_library(largest):
    """Tensors of one to three axes, with and without an eigenbasis for the long ones."""
    from pytorch_optimizer.optimizer.soap import SOAP as LibrarySOAP

    from equipot.training.soap import SOAP

    generator = torch.Generator().manual_seed(0)
    shapes = [(5,), (4, 7), (1, 3), (2, 3, 8), (7, 1)]
    start = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    gradients = [[torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes] for _ in range(9)]
    results = []
    for kind in (LibrarySOAP, SOAP):
        parameters = [torch.nn.Parameter(value.clone()) for value in start]
        optimizer = kind(parameters, lr=0.1, betas=(0.9, 0.99), precondition_frequency=2, weight_decay=0.1,
                         max_precondition_dim=largest)
        for step in gradients:
            for parameter, gradient in zip(parameters, step):
                parameter.grad = gradient.clone()
            optimizer.step()
        results.append(parameters)
    for old, library, ours in zip(start, *results):
        assert (ours - old).abs().max() > 0.1
        assert torch.allclose(library, ours, rtol=0, atol=1e-6)  # the library's QR is in float32 whatever the dtype


def test_state_is_a_copy():
    potential = PairPotential()
    optimizer = build_optimizer(potential, OptimizerConfig(name="adam"))
    steps(potential, optimizer, 2)
    saved = optimizer_state(optimizer)
    other = build_optimizer(potential, OptimizerConfig(name="adam"))
    load_optimizer_state(other, saved)
    other.state[potential.hidden]["exp_avg"].zero_()
    assert saved["hidden"]["state"]["exp_avg"][0].abs().sum() > 0


def test_state_of_other_parameters_is_refused():
    potential = PairPotential()
    saved = optimizer_state(build_optimizer(potential, OptimizerConfig()))
    frozen = build_optimizer(PairPotential(), OptimizerConfig(parameter_groups={"bias": 0.0}))
    with pytest.raises(CheckpointError, match="unexpected bias"):
        load_optimizer_state(frozen, saved)
