"""One optimiser step: forward, loss, backward over its batches, guard against non-finite numbers, update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from equipot.data.label_masks import label_masks
from equipot.graph import AtomicGraph
from equipot.kernels.selection import gradients_of
from equipot.training.ema import ExponentialMovingAverage
from equipot.training.loss import Loss
from equipot.training.memory import explain_out_of_memory, sources
from equipot.training.metrics import MetricAccumulator

if TYPE_CHECKING:
    from equipot.models import ModelOutput, Potential
    from equipot.training.replay import Replay


@dataclass(frozen=True)
class StepResult:
    """What a step gave.

    Attributes:
        parts: weighted contributions of energy, forces and stress to the loss.
        replay_loss: what the replayed structures add to it, weighted; None without any.
        grad_norm: length of the whole gradient before clipping.
        is_bad: the loss or a gradient was not finite: nothing was changed.
        suspects: sources of the frames a bad step came from, as far as that can be told.
        metrics: errors of the frames of the step with the weights before it.
    """

    parts: tuple[float, float, float]
    grad_norm: float
    is_bad: bool
    suspects: tuple[str, ...]
    metrics: MetricAccumulator
    replay_loss: float | None = None

    @property
    def loss(self) -> float:
        """The loss of the frames, without what is replayed."""
        return sum(self.parts)


def training_step(
    potential: Potential,
    batches: Sequence[AtomicGraph],
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    ema: ExponentialMovingAverage,
    *,
    clip_norm: float | None = None,
    stage_two: bool = False,
    replayed: Sequence[AtomicGraph] = (),
    replay: Replay | None = None,
) -> StepResult:
    """Take one step.

    The gradients of the batches are summed, and the loss is divided by the labels of all of them together: several
    batches give the step of the one large batch. If the loss or any gradient is NaN or infinite, the parameters,
    the optimiser and the average stay as they are, to the bit.

    Args:
        potential: in training mode.
        batches: on the device of the potential.
        loss: the loss.
        optimizer: its learning rates are set.
        ema: updated after a good step.
        clip_norm: the gradient is shortened to this length where it is longer.
        stage_two: whether the loss has its weights of stage two.
        replayed: batches of structures to replay; their loss, divided by their own labels, is added with the weight
            that ``replay`` gives it. They do not enter the metrics.
        replay: what they are from.

    Raises:
        OutOfMemory: a batch does not fit; parameters, optimiser and average are as before.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    _drop_gradients(parameters)
    metrics, replay_loss = MetricAccumulator(), None
    with explain_out_of_memory([*batches, *replayed], "training.batch_size (or batch_edges)"):
        with torch.enable_grad(), gradients_of("parameters"):
            parts, suspects = _add_gradients(potential, batches, loss, stage_two, metrics=metrics)
            if replayed:
                with replay.scope():
                    added, more = _add_gradients(potential, replayed, loss, stage_two, factor=replay.weight)
                replay_loss, suspects = sum(added), suspects + more
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        grad_norm = _norm(gradients)
    is_bad = not all(map(math.isfinite, (*parts, replay_loss or 0.0, grad_norm)))
    if is_bad:
        suspects = suspects or [source for graph in (*batches, *replayed) for source in sources(graph)]
    elif gradients:
        if clip_norm is not None and grad_norm > clip_norm:
            torch._foreach_mul_(gradients, clip_norm / grad_norm)
        optimizer.step()
        ema.update()
    _drop_gradients(parameters)  # the gradients of a bad step must not be found by anyone
    return StepResult(tuple(parts), grad_norm, is_bad, tuple(suspects), metrics, replay_loss)


def _add_gradients(
    potential: Potential,
    batches: Sequence[AtomicGraph],
    loss: Loss,
    stage_two: bool,
    *,
    factor: float = 1.0,
    metrics: MetricAccumulator | None = None,
) -> tuple[list[float], list[str]]:
    """Add the gradients of ``factor`` times the loss of batches to those of the parameters.

    Returns:
        The three parts of the loss, and the sources of frames whose numbers are not finite.
    """
    masks = [label_masks(graph) for graph in batches]
    counts = [each.counts().tolist() for each in masks]
    total_counts = [sum(each) for each in zip(*counts)]
    parts, suspects = [0.0, 0.0, 0.0], []
    for graph, mask, count in zip(batches, masks, counts):
        wanted = loss.derivatives(graph, stage_two=stage_two, counts=count)
        output = potential(graph, **wanted, create_graph=True)
        terms = loss(output, graph, counts=total_counts, stage_two=stage_two, masks=mask)
        if terms.total.requires_grad:  # a batch without any label has nothing to learn from
            (terms.total if factor == 1.0 else factor * terms.total).backward()
        if metrics is not None:
            metrics.add(terms.errors, graph.config_type)
        values = terms.parts.tolist()
        parts = [total + factor * value for total, value in zip(parts, values)]
        if not all(map(math.isfinite, values)):
            suspects += _non_finite_frames(output, graph)
        del output, terms
    return parts, suspects


def _drop_gradients(parameters: Sequence[torch.nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = None


def _norm(tensors: Sequence[torch.Tensor]) -> float:
    """Length of all numbers together."""
    if not tensors:
        return 0.0
    norms = torch._foreach_norm(tensors)
    if len({norm.dtype for norm in norms}) > 1:
        norms = [norm.to(torch.float64) for norm in norms]
    return float(torch.linalg.vector_norm(torch.stack(norms), dtype=torch.float64))


def _non_finite_frames(output: ModelOutput, graph: AtomicGraph) -> list[str]:
    """Sources of the frames whose energy or forces are not finite; of all frames where none is."""
    bad = ~torch.isfinite(output.energy.detach())
    if output.forces is not None:
        atoms = ~torch.isfinite(output.forces.detach()).all(dim=-1)
        num_bad_atoms = torch.zeros(len(bad), dtype=torch.int64, device=bad.device)
        bad = bad | (num_bad_atoms.index_add_(0, graph.graph_index, atoms.to(torch.int64)) > 0)
    names = sources(graph)
    return [name for name, is_bad in zip(names, bad.tolist()) if is_bad] or names
