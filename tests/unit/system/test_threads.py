"""The number of threads: what is asked for, the environment, the cores of this process."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest

from equipot.errors import UsageError
from equipot.system import threads


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in (threads.VARIABLE, "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)


def test_order_of_precedence(monkeypatch):
    monkeypatch.setattr(threads, "available_cores", lambda: 6)
    assert threads.num_threads() == 6
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert threads.num_threads() == 3
    monkeypatch.setenv(threads.VARIABLE, "4")
    assert threads.num_threads() == 4
    assert threads.num_threads(5) == 5


def test_empty_and_unusable_environment(monkeypatch):
    monkeypatch.setattr(threads, "available_cores", lambda: 6)
    monkeypatch.setenv(threads.VARIABLE, "")
    for value in ("", "many", "0", "-1"):
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert threads.num_threads() == 6


@pytest.mark.parametrize("value", ["two", "0", "-3", "1.5"])
def test_a_value_with_no_meaning_is_an_error(monkeypatch, value):
    monkeypatch.setenv(threads.VARIABLE, value)
    with pytest.raises(UsageError, match="EQUIPOT_THREADS should be a whole number above zero"):
        threads.num_threads()
    assert threads.num_threads(2) == 2
    with pytest.raises(UsageError, match="The number of threads should be"):
        threads.num_threads(0)


def test_torch_gets_the_number():
    import torch

    before = torch.get_num_threads()
    try:
        for number in (2, 1):
            assert threads.set_threads(number) == number == torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def test_affinity_and_hyperthreads_count(monkeypatch, tmp_path):
    assert 1 <= threads.available_cores() <= len(os.sched_getaffinity(0))
    monkeypatch.setattr(threads, "_allowed_cpus", lambda: [0])
    assert threads.available_cores() == 1
    monkeypatch.setattr(threads, "_allowed_cpus", lambda: [10_000, 10_001, 10_002])  # topology unknown
    monkeypatch.setattr(threads, "cpu_quota", lambda: math.inf)
    assert threads.available_cores() == 3
    monkeypatch.setattr(threads, "cpu_quota", lambda: 2.9)
    assert threads.available_cores() == 2
    monkeypatch.setattr(threads, "cpu_quota", lambda: 0.25)
    assert threads.available_cores() == 1


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, math.inf),
        ({"cpu.max": "garbage"}, math.inf),
        ({"cpu.cfs_quota_us": "400000\n", "cpu.cfs_period_us": "100000\n"}, 4.0),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, math.inf),
        ({}, math.inf),
    ],
)
def test_quota_of_a_control_group(tmp_path, files, quota):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert threads._quota_of(tmp_path) == quota


def test_spinning_is_limited_unless_the_environment_says_how_to_wait(monkeypatch):
    # monkeypatch restores what limit_spinning() sets, because the fixture has touched these names.
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    threads.limit_spinning()
    assert "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    threads.limit_spinning()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    threads.limit_spinning()
    assert os.environ["GOMP_SPINCOUNT"] == str(threads.SPIN_COUNT)


def test_importing_loads_no_torch():
    program = "import sys, equipot.system.threads, equipot.cli.main; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_more_threads_than_any_machine_starts_are_clamped_and_said(monkeypatch, caplog):
    """OpenMP ended the process: Thread creation failed."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    most = threads.LEAST_LIMIT
    for name in ("OMP_NUM_THREADS", threads.VARIABLE):
        caplog.clear()
        monkeypatch.setenv(name, "99999")
        assert threads.num_threads() == 2
        assert f"{name} is 99999" in caplog.text and "threads used: 2" in caplog.text
        monkeypatch.delenv(name)
    assert threads.num_threads(99999) == 2 and threads.num_threads(most) == most
    monkeypatch.setenv("OMP_NUM_THREADS", "99999,2")
    threads.limit_environment()
    assert os.environ["OMP_NUM_THREADS"] == "2,2"
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    threads.limit_environment()
    assert os.environ["OMP_NUM_THREADS"] == "many"
