"""The loss against numbers worked out by hand, its masks, weights and independence of the batch."""

from __future__ import annotations

import math

import pytest
import torch

from equipot.config.schema import LossConfig, StageTwoConfig
from equipot.errors import UsageError
from equipot.graph import collate
from equipot.kernels import selection
from equipot.kernels.native import library
from equipot.models import ModelOutput
from equipot.training.loss import Loss
from tests.unit.training.systems import PairPotential, crystals, molecule, real_potential

F0 = 2.0
DELTA = 0.05


def prediction(graph, *, energy=0.0, forces=0.0, stress=0.0):
    """The labels plus errors."""
    return ModelOutput(
        energy=graph.energy + energy,
        node_energy=torch.zeros(graph.num_nodes, dtype=torch.float64),
        forces=graph.forces + forces,
        stress=graph.stress + stress,
    )


def only(label, form):
    """A loss of one term with weight 1."""
    weights = {f"{name}_weight": float(name == label) for name in ("energy", "forces", "stress")}
    return Loss(LossConfig(**{label: form}, **weights) if form != "norm" else LossConfig(forces=form, **weights), F0)


def by_hand(form, x):
    if form == "mse":
        return x**2
    if form == "mae":
        return abs(x)
    return x**2 / (2 * DELTA) if abs(x) < DELTA else abs(x) - DELTA / 2


@pytest.mark.parametrize("form", ["mse", "mae", "huber"])
@pytest.mark.parametrize("size", [0.01, 3.0])
def test_scalar_forms_by_hand(form, size):
    graph = collate(crystals(2))
    atoms = graph.num_nodes_per_graph.tolist()
    energy = float(only("energy", form)(prediction(graph, energy=size), graph).total)
    assert energy == pytest.approx(sum(by_hand(form, size / n / F0) for n in atoms) / 2, rel=1e-9)
    shift = torch.zeros_like(graph.forces)
    shift[1, 2] = size
    forces = float(only("forces", form)(prediction(graph, forces=shift), graph).total)
    assert forces == pytest.approx(by_hand(form, size / F0) / (3 * sum(atoms)), rel=1e-9)
    volumes = torch.linalg.det(graph.cell).abs().tolist()
    stress = float(only("stress", form)(prediction(graph, stress=size), graph).total)
    assert stress == pytest.approx(sum(by_hand(form, size * v / n / F0) for v, n in zip(volumes, atoms)) / 2, rel=1e-9)


def test_norm_is_of_the_whole_vector_and_zero_at_zero():
    graph = collate(crystals(1))
    loss = only("forces", "norm")
    assert float(loss(prediction(graph), graph).total) == 0.0
    shift = torch.zeros_like(graph.forces)
    shift[0] = torch.tensor([3.0, 0.0, 4.0])
    expected = (math.sqrt((5 / F0) ** 2 + DELTA**2) - DELTA) / graph.num_nodes
    assert float(loss(prediction(graph, forces=shift), graph).total) == pytest.approx(expected, rel=1e-12)


def test_weights_multiply_and_parts_add_up():
    graph = collate(crystals(3))
    error = {"energy": 0.3, "forces": 0.2, "stress": 0.01}
    config = LossConfig(energy_weight=2.0, forces_weight=3.0, stress_weight=0.5)
    terms = Loss(config, F0)(prediction(graph, **error), graph)
    singles = [
        float(only(label, form)(prediction(graph, **error), graph).total)
        for label, form in (("energy", "huber"), ("forces", "norm"), ("stress", "huber"))
    ]
    assert terms.parts.tolist() == pytest.approx([2.0 * singles[0], 3.0 * singles[1], 0.5 * singles[2]], rel=1e-12)
    assert float(terms.total) == pytest.approx(float(terms.parts.sum()), rel=1e-14)


def test_stage_two_has_its_own_weights():
    graph = collate(crystals(2))
    config = LossConfig(stage_two=StageTwoConfig(energy_weight=20.0, forces_weight=1.0, stress_weight=0.3))
    loss, output = Loss(config, F0), prediction(graph, energy=0.1, forces=0.1, stress=0.01)
    one, two = loss(output, graph).parts, loss(output, graph, stage_two=True).parts
    assert (two / one).tolist() == pytest.approx([10.0, 1.0, 1.0])


