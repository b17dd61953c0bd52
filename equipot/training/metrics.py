"""The one way errors are counted: training rows, validation, evaluation and plots all come through here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from equipot.errors import CheckpointError
from equipot.graph import AtomicGraph
from equipot.training.labels import LabelErrors, label_errors
from equipot.units import GPA_PER_EV_A3, MEV_PER_EV

if TYPE_CHECKING:
    from equipot.models import ModelOutput

#: Label -> (name of its error, factor from eV, eV/Angstrom, eV/Angstrom^3 to the unit in the name).
_LABELS = {
    "energy": ("mev_per_atom", MEV_PER_EV),
    "forces": ("mev_per_angstrom", MEV_PER_EV),
    "stress": ("gpa", GPA_PER_EV_A3),
}
_SHAPES = {"forces": (3,), "stress": (3, 3)}
#: A symmetric stress has six independent numbers.
_UPPER = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))

#: Batches whose errors are kept before they are summed up: few enough that a data set of any size fits.
MAX_PENDING = 64

#: Groups whose errors are told one by one: in tables, plots and the files of runs and models.
MAX_GROUPS = 50

Metrics = dict[str, dict[str, Any]]


def group_names_of(config_types: Sequence[str]) -> dict[str, str]:
    """The group each config_type is counted in: its own, or that of all the small ones where there are too many."""
    counts = Counter(config_types)
    # A config_type that is itself called "all" must not replace the sum over the set.
    names = {name: name if name != "all" else "all (config_type)" for name in counts}
    if len(counts) <= MAX_GROUPS:
        return names
    small = sorted(counts, key=lambda name: (-counts[name], name))[MAX_GROUPS - 1 :]
    return {**names, **dict.fromkeys(small, f"others ({len(small)} config_types)")}


class MetricAccumulator:
    """Mean absolute and root mean square errors over a set of frames, in groups by config_type and over all.

    Energies are compared per atom, one number a frame; forces and stress per component (three an atom; the six
    independent ones of the stress). Labels that are missing or have weight zero are never counted, the other weights do
    not enter. One row of sums is kept for each frame and the rows are added exactly (``math.fsum``), so the result
    does not depend on how the frames were batched or ordered.
    """

    def __init__(self) -> None:
        self._rows: list[Tensor] = []
        #: Errors that are not summed yet: many batches at once cost what one does.
        self._pending: list[LabelErrors] = []
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
        self.add(label_errors(output, graph), graph.config_type)

    def add(self, errors: LabelErrors, config_types: str | Sequence[str]) -> None:
        """Add the frames of a batch by their errors."""
        self._pending.append(errors)
        self._config_types += [config_types] if isinstance(config_types, str) else list(config_types)
        if len(self._pending) >= MAX_PENDING:
            self._sum_up()

    def merge(self, other: MetricAccumulator) -> None:
        """Add the frames another accumulator holds."""
        if other._rows:  # rows are in the order of the frames
            self._sum_up()
            self._rows += other._rows
        self._pending += other._pending
        if len(self._pending) >= MAX_PENDING:
            self._sum_up()
        self._config_types += other._config_types

    def result(self) -> Metrics:
        """Errors of the group ``all`` and of each config_type; None where a group has no such label.

        Of more than :data:`MAX_GROUPS` config_types the smallest are one group together.

        Returns:
            group -> ``num_configurations``, ``energy_mae_mev_per_atom``, ``energy_rmse_mev_per_atom``,
            ``forces_mae_mev_per_angstrom``, ``forces_rmse_mev_per_angstrom``, ``stress_mae_gpa``, ``stress_rmse_gpa``.
        """
        rows = self._table().tolist()
        groups: dict[str, list[list[float]]] = {"all": rows}
        shown = group_names_of(self._config_types)
        for name, row in zip(self._config_types, rows):
            groups.setdefault(shown[name], []).append(row)
        return {name: _errors(group) for name, group in groups.items()}

    def state_dict(self) -> dict[str, Any]:
        """The sums so far: a (frames, 9) table and the config_type of each row."""
        names = sorted(set(self._config_types))
        number = {name: place for place, name in enumerate(names)}
        return {
            "rows": self._table(),
            "names": names,
            "types": torch.tensor([number[name] for name in self._config_types], dtype=torch.int64),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`state_dict` gave.

        Raises:
            CheckpointError: the state is not one of a MetricAccumulator.
        """
        rows, types, names = state["rows"], state["types"], state["names"]
        if rows.ndim != 2 or rows.shape[1] != 9 or len(rows) != len(types):
            raise CheckpointError(
                f"The sums of the metrics have shape {tuple(rows.shape)} for {len(types)} frames; "
                "(frames, 9) is expected."
            )
        self._rows, self._pending = [rows.clone()] if len(rows) else [], []
        self._config_types = [names[k] for k in types.tolist()]

    def _table(self) -> Tensor:
        self._sum_up()
        return torch.cat(self._rows) if self._rows else torch.zeros(0, 9, dtype=torch.float64)

    def _sum_up(self) -> None:
        if self._pending:
            self._rows.append(_frame_sums(self._pending).to("cpu"))
            self._pending = []


