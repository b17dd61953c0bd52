"""What a speed measurement found: steps by size and number of threads, as rows and as a document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from equipot.simulation.timing import StepTime


@dataclass(frozen=True)
class Measurement:
    """One line of a benchmark: threads and what a step took with them."""

    threads: int
    step: StepTime


@dataclass(frozen=True)
class Benchmark:
    """What was measured, and of what.

    Attributes:
        measurements: by size, then threads.
        structure: what the supercells are made of, in words.
        kernels: ``native (avx2)``, ..., or ``reference``.
        dtype: of the network.
        timestep_fs: that ns/day are for.
        has_stress: whether each step computed the stress.
        busy: how it shows that other programs took part of the processors meanwhile, or None.
    """

    measurements: tuple[Measurement, ...]
    structure: str
    kernels: str
    dtype: str
    timestep_fs: float
    has_stress: bool
    busy: str | None = None

    def as_document(self) -> dict[str, Any]:
        """Return everything as a document for JSON: s, bytes and the derived numbers."""
        rows = [
            {
                "num_atoms": m.step.num_atoms,
                "threads": m.threads,
                "us_per_atom_and_step": m.step.us_per_atom,
                "ns_per_day": m.step.ns_per_day(self.timestep_fs),
                "seconds_per_step": m.step.seconds,
                "seconds_quartiles": list(m.step.quartiles),
                "num_steps": m.step.num_steps,
                "steps_per_neighbor_list": m.step.steps_per_list,
                "peak_memory_bytes": m.step.peak_bytes,
            }
            for m in self.measurements
        ]
        return {
            "structure": self.structure,
            "kernels": self.kernels,
            "dtype": self.dtype,
            "timestep_fs": self.timestep_fs,
            "stress": self.has_stress,
            "busy": self.busy,
            "measurements": rows,
        }
