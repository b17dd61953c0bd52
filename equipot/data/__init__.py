"""From files to graphs: formats, label keys, units and signs, atomic energies, statistics, splits, batches."""

from __future__ import annotations

from equipot.data.atomic_energies import AtomicEnergies, fit_atomic_energies
from equipot.data.datasets import DataSets, frame_to_graph, load_datasets
from equipot.data.frames import Frame, FrameFile, ReadReport
from equipot.data.reading import read_frames
from equipot.data.sampler import BatchSampler, edge_batches
from equipot.data.statistics import Statistics, compute_statistics
from equipot.data.synthetic import cu_au_emt
from equipot.data.writing import write_frames

__all__ = [
    "AtomicEnergies",
    "BatchSampler",
    "DataSets",
    "Frame",
    "FrameFile",
    "ReadReport",
    "Statistics",
    "compute_statistics",
    "cu_au_emt",
    "edge_batches",
    "fit_atomic_energies",
    "frame_to_graph",
    "load_datasets",
    "read_frames",
    "write_frames",
]