def test_frame_weight_scales_its_errors_and_is_not_normalised_away():
    graph = collate(crystals(1))
    loss, output = Loss(LossConfig(), F0), prediction(graph, energy=0.3, forces=0.2, stress=0.01)
    plain = loss(output, graph).parts
    for label, weight in (("energy", 2.0), ("forces", 3.0), ("stress", 4.0)):
        setattr(graph, f"{label}_weight", torch.tensor([weight], dtype=torch.float64))
    assert (loss(output, graph).parts / plain).tolist() == pytest.approx([2.0, 3.0, 4.0])


@pytest.mark.parametrize("label", ["energy", "forces", "stress"])
def test_weight_zero_is_the_same_as_no_label(label):
    def parts(change):
        graphs = crystals(3)
        change(graphs[1])
        graph = collate(graphs)
        potential = PairPotential()
        terms = Loss(LossConfig(), F0)(potential(graph, create_graph=True), graph)
        terms.total.backward()
        return terms.parts.tolist(), potential.hidden.grad

    def remove(graph):
        setattr(graph, label, torch.full_like(getattr(graph, label), math.nan))

    def ignore(graph):
        setattr(graph, f"{label}_weight", torch.zeros(1, dtype=torch.float64))

    (removed, removed_gradient), (ignored, ignored_gradient) = parts(remove), parts(ignore)
    assert removed == pytest.approx(ignored, rel=1e-12)
    assert torch.allclose(removed_gradient, ignored_gradient, rtol=1e-12, atol=0)
    assert removed != pytest.approx(parts(lambda graph: None)[0], rel=1e-6)


def test_loss_of_copies_is_the_loss_of_one():
    graphs, loss, potential = crystals(3), Loss(LossConfig(), F0), PairPotential()
    once, twice = collate(graphs), collate(graphs + graphs)
    first, second = (loss(potential(graph), graph).parts for graph in (once, twice))
    assert first.tolist() == pytest.approx(second.tolist(), rel=1e-12)


def test_frames_without_labels_change_nothing():
    graphs, loss, potential = crystals(3), Loss(LossConfig(), F0), PairPotential()
    unlabelled = molecule(labels="")
    first, second = (
        loss(potential(graph), graph).parts for graph in (collate(graphs), collate([unlabelled, *graphs, unlabelled]))
    )
    assert first.tolist() == pytest.approx(second.tolist(), rel=1e-12)


def test_counts_make_parts_of_a_batch_add_up():
    graphs, loss, potential = crystals(5), Loss(LossConfig(), F0), PairPotential()
    whole = collate(graphs)
    counts = loss.counts(whole)
    assert counts.tolist() == [5, whole.num_nodes, 5]
    pieces = [collate(graphs[:2]), collate(graphs[2:])]
    total = sum(loss(potential(piece), piece, counts=counts).parts for piece in pieces)
    assert total.tolist() == pytest.approx(loss(potential(whole), whole).parts.tolist(), rel=1e-12)


@pytest.mark.parametrize(
    "energy,forces,stress",
    [("mse", "mse", "mse"), ("mae", "mae", "mae"), ("huber", "huber", "huber"), ("huber", "norm", "huber")],
)
def test_derivatives_against_finite_differences(energy, forces, stress):
    """Small and large errors, missing labels, frames with weights of their own."""
    graphs = [*crystals(4), molecule(labels="e"), *crystals(1, labels="f")]
    graphs[1].energy_weight, graphs[2].forces_weight = (
        torch.full((1,), value, dtype=torch.float64) for value in (3.0, 0.0)
    )
    graphs[0].stress_weight = torch.full((1,), 0.5, dtype=torch.float64)
    graph = collate(graphs)
    generator = torch.Generator().manual_seed(0)
    inputs = []
    for label in (graph.energy, graph.forces, graph.stress):
        spread = (
            torch.rand(label.shape, generator=generator, dtype=torch.float64)
            * torch.tensor([0.01, 2.0])[torch.randint(2, label.shape, generator=generator)]
        )
        inputs.append((torch.nan_to_num(label) + spread).requires_grad_())
    loss = Loss(LossConfig(energy=energy, forces=forces, stress=stress), F0)

    def total(*values):
        return loss(ModelOutput(energy=values[0], node_energy=None, forces=values[1], stress=values[2]), graph).total

    assert torch.autograd.gradcheck(total, inputs, eps=1e-7, atol=1e-7)
    total(*inputs).mul(3.0).backward()
    for tensor, slope in zip(inputs, torch.autograd.grad(total(*inputs), inputs)):
        assert torch.allclose(tensor.grad, 3.0 * slope, rtol=1e-14, atol=0) and slope.abs().sum() > 0


