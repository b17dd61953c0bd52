"""A busy machine is said where speeds are measured."""

from __future__ import annotations

import time

from equipot.report.speed import speed_table
from equipot.simulation.speed import Benchmark
from equipot.system.busy import CpuShare, load_sentence


def test_the_load():
    assert load_sentence(9.0, 4) == "load 9.0 on 4 CPUs"
    assert load_sentence(4.5, 4) is load_sentence(None, 4) is load_sentence(9.0, None) is None


def test_a_thread_that_waits(monkeypatch):
    clock = iter([0.0, 10.0, 20.0, 21.0])
    spent = iter([0.0, 6.0, 6.0, 6.6])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(time, "process_time", lambda: next(spent))
    share = CpuShare()
    assert share.sentence() is None
    for _ in range(2):
        with share:
            pass
    assert share.sentence() == "a thread that computes all the time got 60 % of a core"


def test_the_table_and_the_document_say_it():
    result = Benchmark((), "Cu", "native (avx2)", "float32", 1.0, False, "load 9.0 on 4 CPUs")
    assert "The machine was busy (load 9.0 on 4 CPUs)" in speed_table(result).note
    assert result.as_document()["busy"] == "load 9.0 on 4 CPUs"
    quiet = Benchmark((), "Cu", "native (avx2)", "float32", 1.0, False)
    assert "busy" not in speed_table(quiet).note
