"""``equipot doctor``: what it finds, and the advice it gives."""

from __future__ import annotations

import copy
import json
import subprocess
import sys

import pytest

from equipot.cli.main import main
from equipot.kernels.native import library
from equipot.workflow import doctor

#: A machine on which nothing is wrong.
SOUND = {
    "cpu": {"instruction_set": "avx2", "logical_cpus": 4, "load": 0.5},
    "kernels": {"kind": "native", "asked": "auto", "reason": None, "instruction_set": "avx2", "path": "x.so"},
    "threads": {
        "used": 2,
        "available_cores": 4,
        "variables": {"OMP_NUM_THREADS": "2"},
        "wait_policy": None,
        "openmp_libraries": ["libgomp.so.1"],
    },
    "memory": {"available_bytes": 8e9},
    "speed": {
        "rows": [
            {"kernels": "native", "threads": 1, "us_per_atom_and_step": 10.0},
            {"kernels": "native", "threads": 2, "us_per_atom_and_step": 5.5},
        ]
    },
}


def _advice(**changes) -> list[str]:
    found = copy.deepcopy(SOUND)
    for name, value in changes.items():
        section, key = name.split("__")
        found[section][key] = value
    return [sentence for check in doctor._CHECKS for sentence in check(found)]


def test_no_advice_where_nothing_is_wrong():
    assert _advice() == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"kernels__reason": "The native kernels were not built."},
            "slower than it could. The native kernels were not",
        ),
        ({"kernels__kind": "reference"}, "EQUIPOT_KERNELS=reference keeps"),
        ({"cpu__instruction_set": "avx512"}, "The CPU has avx512, the kernels use avx2"),
        ({"threads__used": 8}, "8 threads are asked for and 4 cores are there for this process"),
        ({"threads__openmp_libraries": ["libgomp.so.1", "libiomp5.so"]}, "2 OpenMP libraries are loaded"),
        ({"threads__wait_policy": "ACTIVE"}, "OMP_WAIT_POLICY=active"),
        ({"cpu__load": 7.5}, "The machine is busy (load 7.5 on 4 CPUs)"),
        ({"memory__available_bytes": 1e9}, "Only 1.0 GB of memory are free"),
        (
            {
                "speed__rows": [
                    {"kernels": "native", "threads": 1, "us_per_atom_and_step": 10.0},
                    {"kernels": "native", "threads": 2, "us_per_atom_and_step": 14.0},
                ]
            },
            "With 2 threads the native kernels are slower than with 1",
        ),
    ],
)
def test_advice(changes, words):
    sentences = _advice(**changes)
    assert len(sentences) == 1 and words in sentences[0]


def test_what_is_found_here(monkeypatch, capsys):
    monkeypatch.delenv("EQUIPOT_KERNELS", raising=False)
    assert main(["doctor", "--no-speed", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"versions", "cpu", "kernels", "threads", "memory", "gpu", "speed", "warnings"}
    assert found["versions"]["torch"] and found["versions"]["torch-geometric"]
    assert 0 < found["memory"]["available_bytes"] <= found["memory"]["total_bytes"]
    loaded = library.load()
    assert found["kernels"]["instruction_set"] == (None if isinstance(loaded, str) else loaded.instruction_set)
    assert found["speed"] is None


def test_one_pool_of_threads():
    """The kernels share torch's OpenMP library; a second pool would make both wait for each other.

    In a process of its own: other tests load libraries that bring a pool with them.
    """
    program = (
        "import torch; from equipot.kernels.native import library; from equipot.workflow import doctor; "
        "library.load(); print(len(doctor.openmp_libraries()))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(found.stdout) <= 1


@pytest.mark.parametrize("loaded", ["The native kernels were not built.", None])
def test_the_lines_on_the_screen(monkeypatch, capsys, loaded):
    if loaded is not None:
        monkeypatch.setattr(library, "load", lambda: loaded)
        monkeypatch.setattr(
            doctor,
            "_speed",
            lambda *_: {"rows": [{"kernels": "reference", "threads": 1, "us_per_atom_and_step": 401.4}]},
        )
    assert main(["doctor"] if loaded else ["doctor", "--no-speed"]) == 0
    printed = capsys.readouterr().out
    for name in ("equipot:", "packages:", "CPU:", "kernels:", "threads:", "OpenMP:", "memory:", "GPU:"):
        assert name in printed
    if loaded is not None:
        assert "speed:      reference, 1 thread: 401 µs per atom and step" in printed
        assert f"Warning: Everything runs many times slower than it could. {loaded}" in printed


@pytest.mark.slow
def test_the_speed_test(monkeypatch):
    speed = doctor._speed(2, 0.1)
    kinds = ("reference",) if isinstance(library.load(), str) else ("native", "reference")
    assert [(row["kernels"], row["threads"]) for row in speed["rows"]] == [(k, n) for k in kinds for n in (1, 2)]
    assert all(row["us_per_atom_and_step"] > 0.0 for row in speed["rows"])
