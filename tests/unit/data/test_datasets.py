"""From a configuration to data sets: files, splits, elements, leaks and duplicates (D3-D7)."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from ase import Atoms

from equipot.config.schema import DataConfig, KeysConfig, SplitConfig
from equipot.data import load_datasets, write_frames
from equipot.data.frames import Frame
from equipot.data.paths import resolve_file
from equipot.errors import ConfigError, DataError, ElementError, StructureError

CUTOFF = 3.0


def _frame(index: int, symbols: str = "Cu2", **labels) -> Frame:
    atoms = Atoms(symbols, positions=[[0, 0, 0], [0.3, 0.2, 2.0 + 0.01 * index]], cell=[4, 4, 4], pbc=True)
    forces = np.array([[0, 0, 0.1], [0, 0, -0.1]])
    values = {"energy": -3.0 - 0.01 * index, "forces": forces, "stress": 0.01 * np.eye(3)}
    return Frame(atoms, **{**values, **labels}, index=index)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("EQUIPOT_DATA", raising=False)
    write_frames(tmp_path / "train.xyz", [_frame(index) for index in range(20)])
    write_frames(tmp_path / "val.xyz", [_frame(index) for index in range(20, 24)])
    write_frames(tmp_path / "test.xyz", [_frame(index) for index in range(24, 30)])
    return tmp_path


def _load(folder, **options):
    options = {"train": ("train.xyz",), "validation": ("val.xyz",), "test": ("test.xyz",), **options}
    required = options.pop("required", ("energy", "forces"))
    return load_datasets(DataConfig(**options), CUTOFF, config_directory=folder, required=required)


def test_split_by_file(folder):
    datasets = _load(folder)
    assert [len(part) for part in (datasets.train, datasets.validation, datasets.test)] == [20, 4, 6]
    assert datasets.elements == ("Cu",) and not datasets.warnings
    graph = datasets.train[3]
    assert graph.source == "train.xyz frame 3" and graph.frame_id.tolist() == [3]
    assert graph.energy.item() == pytest.approx(-3.03) and graph.forces.dtype == torch.float64
    assert graph.stress.shape == (1, 3, 3) and graph.stress[0, 0, 0].item() == 0.01
    assert datasets.frames["test"][0].source == "test.xyz frame 0"
    for name, digest in datasets.hashes.items():
        assert digest == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    record = json.loads(json.dumps(datasets.split_record))
    assert [entry["frame"] for entry in record["validation"]] == [0, 1, 2, 3]
    assert record["test"][0]["file"] == "test.xyz" and record["method"] == "files"


def test_split_by_fraction_is_recorded_and_repeatable(folder):
    options = {"validation": (), "test": (), "split": SplitConfig(validation=0.2, test=0.1, seed=3)}
    first, second = _load(folder, **options), _load(folder, **options)
    assert [len(part) for part in (first.train, first.validation, first.test)] == [14, 4, 2]
    assert first.split_record == second.split_record and first.split_record["seed"] == 3
    sources = [graph.source for part in (first.train, first.validation, first.test) for graph in part]
    assert len(set(sources)) == 20
    recorded = [f"{entry['file']} frame {entry['frame']}" for entry in first.split_record["validation"]]
    assert recorded == [graph.source for graph in first.validation]


def test_only_what_has_no_file_is_set_aside(folder):
    datasets = _load(folder, test=())
    assert [len(part) for part in (datasets.train, datasets.validation, datasets.test)] == [18, 4, 2]
    assert datasets.split_record["set_aside"] == ["test"]


def test_statistics(folder):
    datasets = _load(folder)
    statistics = datasets.statistics
    assert statistics.forces_rms == pytest.approx(0.1 / np.sqrt(3.0))
    edges = sum(graph.num_edges for graph in datasets.train)
    assert statistics.avg_num_neighbors == pytest.approx(edges / 40) and edges > 0
    assert statistics.energy_mean_per_atom_after_e0 == pytest.approx(0.0, abs=1e-12)
    assert statistics.coverage == {label: (20, 20) for label in ("energy", "forces", "stress")}
    assert json.loads(json.dumps(statistics.to_dict()))["num_atoms"] == 40


def test_missing_labels_are_masked_and_counted(folder):
    frames = [
        _frame(index, forces=None) if index % 2 else _frame(index, energy=float("nan"), stress=None)
        for index in range(20)
    ]
    write_frames(folder / "train.xyz", frames)
    datasets = _load(folder)
    assert datasets.statistics.coverage == {"energy": (10, 20), "forces": (10, 20), "stress": (10, 20)}
    assert torch.isnan(datasets.train[0].energy).all() and torch.isnan(datasets.train[1].forces).all()
    assert torch.isnan(datasets.train[0].stress).all()
    assert datasets.statistics.forces_rms == pytest.approx(0.1 / np.sqrt(3.0))  # missing ones do not count as zero
    assert any("energy labels: train 10/20" in line for line in datasets.report)


@pytest.mark.parametrize("label", ["energy", "forces"])
def test_a_label_that_is_nowhere_is_an_error_with_what_is_there(label, folder):
    text = (folder / "train.xyz").read_text().replace(f"REF_{label}", f"my_{label}")
    (folder / "train.xyz").write_text(text)
    with pytest.raises(DataError) as caught:
        _load(folder)
    for part in (
        "train.xyz",
        f"no {label}",
        f"REF_{label}",
        f"my_{label}",
        f"data.keys.{label}=NAME",
        f"data.keys.{label}=null",
    ):
        assert part in str(caught.value)
    (folder / "val.xyz").write_text((folder / "val.xyz").read_text().replace(f"REF_{label}", f"my_{label}"))
    (folder / "test.xyz").write_text((folder / "test.xyz").read_text().replace(f"REF_{label}", f"my_{label}"))
    found = _load(folder, keys=KeysConfig(**{label: f"my_{label}"}))
    assert found.statistics.coverage[label] == (20, 20)
    without = _load(folder, keys=KeysConfig(**{label: None}))
    assert without.statistics.coverage[label] == (0, 20)


def test_stress_may_be_required(folder):
    write_frames(folder / "train.xyz", [_frame(index, stress=None) for index in range(5)])
    assert _load(folder).statistics.coverage["stress"] == (0, 5)
    with pytest.raises(DataError, match="no stress in any frame"):
        _load(folder, required=("stress",))


def test_nothing_to_train_on(folder):
    write_frames(folder / "train.xyz", [Frame(Atoms("Cu"), -1.0, config_type="IsolatedAtom")])
    with pytest.raises(DataError, match="only isolated atoms"):
        _load(folder, keys=KeysConfig(forces=None))
    write_frames(folder / "train.xyz", [_frame(0, energy=float("nan"), forces=None, stress=None)])
    with pytest.raises(DataError, match="no training frame has an energy, forces or a stress"):
        _load(folder, required=())
    with pytest.raises(ConfigError, match=r"data\.train names no file"):
        load_datasets(DataConfig(), CUTOFF)


def test_isolated_atoms_give_energies_and_leave_the_training_set(folder):
    frames = [_frame(index) for index in range(4)]
    frames.append(Frame(Atoms("Cu"), -0.5, np.zeros((1, 3)), config_type="IsolatedAtom"))
    write_frames(folder / "train.xyz", frames)
    datasets = _load(folder)
    assert datasets.atomic_energies.origin == "isolated" and datasets.atomic_energies.values == {"Cu": -0.5}
    assert len(datasets.train) == 4
    assert any("1 isolated-atom frames" in line for line in datasets.report)
    mean = np.mean([-1.5 - 0.005 * index for index in range(4)])
    assert datasets.statistics.energy_mean_per_atom_after_e0 == pytest.approx(mean + 0.5)


@pytest.mark.parametrize("part", ["val", "test"])
def test_an_element_outside_training_is_named(part, folder):
    write_frames(folder / f"{part}.xyz", [_frame(40), _frame(41, "CuAu")])
    with pytest.raises(ElementError) as caught:
        _load(folder)
    for text in (f"{part}.xyz frame 1", "Au", "no training frame", "Cu"):
        assert text in str(caught.value)
    assert _load(folder, elements=("Cu", "Au")).elements == ("Cu", "Au")
    with pytest.raises(ElementError, match=r"train\.xyz frame 0 .*data\.elements does not list"):
        _load(folder, elements=("Au",))


def test_duplicates_and_leaks_are_counted(folder):
    write_frames(folder / "train.xyz", [_frame(index % 15) for index in range(20)])
    write_frames(folder / "test.xyz", [_frame(2), _frame(50), _frame(7)])
    warnings = _load(folder).warnings
    assert any(text.startswith("5 train frames repeat") and "train.xyz frame 15" in text for text in warnings)
    (leak,) = [text for text in warnings if "also in train" in text]
    assert leak.startswith("2 of 3 test frames") and "test.xyz frame 0 is train.xyz frame 2" in leak


def test_close_atoms_stop_or_are_left_out(folder):
    bad = _frame(3)
    bad.atoms.positions[1] = [0, 0, 0.02]
    write_frames(folder / "train.xyz", [_frame(0), bad, _frame(1)])
    with pytest.raises(StructureError, match=r"train\.xyz frame 1.*0\.02"):
        _load(folder)
    datasets = _load(folder, on_bad="skip")
    assert [graph.source for graph in datasets.train] == ["train.xyz frame 0", "train.xyz frame 2"]
    assert [graph.frame_id.item() for graph in datasets.train] == [0, 1]
    assert [frame.source for frame in datasets.frames["train"]] == [graph.source for graph in datasets.train]
    assert any("left out of train" in text for text in datasets.warnings)
    assert len(_load(folder, min_distance=0.01).train) == 3


def test_weights_multiply(folder):
    frames = [_frame(index, config_type="a" if index % 2 else "b", forces_weight=3.0) for index in range(4)]
    write_frames(folder / "train.xyz", frames)
    datasets = _load(folder, config_weights={"a": 0.5})
    assert [graph.forces_weight.item() for graph in datasets.train] == [3.0, 1.5, 3.0, 1.5]
    assert [graph.energy_weight.item() for graph in datasets.train] == [1.0, 0.5, 1.0, 0.5]
    with pytest.raises(ConfigError, match=r"'aa'.*Did you mean 'a'"):
        _load(folder, config_weights={"aa": 0.5})


def test_progress_and_inputs_are_left_alone(folder):
    calls = []
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    load_datasets(
        DataConfig(train=("train.xyz",)), CUTOFF, config_directory=folder, progress=lambda *call: calls.append(call)
    )
    assert ("building train graphs", 16, 16) in calls and all(done <= total for _, done, total in calls)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_where_files_are_looked_for(folder, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("sets")
    (elsewhere / "train.xyz").write_text("x")
    config = DataConfig(train=("train.xyz",))
    assert resolve_file("train.xyz", config, folder) == folder / "train.xyz"
    monkeypatch.setenv("EQUIPOT_DATA", str(elsewhere))
    assert resolve_file("train.xyz", config, folder) == elsewhere / "train.xyz"
    assert resolve_file("val.xyz", config, folder) == folder / "val.xyz"  # the variable's folder lacks it
    rooted = DataConfig(train=("val.xyz",), root=str(elsewhere))
    with pytest.raises(DataError, match=r"val\.xyz"):
        resolve_file("val.xyz", rooted, folder)
    (folder / "sub").mkdir()
    (folder / "sub" / "a.xyz").write_text("x")
    assert resolve_file("a.xyz", DataConfig(train=("a.xyz",), root="sub"), folder) == folder / "sub" / "a.xyz"
    assert resolve_file(str(folder / "val.xyz"), rooted, "/") == folder / "val.xyz"


def test_a_missing_file_says_where_to_get_it(folder, monkeypatch):
    options = {"train": ("ta_snap/train.xyz.xz",), "validation": (), "test": (), "source": "FitSNAP, doi:10.1/2"}
    with pytest.raises(DataError) as caught:
        _load(folder, **options)
    for part in ("ta_snap/train.xyz.xz", str(folder), "FitSNAP, doi:10.1/2", "EQUIPOT_DATA", "not set", "'ta_snap'"):
        assert part in str(caught.value)
    monkeypatch.setenv("EQUIPOT_DATA", "/nowhere")
    with pytest.raises(DataError, match=r"/nowhere/ta_snap/train\.xyz\.xz nor as .*it is /nowhere"):
        _load(folder, **options)


def test_bad_frame_in_any_file_is_named(folder):
    (folder / "val.xyz").write_text((folder / "val.xyz").read_text().replace("REF_energy=-3.21", "REF_energy=nan"))
    with pytest.raises(DataError, match=r"val\.xyz, frame 1 \(line 5\).*not finite"):
        _load(folder)
    assert len(_load(folder, on_bad="skip").validation) == 3
