"""Whole fine-tunings: what they leave, what does not move, and that a resumed one equals an unbroken one."""

from __future__ import annotations

import json

import pytest
import torch

import equipot
from equipot.checkpoint import load_model
from equipot.cli.main import main
from equipot.config import load_config
from equipot.data.writing import write_frames
from equipot.errors import CheckpointError, ConfigError, ElementError, Interrupted, UsageError
from equipot.training import NoProgress, evaluate
from equipot.workflow import training
from tests.unit.finetuning.systems import OFFSETS, crystals, graphs_of, job, labelled, tiny_base, write_case


@pytest.fixture(scope="module", autouse=True)
def no_plots():
    """Drawing, and comparing with the base (see test_report), take longer than everything these tests are about."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "write_report", lambda *_: None)
        patch.setattr(training, "_compare_with_base", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A base, and frames of a teacher with other weights and other atomic energies."""
    folder = tmp_path_factory.mktemp("finetune")
    base = tiny_base()
    teacher = tiny_base()
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.mul_(1.1)
    model, data = write_case(folder, base, labelled(crystals(20), teacher, OFFSETS))
    return folder, model, data, base


@pytest.fixture(scope="module")
def done(case):
    folder, model, data, _ = case
    return equipot.finetune(
        model, job(data, folder / "done", finetune={"mode": "frozen", "train": ["last_layer"]}), quiet=True
    )


def test_frozen_parameters_do_not_move_and_the_others_do(case, done):
    base = case[3].state_dict()
    tuned = load_model(done.model_path).state_dict()
    moved = {name for name in base if not torch.equal(base[name], tuned[name])}
    assert moved and all(name.startswith("architecture.layers.1.") or name == "atomic_energies" for name in moved)
    assert {name for name in base if name.startswith("architecture.layers.1.")} <= moved


def test_the_run_keeps_its_base_and_the_zero_shot(case, done):
    kept, zero_shot = load_model(done.directory / "base.eqp"), load_model(done.directory / "zero_shot.eqp")
    for name, tensor in case[3].state_dict().items():
        assert torch.equal(kept.state_dict()[name], tensor)
        assert torch.equal(zero_shot.state_dict()[name], tensor) or name == "atomic_energies"
    assert kept.metadata["name"] == "tiny"
    tuned = load_model(done.model_path)
    assert tuned.atomic_energies.tolist() == zero_shot.atomic_energies.tolist() != kept.atomic_energies.tolist()
    origin = tuned.metadata["finetuned_from"]
    assert origin["name"] == "tiny" and tuned.metadata["licence"] == "MIT" and len(origin["sha256"]) == 64
    assert str(case[0]) not in json.dumps(tuned.metadata)


def test_the_resolved_configuration_gives_the_run_again(case, done):
    config = load_config(done.directory / "config.yaml")
    assert config.finetune.atomic_energies["Cu"] == pytest.approx(-0.5, abs=0.2)
    again = equipot.train(done.directory / "config.yaml", overrides=[f"run_directory={case[0] / 'again'}"], quiet=True)
    for name, tensor in done.potential.state_dict().items():
        assert torch.equal(tensor, again.potential.state_dict()[name]), name


class StopAfter(NoProgress):
    """Interrupts after so many steps, as a signal would."""

    def __init__(self, steps):
        self.left = steps

    def advance(self, *_):
        import os
        import signal

        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def test_resumed_equals_unbroken(case, done, monkeypatch):
    folder, model, data, _ = case
    settings = job(data, folder / "stopped", finetune={"mode": "frozen", "train": ["last_layer"]})
    with pytest.raises(Interrupted):
        equipot.finetune(model, settings, quiet=True, progress=StopAfter(5))
    result = equipot.finetune(model, settings, quiet=True, resume=True)
    for name, tensor in done.potential.state_dict().items():
        assert torch.equal(tensor, result.potential.state_dict()[name]), name


@pytest.fixture(scope="module")
def replayed(case):
    """LoRA, with crystals of the element that is not in the frames replayed."""
    folder, model, data, base = case
    write_frames(folder / "nickel.xyz", labelled(crystals(12, ("Ni", "Ni"), seed=3), base))
    settings = job(
        data,
        folder / "replayed",
        training={"epochs": 4},
        # Not SOAP: with gradients of rank one its other directions are those of rounding, and so is what is forgotten.
        optimizer={"name": "adamw", "learning_rate": 0.01},
        finetune={
            "mode": "lora",
            "lora": {"rank": 1},
            "replay": {"structures": ["nickel.xyz"], "batch_size": 3, "weight": 2.0},
        },
    )
    return settings, equipot.finetune(model, settings, quiet=True)


