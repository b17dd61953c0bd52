"""The compiled library: the next best where one is missing or cut short, a sentence where none can be used."""

from __future__ import annotations

import shutil

import pytest

from equipot.kernels.native import library

pytestmark = pytest.mark.skipif(isinstance(library.load(), str), reason="the native kernels were not built")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Copies of the libraries that may be damaged; what `load` finds there is not remembered."""
    for name in library.INSTRUCTION_SETS:
        if library._path(name).exists():
            shutil.copy(library._path(name), tmp_path)
    monkeypatch.setattr(library, "_path", lambda name: tmp_path / f"libequipot_{name}.so")
    monkeypatch.delenv("EQUIPOT_INSTRUCTION_SET", raising=False)
    return tmp_path


def load() -> library.NativeLibrary | str:
    return library.load.__wrapped__()


def remove(path) -> None:
    path.unlink()


def cut_short(path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path) -> None:
    path.write_bytes(b"")


def no_library(path) -> None:
    path.write_bytes(b"This is no library.\n" * 100)


@pytest.mark.parametrize("damage", [remove, cut_short, empty, no_library])
def test_the_next_best_library_is_taken_and_the_reason_said(folder, damage, caplog):
    """The widest one missing meant torch, many times slower; one cut short killed the process (SIGBUS)."""
    best = load()
    sets = list(library.INSTRUCTION_SETS[: library.INSTRUCTION_SETS.index(best.instruction_set) + 1])
    while len(sets) > 1:
        widest = sets.pop()
        damage(library._path(widest))
        caplog.clear()
        found = load()
        assert found.instruction_set == sets[-1]
        assert "native kernels" in caplog.text and f"Those for {sets[-1]} are used instead" in caplog.text
    damage(library._path("plain"))
    assert isinstance(load(), str) and "native kernels" in load()


def test_plain_alone_may_be_missing(folder, caplog):
    best = load()
    if best.instruction_set == "plain":
        pytest.skip("this CPU runs nothing wider")
    remove(library._path("plain"))
    assert load().instruction_set == best.instruction_set and caplog.text == ""


def test_a_set_that_was_asked_for_is_not_replaced(folder, monkeypatch):
    remove(library._path("plain"))
    monkeypatch.setenv("EQUIPOT_INSTRUCTION_SET", "plain")
    assert isinstance(load(), str) and "libequipot_plain.so is missing" in load()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_anywhere_is_not_whole(share, tmp_path):
    content = library.load().path.read_bytes()
    (tmp_path / "a.so").write_bytes(content[: int(share * len(content))])
    assert not library.is_whole(tmp_path / "a.so")
    assert library.is_whole(library.load().path)
