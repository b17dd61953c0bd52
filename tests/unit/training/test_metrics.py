"""Error metrics against numpy, whatever the batching, and never counting a label that is not there."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from equipot.graph import collate
from equipot.models import ModelOutput
from equipot.training.evaluate import evaluate
from equipot.training.metrics import MAX_GROUPS, MetricAccumulator, group_names_of
from tests.unit.training.systems import PairPotential, crystals, molecule

GPA = 160.21766208
KEYS = {
    "num_configurations",
    "energy_mae_mev_per_atom",
    "energy_rmse_mev_per_atom",
    "forces_mae_mev_per_angstrom",
    "forces_rmse_mev_per_angstrom",
    "stress_mae_gpa",
    "stress_rmse_gpa",
}


def test_against_numpy():
    graphs = crystals(5)
    result = evaluate(PairPotential(), graphs, collect=True)
    energy, forces, stress = [], [], []
    for graph, prediction in zip(graphs, result.predictions):
        energy.append((prediction.energy - float(graph.energy)) / graph.num_nodes)
        forces.append((prediction.forces - graph.forces.numpy()).ravel())
        stress.append((prediction.stress - graph.stress[0].numpy())[np.triu_indices(3)])
    forces, stress = np.concatenate(forces), np.concatenate(stress)
    metrics = result.metrics["all"]
    assert set(metrics) == KEYS
    assert metrics["num_configurations"] == 5
    assert metrics["energy_mae_mev_per_atom"] == pytest.approx(1000 * np.abs(energy).mean(), rel=1e-12)
    assert metrics["energy_rmse_mev_per_atom"] == pytest.approx(1000 * np.sqrt(np.square(energy).mean()), rel=1e-12)
    assert metrics["forces_mae_mev_per_angstrom"] == pytest.approx(1000 * np.abs(forces).mean(), rel=1e-12)
    assert metrics["forces_rmse_mev_per_angstrom"] == pytest.approx(1000 * np.sqrt(np.square(forces).mean()), rel=1e-12)
    assert metrics["stress_mae_gpa"] == pytest.approx(GPA * np.abs(stress).mean(), rel=1e-7)
    assert metrics["stress_rmse_gpa"] == pytest.approx(GPA * np.sqrt(np.square(stress).mean()), rel=1e-7)


def test_groups_by_config_type():
    graphs = [*crystals(4), molecule()]
    metrics = evaluate(PairPotential(), graphs).metrics
    assert set(metrics) == {"all", "one", "two", "cluster"}
    assert [metrics[name]["num_configurations"] for name in ("all", "one", "two", "cluster")] == [5, 2, 2, 1]
    alone = evaluate(PairPotential(), [graphs[1], graphs[3]]).metrics["all"]
    assert metrics["two"] == pytest.approx(alone, rel=1e-12)


def test_a_config_type_called_all_does_not_replace_the_total():
    graphs = crystals(2)
    graphs[0].config_type = "all"
    metrics = evaluate(PairPotential(), graphs).metrics
    assert metrics["all"]["num_configurations"] == 2
    assert metrics["all (config_type)"]["num_configurations"] == 1


def test_batching_does_not_change_a_bit():
    """Given the same predictions; those themselves may differ in the last bit between batches."""
    graphs = crystals(7)
    outputs = [PairPotential()(graph) for graph in graphs]
    results = []
    for order, size in ((range(7), 1), (range(7), 3), (reversed(range(7)), 2)):
        accumulator, order = MetricAccumulator(), list(order)
        for start in range(0, 7, size):
            chosen = order[start : start + size]
            output = ModelOutput(
                energy=torch.cat([outputs[k].energy for k in chosen]),
                node_energy=torch.zeros(0),
                forces=torch.cat([outputs[k].forces for k in chosen]),
                stress=torch.cat([outputs[k].stress for k in chosen]),
            )
            accumulator.update(output, collate([graphs[k] for k in chosen]))
        results.append(accumulator.result())
    assert results[0]["all"] == results[1]["all"] == results[2]["all"]
    assert results[0]["two"] == results[2]["two"]


@pytest.mark.parametrize("how", ["nan", "weight"])
def test_missing_labels_never_count(how):
    graphs = crystals(3)
    for label in ("energy", "forces", "stress"):
        if how == "nan":
            setattr(graphs[0], label, torch.full_like(getattr(graphs[0], label), math.nan))
        else:  # a placeholder with weight zero, as several programs write
            setattr(graphs[0], label, torch.zeros_like(getattr(graphs[0], label)))
            setattr(graphs[0], f"{label}_weight", torch.zeros(1, dtype=torch.float64))
    metrics = evaluate(PairPotential(), graphs).metrics["all"]
    rest = evaluate(PairPotential(), graphs[1:]).metrics["all"]
    assert metrics.pop("num_configurations") == 3 and rest.pop("num_configurations") == 2
    assert metrics == pytest.approx(rest, rel=1e-12)


def test_other_weights_do_not_enter():
    graphs = crystals(3)
    plain = evaluate(PairPotential(), graphs).metrics
    graphs[0].forces_weight = torch.full((1,), 10.0, dtype=torch.float64)
    assert evaluate(PairPotential(), graphs).metrics == plain


def test_a_label_nowhere_is_none_not_zero():
    metrics = evaluate(PairPotential(), crystals(2, labels="e")).metrics["all"]
    assert metrics["energy_mae_mev_per_atom"] > 0
    assert metrics["forces_mae_mev_per_angstrom"] is None and metrics["stress_rmse_gpa"] is None
    assert MetricAccumulator().result()["all"]["num_configurations"] == 0


def test_a_nan_prediction_is_not_hidden():
    graph = collate(crystals(2))
    output = PairPotential()(graph)
    output.forces[0, 0] = math.nan
    accumulator = MetricAccumulator()
    accumulator.update(output, graph)
    assert math.isnan(accumulator.result()["all"]["forces_mae_mev_per_angstrom"])


def test_state_round_trip_in_the_middle():
    graphs, potential = crystals(4), PairPotential()
    whole, first = MetricAccumulator(), MetricAccumulator()
    for graph in graphs:
        whole.update(potential(graph), graph)
    for graph in graphs[:2]:
        first.update(potential(graph), graph)
    second = MetricAccumulator()
    second.load_state_dict(first.state_dict())
    for graph in graphs[2:]:
        second.update(potential(graph), graph)
    assert len(second) == 4
    assert second.result() == whole.result()


def test_many_batches_and_parts_that_were_not_computed(monkeypatch):
    """Errors wait to be summed up together: however many wait, and with forces or stress in some batches only."""
    graphs, potential, results = [*crystals(9), molecule()], PairPotential(), []
    for waiting in (1, 4, 1000):
        monkeypatch.setattr("equipot.training.metrics.MAX_PENDING", waiting)
        accumulator = MetricAccumulator()
        for k, graph in enumerate(graphs):
            part = MetricAccumulator()
            part.update(potential(graph, forces=k % 2 == 0, stress=k % 3 == 0), graph)
            if k == 5:
                part.load_state_dict(part.state_dict())
            accumulator.merge(part)
        assert len(accumulator._pending) < waiting and len(accumulator) == 10
        results.append(accumulator.result())
        assert accumulator.result() == results[-1]
    assert results[0] == results[1] == results[2]
    with_forces = MetricAccumulator()
    for graph in graphs[::2]:
        with_forces.update(potential(graph), graph)
    for name in ("forces_mae_mev_per_angstrom", "forces_rmse_mev_per_angstrom"):
        assert results[0]["all"][name] == with_forces.result()["all"][name]


def test_thousands_of_config_types_are_grouped():
    """The largest groups keep their names; the errors of the others are those of all of them together."""
    names = ["big"] * 30 + [f"type_{number}" for number in range(4000)]
    shown = group_names_of(names)
    assert len(set(shown.values())) == MAX_GROUPS and shown["big"] == "big"
    assert shown["type_3999"] == f"others ({4001 - MAX_GROUPS + 1} config_types)"
    assert group_names_of(["all", "a"]) == {"all": "all (config_type)", "a": "a"}
    accumulator = MetricAccumulator()
    graphs, potential = crystals(60), PairPotential()
    for place, graph in enumerate(graphs):
        graph.config_type = f"type_{place}"
    for graph in graphs:
        accumulator.update(potential(graph), graph)
    metrics = accumulator.result()
    (others,) = [name for name in metrics if name.startswith("others")]
    assert len(metrics) == MAX_GROUPS + 1 and metrics[others]["num_configurations"] == 60 - MAX_GROUPS + 1
    assert sum(group["num_configurations"] for name, group in metrics.items() if name != "all") == 60
