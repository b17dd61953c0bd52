"""The training loss: energy, force and virial errors in units of the force rms, weighted, masked and summed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from equipot.config.schema import LossConfig
from equipot.graph import AtomicGraph
from equipot.training.labels import LabelMasks, label_masks

if TYPE_CHECKING:
    from equipot.models import ModelOutput


@dataclass(frozen=True)
class LossTerms:
    """The loss of one batch and the part each label has in it.

    Attributes:
        total: sum of the three parts, a scalar with a graph behind it.
        parts: (3,) weighted contributions of energy, forces and stress, detached.
    """

    total: Tensor
    parts: Tensor


class Loss:
    """Weighted mean of the errors of energy per atom, forces and virial per atom.

    With F0 the root mean square force of the training set (eV/Angstrom, times 1 Angstrom where an energy is meant):

    - energy: x = (E - E_ref) / (N F0) for each graph;
    - forces: x = (F - F_ref) / F0 for each component, or with the form ``norm`` the three of an atom together;
    - stress: x = V (sigma - sigma_ref) / (N F0) for each of the nine components: the error of the virial per atom.

    Forms: ``mse`` x^2; ``mae`` |x|; ``huber`` x^2 / (2 delta) below delta and |x| - delta/2 above; ``norm``
    sqrt(|x|^2 + delta^2) - delta with |x| the length of the atom's error vector. Huber and norm are scaled to slope
    one at large errors, so that a weight means the same under each form that is linear there. ``norm`` has the same
    gradient length for every badly predicted atom whatever the direction, as ``mae`` has not.

    Each label's error is multiplied by the weight of its graph (``energy_weight``, ...), the errors are summed over the
    labels that count (see :func:`equipot.training.labels.label_masks`) and divided by their number - not by the sum of
    their weights, so that a weight works also where all graphs of a batch carry the same one. Give ``counts`` of
    several batches together and their losses add up to the loss of the one large batch.

    Args:
        config: forms, weights and delta.
        forces_rms: F0 in eV/Angstrom; not finite or zero (no forces in the training set) counts as 1.
    """

    def __init__(self, config: LossConfig, forces_rms: float) -> None:
        self.config = config
        self.unit = float(forces_rms) if 0 < forces_rms < float("inf") else 1.0

    def weights(self, stage_two: bool = False) -> tuple[float, float, float]:
        """Weights of energy, forces and stress in stage one or two."""
        source = self.config.stage_two if stage_two and self.config.stage_two is not None else self.config
        return source.energy_weight, source.forces_weight, source.stress_weight

    def counts(self, graph: AtomicGraph) -> Tensor:
        """Number of labels of each kind that count in a batch, (3,): what the sums are divided by."""
        return label_masks(graph).counts()

    def derivatives(self, graph: AtomicGraph, *, stage_two: bool = False) -> dict[str, bool]:
        """Which of ``forces`` and ``stress`` the loss of this batch needs: arguments for ``Potential.forward``."""
        masks, (_, forces, stress) = label_masks(graph), self.weights(stage_two)
        return {"forces": forces > 0 and bool(masks.forces.any()), "stress": stress > 0 and bool(masks.stress.any())}

    def __call__(self, output: ModelOutput, graph: AtomicGraph, *, counts: Tensor | None = None,
                 stage_two: bool = False) -> LossTerms:
        """Compute the loss.

        Args:
            output: energy (B,), and forces (N, 3) and stress (B, 3, 3) or None where they are not needed.
            graph: the batch with its labels.
            counts: (3,) numbers of labels to divide by; default: those of this batch.
            stage_two: whether the weights of stage two hold.
        """
        masks = label_masks(graph)
        counts = (masks.counts() if counts is None else counts).clamp(min=1)
        sums = torch.stack(self._sums(output, graph, masks))
        weighted = sums / counts * counts.new_tensor(self.weights(stage_two))
        return LossTerms(weighted.sum(), weighted.detach())

    def _sums(self, output: ModelOutput, graph: AtomicGraph, masks: LabelMasks) -> list[Tensor]:
        """Sums over the labels that count of weight x error, one for each kind of label."""
        config, zero = self.config, output.energy.new_zeros((), dtype=torch.float64)
        num_atoms = graph.num_nodes_per_graph.clamp(min=1).to(torch.float64)
        # torch.where, and not a product with the mask: 0 x NaN is NaN, forward and in the gradient.
        error = torch.where(masks.energy, output.energy - graph.energy, 0.0) / (num_atoms * self.unit)
        energy = (graph.energy_weight * self._penalty(error, config.energy)).sum()
        forces = stress = zero
        if output.forces is not None:
            error = torch.where(masks.forces[:, None], output.forces - graph.forces, 0.0) / self.unit
            if config.forces == "norm":
                penalty = torch.sqrt(error.square().sum(dim=-1) + config.delta**2) - config.delta
            else:
                penalty = self._penalty(error, config.forces).mean(dim=-1)
            forces = (graph.forces_weight[graph.graph_index] * penalty).sum()
        if output.stress is not None:
            volume = torch.linalg.det(graph.cell).abs()
            error = torch.where(masks.stress[:, None, None], output.stress - graph.stress, 0.0)
            error = error * (volume / (num_atoms * self.unit))[:, None, None]
            stress = (graph.stress_weight * self._penalty(error, config.stress).mean(dim=(-2, -1))).sum()
        return [energy, forces, stress]

    def _penalty(self, error: Tensor, form: str) -> Tensor:
        if form == "mse":
            return error.square()
        if form == "mae":
            return error.abs()
        delta = self.config.delta  # smooth_l1 is Huber's loss over delta
        return torch.nn.functional.smooth_l1_loss(error, torch.zeros_like(error), beta=delta, reduction="none")
