"""Evaluation: order, independence of the batches, and leaving everything as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equipot.config.schema import LossConfig
from equipot.errors import Interrupted, UsageError
from equipot.graph import collate
from equipot.training.evaluate import batches_by_edges, evaluate, evaluate_batches
from equipot.training.loss import Loss
from equipot.training.memory import OutOfMemory
from tests.unit.training.systems import PairPotential, crystals, molecule, real_potential


def test_predictions_are_in_order_and_independent_of_the_batches():
    graphs, potential = [*crystals(5), molecule()], real_potential()
    large = evaluate(potential, graphs, collect=True)
    small = evaluate(potential, graphs, collect=True, batch_edges=1)
    for graph, one, other in zip(graphs, large.predictions, small.predictions, strict=True):
        alone = potential(graph)
        assert one.forces.shape == (graph.num_nodes, 3) and one.stress.shape == (3, 3)
        assert one.energy == pytest.approx(float(alone.energy), rel=1e-12)
        np.testing.assert_allclose(one.forces, alone.forces.numpy(), rtol=0, atol=1e-12)
        np.testing.assert_allclose(one.forces, other.forces, rtol=0, atol=1e-12)
        np.testing.assert_allclose(one.stress, alone.stress[0].numpy(), rtol=0, atol=1e-12)
    assert large.metrics["all"] == pytest.approx(small.metrics["all"], rel=1e-9)


def test_batches_respect_the_budget():
    graphs = crystals(6)
    sizes = [graph.num_edges for graph in graphs]
    batches = list(batches_by_edges(graphs, 2 * max(sizes)))
    assert len(batches) > 1 and sum(batch.num_graphs for batch in batches) == 6
    assert all(batch.num_edges <= 2 * max(sizes) for batch in batches)
    assert [batch.num_graphs for batch in batches_by_edges(graphs, 1)] == [1] * 6


def test_loss_over_the_set_is_the_loss_of_one_batch():
    graphs, potential, loss = crystals(5), PairPotential(), Loss(LossConfig(), 1.3)
    whole = collate(graphs)
    value = evaluate(potential, graphs, batch_edges=1, loss=loss).loss
    assert value == pytest.approx(float(loss(potential(whole), whole).total), rel=1e-12)


@pytest.mark.parametrize("is_training", [True, False])
def test_leaves_mode_gradients_and_globals(is_training):
    potential, graphs = real_potential().train(is_training), crystals(2)
    before = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(), torch.random.get_rng_state()
    with torch.no_grad():
        inside = evaluate(potential, graphs)
    outside = evaluate(potential, graphs)
    after = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(), torch.random.get_rng_state()
    assert before[:3] == after[:3] and torch.equal(before[3], after[3])
    assert inside.metrics == outside.metrics and inside.metrics["all"]["forces_mae_mev_per_angstrom"] > 0
    assert potential.training is is_training
    assert all(parameter.grad is None for parameter in potential.parameters())


def test_nothing_to_evaluate():
    result = evaluate(PairPotential(), [], collect=True)
    assert result.metrics["all"]["num_configurations"] == 0 and result.predictions == []


def test_stop_between_batches():
    answers = iter([False, True])
    with pytest.raises(Interrupted):
        evaluate_batches(PairPotential(), batches_by_edges(crystals(3), 1), stop=lambda: next(answers))


def test_out_of_memory_says_how_large_and_what_to_lower(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    potential = PairPotential()
    monkeypatch.setattr(potential, "forward", fail)
    graphs = crystals(3)
    with pytest.raises(OutOfMemory) as caught:
        evaluate(potential, graphs)
    for words in (
        "3 frames",
        f"{sum(graph.num_nodes for graph in graphs)} atoms",
        f"{sum(graph.num_edges for graph in graphs)} edges",
        "training.evaluation_batch_edges",
        "made.xyz",
    ):
        assert words in str(caught.value)


def test_other_errors_pass_through(monkeypatch):
    potential = PairPotential()
    monkeypatch.setattr(potential, "forward", lambda *_, **__: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        evaluate(potential, crystals(1))


def test_unknown_device():
    with pytest.raises(UsageError, match="auto, cpu or cuda"):
        evaluate(PairPotential(), crystals(1), device="abacus")
