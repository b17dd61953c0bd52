"""The resolved configuration: numbers for every ``auto``, a root that works anywhere, changes that stop a resume."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from equipot.config import from_dict, to_yaml
from equipot.config.load import load_config
from equipot.errors import ConfigError
from equipot.workflow.resolved import adopt_numbers, flatten, potential_config, require_same_run, resolve

DATASETS = SimpleNamespace(
    elements=("Cu", "Au"),
    atomic_energies=SimpleNamespace(values={"Cu": -1.25, "Au": -2.5}),
    statistics=SimpleNamespace(avg_num_neighbors=40.5, forces_rms=0.8125, energy_mean_per_atom_after_e0=-3.5),
)


def config(**sections):
    return from_dict({"data": {"generate": "cu_au_emt"}, **sections})


def test_every_auto_becomes_a_number_and_the_file_loads_back_equal(tmp_path):
    resolved = resolve(config(), DATASETS, tmp_path)
    assert resolved.model.preset is None and resolved.model.options["num_channels"] > 0
    assert (resolved.model.avg_num_neighbors, resolved.model.scale, resolved.model.shift) == (40.5, 0.8125, -3.5)
    assert resolved.data.elements == ("Cu", "Au") and resolved.data.atomic_energies == {"Cu": -1.25, "Au": -2.5}
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(resolved))
    assert flatten_of(load_config(path)) == flatten_of(resolved)
    assert potential_config(resolved).elements == ("Cu", "Au")
    assert flatten_of(resolve(resolved, DATASETS, tmp_path)) == flatten_of(resolved)


def flatten_of(value) -> dict:
    from equipot.config import to_dict

    return flatten(to_dict(value))


def test_given_numbers_stay(tmp_path):
    resolved = resolve(
        config(model={"scale": 2.0, "shift": {"Cu": 0.0, "Au": 1.0}, "avg_num_neighbors": 10.0}), DATASETS, tmp_path
    )
    assert resolved.model.scale == 2.0 and resolved.model.shift == {"Cu": 0.0, "Au": 1.0}
    assert resolved.model.avg_num_neighbors == 10.0


@pytest.mark.parametrize("name", ["frames.xyz", "sub/frames.xyz", "../frames.xyz"])
@pytest.mark.parametrize("by", ["folder", "variable", "root"])
def test_the_root_is_where_the_files_were_found(tmp_path, monkeypatch, name, by):
    monkeypatch.delenv("EQUIPOT_DATA", raising=False)
    folder, data = tmp_path / "configs", tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (data / "sub").mkdir(parents=True)
    home = folder if by == "folder" else data
    (home / name).write_text("x")
    if by == "variable":
        monkeypatch.setenv("EQUIPOT_DATA", str(data))
    section = {"train": [name], **({"root": "../data"} if by == "root" else {})}
    resolved = resolve(from_dict({"data": section}), DATASETS, folder)
    monkeypatch.delenv("EQUIPOT_DATA", raising=False)
    from equipot.data.paths import resolve_file

    assert resolve_file(name, resolved.data, "/nowhere").resolve() == (home / name).resolve()


def check(requested, stored, hashes=None, stored_hashes=None):
    require_same_run(
        requested,
        resolve(requested, DATASETS, "."),
        stored,
        hashes=hashes or {"a": "1"},
        stored_hashes=stored_hashes or {"a": "1"},
        where="runs/x",
    )


def test_the_same_run_may_go_on():
    stored = resolve(config(), DATASETS, ".")
    check(config(), stored)
    check(config(device="cpu", training={"checkpoint_minutes": 1.0, "num_workers": 2}), stored)
    # What was computed may differ in the last digit; the stored number is the one the weights belong to.
    almost = replace(stored, model=replace(stored.model, scale=0.8125 + 1e-15, shift=-3.5000000000000004))
    check(config(), almost)
    assert adopt_numbers(resolve(config(), DATASETS, "."), almost).model == almost.model


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"training": {"epochs": 7}}, "training.epochs"),
        ({"seed": 1}, "seed"),
        ({"model": {"cutoff": 6.0}}, "model.cutoff"),
        ({"model": {"preset": "large"}}, "model.num_channels"),
        ({"model": {"scale": 3.0}}, "model.scale"),
        ({"loss": {"energy_weight": 9.0}}, "loss.energy_weight"),
        ({"optimizer": {"name": "adam"}}, "optimizer.name"),
        ({"loss": {"stage_two": {}}}, "loss.stage_two"),
        ({"data": {"generate": "cu_au_emt", "config_weights": {"volume": 2.0}}}, "data.config_weights.volume"),
    ],
)
def test_a_change_that_matters_is_named(sections, key):
    with pytest.raises(ConfigError, match="cannot be resumed") as caught:
        check(config(**sections), resolve(config(), DATASETS, "."))
    assert key in str(caught.value)


def test_other_data_under_the_same_name_is_named():
    with pytest.raises(ConfigError, match="contents of a are no longer"):
        check(config(), resolve(config(), DATASETS, "."), {"a": "2"}, {"a": "1"})
