"""What a fine-tuning changed: errors, softening, forgetting and short range are those of the models compared."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from ase.build import bulk

import equipot
from equipot.data.frames import Frame
from equipot.data.writing import write_frames
from equipot.errors import CheckpointError, DataError, Interrupted, UsageError
from equipot.finetuning.base import plain_copy
from equipot.finetuning.forgetting import domain_of, held_out_domain
from equipot.report.finetune_plots import finetune_pictures, finetune_section, finetune_tables
from equipot.report.tables import plain_text
from equipot.training import evaluate
from equipot.workflow import training
from equipot.workflow.finetune_comparison import Settings, compare_finetuned, force_slope, label_of
from tests.unit.finetuning.systems import OFFSETS, crystals, graphs_of, job, labelled, tiny_base, write_case


def softer(potential, factor):
    """The same potential with all interactions scaled."""
    result = plain_copy(potential)
    with torch.no_grad():
        result.scale.mul_(factor)
        result.shift.mul_(factor)
    return result


def moved(potential, offsets):
    """The same potential with other atomic energies."""
    result = plain_copy(potential)
    with torch.no_grad():
        result.atomic_energies.add_(torch.tensor([offsets[element] for element in result.elements]))
    return result


@pytest.fixture(scope="module")
def base():
    return tiny_base()


@pytest.fixture(scope="module")
def compared(base):
    """A base that is softer than the truth by a tenth, tuned to be right; the frames of another zero of energy."""
    truth = softer(base, 1.0 / 0.9)
    frames = labelled(crystals(9), truth, OFFSETS)
    for place, frame in enumerate(frames):
        frame.config_type = ("odd", "even")[place % 2]
    models = {"base": base, "zero_shot": moved(base, OFFSETS), "tuned": moved(truth, OFFSETS)}
    known = [*labelled(crystals(4, seed=5), base), Frame(bulk("Pd"), energy=-1.0)]
    return (
        models,
        frames,
        compare_finetuned(
            models,
            frames,
            "test",
            Settings(12, {"pbe.xyz": known}),
            {"tuned": {"steps": 10, "train_seconds": 2.0, "num_trained": 7}},
        ),
    )


def test_errors_are_those_of_the_one_metrics_path(compared):
    models, frames, comparison = compared
    errors = comparison.document["errors"]
    for name, model in models.items():
        graphs = graphs_of(frames)
        expected = evaluate(model, graphs).metrics["all"]
        for key, value in expected.items():
            assert errors[name]["all"][key] == pytest.approx(value, rel=1e-9, abs=1e-9), (name, key)
    assert set(errors["tuned"]) == {"all", "odd", "even"}
    assert errors["tuned"]["all"]["forces_mae_mev_per_angstrom"] < 1e-6
    assert errors["zero_shot"]["all"]["energy_mae_mev_per_atom"] < errors["base"]["all"]["energy_mae_mev_per_atom"]


def test_slopes_say_how_soft_a_potential_is(compared):
    slopes = compared[2].document["force_slopes"]
    assert slopes["zero_shot"]["all"] == pytest.approx(0.9, rel=1e-9)
    assert slopes["tuned"]["odd"] == pytest.approx(1.0, rel=1e-9)
    assert force_slope(np.zeros(6), np.ones(6)) is None
    rng = np.random.default_rng(0)
    reference = rng.normal(size=300)
    assert force_slope(reference, 0.7 * reference + 0.01 * rng.normal(size=300)) == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize(("origin", "label"), [
    ("refit", "zero-shot, refitted E0"), ("base", "zero-shot, kept E0"), ("given", "zero-shot, given E0"),
    ("isolated", "zero-shot, E0 of isolated atoms"),
])  # fmt: skip
def test_the_row_before_the_first_step_says_its_atomic_energies(origin, label):
    model = tiny_base()
    model.metadata = {"atomic_energies_origin": origin}
    assert label_of("zero_shot", model) == label and label_of("tuned", model) == "fine-tuned"


def test_forgetting_is_measured_against_the_base_and_not_the_labels(base, compared):
    forgetting = compared[2].document["forgetting"]
    prototypes = forgetting["prototypes"]
    assert prototypes["num_structures"] + prototypes["num_left_out"] == 12 and forgetting["elements"] == 3
    assert prototypes["force_slopes"]["all"] == pytest.approx(1.0 / 0.9, rel=1e-6)
    domain = held_out_domain(base, 12)
    forces = np.concatenate([frame.forces.ravel() for frame in domain.frames])
    assert prototypes["deviation"]["all"]["forces_mae_mev_per_angstrom"] == pytest.approx(
        1e3 * np.abs(forces).mean() * (1.0 / 0.9 - 1.0), rel=1e-6
    )
    assert prototypes["base_forces_rms_ev_per_angstrom"] == pytest.approx(np.sqrt(np.mean(forces**2)))
    known = forgetting["known"]["pbe.xyz"]
    assert known["before"]["all"]["energy_mae_mev_per_atom"] < 1e-6
    # Another zero of energy is not forgetting; only what the tenth changed remains.
    assert known["num_left_out"] == 1
    assert 0.1 < known["after"]["all"]["energy_mae_mev_per_atom"] < 500.0


def test_another_zero_of_energy_is_not_forgetting(base):
    domain = held_out_domain(base, 8)
    metrics = domain.deviation(moved(base, OFFSETS)).metrics["all"]
    assert metrics["energy_mae_mev_per_atom"] < 1e-6 and metrics["forces_mae_mev_per_angstrom"] < 1e-6
    assert domain.deviation(softer(base, 1.2)).metrics["all"]["energy_mae_mev_per_atom"] > 1.0


def test_structures_on_which_the_base_is_absurd_are_left_out(base):
    frames = [Frame(atoms, source=f"crystal {k}") for k, atoms in enumerate(crystals(3))]
    hard = softer(base, 1e4)
    domain = domain_of(hard, frames)
    assert domain.num_left_out > 0 and len(domain.frames) + domain.num_left_out == 3


def test_held_out_crystals_are_none_of_the_replayed():
    from equipot.data.geometry_hash import hash_frames
    from equipot.data.prototypes import prototype_structures

    base = tiny_base()
    held_out = set(hash_frames([Frame(frame.atoms) for frame in held_out_domain(base, 30).frames]))
    for seed in range(3):
        replayed = hash_frames([Frame(atoms) for atoms in prototype_structures(base.elements, 30, seed)])
        assert not held_out & set(replayed)


def test_dimers_are_shown_before_and_after(compared):
    dimers = compared[2].document["dimers"]
    assert set(dimers) == {"Cu-Cu", "Au-Au", "Cu-Au"}
    curves = compared[2].dimers["Cu-Au"]
    np.testing.assert_allclose(curves["tuned"]["energies"], curves["zero_shot"]["energies"] / 0.9, rtol=1e-6, atol=1e-9)


def test_a_model_without_an_element_of_the_frames_is_left_out_by_name(base):
    small = tiny_base(elements=("Cu",))
    frames = labelled(crystals(3), base)
    comparison = compare_finetuned({"base": small, "tuned": base}, frames, "test", Settings(0), {})
    assert comparison.document["not_evaluated"] == {"base": ["Au"]} and set(comparison.document["errors"]) == {"tuned"}
    tables = finetune_tables(comparison.document)
    section = finetune_section(comparison.document, {}, tables)
    assert "zero-shot does not know Au" in section.blocks[0]


def test_it_can_be_stopped(base):
    with pytest.raises(Interrupted):
        compare_finetuned(
            {"base": base, "tuned": base}, labelled(crystals(2), base), "test", Settings(4, stop=lambda: True), {}
        )


def test_tables_and_plots_show_it(compared):
    document = compared[2].document
    text = "\n".join(plain_text(table) for table in finetune_tables(document))
    for words in (
        "zero-shot, refitted E0",
        "fine-tuned",
        "deviation on held-out crystals",
        "error before",
        "0.900",
        "Cu-Au",
        "200",
        "pbe.xyz: 1 frames left out",
    ):
        assert words in text, words
    pictures = finetune_pictures(document, compared[2].points, compared[2].domain_points, compared[2].dimers)
    assert set(pictures) == {"finetune_errors", "finetune_forces", "finetune_dimers"}
    assert len(pictures["finetune_forces"].figure.axes) == 3


def test_a_run_ends_with_the_comparison(tmp_path, monkeypatch, base):
    drawn = []
    monkeypatch.setattr(training, "write_report", lambda record, *_: drawn.append(record))
    monkeypatch.setattr("equipot.workflow.finetune_report.save_figure", lambda figure, path: path.write_bytes(b""))
    model, data = write_case(tmp_path, base, labelled(crystals(12), softer(base, 1.1), OFFSETS))
    write_frames(tmp_path / "known.xyz", labelled(crystals(3, seed=7), base))
    report = {"prototypes": 5, "known": ["known.xyz"], "scratch": str(model)}
    result = equipot.finetune(model, job(data, tmp_path / "run", finetune={"report": report}), quiet=True)
    document = json.loads((result.directory / "finetune.json").read_text())
    assert set(document["errors"]) == {"base", "zero_shot", "tuned", "scratch"}
    assert document["errors"]["tuned"]["all"] == pytest.approx(result.metrics["test"]["all"], rel=1e-6)
    assert document["cost"]["tuned"]["steps"] == result.summary["steps"]
    assert document["cost"]["tuned"]["num_trained"] == result.potential.num_parameters()
    assert document["forgetting"]["known"]["known.xyz"]["before"]["all"]["num_configurations"] == 3
    assert result.finetuning["forgetting"]["prototypes"]["num_structures"] <= 5
    assert [section.title for section in drawn[0].sections] == ["Before and after fine-tuning"]
    assert (result.directory / "plots" / "finetune_forces.png").exists()


@pytest.mark.parametrize(
    "report, data_settings, error, message",
    [
        ({"scratch": "nowhere.eqp"}, {}, UsageError, r"no model nowhere\.eqp"),
        ({"scratch": "damaged.eqp"}, {}, CheckpointError, r"damaged\.eqp"),
        ({"known": ["nowhere.xyz"]}, {}, DataError, r"nowhere\.xyz"),
        ({"known": ["nothing.xyz"]}, {}, DataError, "nothing.xyz has no energies, forces or stresses"),
        ({"known": ["others.xyz"]}, {}, DataError, "no frame of others.xyz is of elements that both"),
        ({"known": ["nothing.xyz"]}, {"keys": {"energy": "energy"}}, DataError, "the key 'energy' asked for as energy"),
    ],
)
def test_files_of_the_report_that_cannot_be_used_are_said_before_training(
    tmp_path, base, report, data_settings, error, message
):
    model, data = write_case(tmp_path, base, labelled(crystals(4), base))
    (tmp_path / "damaged.eqp").write_bytes(b"no model")
    write_frames(tmp_path / "nothing.xyz", [Frame(atoms) for atoms in crystals(2)])
    write_frames(tmp_path / "others.xyz", [Frame(bulk("Pd"), energy=-1.0)])
    if report.get("scratch") == "damaged.eqp":
        report = {"scratch": str(tmp_path / "damaged.eqp")}
    settings = job(data, tmp_path / "run", finetune={"report": report})
    settings["data"] |= data_settings
    with pytest.raises(error, match=message):
        equipot.finetune(model, settings, quiet=True)
    assert not (tmp_path / "run").exists()
