"""Files are whole or absent, and nothing that exists is replaced unasked."""

from __future__ import annotations

import os

import pytest

from equipot.errors import UsageError
from equipot.report.files import atomic_path, refuse_existing, write_text


def test_an_exception_leaves_the_old_file_and_no_other(tmp_path):
    path = write_text(tmp_path / "frames.xyz", "old")
    with pytest.raises(ValueError, match="half way"), atomic_path(path) as temporary:
        temporary.write_text("new, but half")
        raise ValueError("half way")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["frames.xyz"]


def test_the_temporary_name_keeps_the_suffix(tmp_path):
    with atomic_path(tmp_path / "frames.xyz") as temporary:
        assert temporary.suffix == ".xyz" and temporary.parent == tmp_path and temporary.name != "frames.xyz"
        temporary.write_text("whole")
    assert os.listdir(tmp_path) == ["frames.xyz"]


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        path = write_text(tmp_path / "summary.json", "{}")
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o640


def test_existing_files_folders_and_missing_folders_are_refused(tmp_path):
    path = write_text(tmp_path / "errors.json", "{}")
    with pytest.raises(UsageError, match=r"errors\.json exists already.*--overwrite"):
        refuse_existing(path)
    assert refuse_existing(path, overwrite=True) == path
    with pytest.raises(UsageError, match="is a folder"):
        refuse_existing(tmp_path, overwrite=True)
    with pytest.raises(UsageError, match=r"folder .*nowhere.* does not exist"):
        refuse_existing(tmp_path / "nowhere" / "errors.json")
