"""Patterns and folders in data.train, validation and test, and names that are mistyped."""

from __future__ import annotations

import pytest

from equipot.config.schema import DataConfig
from equipot.data import load_datasets
from equipot.data.paths import expand_files, resolve_file
from equipot.errors import DataError
from tests.unit.data.frames_text import frame, good


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("EQUIPOT_DATA", raising=False)
    for name in ("b.xyz", "a.xyz", "sub/one/c.extxyz", "sub/two/d.extxyz", "sub/e.xyz.gz"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(good(3))
    (tmp_path / "README.txt").write_text("read me")
    (tmp_path / ".hidden.xyz").write_text("x")
    return tmp_path


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("*.xyz",), ("a.xyz", "b.xyz")),
        (("b.xyz", "sub/*/*.extxyz"), ("b.xyz", "sub/one/c.extxyz", "sub/two/d.extxyz")),
        (("sub/**/*.extxyz",), ("sub/one/c.extxyz", "sub/two/d.extxyz")),
        (("sub",), ("sub/e.xyz.gz",)),
        (("sub/one/", "[ab].xyz"), ("sub/one/c.extxyz", "a.xyz", "b.xyz")),
        ((".",), ("a.xyz", "b.xyz")),
        (("nothing.xyz",), ("nothing.xyz",)),  # resolve_file says that it is not there
    ],
)
def test_what_names_stand_for(names, expected, folder):
    config, lines = expand_files(DataConfig(train=names), folder)
    assert config.train == expected
    assert all("stands for" in line for line in lines)
    assert expand_files(config, folder) == (config, [])
    absolute, _ = expand_files(DataConfig(train=tuple(str(folder / name) for name in names)), "/")
    assert absolute.train == tuple(str(folder / name) for name in expected)


def test_a_file_whose_name_has_the_signs_of_a_pattern(folder):
    (folder / "set[1].xyz").write_text(good())
    assert expand_files(DataConfig(train=("set[1].xyz",)), folder)[0].train == ("set[1].xyz",)


def test_the_first_place_that_has_files_is_taken(folder, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("sets")
    monkeypatch.setenv("EQUIPOT_DATA", str(elsewhere))
    assert expand_files(DataConfig(train=("*.xyz",)), folder)[0].train == ("a.xyz", "b.xyz")
    (elsewhere / "z.xyz").write_text(good())
    assert expand_files(DataConfig(train=("*.xyz",)), folder)[0].train == ("z.xyz",)


def test_training_data_by_pattern(folder):
    for number, name in enumerate(("a.xyz", "b.xyz", "sub/one/c.extxyz")):
        lines = [[f"Cu 0 0 {0.1 * n + 0.01 * number} 0.1 0 0", "Cu 2 2 2 -0.1 0 0"] for n in range(4)]
        (folder / name).write_text("".join(frame(-1.0, lines=rows) for rows in lines))
    data = load_datasets(DataConfig(train=("*.xyz",), test=("sub/one",)), 4.0, config_directory=folder)
    assert sum(map(len, (data.train, data.validation))) == 8 and len(data.test) == 4
    assert set(data.hashes) == {"a.xyz", "b.xyz", "sub/one/c.extxyz"}
    assert "data.train: '*.xyz' stands for 2 files (a.xyz, b.xyz)" in data.report


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        (DataConfig(train=("*.traj",)), ["'*.traj' fits no file in"]),
        (DataConfig(train=("sbu/*.xyz",)), ["fits no file", "Did you mean", "sub/*.xyz?"]),
        (DataConfig(train=("R*",)), ["README.txt", "not read"]),
        (DataConfig(train=("*.xyz", "a.xyz")), ["'a.xyz' is named twice", "by '*.xyz' in data.train"]),
        (DataConfig(train=("*.xyz",), test=("b.xyz",)), ["'b.xyz' is named twice", "data.test"]),
        (DataConfig(train=("sub/empty",)), ["holds no file that can be read", "empty/*/vasprun.xml"]),
        (DataConfig(train=("sub/vasp",)), ["a vasprun.xml and an OUTCAR"]),
    ],
)
def test_what_is_wrong_is_said(config, parts, folder):
    (folder / "sub" / "empty").mkdir()
    (folder / "sub" / "vasp").mkdir()
    for name in ("OUTCAR", "vasprun.xml"):
        (folder / "sub" / "vasp" / name).write_text("x")
    with pytest.raises(DataError) as caught:
        expand_files(config, folder)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("A.xzy", "a.xyz"),
        ("sub/one/c.xyz", "sub/one/c.extxyz"),
        ("sbu/one/c.extxyz", "sub/one/c.extxyz"),
        ("qqqq", None),
    ],
)
def test_a_mistyped_path_names_the_nearest(name, nearest, folder):
    with pytest.raises(DataError) as caught:
        resolve_file(name, DataConfig(train=(name,)), folder)
    assert str(folder / name) in str(caught.value)
    assert (f"Did you mean {folder / nearest}?" if nearest else "Set the variable") in str(caught.value)
    assert nearest or "Did you mean" not in str(caught.value)
