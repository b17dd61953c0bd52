"""What equipot found on this machine (versions, kernels, threads, memory, GPU), a speed test, and advice."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import ase.build
import torch

from equipot.interfaces.ase import Calculator
from equipot.kernels import selection
from equipot.kernels.native import library
from equipot.models import Potential, example_potential
from equipot.simulation.timing import StepTime, time_steps
from equipot.system import threads
from equipot.system.busy import load_average, load_sentence
from equipot.system.memory import available_memory, total_memory
from equipot.version import __version__

_PACKAGES = ("torch", "e3nn", "ase", "matscipy", "torch-geometric", "numpy", "scipy", "safetensors")
_OPENMP = ("libgomp", "libiomp", "libomp")
_SETS = {"DEFAULT": "plain", "AVX2": "avx2", "AVX512": "avx512"}
_LITTLE_MEMORY = 2e9


def examine(*, with_speed: bool = True, seconds: float = 1.0) -> dict[str, Any]:
    """Look at the machine and the installation.

    Args:
        with_speed: whether to run the speed test too.
        seconds: about how long each of its measurements takes.

    Returns:
        A document for JSON: ``versions``, ``cpu``, ``kernels``, ``threads``, ``memory``, ``gpu``, ``speed`` (None
        without the test) and ``warnings``, sentences that say what is wrong and what to do.
    """
    found: dict[str, Any] = {
        "versions": _versions(),
        "cpu": _cpu(),
        "kernels": _kernels(),
        "threads": _threads(),
        "memory": {"total_bytes": total_memory(), "available_bytes": available_memory()},
        "gpu": _gpu(),
    }
    found["speed"] = _speed(found["threads"]["used"], seconds) if with_speed else None
    found["warnings"] = [sentence for check in _CHECKS for sentence in check(found)]
    return found


def _versions() -> dict[str, str | None]:
    def version(name: str) -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    return {
        "equipot": __version__,
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        **{name: version(name) for name in _PACKAGES},
    }


def _cpu() -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    return {
        "model": model,
        "instruction_set": _SETS.get(torch.backends.cpu.get_cpu_capability(), "plain"),
        "logical_cpus": os.cpu_count(),
        "load": load_average(),
    }


def _kernels() -> dict[str, Any]:
    loaded, asked = library.load(), os.environ.get(selection.VARIABLE) or "auto"
    if isinstance(loaded, str):
        return {"kind": "reference", "asked": asked, "reason": loaded, "instruction_set": None, "path": None}
    kind = "reference" if asked == "reference" else "native"
    return {
        "kind": kind,
        "asked": asked,
        "reason": None,
        "instruction_set": loaded.instruction_set,
        "path": str(loaded.path),
    }


def _threads() -> dict[str, Any]:
    return {
        "used": threads.num_threads(),
        "available_cores": threads.available_cores(),
        "variables": {
            name: os.environ[name]
            for name in (threads.VARIABLE, "OMP_NUM_THREADS", "MKL_NUM_THREADS")
            if name in os.environ
        },
        "wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "spin_count": os.environ.get("GOMP_SPINCOUNT"),
        "openmp_libraries": openmp_libraries(),
    }


def openmp_libraries() -> list[str]:
    """Return the OpenMP runtimes in this process, by path; each has a pool of threads of its own."""
    library.load()
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    paths = {line.split(None, 5)[5] for line in lines if len(line.split(None, 5)) == 6}
    return sorted(path for path in paths if Path(path).name.startswith(_OPENMP))


def _gpu() -> dict[str, Any]:
    number = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {"cuda": torch.version.cuda, "devices": [torch.cuda.get_device_name(n) for n in range(number)]}


def _test_potential() -> Potential:
    """A fixed small model with random weights."""
    return example_potential(("Ta",), 5.0, avg_num_neighbors=26.0, dtype="float32", num_layers=2)


def _speed(num_threads: int, seconds: float) -> dict[str, Any]:
    """µs an atom and step of the fixed model on 250 Ta atoms, by kernels and number of threads."""
    atoms = ase.build.bulk("Ta", a=3.3, cubic=True) * (5, 5, 5)
    potential, before, rows = _test_potential(), torch.get_num_threads(), []
    has_native = not isinstance(library.load(), str)
    try:
        for kernels in ("native", "reference") if has_native else ("reference",):
            calculator = Calculator(potential, kernels=kernels)
            for number in sorted({1, num_threads}):
                torch.set_num_threads(number)
                step: StepTime = time_steps(calculator, atoms, seconds=seconds)
                rows.append({"kernels": kernels, "threads": number, "us_per_atom_and_step": step.us_per_atom})
    finally:
        torch.set_num_threads(before)
    return {
        "test": f"{potential.config.architecture}, preset small, 2 layers, float32; energy and forces of 250 Ta atoms",
        "rows": rows,
    }


def _about_kernels(found: Mapping[str, Any]) -> list[str]:
    kernels, cpu = found["kernels"], found["cpu"]
    if kernels["reason"] is not None:
        return [f"Everything runs many times slower than it could. {kernels['reason']}"]
    if kernels["kind"] == "reference":
        return [f"{selection.VARIABLE}=reference keeps the native kernels from being used; unset it to be fast."]
    order = library.INSTRUCTION_SETS
    if order.index(kernels["instruction_set"]) < order.index(cpu["instruction_set"]):
        return [
            f"The CPU has {cpu['instruction_set']}, the kernels use {kernels['instruction_set']}; unset "
            "EQUIPOT_INSTRUCTION_SET, or install the package again where its compiler knows the CPU."
        ]
    return []


def _about_threads(found: Mapping[str, Any]) -> list[str]:
    state, sentences = found["threads"], []
    if state["used"] > state["available_cores"]:
        sentences.append(
            f"{state['used']} threads are asked for and {state['available_cores']} cores are there for "
            f"this process: threads will wait for each other. Lower {' or '.join(state['variables'])}."
        )
    if len(state["openmp_libraries"]) > 1:
        sentences.append(
            f"{len(state['openmp_libraries'])} OpenMP libraries are loaded, each with threads of its own "
            "that keep each other waiting: set OMP_WAIT_POLICY=passive, or install torch and equipot so "
            "that they use one."
        )
    if (state["wait_policy"] or "").lower() == "active":
        sentences.append(
            "OMP_WAIT_POLICY=active lets idle threads spin, which is very slow where other programs run; unset it."
        )
    return sentences


def _about_load(found: Mapping[str, Any]) -> list[str]:
    busy = load_sentence(found["cpu"]["load"], found["cpu"]["logical_cpus"])
    if busy is None:
        return []
    return [
        f"The machine is busy ({busy}): the speed test is slower than equipot is with "
        f"{found['threads']['available_cores']} cores of its own."
    ]


def _about_memory(found: Mapping[str, Any]) -> list[str]:
    available = found["memory"]["available_bytes"]
    if available is not None and available < _LITTLE_MEMORY:
        return [f"Only {available / 1e9:.1f} GB of memory are free; training needs about 2 GB."]
    return []


def _about_speed(found: Mapping[str, Any]) -> list[str]:
    if found["speed"] is None:
        return []
    sentences, times = (
        [],
        {(row["kernels"], row["threads"]): row["us_per_atom_and_step"] for row in found["speed"]["rows"]},
    )
    for (kernels, number), value in times.items():
        if number > 1 and value > 1.1 * times[kernels, 1]:
            sentences.append(
                f"With {number} threads the {kernels} kernels are slower than with 1: other programs use "
                f"the cores, or they are not real ones. Set {threads.VARIABLE}=1, or give fewer."
            )
    return sentences


_CHECKS: tuple[Callable[[Mapping[str, Any]], list[str]], ...] = (
    _about_kernels,
    _about_threads,
    _about_load,
    _about_memory,
    _about_speed,
)
