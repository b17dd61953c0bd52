"""What is said about the data and the model before training starts, as tables."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from equipot.data.statistics import count_labelled
from equipot.report.tables import Column, Table, format_number

if TYPE_CHECKING:
    from equipot.data.atomic_energies import AtomicEnergies
    from equipot.data.datasets import DataSets

_ORIGINS = {
    "isolated": "isolated-atom frames",
    "given": "the configuration",
    "least_squares": "least squares on composition",
    "base": "the base model",
    "refit": "least squares, on composition, of what the base model leaves of the energies",
}


def data_table(datasets: DataSets) -> Table:
    """Frames, atoms and label coverage of each split."""
    columns = (
        Column("split", is_number=False),
        Column("frames"),
        Column("atoms"),
        Column("edges"),
        Column("energy", "frames"),
        Column("forces", "frames"),
        Column("stress", "frames"),
    )
    rows = []
    for split in ("train", "validation", "test"):
        graphs = getattr(datasets, split)
        if graphs:
            present = count_labelled(graphs)
            rows.append(
                (
                    split,
                    str(len(graphs)),
                    str(sum(graph.num_nodes for graph in graphs)),
                    str(sum(graph.num_edges for graph in graphs)),
                    *(f"{number} ({np.floor(100 * number / len(graphs)):.0f} %)" for number in present.values()),
                )
            )
    return Table("Data and label coverage", columns, tuple(rows))


def atomic_energies_table(energies: AtomicEnergies, elements: Collection[str]) -> Table:
    """E0 of some elements and where it is from."""
    rows = tuple(
        (element, format_number(float(value), 8)) for element, value in energies.values.items() if element in elements
    )
    note = f"From {_ORIGINS.get(energies.origin, energies.origin)}."
    if energies.rank is not None:
        note += f" Rank {energies.rank} of {energies.num_elements}, condition {format_number(energies.condition)}."
    if energies.residual_rms_mev_per_atom is not None:
        note += f" What they leave of the energies: rms {format_number(energies.residual_rms_mev_per_atom)} meV/atom."
    return Table("Atomic energies E0", (Column("element", is_number=False), Column("energy", "eV")), rows, note=note)
