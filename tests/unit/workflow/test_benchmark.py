"""``equipot bench``: supercells of the sizes asked for, and what is written about them."""

from __future__ import annotations

import json

import ase.build
import ase.io
import numpy as np
import pytest
import torch

from equipot.checkpoint import save_model
from equipot.cli.main import main
from equipot.graph import neighbor_list
from equipot.workflow.benchmark import benchmark, default_structure, supercell
from tests.systems import make_potential


@pytest.mark.parametrize(("size", "expected"), [(1, 2), (50, 54), (250, 250), (1000, 1024), (20_000, 20_328)])
def test_the_nearest_supercell_is_a_cube(size, expected):
    cell = supercell(ase.build.bulk("Ta", cubic=True), size)
    assert abs(len(cell) - size) <= abs(expected - size)
    lengths = cell.cell.lengths()
    assert lengths.max() - lengths.min() < 3.4


def test_free_directions_and_molecules_are_not_repeated():
    slab = supercell(ase.build.fcc111("Cu", (2, 2, 3), vacuum=8.0), 300)
    assert slab.cell.lengths()[2] == pytest.approx(ase.build.fcc111("Cu", (2, 2, 3), vacuum=8.0).cell.lengths()[2])
    assert len(slab) == 300
    assert len(supercell(ase.build.molecule("H2O"), 300)) == 3


@pytest.mark.parametrize(
    "elements",
    [("Ta",), ("Cu",), ("Si",), ("Mg",), ("O",), ("H", "C", "N", "O"), ("Li", "P", "S"), ("H", "C", "O", "Cu", "Au")],
)
def test_a_structure_is_made_up_of_the_models_elements(elements):
    cell = supercell(default_structure(elements), 100)
    assert set(cell.get_chemical_symbols()) == set(elements)
    distances = neighbor_list(cell.positions, cell.cell.array, True, 4.0).distance
    assert 1.5 < distances.min() < 3.5
    assert 5.0 < cell.get_volume() / len(cell) < 40.0


def test_everything_is_measured_and_the_threads_are_put_back():
    before, seen = torch.get_num_threads(), []
    result = benchmark(
        make_potential("nequip"),
        sizes=(40, 5, 6),
        threads=(2, 1),
        kernels="reference",
        seconds=0.0,
        timestep_fs=2.0,
        report=seen.append,
    )
    assert torch.get_num_threads() == before
    assert [(m.step.num_atoms, m.threads) for m in result.measurements] == [(8, 1), (8, 2), (32, 1), (32, 2)]
    assert seen == list(result.measurements)
    document = json.loads(json.dumps(result.as_document()))
    assert (document["kernels"], document["dtype"], document["timestep_fs"]) == ("reference", "float64", 2.0)
    for row in document["measurements"]:
        assert row["ns_per_day"] == pytest.approx(86400 / row["seconds_per_step"] * 2e-6)
        assert row["us_per_atom_and_step"] == pytest.approx(row["seconds_per_step"] / row["num_atoms"] * 1e6)


@pytest.fixture
def model(tmp_path):
    save_model(tmp_path / "model.eqp", make_potential("nequip", "float32"), metadata={})
    return str(tmp_path / "model.eqp")


def test_the_verb_prints_a_table_or_json_and_writes_files(model, tmp_path, capsys):
    ase.io.write(tmp_path / "cell.xyz", ase.build.bulk("Cu", cubic=True))
    words = [
        "bench",
        model,
        str(tmp_path / "cell.xyz"),
        "--sizes",
        "4",
        "30",
        "--threads",
        "1",
        "--seconds",
        "0.01",
        "--kernels",
        "reference",
        "--output",
        str(tmp_path / "out"),
    ]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "µs/atom/step" in printed and "cell.xyz, Cu4" in printed and "reference kernels, float32" in printed
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"bench.json", "bench.txt", "bench.png"}
    assert (tmp_path / "out/bench.txt").read_text().splitlines()[0] == printed.splitlines()[0]
    document = json.loads((tmp_path / "out/bench.json").read_text())
    assert [row["num_atoms"] for row in document["measurements"]] == [4, 32]
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*words[:-2], "--json"]) == 0
    assert np.isfinite(json.loads(capsys.readouterr().out)["measurements"][1]["us_per_atom_and_step"])


@pytest.mark.parametrize("threads", ["0", "1,", "1;2", "two"])
def test_threads_with_no_meaning_are_refused(capsys, threads):
    assert main(["bench", "model.eqp", "--threads", threads]) == 2
    assert "is not a whole number above zero" in capsys.readouterr().err
