"""The loop: learns, evaluates and saves the averaged weights, chooses by the rules, stops when told."""

from __future__ import annotations

import math

import pytest
import torch

from equipot.checkpoint import RunDirectory, load
from equipot.errors import ConfigError, DataError, NumericalError
from equipot.training import evaluate, fit
from equipot.training import loop as loop_module
from equipot.training import saver as saver_module
from equipot.training.job import prepare
from equipot.training.memory import OutOfMemory
from equipot.training.state import TrainingState
from tests.unit.training.systems import PairPotential, config, crystals, datasets, molecule, real_potential


@pytest.fixture
def run(tmp_path):
    with RunDirectory(tmp_path / "run").create() as directory:
        yield directory


@pytest.fixture
def no_model_files(monkeypatch):
    """A stand-in potential cannot be written: collect what would be."""
    written = []
    monkeypatch.setattr(
        saver_module,
        "save_model",
        lambda path, potential, *, metadata: written.append(
            ({name: value.clone() for name, value in potential.state_dict().items()}, metadata)
        ),
    )
    return written


def test_overfits_one_frame(run):
    """Forces of one frame to 1 meV/Angstrom."""
    data = datasets(1, 0)
    settings = config(
        training={"epochs": 300, "batch_size": 1, "ema_decay": None},
        optimizer={"learning_rate": 0.03},
        schedule={"warmup_steps": 20},
    )
    result = fit(real_potential(radial_hidden=(16,), num_channels=8), data, settings, run)
    assert result.steps == 300
    assert evaluate(result.potential, data.train).metrics["all"]["forces_mae_mev_per_angstrom"] < 1.0


def test_averaged_weights_are_those_evaluated_saved_and_returned(run):
    data = datasets(4, 2)
    settings = config(training={"epochs": 3, "batch_size": 2, "ema_decay": 0.9})
    result = fit(real_potential(radial_hidden=(8,)), data, settings, run)
    loaded = load(run.model_path)
    for name, value in result.potential.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    row = next(row for row in run.read_metrics() if row["epoch"] == result.best_epoch)
    again = evaluate(loaded, data.validation).metrics["all"]
    assert {key: row["validation"][key] for key in again} == again
    assert loaded.metadata["training"]["epoch"] == result.best_epoch
    # The weights themselves are something else: they are in the checkpoint, beside the average.
    tensors, _ = run.latest()
    averages = {name: value for name, value in tensors.items() if name.startswith("ema/average/")}
    assert averages
    assert all(
        not torch.equal(value, tensors[name.replace("ema/average/", "potential/")]) for name, value in averages.items()
    )


def test_rows(run, no_model_files):
    fit(PairPotential(), datasets(), config(training={"epochs": 3}), run)
    rows = run.read_metrics()
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3] and rows[0]["train"] is None
    last = rows[-1]
    shares = [last["train"][f"{label}_share"] for label in ("energy", "forces", "stress")]
    assert sum(shares) == pytest.approx(1.0) and all(share > 0 for share in shares)
    assert last["train"]["num_configurations"] == 8 and last["validation"]["num_configurations"] == 3
    assert last["step"] == 9 and last["train"]["grad_norm"] > 0 and last["validation"]["loss"] > 0
    assert last["total_seconds"] >= last["seconds"] > 0


def test_training_loss_in_the_row_is_the_mean_over_steps(run, no_model_files, monkeypatch):
    losses, step = [], loop_module.training_step

    def recorded(*args, **kwargs):
        result = step(*args, **kwargs)
        losses.append(result.loss)
        return result

    monkeypatch.setattr(loop_module, "training_step", recorded)
    fit(PairPotential(), datasets(), config(training={"epochs": 1}), run)
    assert run.read_metrics()[-1]["train"]["loss"] == pytest.approx(sum(losses) / 3, rel=1e-12)


def test_without_validation_the_final_average_is_the_model(run, no_model_files, caplog):
    with caplog.at_level("INFO", logger="equipot.training"):
        result = fit(PairPotential(), datasets(8, 0), config(training={"epochs": 3}), run)
    assert "no validation set" in caplog.text
    assert result.best_epoch == 3 and result.best_value is None and run.read_metrics()[-1]["validation"] is None
    tensors, _ = run.latest()
    assert torch.equal(result.potential.hidden, tensors["ema/average/hidden"])
    assert torch.equal(no_model_files[-1][0]["hidden"], result.potential.hidden)
    assert no_model_files[-1][1]["training"]["best_value"] is None


