"""The frames a model is worst at, with positions and the error of every atom, for the report to list and draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from equipot.data.label_masks import label_masks
from equipot.units import GPA_PER_EV_A3, MEV_PER_EV, matrix_to_voigt

if TYPE_CHECKING:
    from equipot.graph import AtomicGraph
    from equipot.training.evaluate import Prediction

#: Frames listed for each of the three labels, and what ranks them.
PER_LABEL = 5
_RANKS = (("largest_force_error", "force error"), ("energy_error", "energy error"), ("stress_error", "stress error"))


@dataclass(frozen=True)
class Outlier:
    """One frame beside its prediction.

    Attributes:
        source: which frame it is, in words.
        split, config_type: where it belongs.
        reasons: why it is shown, worst first: ``("largest force error", ...)``, of one atom.
        atomic_numbers: (N,).
        positions: (N, 3) Angstrom, as in the file.
        cell: (3, 3) Angstrom, rows are lattice vectors.
        pbc: (3,) bool.
        forces: reference (N, 3) eV/Angstrom; NaN where there is none.
        predicted: (N, 3) eV/Angstrom.
        energy_error: prediction less reference, meV/atom; None where there is no label.
        force_error: root mean square over the components, meV/Angstrom.
        largest_force_error: longest error vector of an atom, meV/Angstrom.
        stress_error: mean absolute error of six components, GPa.
    """

    source: str
    split: str
    config_type: str
    reasons: tuple[str, ...]
    atomic_numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    forces: np.ndarray
    predicted: np.ndarray
    energy_error: float | None
    force_error: float | None
    largest_force_error: float | None
    stress_error: float | None

    @property
    def num_atoms(self) -> int:
        """Atoms in the frame."""
        return len(self.atomic_numbers)

    @property
    def atom_errors(self) -> np.ndarray:
        """(N,) length of each atom's force error, meV/Angstrom; NaN where there is no label."""
        return np.linalg.norm(self.predicted - self.forces, axis=1) * MEV_PER_EV


def frame_errors(graph: AtomicGraph, prediction: Prediction) -> dict[str, float | None]:
    """Errors of one frame under the names of :class:`Outlier`; labels count as in the metrics."""
    masks = label_masks(graph)
    found: dict[str, float | None] = dict.fromkeys(
        ("energy_error", "force_error", "largest_force_error", "stress_error")
    )
    if masks.energy.item():
        found["energy_error"] = (prediction.energy - graph.energy.item()) / graph.num_nodes * MEV_PER_EV
    atoms = masks.forces.cpu().numpy()
    if atoms.any():
        error = (prediction.forces - graph.forces.cpu().numpy())[atoms] * MEV_PER_EV
        found["force_error"] = float(np.sqrt(np.mean(error**2)))
        found["largest_force_error"] = float(np.linalg.norm(error, axis=1).max())
    if masks.stress.item():
        error = matrix_to_voigt(prediction.stress) - matrix_to_voigt(graph.stress[0].cpu().numpy())
        found["stress_error"] = float(np.abs(error).mean()) * GPA_PER_EV_A3
    return found


def find_outliers(
    graphs: Mapping[str, Sequence[AtomicGraph]],
    predictions: Mapping[str, Sequence[Prediction]],
    per_label: int = PER_LABEL,
) -> list[Outlier]:
    """The frames with the largest errors of each label, over all splits.

    Args:
        graphs: split -> labelled graphs.
        predictions: split -> those of the same graphs in the same order.
        per_label: frames for each of energy, forces and stress; a frame may be there for several reasons.

    Returns:
        Frames by largest force error of one atom, then energy, then stress; none twice.
    """
    entries = [
        (split, graph, prediction, frame_errors(graph, prediction))
        for split, members in graphs.items()
        for graph, prediction in zip(members, predictions[split], strict=True)
    ]
    reasons: dict[int, list[str]] = {}
    for key, words in _RANKS:
        having = [place for place, entry in enumerate(entries) if entry[3][key] is not None]
        having.sort(key=lambda place, key=key: -_size(entries[place][3][key]))
        for rank, place in enumerate(having[:per_label]):
            if _size(entries[place][3][key]) > 0.0:
                reasons.setdefault(place, []).append(f"{_ordinal(rank)}largest {words}")
    return [_outlier(*entries[place][:3], tuple(words), entries[place][3]) for place, words in reasons.items()]


def _outlier(
    split: str, graph: AtomicGraph, prediction: Prediction, reasons: tuple[str, ...], errors: dict[str, float | None]
) -> Outlier:
    forces = np.where(label_masks(graph).forces.cpu().numpy()[:, None], graph.forces.cpu().numpy(), np.nan)
    return Outlier(
        _one(graph.source),
        split,
        _one(graph.config_type),
        reasons,
        graph.atomic_numbers.cpu().numpy().copy(),
        graph.positions.detach().cpu().numpy().copy(),
        graph.cell[0].detach().cpu().numpy().copy(),
        graph.pbc[0].cpu().numpy().copy(),
        forces,
        np.asarray(prediction.forces, dtype=float),
        **errors,
    )


def _size(value: float | None) -> float:
    """For ranking: a prediction that is not a number is the worst there can be."""
    return np.inf if value is None or not np.isfinite(value) else abs(value)


def _one(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else str(value[0])


def _ordinal(rank: int) -> str:
    return "" if rank == 0 else f"{rank + 1}{'nd' if rank == 1 else 'rd' if rank == 2 else 'th'} "
