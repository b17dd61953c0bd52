"""The training loss: energy, force and virial errors in units of the force rms, weighted, masked and summed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from equipot.config.schema import LossConfig
from equipot.data.label_masks import LabelMasks, label_masks, native_labels
from equipot.errors import UsageError
from equipot.graph import AtomicGraph
from equipot.kernels.native import labels as native
from equipot.kernels.selection import uses_native
from equipot.training.labels import LabelErrors, label_errors, num_atoms

if TYPE_CHECKING:
    from equipot.models import ModelOutput


@dataclass(frozen=True)
class LossTerms:
    """The loss of one batch and the part each label has in it.

    Attributes:
        total: sum of the three parts, a scalar that can be differentiated once where the prediction can.
        parts: (3,) weighted contributions of energy, forces and stress, detached.
        errors: what they were made of.
    """

    total: Tensor
    parts: Tensor
    errors: LabelErrors


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
    labels that count (see :func:`equipot.data.label_masks.label_masks`) and divided by their number - not by the sum of
    their weights, so that a weight works also where all graphs of a batch carry the same one. Give ``counts`` of
    several batches together and their losses add up to the loss of the one large batch.

    The derivatives are written out rather than left to autograd, which spends more time on these few numbers than a
    small model spends on the whole structure.

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

    def derivatives(
        self, graph: AtomicGraph, *, stage_two: bool = False, counts: Sequence[float] | None = None
    ) -> dict[str, bool]:
        """Which of ``forces`` and ``stress`` the loss of this batch needs: arguments for ``Potential.forward``.

        ``counts`` are those of this batch, where they are known already.
        """
        counts, weights = self.counts(graph).tolist() if counts is None else counts, self.weights(stage_two)
        return {"forces": weights[1] > 0 and counts[1] > 0, "stress": weights[2] > 0 and counts[2] > 0}

    def __call__(
        self,
        output: ModelOutput,
        graph: AtomicGraph,
        *,
        counts: Tensor | Sequence[float] | None = None,
        stage_two: bool = False,
        masks: LabelMasks | None = None,
    ) -> LossTerms:
        """Compute the loss.

        Args:
            output: energy (B,), and forces (N, 3) and stress (B, 3, 3) or None where they are not needed.
            graph: the batch with its labels.
            counts: three numbers of labels to divide by; default: those of this batch.
            stage_two: whether the weights of stage two hold.
            masks: those of ``graph``, where they are known already.
        """
        masks = label_masks(graph) if masks is None else masks
        counts = masks.counts() if counts is None else counts
        counts = counts.tolist() if isinstance(counts, Tensor) else counts
        factors = [weight / max(count, 1.0) for weight, count in zip(self.weights(stage_two), counts)]
        predictions = (output.energy, output.forces, output.stress)
        with torch.no_grad():
            terms = self._native if uses_native(output.energy) else self._reference
            parts, slopes, errors = terms(output, graph, masks, factors)
            total = parts.sum()
        given = [
            (slope, predicted)
            for slope, predicted in zip(slopes, predictions)
            if predicted is not None and predicted.requires_grad
        ]
        if given:
            total = _Given.apply(total, [slope for slope, _ in given], *(predicted for _, predicted in given))
        return LossTerms(total, parts, errors)

    def _native(
        self, output: ModelOutput, graph: AtomicGraph, masks: LabelMasks, factors: Sequence[float]
    ) -> tuple[Tensor, list[Tensor | None], LabelErrors]:
        """(3,) parts, slopes in the three predictions, and errors, in one pass."""
        atoms, config = num_atoms(graph), self.config
        scale = (atoms * self.unit).reciprocal_()
        forms = (config.energy, config.forces, config.stress)
        parts, errors, slopes = native.weighted_loss(
            native_labels(graph),
            (output.energy, output.forces, output.stress),
            (masks.energy, masks.forces, masks.stress),
            forms,
            config.delta,
            (factors[0], factors[1] / (1 if config.forces == "norm" else 3), factors[2] / 9),
            (scale, 1.0 / self.unit, graph.volume * scale),
        )
        return parts, slopes, LabelErrors(*errors, masks, atoms, graph.graph_index)

    def _reference(
        self, output: ModelOutput, graph: AtomicGraph, masks: LabelMasks, factors: Sequence[float]
    ) -> tuple[Tensor, list[Tensor | None], LabelErrors]:
        """The same in torch."""
        errors = label_errors(output, graph, masks)
        parts, slopes = [errors.energy.new_zeros(()) for _ in factors], [None] * len(factors)
        for k, (term, predicted) in enumerate(
            ((self._energy, output.energy), (self._forces, output.forces), (self._stress, output.stress))
        ):
            if predicted is not None:
                parts[k], slopes[k] = term(errors, graph, factors[k])
        return torch.stack(parts), slopes, errors

    def _energy(self, errors: LabelErrors, graph: AtomicGraph, factor: float) -> tuple[Tensor, Tensor]:
        """Sum over the labels that count of factor x weight x error, and its derivative in the energies."""
        scale = (errors.num_atoms * self.unit).reciprocal_()
        penalty, slope = self._penalty(errors.energy * scale, self.config.energy)
        weight = graph.energy_weight * factor
        return torch.dot(weight, penalty), slope.mul_(scale).mul_(weight)

    def _forces(self, errors: LabelErrors, graph: AtomicGraph, factor: float) -> tuple[Tensor, Tensor]:
        """The same of the forces."""
        error, delta = errors.forces / self.unit, self.config.delta
        if self.config.forces == "norm":
            length = torch.linalg.vector_norm(error, dim=1).square_().add_(delta**2).sqrt_()
            penalty, slope = length - delta, error.div_(length[:, None])
        else:
            penalty, slope = self._penalty(error, self.config.forces)
            penalty, factor = penalty.sum(dim=1), factor / 3
        weight = graph.forces_weight[errors.graph_index] * factor
        return torch.dot(weight, penalty), slope.mul_((weight / self.unit)[:, None])

    def _stress(self, errors: LabelErrors, graph: AtomicGraph, factor: float) -> tuple[Tensor, Tensor]:
        """The same of the stresses, as virials per atom."""
        scale = (graph.volume / (errors.num_atoms * self.unit))[:, None, None]
        penalty, slope = self._penalty(errors.stress * scale, self.config.stress)
        weight = graph.stress_weight * (factor / 9)
        return torch.dot(weight, penalty.sum(dim=(1, 2))), slope.mul_(scale).mul_(weight[:, None, None])

    def _penalty(self, error: Tensor, form: str) -> tuple[Tensor, Tensor]:
        """The penalty of every number, and its derivative."""
        if form == "mse":
            return error.square(), 2.0 * error
        if form == "mae":
            return error.abs(), error.sign()
        slope = (error / self.config.delta).clamp_(-1.0, 1.0)
        return slope * (error - (0.5 * self.config.delta) * slope), slope


class _Given(torch.autograd.Function):
    """A number whose derivatives are known."""

    @staticmethod
    def forward(ctx, value: Tensor, slopes: Sequence[Tensor], *inputs: Tensor) -> Tensor:
        ctx.slopes = slopes
        return value.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph: what comes would lack the second derivatives of the loss itself
            raise UsageError("The loss can be differentiated once only (create_graph=True asks for more).")
        return None, None, *(gradient * slope for slope in ctx.slopes)