@pytest.mark.parametrize(
    ("values", "extra", "best"),
    [
        ([5, 1, 4, 3], {}, 4),  # epochs 1 and 2 lie before select_after
        ([5, 1, 4, 3], {"training": {"select_after": 0.0}}, 2),
        ([5, math.nan, math.nan, math.nan], {}, 1),  # nothing after it was a number
        ([5, 4, 1, 3], {"loss": {"stage_two": {"start": 0.75}}}, 4),  # stage one ends with the third
    ],
)
def test_which_epoch_is_best(run, no_model_files, monkeypatch, values, extra, best):
    answers = iter(values)
    monkeypatch.setattr("equipot.training.job.Job.value", lambda *_: float(next(answers)))
    settings = config(**{**extra, "training": {"epochs": 4, **extra.get("training", {})}})
    result = fit(PairPotential(), datasets(), settings, run)
    assert result.best_epoch == best and result.best_value == values[best - 1]
    assert no_model_files[-1][1]["training"]["epoch"] == best
    assert torch.equal(no_model_files[-1][0]["hidden"], result.potential.hidden)


def test_never_a_number_is_an_error(run, no_model_files, monkeypatch):
    monkeypatch.setattr("equipot.training.job.Job.value", lambda *_: math.nan)
    with pytest.raises(NumericalError, match="no epoch can be chosen"):
        fit(PairPotential(), datasets(), config(training={"epochs": 2}), run)


def test_early_stopping(run, no_model_files, monkeypatch):
    answers = iter([5, 4, 3, 3.5, 3.5, 3.5, 3.5, 3.5])
    monkeypatch.setattr("equipot.training.job.Job.value", lambda *_: float(next(answers)))
    settings = config(training={"epochs": 50, "early_stopping_patience": 3, "select_after": 0.0})
    result = fit(PairPotential(), datasets(), settings, run)
    assert result.epochs == 6 and result.best_epoch == 3


def test_ten_bad_steps_in_a_row_stop_with_the_frames_named(run, no_model_files):
    data = datasets(3, 1)
    data.train[1].energy = torch.full((1,), 1e308, dtype=torch.float64)
    settings = config(training={"epochs": 20, "batch_size": 3}, loss={"energy": "mse"})
    with pytest.raises(NumericalError, match=r"10 steps in a row.*made.xyz frame 1"):
        fit(PairPotential(), data, settings, run)
    assert [row["train"]["num_bad_steps"] for row in run.read_metrics()[1:]] == [1] * 9
    tensors, _ = run.latest()
    assert torch.equal(tensors["potential/hidden"], PairPotential().hidden)


def test_single_bad_frame_is_skipped_and_counted_and_training_goes_on(run, no_model_files, caplog):
    data = datasets(6, 2)
    data.train[1].energy = torch.full((1,), 1e308, dtype=torch.float64)
    settings = config(training={"epochs": 3, "batch_size": 2}, loss={"energy": "mse"})
    result = fit(PairPotential(), data, settings, run)
    rows = run.read_metrics()[1:]
    assert [row["train"]["num_bad_steps"] for row in rows] == [1, 1, 1]
    assert all(math.isfinite(row["train"]["loss"]) for row in rows) and result.steps == 9
    assert "made.xyz frame 1" in caplog.text


def test_weights_that_are_not_finite_are_never_saved(run, no_model_files):
    """A diverged optimiser: the loss of the step before was still a number."""
    potential = PairPotential()
    job = prepare(datasets(), config())
    state: TrainingState = job.new_state(potential)
    with torch.no_grad():
        potential.bias[0] = math.nan
    saver = saver_module.Saver(run, state, job.config.training, None)
    with pytest.raises(NumericalError, match="bias"):
        saver.save()
    assert run.latest() is None and not no_model_files


def test_out_of_memory_saves_the_state_before_it(run, no_model_files, monkeypatch):
    step, calls = loop_module.training_step, []

    def fail(potential, *args, **kwargs):
        calls.append({name: value.clone() for name, value in potential.state_dict().items()})
        if len(calls) == 5:
            raise OutOfMemory("Out of memory on cpu with a batch of 3 frames.")
        return step(potential, *args, **kwargs)

    monkeypatch.setattr(loop_module, "training_step", fail)
    with pytest.raises(OutOfMemory, match="3 frames"):
        fit(PairPotential(), datasets(), config(training={"checkpoint_minutes": 60.0}), run)
    tensors, _ = run.latest()
    assert torch.equal(tensors["potential/hidden"], calls[-1]["hidden"])


