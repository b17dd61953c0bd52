"""The whole path on a small set: what a run leaves, that evaluation repeats its table, and that predictions add up."""

from __future__ import annotations

import json
import logging

import ase.io
import numpy as np
import pytest

from equipot.cli.main import main
from equipot.config import load_config, to_dict
from equipot.report.summary import METRIC_KEYS
from equipot.training import NoProgress

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="session")
def summary(workplace) -> dict:
    return json.loads((workplace / "done" / "summary.json").read_text())


def test_a_run_leaves_what_it_promises(workplace):
    run = workplace / "done"
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file() and path.name != ".lock"}
    plots = (
        "learning_curve",
        "loss_shares",
        "parity_energy",
        "parity_forces",
        "parity_stress",
        "error_by_config_type",
        "equation_of_state",
        "elastic_constants",
    )
    expected = {
        "config.yaml",
        "splits.json",
        "run.log",
        "metrics.jsonl",
        "model.eqp",
        "summary.json",
        "report.html",
        *(f"plots/{name}.png" for name in plots),
    }
    assert expected <= names
    assert not [name for name in names if "tmp" in name]
    assert all(name.startswith("checkpoints/") for name in names - expected)
    page = (run / "report.html").read_text()
    assert "What the data doctor (equipot data check) says" in page and "Nothing is wrong or doubtful" in page
    assert "could not" not in (run / "run.log").read_text()


def test_summary_carries_the_agreed_keys(summary):
    for split in SPLITS:
        assert set(summary[split]) >= {"all", "volume", "rattled"}
        for group in summary[split].values():
            assert tuple(group) == METRIC_KEYS
        assert summary[split]["all"]["num_configurations"] == sum(
            group["num_configurations"] for name, group in summary[split].items() if name != "all"
        )
    assert summary["elements"] == ["Cu", "Au"] and summary["cutoff"] == 3.5
    assert summary["epochs"] == 2 and summary["best_epoch"] in (1, 2)
    assert summary["num_parameters"] > 100 and summary["train_seconds"] > 0
    assert set(summary["properties"]) == {"Cu"}


def test_the_log_has_the_data_the_epochs_and_the_tables(workplace):
    log = (workplace / "done" / "run.log").read_text()
    for part in (
        "label coverage",
        "Atomic energies E0",
        "epoch 1/2",
        "epoch 2/2",
        "Errors of the best epoch",
        "Crystal properties",
        "report.html",
    ):
        assert part in log, part


def test_logging_is_as_it_was(workplace):
    assert not any(isinstance(handler, logging.FileHandler) for handler in logging.getLogger("equipot").handlers)
    assert logging.getLogger("equipot").propagate


def test_the_resolved_configuration_has_numbers_and_works_anywhere(workplace):
    config = load_config(workplace / "done" / "config.yaml")
    assert set(config.data.atomic_energies) == {"Cu", "Au"} and config.data.elements == ("Cu", "Au")
    for value in (config.model.avg_num_neighbors, config.model.scale, config.model.shift):
        assert isinstance(value, float)
    assert config.data.root == str(workplace)
    assert "auto" not in [value for key, value in to_dict(config)["model"].items()]


@pytest.fixture(scope="session")
def test_frames(workplace, small_frames, tmp_path_factory):
    """The frames of the test split as a file."""
    from equipot.data.writing import write_frames

    record = json.loads((workplace / "done" / "splits.json").read_text())
    path = tmp_path_factory.mktemp("split") / "test.xyz"
    write_frames(path, [small_frames[entry["frame"]] for entry in record["test"]])
    return path


def test_evaluation_repeats_the_table_of_the_run(workplace, summary, test_frames, tmp_path):
    path = tmp_path / "errors.json"
    assert main(["eval", str(workplace / "done"), str(test_frames), "--json", str(path)]) == 0
    errors = json.loads(path.read_text())
    assert errors["data"].keys() == summary["test"].keys()
    for name, group in summary["test"].items():
        # The file keeps eight decimals of the positions.
        assert errors["data"][name] == pytest.approx(group, rel=1e-3, abs=1e-3)
    for key in ("num_parameters", "elements", "cutoff", "best_epoch", "epochs", "train_seconds"):
        assert errors[key] == summary[key], key


