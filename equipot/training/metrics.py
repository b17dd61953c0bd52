"""The one way errors are counted: training rows, validation, evaluation and plots all come through here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from equipot.errors import CheckpointError
from equipot.graph import AtomicGraph
from equipot.training.labels import label_masks
from equipot.units import GPA_PER_EV_A3, MEV_PER_EV

if TYPE_CHECKING:
    from equipot.models import ModelOutput

#: Label -> (name of its error, factor from eV, eV/Angstrom, eV/Angstrom^3 to the unit in the name).
_LABELS = {"energy": ("mev_per_atom", MEV_PER_EV), "forces": ("mev_per_angstrom", MEV_PER_EV),
           "stress": ("gpa", GPA_PER_EV_A3)}
#: A symmetric stress has six independent numbers.
_UPPER = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))

Metrics = dict[str, dict[str, Any]]


class MetricAccumulator:
    """Mean absolute and root mean square errors over a set of frames, in groups by config_type and over all.

    Energies are compared per atom, one number a frame; forces and stress per component (three an atom; the six
    independent ones of the stress). Labels that are missing or have weight zero are never counted, the other weights do
    not enter. One row of sums is kept for each frame and the rows are added exactly (``math.fsum``), so the result
    does not depend on how the frames were batched or ordered.
    """

    def __init__(self) -> None:
        self._rows: list[Tensor] = []
        self._config_types: list[str] = []

    def __len__(self) -> int:
        return len(self._config_types)

    def update(self, output: ModelOutput, graph: AtomicGraph) -> None:
        """Add the frames of a batch.

        Args:
            output: energy (B,); forces (N, 3) and stress (B, 3, 3), or None where they were not computed: such labels
                do not count.
            graph: the batch with its labels.
        """
        masks, num_graphs = label_masks(graph), graph.num_graphs
        columns = []
        with torch.no_grad():
            error = (output.energy - graph.energy) / graph.num_nodes_per_graph.clamp(min=1)
            columns += _columns(error[:, None], masks.energy)
            if output.forces is None:
                columns += 3 * [graph.energy.new_zeros(num_graphs)]
            else:
                per_atom = torch.stack(_columns(output.forces - graph.forces, masks.forces), dim=1)
                sums = per_atom.new_zeros(num_graphs, 3).index_add_(0, graph.graph_index, per_atom)
                columns += sums.unbind(dim=1)
            if output.stress is None:
                columns += 3 * [graph.energy.new_zeros(num_graphs)]
            else:
                columns += _columns((output.stress - graph.stress)[:, _UPPER[0], _UPPER[1]], masks.stress)
            self._rows.append(torch.stack(columns, dim=1).to("cpu", torch.float64))
        names = graph.config_type
        self._config_types += [names] if isinstance(names, str) else list(names)

    def merge(self, other: MetricAccumulator) -> None:
        """Add the frames another accumulator holds."""
        self._rows += other._rows
        self._config_types += other._config_types

    def result(self) -> Metrics:
        """Errors of the group ``all`` and of each config_type; None where a group has no such label.

        Returns:
            group -> ``num_configurations``, ``energy_mae_mev_per_atom``, ``energy_rmse_mev_per_atom``,
            ``forces_mae_mev_per_angstrom``, ``forces_rmse_mev_per_angstrom``, ``stress_mae_gpa``, ``stress_rmse_gpa``.
        """
        rows = self._table().tolist()
        groups: dict[str, list[list[float]]] = {"all": rows}
        for name, row in zip(self._config_types, rows):
            # A config_type that is itself called "all" must not replace the sum over the set.
            groups.setdefault(name if name != "all" else "all (config_type)", []).append(row)
        return {name: _errors(group) for name, group in groups.items()}

    def state_dict(self) -> dict[str, Any]:
        """The sums so far: a (frames, 9) table and the config_type of each row."""
        names = sorted(set(self._config_types))
        return {"rows": self._table(), "names": names,
                "types": torch.tensor([names.index(name) for name in self._config_types], dtype=torch.int64)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`state_dict` gave.

        Raises:
            CheckpointError: the state is not one of a MetricAccumulator.
        """
        rows, types, names = state["rows"], state["types"], state["names"]
        if rows.ndim != 2 or rows.shape[1] != 9 or len(rows) != len(types):
            raise CheckpointError(f"The sums of the metrics have shape {tuple(rows.shape)} for {len(types)} frames; "
                                  "(frames, 9) is expected.")
        self._rows = [rows.clone()] if len(rows) else []
        self._config_types = [names[k] for k in types.tolist()]

    def _table(self) -> Tensor:
        return torch.cat(self._rows) if self._rows else torch.zeros(0, 9, dtype=torch.float64)


def _columns(error: Tensor, mask: Tensor) -> list[Tensor]:
    """Number of components that count, sum of |error| and sum of error^2 for each row of (M, components)."""
    error = torch.where(mask[:, None], error.detach().to(torch.float64), 0.0)
    return [mask.to(torch.float64) * error.shape[1], error.abs().sum(dim=1), error.square().sum(dim=1)]


def _errors(rows: list[list[float]]) -> dict[str, Any]:
    columns = [list(column) for column in zip(*rows)] or [[] for _ in range(9)]
    result: dict[str, Any] = {"num_configurations": len(rows)}
    for k, (label, (unit, factor)) in enumerate(_LABELS.items()):
        count, absolute, square = (_sum(column) for column in columns[3 * k:3 * k + 3])
        result[f"{label}_mae_{unit}"] = factor * absolute / count if count else None
        result[f"{label}_rmse_{unit}"] = factor * math.sqrt(square / count) if count else None
    return result


def _sum(values: list[float]) -> float:
    # fsum refuses a sum of +inf and -inf and overflow; such errors are not numbers anyone can use.
    return math.fsum(values) if all(map(math.isfinite, values)) else math.nan
