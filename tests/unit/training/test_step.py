"""One step: accumulation equals the large batch, bad steps change nothing, clipping, memory."""

from __future__ import annotations

import gc
import math

import pytest
import torch

from equipot.config.schema import LossConfig, OptimizerConfig
from equipot.graph import collate
from equipot.training.ema import ExponentialMovingAverage
from equipot.training.loss import Loss
from equipot.training.memory import OutOfMemory
from equipot.training.optimizer import build_optimizer, optimizer_state
from equipot.training.step import training_step
from tests.unit.training.systems import PairPotential, crystals, molecule, real_potential


class Bench:
    """A potential with all a step needs."""

    def __init__(self, potential=None, **optimizer):
        self.potential = PairPotential() if potential is None else potential
        self.optimizer = build_optimizer(self.potential, OptimizerConfig(**optimizer))
        self.ema = ExponentialMovingAverage(self.potential)
        self.loss = Loss(LossConfig(), 1.0)

    def step(self, batches, **kwargs):
        return training_step(self.potential, batches, self.loss, self.optimizer, self.ema, **kwargs)

    def everything(self):
        """Copies of all tensors a step may change."""
        found = []

        def walk(value):
            if isinstance(value, torch.Tensor):
                found.append(value.detach().clone())
            elif isinstance(value, dict):
                [walk(item) for item in value.values()]
            elif isinstance(value, list | tuple):
                [walk(item) for item in value]
            elif isinstance(value, int | float):
                found.append(torch.tensor(float(value)))

        walk(self.potential.state_dict())
        walk(optimizer_state(self.optimizer))
        walk(self.ema.state_dict())
        return found


def same(first, second):
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second))


@pytest.mark.parametrize(
    ("make", "dtype", "tolerance"),
    [(PairPotential, None, 1e-12), (real_potential, "float64", 1e-10), (real_potential, "float32", 1e-5)],
)
def test_accumulation_equals_the_large_batch(make, dtype, tolerance):
    """Batches of unequal size and coverage: means of means would give another gradient."""
    graphs = [*crystals(3), molecule(labels="e"), *crystals(2, seed=4, labels="ef")]
    gradients = []
    for batches in ([graphs], [graphs[:1], graphs[1:4], graphs[4:]]):
        bench = Bench(make() if dtype is None else make(dtype=dtype), name="sgd", momentum=0.0, learning_rate=1.0)
        before = {name: value.detach().clone() for name, value in bench.potential.named_parameters()}
        result = bench.step([collate(batch) for batch in batches])
        gradients.append(
            (
                result.parts,
                result.grad_norm,
                {name: value - before[name] for name, value in bench.potential.named_parameters()},
            )
        )
    (parts, norm, first), (other_parts, other_norm, second) = gradients
    assert parts == pytest.approx(other_parts, rel=tolerance) and norm == pytest.approx(other_norm, rel=tolerance)
    for name, value in first.items():
        scale = float(value.detach().abs().max())
        assert float((value - second[name]).detach().abs().max()) <= tolerance * scale + 1e-15, name


@pytest.mark.parametrize("where", ["energy", "forces", "gradient"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["soap", "adamw", "sgd"])
def test_a_bad_step_changes_nothing_and_names_the_frames(monkeypatch, where, value, name):
    graphs = crystals(4)
    good, batch = collate(graphs[:2]), collate(graphs)
    bench = Bench(name=name)
    for _ in range(3):
        bench.step([good])
    before = bench.everything()
    forward, frame = bench.potential.forward, 2

    def poisoned(graph, **kwargs):
        output = forward(graph, **kwargs)
        if where == "energy":
            output.energy = output.energy + torch.tensor([0.0, 0.0, value, 0.0])
        elif where == "forces":
            bad = torch.where(graph.graph_index == frame, value, 0.0)
            output.forces = output.forces + bad[:, None]
        else:  # finite forward, not so backward: only the gradient tells
            output.energy = output.energy + 0.0 * bench.potential.bias.sum()
            output.energy.register_hook(lambda gradient: torch.full_like(gradient, value))
        return output

    monkeypatch.setattr(bench.potential, "forward", poisoned)
    result = bench.step([batch])
    assert result.is_bad
    expected = {"made.xyz frame 2"} if where != "gradient" else {f"made.xyz frame {k}" for k in range(4)}
    assert set(result.suspects) == expected
    assert same(bench.everything(), before)
    assert all(parameter.grad is None for parameter in bench.potential.parameters())
    monkeypatch.undo()
    after = bench.step([good])
    twin = Bench(name=name)
    for _ in range(4):
        expected = twin.step([good])
    assert not after.is_bad and after.parts == expected.parts and same(bench.everything(), twin.everything())


def test_bad_second_batch_of_an_accumulated_step(monkeypatch):
    bench, graphs = Bench(), crystals(4)
    before = bench.everything()
    graphs[3].energy = torch.full((1,), 1e308, dtype=torch.float64)  # finite, its square is not
    bench.loss = Loss(LossConfig(energy="mse"), 1.0)
    result = bench.step([collate(graphs[:2]), collate(graphs[2:])])
    assert result.is_bad and same(bench.everything(), before)


def test_clipping_shortens_the_gradient_and_reports_it_unclipped():
    batch = collate(crystals(3))
    moved = []
    for clip_norm in (None, 1e9, 1e-3):
        bench = Bench(name="sgd", momentum=0.0, learning_rate=1.0, parameter_groups={"hidden": 2.0, "out": 6**0.5})
        before = [parameter.detach().clone() for parameter in bench.potential.parameters()]
        result = bench.step([batch], clip_norm=clip_norm)
        change = [parameter.detach() - old for parameter, old in zip(bench.potential.parameters(), before)]
        moved.append((result.grad_norm, torch.cat([each.flatten() for each in change])))
    assert moved[0][0] == moved[1][0] == moved[2][0] > 1e-3
    assert torch.equal(moved[0][1], moved[1][1])
    assert float(moved[0][1].norm()) == pytest.approx(moved[0][0], rel=1e-12)
    assert float(moved[2][1].norm()) == pytest.approx(1e-3, rel=1e-12)
    assert torch.allclose(moved[2][1] / 1e-3, moved[0][1] / moved[0][0], rtol=1e-10)


def test_a_batch_without_any_label_is_no_error():
    bench = Bench()
    result = bench.step([molecule(labels="")])
    assert not result.is_bad and result.loss == 0.0


def test_works_in_the_users_no_grad_block():
    bench, batch = Bench(), collate(crystals(2))
    with torch.no_grad():
        result = bench.step([batch])
        assert not torch.is_grad_enabled()
    assert result.grad_norm > 0


def test_out_of_memory_leaves_everything_and_says_what_to_lower(monkeypatch):
    bench, batch = Bench(), collate(crystals(2))
    for _ in range(2):
        bench.step([batch])
    before = bench.everything()

    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(bench.potential, "forward", fail)
    with pytest.raises(OutOfMemory, match=rf"{batch.num_nodes} atoms and {batch.num_edges} edges.*training.batch_size"):
        bench.step([batch])
    assert same(bench.everything(), before)


def test_no_graph_is_kept_alive():
    bench, batch = Bench(real_potential(radial_hidden=(8,))), collate(crystals(2))

    def tensors():
        gc.collect()
        return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())

    results = [bench.step([batch]) for _ in range(3)]
    del results
    before = tensors()
    results = [bench.step([batch]) for _ in range(10)]
    assert not any(tensor.requires_grad for result in results for tensor in result.metrics._rows)
    del results
    assert tensors() <= before + 5