def test_json_on_standard_output_is_json_alone(workplace, test_frames, capsys):
    assert main(["eval", str(workplace / "done" / "model.eqp"), str(test_frames), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["all"]["num_configurations"] > 0


def test_the_table_is_printed_with_units(workplace, test_frames, capsys):
    assert main(["eval", str(workplace / "done"), str(test_frames)]) == 0
    text = capsys.readouterr().out
    assert "meV/atom" in text and "meV/Å" in text and "GPa" in text and "rattled" in text


def test_predictions_are_the_calculators_and_the_labels_stay(here, capsys):
    from equipot import Calculator

    assert main(["predict", "model.eqp", "frames.xyz", "-o", "out.xyz", "--dtype", "float64"]) == 0
    before, after = ase.io.read("frames.xyz", ":"), ase.io.read("out.xyz", ":")
    calculator = Calculator("model.eqp", dtype="float64")
    assert len(after) == len(before)
    for old, new in list(zip(before, after))[::7]:
        assert new.info["REF_energy"] == pytest.approx(old.info["REF_energy"], abs=1e-7)
        assert np.allclose(new.arrays["REF_forces"], old.arrays["REF_forces"], atol=1e-7)
        old.calc = calculator
        assert new.info["EQUIPOT_energy"] == pytest.approx(old.get_potential_energy(), abs=1e-6)
        assert np.allclose(new.arrays["EQUIPOT_forces"], old.get_forces(), atol=1e-6)
        if old.cell.rank == 3:
            assert np.allclose(np.reshape(new.info["EQUIPOT_stress"], (3, 3)), old.get_stress(voigt=False), atol=1e-7)
    atoms = [atoms for atoms in after if len(atoms) == 1 and not atoms.pbc.any()]
    assert atoms and all("EQUIPOT_stress" not in atom.info for atom in atoms)


def test_predicting_twice_does_not_mix_old_predictions_in(here):
    assert main(["predict", "model.eqp", "frames.xyz", "-o", "out.xyz"]) == 0
    assert main(["predict", "model.eqp", "out.xyz", "-o", "again.xyz"]) == 0
    first, second = ase.io.read("out.xyz", ":"), ase.io.read("again.xyz", ":")
    assert [a.info["EQUIPOT_energy"] for a in first] == pytest.approx(
        [a.info["EQUIPOT_energy"] for a in second], rel=1e-5, abs=1e-4
    )
    assert main(["predict", "model.eqp", "frames.xyz", "-o", "out.xyz", "--overwrite"]) == 0


def test_predicting_a_structure_without_labels_from_another_format(here):
    from ase.build import bulk

    ase.io.write("POSCAR", bulk("Cu", cubic=True))
    assert main(["predict", "model.eqp", "POSCAR", "-o", "out.xyz"]) == 0
    assert np.isfinite(ase.io.read("out.xyz").info["EQUIPOT_energy"])


def test_evaluation_output_has_both(here):
    assert main(["eval", "model.eqp", "frames.xyz", "--output", "out.xyz.gz"]) == 0
    atoms = ase.io.read("out.xyz.gz", 3)
    assert {"REF_energy", "EQUIPOT_energy", "config_type"} <= set(atoms.info)


def test_data_check_and_make(here, capsys):
    assert main(["data", "check", "frames.xyz", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["worst"] != "fail" and report["files"][0]["num_frames"] > 20
    assert main(["data", "check", "frames.xyz"]) == 0
    assert "REF_energy" in capsys.readouterr().out
    assert main(["data", "make", "cu_au_emt", "made.xyz"]) == 0
    assert len(ase.io.read("made.xyz", ":")) > 200


def test_data_check_against_a_test_set_with_a_page_and_a_fixed_copy(here, capsys):
    before = (here / "frames.xyz").read_bytes()
    assert (
        main(
            [
                "data",
                "check",
                "frames.xyz",
                "--against",
                "frames.xyz",
                "--html",
                "page.html",
                "--fix",
                "fixed.xyz",
                "--also",
                "leaks",
                "net-force",
                "--only",
                "leaks",
                "compositions",
            ]
        )
        == 1
    )
    text = capsys.readouterr().out
    assert "test frames are in the training set" in text and "Report: page.html" in text
    assert "fixed.xyz: " in text and "left out" in text
    page = (here / "page.html").read_text()
    assert "<svg" not in page and "data:image/svg+xml" in page and "http" not in page[300:]
    assert "What to look at" in page
    assert (here / "frames.xyz").read_bytes() == before
    for words, part in (
        (["--fix", "fixed.xyz"], "exists already"),
        (["--also", "leaks"], "give --fix OUT"),
        (["--fix", "frames.xyz", "--overwrite"], "one of the files"),
        (["--fix", "new.cif"], ".xyz or .extxyz"),
        (["--only", "nonsense"], "no check nonsense"),
    ):
        assert main(["data", "check", "frames.xyz", *words]) == 2
        assert part in capsys.readouterr().err


def test_data_check_of_a_spoilt_file_fails(here, capsys):
    text = (here / "frames.xyz").read_text()
    (here / "spoilt.xyz").write_text(text.replace("REF_energy=", "REF_energy=nan old_energy=", 1))
    assert main(["data", "check", "spoilt.xyz"]) == 1
    assert "frame 0" in capsys.readouterr().out or "frames 0" in capsys.readouterr().out


def test_info_of_a_run_and_a_model(workplace, capsys):
    assert main(["info", str(workplace / "done")]) == 0
    text = capsys.readouterr().out
    for part in ("finished", "2 of 2", "mace", "Cu Au", "3.5 Å", "meV/atom"):
        assert part in text
    assert main(["info", str(workplace / "done" / "model.eqp"), "--json"]) == 0
    model = json.loads(capsys.readouterr().out)["model"]
    assert model["elements"] == ["Cu", "Au"] and model["metadata"]["config"]["training"]["epochs"] == 2
    # A model file is passed on: it says nothing of the folders it was made in.
    assert model["metadata"]["config"]["data"]["root"] is None
    assert model["metadata"]["config"]["run_directory"] is None


def test_dry_run_writes_nothing(here, capsys):
    before = sorted(here.rglob("*"))
    assert main(["train", "run.yaml", "--dry-run"]) == 0
    assert sorted(here.rglob("*")) == before
    text = capsys.readouterr().out
    assert "parameters" in text and "s an epoch" in text


def test_a_run_is_not_replaced_unasked_nor_resumed_with_other_settings(mistake, here, workplace):
    import shutil

    shutil.copytree(workplace / "done", here / "runs" / "tiny")
    assert "--overwrite" in mistake("train", "run.yaml", code=2)
    sentence = mistake(
        "train",
        "run.yaml",
        "--resume",
        "training.batch_size=3",
        "model.num_channels=8",
        "training.num_workers=0",
        code=2,
    )
    assert "training.batch_size (the run has 4, now 3)" in sentence and "model.num_channels" in sentence
    (here / "frames.xyz").write_text(
        (here / "frames.xyz").read_text().replace("config_type=volume", "config_type=Volume")
    )
    assert "frames.xyz" in mistake("train", "run.yaml", "--resume", code=2)


def test_a_config_as_a_mapping_or_object(here):
    from equipot import train
    from equipot.config import from_dict
    from equipot.errors import UsageError

    mapping = to_dict(load_config("run.yaml")) | {"properties": [], "name": "again"}
    mapping["training"]["epochs"] = 1
    mapping["physics_check"] = "off"
    result = train(from_dict(mapping), progress=NoProgress(), quiet=True)
    assert result.directory.name == "again" and result.model_path.exists()
    assert result.metrics["test"]["all"]["num_configurations"] > 0
    assert result.potential(_graph(result.potential)).energy.shape == (1,)
    with pytest.raises(UsageError, match="Overrides go on top"):
        train(mapping, overrides=["training.epochs=2"])


def _graph(potential):
    from ase.build import bulk

    from equipot.graph import from_ase

    return from_ase(bulk("Cu"), potential.cutoff)