def test_labels_that_are_nowhere_are_an_error_before_the_first_step():
    only_energies = datasets(labels="e")
    with pytest.raises(ConfigError, match="every label with a weight above zero is missing"):
        prepare(only_energies, config(loss={"energy_weight": 0.0}))
    with pytest.raises(ConfigError, match="stage_two"):
        prepare(only_energies, config(loss={"stage_two": {"energy_weight": 0.0}}))
    with pytest.raises(ConfigError, match="best_metric is forces_mae"):
        prepare(only_energies, config(training={"best_metric": "forces_mae"}))
    with pytest.raises(DataError, match="no training frames"):
        prepare(datasets(0, 1), config())


def test_stress_label_without_a_volume_is_an_error():
    data = datasets()
    bad = molecule()
    bad.stress = torch.zeros(1, 3, 3, dtype=torch.float64)
    data.train.append(bad)
    with pytest.raises(DataError, match=r"molecule\.xyz frame 0 has a stress label"):
        prepare(data, config())


def test_batch_larger_than_the_set_and_a_single_frame(run, no_model_files):
    result = fit(PairPotential(), datasets(1, 1), config(training={"epochs": 2, "batch_size": 50}), run)
    assert result.steps == 2


def test_workers_give_the_same_bits(tmp_path, no_model_files):
    weights = []
    for num_workers in (0, 2):
        with RunDirectory(tmp_path / str(num_workers)).create() as run:
            settings = config(training={"epochs": 2, "num_workers": num_workers})
            weights.append(fit(PairPotential(), datasets(), settings, run).potential.hidden)
    assert torch.equal(*weights)


def test_globals_are_left_alone(run, no_model_files):
    before = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()
    random = torch.random.get_rng_state()
    with torch.no_grad():
        fit(PairPotential(), datasets(), config(training={"epochs": 1}), run)
    assert before == (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled())
    assert torch.equal(random, torch.random.get_rng_state())


def test_energies_alone_can_be_learnt(run, no_model_files):
    data = datasets(labels="e")
    fit(PairPotential(), data, config(training={"epochs": 2}), run)
    validation = run.read_metrics()[-1]["validation"]
    assert validation["energy_mae_mev_per_atom"] > 0 and validation["forces_mae_mev_per_angstrom"] is None


def test_crystals_are_what_the_tests_think():
    graphs = crystals(4)
    assert {graph.config_type for graph in graphs} == {"one", "two"} and all(graph.num_edges > 20 for graph in graphs)


def test_checkpoints_are_written_on_the_way(run, no_model_files, monkeypatch):
    steps, save = [], RunDirectory.save_checkpoint

    def recorded(self, tensors, document, step):
        steps.append(step)
        return save(self, tensors, document, step)

    monkeypatch.setattr(RunDirectory, "save_checkpoint", recorded)
    fit(PairPotential(), datasets(), config(training={"epochs": 2, "checkpoint_minutes": 1e-9}), run)
    assert steps == [1, 2, 3, 4, 5, 6, 6]


@pytest.mark.parametrize(("start", "reductions"), [(0.5, 0), (0.99, 4)])
def test_plateau_does_not_take_stage_two_for_one(run, no_model_files, monkeypatch, start, reductions):
    """Heavier weights make a larger loss, which is no reason to learn more slowly."""
    answers = iter([4, 3, 2, 1, 40, 39, 38, 37])
    monkeypatch.setattr("equipot.training.job.Job.value", lambda *_: float(next(answers)))
    settings = config(
        training={"epochs": 8},
        loss={"stage_two": {"start": start}},
        schedule={"name": "plateau", "patience": 0, "warmup_steps": 0},
    )
    fit(PairPotential(), datasets(), settings, run)
    rates = [row["learning_rate"] for row in run.read_metrics()[1:]]
    # The last evaluation comes after the last rate.
    assert rates[-1] == pytest.approx(rates[0] * 0.5 ** max(reductions - 1, 0))
