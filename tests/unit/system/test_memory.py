"""Memory of machine, container and process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from equipot.system import cgroups, memory


@pytest.fixture
def groups(monkeypatch, tmp_path):
    """A tree of control groups of both versions, this process in /job/step of each."""
    membership = tmp_path / "membership"
    membership.write_text("9:cpu,cpuacct:/job/step\n4:memory:/job/step\n0::/job/step\n")
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    monkeypatch.setattr(cgroups, "_MEMBERSHIP", membership)

    def write(folder: str, **files: str) -> None:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (tmp_path / folder / name.replace("__", ".")).write_text(text)

    return write


def test_folders_of_a_group_and_of_those_above_it(groups, tmp_path):
    assert cgroups.group_folders("cpu") == [
        tmp_path / name for name in ("cpu/job/step", "cpu/job", "cpu", "job/step", "job", "")
    ]
    assert tmp_path / "memory/job" in cgroups.group_folders("memory")


def test_no_control_groups(monkeypatch, tmp_path):
    monkeypatch.setattr(cgroups, "_MEMBERSHIP", tmp_path / "absent")
    assert cgroups.group_folders("cpu") == []
    assert memory.total_memory() == memory._meminfo("MemTotal")


def test_the_narrowest_limit_counts(groups):
    machine = memory.total_memory()
    groups("job", memory__max="3000000\n", memory__current="1000000\n")
    assert (memory.total_memory(), memory.available_memory()) == (3_000_000, 2_000_000)
    groups("job", memory__stat="anon 600000\nfile 400000\n")  # the cache of files is given back when needed
    assert memory.available_memory() == 2_400_000
    groups("memory/job/step", memory__limit_in_bytes="2500000", memory__usage_in_bytes="2600000")
    assert (memory.total_memory(), memory.available_memory()) == (2_500_000, 0)
    groups("memory/job/step", memory__limit_in_bytes="9223372036854771712")
    groups("job", memory__max="max\n")
    assert memory.total_memory() == machine


_STRETCH = """
import mmap
from equipot.system import memory
before = memory.resident_memory()
able = memory.reset_peak_memory()
with mmap.mmap(-1, 600_000_000) as block:  # fresh pages: an array could lie in memory the process has kept
    for _ in range(5):
        block.write(b"x" * 100_000_000)
peak = memory.peak_memory()
memory.reset_peak_memory()
print(able, before, peak, memory.peak_memory())
"""


def test_peak_of_a_stretch_of_the_program():
    """In a process of its own and with wide margins: Linux counts pages per processor and adds them up late."""
    words = subprocess.run([sys.executable, "-c", _STRETCH], check=True, capture_output=True, text=True).stdout.split()
    before, peak, after = map(int, words[1:])
    assert 5e6 < before < 1e12
    if words[0] != "True":
        pytest.skip("this system does not count peaks anew")
    assert peak - before > 400e6
    assert after - before < 250e6
