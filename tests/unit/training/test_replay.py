"""Replayed structures in a step: their gradient is added with its weight, and nothing else of them is counted."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from equipot.config.schema import LossConfig, OptimizerConfig
from equipot.graph import collate
from equipot.training import ExponentialMovingAverage, Replay, build_optimizer, training_step
from equipot.training.job import prepare
from equipot.training.loss import Loss
from tests.unit.training.systems import PairPotential, config, crystals, datasets


def step(batches, **kwargs):
    """The gradient of a step, from what plain gradient descent does with it."""
    potential = PairPotential()
    before = [parameter.detach().clone() for parameter in potential.parameters()]
    optimizer = build_optimizer(potential, OptimizerConfig(name="sgd", learning_rate=1.0, momentum=0.0))
    result = training_step(
        potential, batches, Loss(LossConfig(), 1.0), optimizer, ExponentialMovingAverage(potential), **kwargs
    )
    return result, [old - new.detach() for old, new in zip(before, potential.parameters())]


def test_the_gradient_of_what_is_replayed_is_added_with_its_weight():
    graphs = crystals(5)
    own, replayed = collate(graphs[:3]), collate(graphs[3:])
    alone, first = step([own])
    other, second = step([replayed])
    both, total = step([own], replayed=[replayed], replay=Replay(graphs[3:], weight=0.25))
    for a, b, c in zip(first, second, total):
        assert torch.allclose(a + 0.25 * b, c, atol=1e-13) and float(b.abs().max()) > 0
    assert both.loss == pytest.approx(alone.loss) and both.replay_loss == pytest.approx(0.25 * other.loss)
    assert both.metrics.result() == alone.metrics.result()
    assert alone.replay_loss is None


def test_predictions_of_what_is_replayed_are_made_in_their_scope():
    graphs, entered = crystals(2), []

    @contextmanager
    def scope():
        entered.append(True)
        yield

    step([collate(graphs[:1])], replayed=[collate(graphs[1:])], replay=Replay(graphs[1:], scope=scope))
    assert entered == [True]


def test_a_replayed_structure_that_is_not_finite_spoils_the_step_and_is_named():
    graphs = crystals(2)
    graphs[1].positions[0] = 1e300
    result, moved = step([collate(graphs[:1])], replayed=[collate(graphs[1:])], replay=Replay(graphs[1:]))
    assert result.is_bad and "made.xyz frame 1" in result.suspects
    assert not any(bool(change.any()) for change in moved)


def test_every_structure_comes_up_before_one_comes_up_twice():
    replay = Replay(crystals(5), batch_size=2, seed=4)
    drawn = replay.draw(3, [1] * 5)
    places = [place for step in drawn for place in step]
    assert sorted(places[:5]) == sorted(places[5:]) == [0, 1, 2, 3, 4]
    assert drawn == Replay(replay.graphs, batch_size=2, seed=4).draw(3, [1] * 5)
    assert drawn != replay.draw(4, [1] * 5)
    assert [len(step) for step in Replay(replay.graphs).draw(0, [3, 1, 9])] == [3, 1, 5]


def test_a_job_gives_each_step_its_own_and_its_replayed_frames():
    data, replayed = datasets(7, 2), crystals(4, seed=9)
    job = prepare(data, config(training={"batch_size": 3, "accumulate": 2}), Replay(replayed, batch_size=2))
    steps = job.steps(0)
    assert [len(plan.batches) for plan in steps] == [2, 1] and [len(plan.replay) for plan in steps] == [2, 2]
    for plan, loaded in zip(steps, job.load(steps)):
        assert len(loaded.batches) == len(plan.batches) and len(loaded.replay) == 1
        for places, batch in zip(plan.batches, loaded.batches):
            assert torch.equal(batch.energy, torch.cat([data.train[place].energy for place in places]))
        assert torch.equal(loaded.replay[0].energy, torch.cat([replayed[place].energy for place in plan.replay]))
