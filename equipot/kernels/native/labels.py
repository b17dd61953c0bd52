"""Which labels of a batch count, and the training loss with its slopes, in native code; all numbers are float64."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import POINTER, Structure, c_double, c_int, c_int64, c_void_p
from typing import NamedTuple

import torch
from torch import Tensor

from equipot.kernels.native.operator import address, entry_point

#: Forms of a loss term, in the order of ``Form`` in csrc/training/loss.cpp.
FORMS = ("mse", "mae", "huber", "norm")


class Label(NamedTuple):
    """Energies, forces or stresses of a batch of B graphs.

    Attributes:
        values: (rows, ...) labels, NaN where there is none.
        weight: (B,) factor of each graph.
        graph_index: (rows,) int64, the graph of each row; None: row k is graph k.
    """

    values: Tensor
    weight: Tensor
    graph_index: Tensor | None = None


class _Label(Structure):
    """``Label`` of csrc/training/loss.cpp, field by field."""

    _fields_ = [
        ("num_rows", c_int64),
        ("width", c_int64),
        *((name, c_void_p) for name in ("graph", "label", "weight", "prediction", "mask", "error", "slope")),
    ]


def _structures(labels: Sequence[Label], *others: Sequence[Tensor | None]) -> tuple[Structure, list]:
    """The C structures, and the tensors that must outlive the call; ``others`` from prediction to slope."""
    kept, rows = [], []
    for label, *rest in zip(labels, *others):
        tensors = [
            tensor if tensor is None else tensor.contiguous()
            for tensor in (label.graph_index, label.values, label.weight, *rest)
        ]
        kept.append(tensors)
        count = len(label.values)
        rows.append(_Label(count, label.values.numel() // max(count, 1), *map(address, tensors)))
    return (_Label * len(rows))(*rows), kept


def label_masks(labels: Sequence[Label]) -> tuple[list[Tensor], Tensor]:
    """Labels that are finite in all components and have a weight: their (rows,) bool masks, and (3,) their numbers."""
    masks = [torch.empty(len(label.values), dtype=torch.bool) for label in labels]
    counts, none = torch.empty(len(labels), dtype=torch.float64), [None] * len(labels)
    structures, _kept = _structures(labels, none, masks, none, none)
    entry_point("label_masks", None, (POINTER(_Label), c_void_p))(structures, address(counts))
    return masks, counts


def weighted_loss(
    labels: Sequence[Label], predictions: Sequence[Tensor | None], masks: Sequence[Tensor], forms: Sequence[str],
    delta: float, factors: Sequence[float], scales: Sequence[Tensor | float],
) -> tuple[Tensor, list[Tensor | None], list[Tensor | None]]:  # fmt: skip
    """Sum ``factor * weight * penalty(scale * error)`` over the labels that count, for each kind of label.

    Args:
        labels, masks: of energies, forces and stresses.
        predictions: of the labels' shapes, or None where there is none.
        forms, delta: see :class:`equipot.training.loss.Loss`.
        factors: what each kind is multiplied with.
        scales: of energies and stresses one a graph, (B,); of forces one number.

    Returns:
        (3,) sums, the errors and the slopes (derivatives of the sums in the predictions) of each kind.
    """
    predictions = [None if prediction is None else prediction.detach() for prediction in predictions]
    errors, slopes = (
        [None if each is None else torch.empty(each.shape, dtype=each.dtype) for each in predictions] for _ in range(2)
    )
    parts = torch.empty(3, dtype=torch.float64)
    structures, _kept = _structures(labels, predictions, masks, errors, slopes)
    function = entry_point(
        "loss", None, (POINTER(_Label), c_int * 3, c_double, c_double * 3, c_double, *(c_void_p,) * 3)
    )
    energy_scales, forces_scale, stress_scales = scales
    function(
        structures,
        (c_int * 3)(*map(FORMS.index, forms)),
        delta,
        (c_double * 3)(*factors),
        forces_scale,
        address(energy_scales),
        address(stress_scales),
        address(parts),
    )
    return parts, errors, slopes