def test_replay_and_low_rank_resumed_equal_unbroken(case, replayed):
    settings, whole = replayed
    settings = {**settings, "run_directory": str(case[0] / "replayed-stopped")}
    with pytest.raises(Interrupted):
        equipot.finetune(case[1], settings, quiet=True, progress=StopAfter(4))
    result = equipot.finetune(case[1], settings, quiet=True, resume=True)
    for name, tensor in whole.potential.state_dict().items():
        assert torch.equal(tensor, result.potential.state_dict()[name]), name
    rows = [json.loads(line) for line in (whole.directory / "metrics.jsonl").read_text().splitlines()]
    assert all(row["train"]["replay_loss"] > 0 for row in rows[1:])


def test_replay_lowers_forgetting(case, replayed):
    """Nickel, which the frames say nothing of, stays nearer to the base."""
    settings, kept = replayed
    without = {name: value for name, value in settings["finetune"].items() if name != "replay"}
    naive = equipot.finetune(
        case[1], {**settings, "finetune": without, "run_directory": str(case[0] / "naive")}, quiet=True
    )
    held_out = graphs_of(labelled(crystals(6, ("Ni", "Ni"), seed=4), case[3]))
    moved = [
        evaluate(result.potential, held_out).metrics["all"]["forces_mae_mev_per_angstrom"] for result in (kept, naive)
    ]
    assert moved[1] > 1.0 and moved[0] < 0.5 * moved[1]


def test_a_resumed_run_needs_its_own_base(case, tmp_path):
    folder, model, data, _ = case
    settings = job(data, folder / "changed", training={"epochs": 2})
    with pytest.raises(Interrupted):
        equipot.finetune(model, settings, quiet=True, progress=StopAfter(1))
    other = tmp_path / model.name
    equipot.checkpoint.save_model(other, tiny_base(seed=5))
    with pytest.raises(ConfigError, match=r"contents of base\.eqp are no longer"):
        equipot.finetune(other, settings, quiet=True, resume=True)


def test_a_key_of_the_model_is_refused(case):
    folder, model, data, _ = case
    with pytest.raises(ConfigError, match="the model of a fine-tuning is that of its base"):
        equipot.finetune(model, job(data, folder / "no", model={"cutoff": 4.0}), quiet=True)


def test_wrong_bases(case, tmp_path):
    _, model, data, _ = case
    with pytest.raises(UsageError, match="base model is not there"):
        equipot.finetune(tmp_path / "none.eqp", job(data, tmp_path / "run"), quiet=True)
    cut = tmp_path / "cut.eqp"
    cut.write_bytes(model.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cut short"):
        equipot.finetune(cut, job(data, tmp_path / "run"), quiet=True)
    with pytest.raises(UsageError, match="has no base"):
        equipot.train(job(data, tmp_path / "run", finetune={"mode": "full"}), quiet=True)
    assert not (tmp_path / "run").exists()


def test_an_unknown_element_names_the_base(case, tmp_path):
    model = case[1]
    silver = tmp_path / "silver.xyz"
    write_frames(silver, labelled(crystals(6, ("Cu", "Ag")), tiny_base(elements=("Cu", "Ag"))))
    with pytest.raises(ElementError, match=r"Ag, which the base model base\.eqp does not know"):
        equipot.finetune(model, job(silver, tmp_path / "run"), quiet=True)


def test_an_element_is_added_and_others_are_dropped(case, tmp_path):
    """Silver begins as gold; nickel, which no frame contains, goes; the energy of silver is found."""
    teacher = tiny_base(elements=("Cu", "Ag"))
    write_frames(tmp_path / "silver.xyz", labelled(crystals(10, ("Cu", "Ag")), teacher, {"Ag": 0.5}))
    result = equipot.finetune(
        case[1],
        job(
            tmp_path / "silver.xyz",
            tmp_path / "run",
            training={"epochs": 1},
            finetune={"new_elements": {"Ag": "Au"}, "elements": "data"},
        ),
        quiet=True,
    )
    assert result.potential.elements == ("Cu", "Ag")
    assert load_model(result.directory / "base.eqp").elements == ("Ni", "Cu", "Au")
    assert load_model(result.model_path).elements == ("Cu", "Ag")
    base, zero_shot = case[3].architecture, load_model(result.directory / "zero_shot.eqp").architecture
    assert torch.equal(zero_shot.embedding, base.embedding[1:])
    log = (result.directory / "run.log").read_text()
    assert "Ag begins as Au" in log and "2 elements of the base are dropped" in log
    assert "Before the first step: largest difference from the base" in log


def test_the_command(case, tmp_path, capsys):
    from equipot.config import from_dict, to_yaml

    _, model, data, _ = case
    path = tmp_path / "mine.yaml"
    path.write_text(to_yaml(from_dict(job(data, tmp_path / "run", training={"epochs": 1}, finetune={}))))
    assert main(["finetune", str(model), str(path), "finetune.mode=frozen", "finetune.train=[readout]"]) == 0
    out = capsys.readouterr().out
    assert "Before the first step: largest difference from the base 0 meV/atom" in out
    assert "What trains" in out and "licence MIT" in out and "6 parameters train" in out
    assert main(["finetune", str(model), str(path), "finetune.mod=full"]) == 2
    assert "did you mean finetune.mode" in capsys.readouterr().err