def test_a_second_derivative_is_refused_rather_than_wrong():
    graph = collate(crystals(1))
    energy = graph.energy.clone().requires_grad_()
    total = Loss(LossConfig(energy="mse"), F0)(ModelOutput(energy=energy, node_energy=None), graph).total
    with pytest.raises(UsageError, match="once only"):
        torch.autograd.grad(total, energy, create_graph=True)


@pytest.mark.parametrize("make", [PairPotential, real_potential])
def test_mixed_labels_give_finite_gradients(make):
    """A molecule without volume beside crystals with stress: NaN predictions and labels must not reach a gradient."""
    graph = collate([molecule(labels="e"), *crystals(1, labels="f"), *crystals(1, labels="s")])
    potential = make()
    terms = Loss(LossConfig(), F0)(potential(graph, create_graph=True), graph)
    assert (terms.parts > 0).all()
    terms.total.backward()
    assert all(
        torch.isfinite(parameter.grad).all() for parameter in potential.parameters() if parameter.grad is not None
    )


def test_derivatives_are_asked_for_only_where_labels_need_them():
    loss = Loss(LossConfig(), F0)
    assert loss.derivatives(collate(crystals(1))) == {"forces": True, "stress": True}
    assert loss.derivatives(molecule(labels="e")) == {"forces": False, "stress": False}
    without = Loss(LossConfig(stress_weight=0.0), F0)
    assert without.derivatives(collate(crystals(1))) == {"forces": True, "stress": False}


@pytest.mark.parametrize("forces_rms", [0.0, math.nan])
def test_without_forces_the_unit_is_one(forces_rms):
    assert Loss(LossConfig(), forces_rms).unit == 1.0


@pytest.mark.skipif(isinstance(library.load(), str), reason="there are no native kernels here")
@pytest.mark.parametrize("form", ["mse", "mae", "huber", "norm"])
@pytest.mark.parametrize("has_stress", [True, False])
def test_native_loss_equals_torch(form, has_stress):
    other = "huber" if form == "norm" else form
    delta = {"delta": 0.3} if other == "huber" else {}
    loss = Loss(LossConfig(energy=other, forces=form, stress=other, energy_weight=0.7, **delta), F0)
    graph = collate(crystals(4))
    graph.energy[1] = graph.forces[2, 1] = graph.stress[0, 2, 1] = math.nan
    graph.energy_weight = torch.tensor([1.0, 1.0, 0.0, 3.0], dtype=torch.float64)
    graph.forces_weight = torch.tensor([2.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    results = {}
    for kernels in ("native", "reference"):
        with selection.use(kernels):
            generator.manual_seed(0)
            values = [
                torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
                for shape in (graph.energy.shape, graph.forces.shape, graph.stress.shape)
            ]
            output = ModelOutput(
                energy=values[0], node_energy=None, forces=values[1], stress=values[2] if has_stress else None
            )
            terms = loss(output, graph, stage_two=False)
            slopes = torch.autograd.grad(terms.total, values, allow_unused=True)
            errors, masks = terms.errors, terms.errors.masks
            results[kernels] = [
                terms.total.detach(),
                terms.parts,
                *slopes,
                errors.energy,
                errors.forces,
                errors.stress,
                masks.energy,
                masks.forces,
                masks.stress,
                masks.counts(),
                errors.num_atoms,
            ]
    for mine, its in zip(results["native"], results["reference"], strict=True):
        assert (mine is None) == (its is None)
        if mine is not None:
            torch.testing.assert_close(mine, its, rtol=1e-14, atol=1e-14)
    assert results["native"][-2].tolist() == [2, int(masks.forces.sum()), 3]
