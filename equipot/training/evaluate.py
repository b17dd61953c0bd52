"""Evaluate a potential on a list of graphs: error metrics, and the predictions of every frame in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from equipot.data.label_masks import label_masks
from equipot.data.sampler import edge_batches
from equipot.errors import Interrupted
from equipot.graph import AtomicGraph, collate
from equipot.training.device import resolve_device
from equipot.training.loss import Loss
from equipot.training.memory import explain_out_of_memory
from equipot.training.metrics import MetricAccumulator, Metrics

if TYPE_CHECKING:
    from equipot.models import ModelOutput, Potential


@dataclass(frozen=True)
class Prediction:
    """What a potential says of one frame.

    Attributes:
        energy: eV.
        forces: (N, 3) eV/Angstrom.
        stress: (3, 3) eV/Angstrom^3, tension positive; NaN where the cell has no volume.
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """Errors, and where they were asked for, predictions (in the order of the graphs) and the value of the loss."""

    metrics: Metrics
    predictions: list[Prediction] = field(default_factory=list)
    loss: float | None = None


def batches_by_edges(graphs: Sequence[AtomicGraph], batch_edges: int) -> Iterator[AtomicGraph]:
    """Join graphs, in order, to batches of at most ``batch_edges`` edges (one larger graph is a batch of its own)."""
    for batch in edge_batches([graph.num_edges for graph in graphs], batch_edges):
        yield collate([graphs[k] for k in batch])


def evaluate(
    potential: Potential,
    graphs: Sequence[AtomicGraph],
    *,
    batch_edges: int = 50_000,
    device: str | torch.device = "cpu",
    collect: bool = False,
    loss: Loss | None = None,
    stage_two: bool = False,
) -> Evaluation:
    """Evaluate a potential on labelled (or not) graphs; memory is bounded by the edges of a batch.

    Args:
        potential: left in the mode (training or evaluation) and on the device it was in.
        graphs: single graphs.
        batch_edges: edges in a batch.
        device: where to compute, ``auto``, ``cpu`` or ``cuda``; the potential must be there already.
        collect: whether to keep energy, forces and stress of each frame.
        loss: also compute this loss over the whole set.
        stage_two: whether the loss has its weights of stage two.

    Returns:
        Metrics of the group ``all`` and each config_type; predictions in the order of ``graphs``.

    Raises:
        EquipotError: a batch does not fit in memory.
    """
    return evaluate_batches(
        potential, batches_by_edges(graphs, batch_edges), device=device, collect=collect, loss=loss, stage_two=stage_two
    )


def evaluate_batches(
    potential: Potential,
    batches: Iterable[AtomicGraph],
    *,
    device: str | torch.device = "cpu",
    collect: bool = False,
    loss: Loss | None = None,
    stage_two: bool = False,
    stop: Callable[[], bool] | None = None,
) -> Evaluation:
    """:func:`evaluate` on batches made before; ``stop`` is asked between them and ends with ``Interrupted``."""
    device, was_training = resolve_device(device), potential.training
    accumulator, predictions = MetricAccumulator(), []
    sums, counts = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    potential.eval()
    try:
        for batch in batches:
            if stop is not None and stop():
                raise Interrupted("Stopped during an evaluation.")
            graph = batch.to(device)
            masks = label_masks(graph)
            with explain_out_of_memory([graph], "training.evaluation_batch_edges"):
                output = potential(
                    graph, forces=collect or bool(masks.forces.any()), stress=collect or bool(masks.stress.any())
                )
            accumulator.update(output, graph)
            if loss is not None:
                sums += loss(output, graph, counts=(1.0, 1.0, 1.0), stage_two=stage_two, masks=masks).parts.cpu()
                counts += masks.counts().cpu()
            if collect:
                predictions += _split(output, graph)
    finally:
        potential.train(was_training)
    value = float((sums / counts.clamp(min=1)).sum()) if loss is not None else None
    return Evaluation(accumulator.result(), predictions, value)


def _split(output: ModelOutput, graph: AtomicGraph) -> list[Prediction]:
    """Cut the arrays of a batch into those of its frames."""
    energy, forces, stress = (tensor.detach().cpu().numpy() for tensor in (output.energy, output.forces, output.stress))
    ends = np.cumsum(graph.num_nodes_per_graph.cpu().numpy())
    per_frame = np.split(forces, ends[:-1])
    return [Prediction(float(energy[k]), per_frame[k].copy(), stress[k].copy()) for k in range(len(energy))]
