"""The worker's side of the conversation: JSON lines in, timed calls, JSON lines out. Needs ase and numpy only.

A request is ``{"command": "build" | "infer" | "train" | "stop", ...}``; an answer holds what was measured,
or ``error``. Answers begin with a mark: packages print as they like, some already when they are imported.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.metadata
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from peers.structures import STRUCTURES, Motion

#: An answer's line begins with this; any other line is something a package printed.
ANSWER = "answer: "


class Peer:
    """A package under test; workers subclass it and hand an instance to :func:`serve`."""

    #: Distributions whose versions are reported.
    distributions: tuple[str, ...] = ()

    def build(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Build the model from size, architecture, dtype, threads, ...; returns what is worth reporting."""
        raise NotImplementedError

    def calculator(self) -> Any:
        """A new ASE calculator of the model."""
        raise NotImplementedError

    def training(self, batch: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
        """``(prepare, step)``: prepare makes a fresh batch, which is not timed; step(batch) is."""
        raise NotImplementedError

    def inference(self, case: str) -> tuple[Callable[[int], Any], Callable[[Any], Any], int]:
        """``(prepare, step, steps)``: step(prepare(call)) is timed and counts as so many steps."""
        motion = Motion(case)
        has_stress = bool(motion.atoms.pbc.all())
        calculator = self.calculator()
        motion.atoms.calc = calculator

        def step(atoms: Any) -> float:
            energy = atoms.get_potential_energy()
            atoms.get_forces()
            if has_stress:
                atoms.get_stress()
            return float(energy)

        return motion.place, step, 1


def peak_memory_mb() -> float:
    """Highest resident memory since :func:`reset_peak_memory` (Linux) or since the start."""
    try:
        with open("/proc/self/status") as file:
            fields = dict(line.split(":", 1) for line in file if ":" in line)
        return int(fields["VmHWM"].split()[0]) / 1024
    except (OSError, KeyError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def reset_peak_memory() -> None:
    """Give freed memory back and start counting the peak anew, where the system can."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except (OSError, AttributeError):
        pass


class _Session:
    """Holds what the present case needs between requests."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.case: str | None = None
        self.parts: tuple = ()
        self.calls = 0

    def build(self, request: dict[str, Any]) -> dict[str, Any]:
        start = time.perf_counter()
        report = self.peer.build(request)
        versions = {name: importlib.metadata.version(name) for name in self.peer.distributions}
        return {**report, "versions": versions, "seconds": time.perf_counter() - start}

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        case = request["case"]
        if case != self.case:
            self.parts = ()
            reset_peak_memory()
            if case in STRUCTURES:
                self.parts = self.peer.inference(case)
            else:
                make_batch, step = self.peer.training(case)
                self.parts = (lambda call: make_batch(), step, 1)
            self.case, self.calls = case, 0
        prepare, step, steps = self.parts
        wall, cpu, value = [], [], None
        for _ in range(request["calls"]):
            argument = prepare(self.calls)
            self.calls += 1
            start = time.perf_counter(), time.process_time()
            value = step(argument)
            wall.append((time.perf_counter() - start[0]) / steps)
            cpu.append((time.process_time() - start[1]) / steps)
        return {"wall": wall, "cpu": cpu, "memory_mb": peak_memory_mb(), "value": value}


def serve(peer: Peer) -> None:
    """Answer requests until ``stop`` or the end of the input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    session = _Session(peer)
    for line in sys.stdin:
        request = json.loads(line)
        if request["command"] == "stop":
            break
        try:
            answer = session.build(request) if request["command"] == "build" else session.run(request)
        except Exception as error:
            traceback.print_exc()
            session.case = None
            answer = {"error": f"{type(error).__name__}: {str(error).strip() or 'no message'}"}
        answers.write(ANSWER + json.dumps(answer) + "\n")
        answers.flush()
