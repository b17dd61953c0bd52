"""Where the plugin is looked for and compiled: an administrator's, a setting's, and folders that cannot serve."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from equipot.interfaces.lammps import plugin
from equipot.interfaces.lammps.plugin import FOLDER_VARIABLE, PluginError
from tests.unit.interfaces.test_lammps_pair import pytestmark  # noqa: F401


@pytest.fixture
def home(monkeypatch, tmp_path: Path) -> Path:
    """A user with a cache and temporary folder of their own; compiling writes a mark."""
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(plugin.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(plugin, "_compile", lambda wheel, path: path.write_text("compiled"))
    (tmp_path / "cache").mkdir()
    return tmp_path


def read_only(monkeypatch, *folders: Path) -> None:
    found = plugin._why_not_to_write_to
    monkeypatch.setattr(
        plugin, "_why_not_to_write_to", lambda path: f"{path} cannot be written" if path in folders else found(path)
    )


def mounted_noexec(monkeypatch, *folders: Path) -> None:
    flags = os.statvfs

    class Mount:
        def __init__(self, path: Path) -> None:
            self.f_flag = flags(path).f_flag | (os.ST_NOEXEC if Path(path) in folders else 0)

    monkeypatch.setattr(plugin.os, "statvfs", Mount)


def of_package() -> Path:
    return Path(plugin.__file__).parent / "build"


def test_one_that_an_administrator_built_serves_users_who_cannot_write_there(monkeypatch, home: Path) -> None:
    assert (of_package() / plugin.plugin_name(plugin.find_wheel())).exists()  # the tests' own
    read_only(monkeypatch, of_package())
    assert plugin.build().is_relative_to(of_package())
    assert not list(home.rglob("*.so"))


def test_where_it_cannot_be_written_the_cache_takes_it_once(monkeypatch, home: Path) -> None:
    monkeypatch.setattr(plugin, "__version__", "another")  # nobody has compiled this one
    read_only(monkeypatch, of_package())
    path = plugin.build()
    assert path.is_relative_to(home / "cache" / "equipot" / "lammps") and path.read_text() == "compiled"
    path.write_text("kept")
    assert plugin.build().read_text() == "kept" and plugin.build(again=True).read_text() == "compiled"


def test_folders_mounted_noexec_are_passed_by_or_named(monkeypatch, home: Path) -> None:
    monkeypatch.setattr(plugin, "__version__", "another")
    cache, temporary = plugin.folders()[1:]
    read_only(monkeypatch, of_package())
    mounted_noexec(monkeypatch, cache)
    assert plugin.build().is_relative_to(temporary)
    mounted_noexec(monkeypatch, cache, temporary)
    with pytest.raises(PluginError) as caught:
        plugin.build()
    said = str(caught.value)
    assert f"{of_package()} cannot be written" in said and FOLDER_VARIABLE in said
    assert f"{temporary} is on a file system mounted with `noexec`" in said


def test_a_setting_names_the_folder(monkeypatch, home: Path) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(home / "mine"))
    assert plugin.build().is_relative_to(home / "mine")
    mounted_noexec(monkeypatch, home / "mine")
    with pytest.raises(PluginError, match=r"mine is on a file system mounted with `noexec`"):
        plugin.build()


def test_a_folder_that_others_can_write_is_not_used(monkeypatch, home: Path) -> None:
    monkeypatch.setattr(plugin, "__version__", "another")
    cache, temporary = plugin.folders()[1:]
    read_only(monkeypatch, of_package())
    (home / "elsewhere").mkdir()
    cache.parent.mkdir()
    cache.symlink_to(home / "elsewhere")
    temporary.mkdir()
    temporary.chmod(0o777)
    with pytest.raises(PluginError, match="is not a folder that only this user can write"):
        plugin.build()
    planted = temporary / plugin.plugin_name(plugin.find_wheel())
    planted.parent.mkdir()
    planted.write_text("planted")
    with pytest.raises(PluginError, match="is not a folder that only this user can write"):
        plugin.build()