@torch.no_grad()
def _frame_sums(batches: Sequence[LabelErrors]) -> Tensor:
    """(frames, 9): number of components that count, sum of |error| and sum of error^2, of each label of each frame."""
    sizes = [len(batch.energy) for batch in batches]
    energy = torch.cat([batch.energy / batch.num_atoms for batch in batches])
    forces, atoms = _joined(batches, "forces", [len(batch.graph_index) for batch in batches])
    stress, frames = _joined(batches, "stress", sizes)
    frame_of_atom = torch.cat([batch.graph_index + first for batch, first in zip(batches, [0, *accumulate(sizes)])])
    per_atom = torch.stack(_columns(forces.flatten(1), atoms), dim=1)
    per_frame = per_atom.new_zeros(len(energy), 3).index_add_(0, frame_of_atom, per_atom)
    has_energy = torch.cat([batch.masks.energy for batch in batches])
    return torch.stack(
        [
            *_columns(energy[:, None], has_energy),
            *per_frame.unbind(dim=1),
            *_columns(stress[:, _UPPER[0], _UPPER[1]], frames),
        ],
        dim=1,
    )


def _joined(batches: Sequence[LabelErrors], label: str, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Errors of forces or stresses of all batches and which count; none where they were not computed."""
    errors, masks = [], []
    for batch, size in zip(batches, sizes):
        error, mask = getattr(batch, label), getattr(batch.masks, label)
        is_absent = error is None
        errors.append(batch.energy.new_zeros(size, *_SHAPES[label]) if is_absent else error)
        masks.append(torch.zeros_like(mask) if is_absent else mask)
    return torch.cat(errors), torch.cat(masks)


def _columns(error: Tensor, mask: Tensor) -> list[Tensor]:
    """Number of components that count, sum of |error| and sum of error^2 for each row of (M, components)."""
    return [mask.to(torch.float64) * error.shape[1], error.abs().sum(dim=1), error.square().sum(dim=1)]


def _errors(rows: list[list[float]]) -> dict[str, Any]:
    columns = [list(column) for column in zip(*rows)] or [[] for _ in range(9)]
    result: dict[str, Any] = {"num_configurations": len(rows)}
    for k, (label, (unit, factor)) in enumerate(_LABELS.items()):
        count, absolute, square = (_sum(column) for column in columns[3 * k : 3 * k + 3])
        result[f"{label}_mae_{unit}"] = factor * absolute / count if count else None
        result[f"{label}_rmse_{unit}"] = factor * math.sqrt(square / count) if count else None
    return result


def _sum(values: list[float]) -> float:
    # fsum refuses a sum of +inf and -inf and overflow; such errors are not numbers anyone can use.
    return math.fsum(values) if all(map(math.isfinite, values)) else math.nan
