"""What a model computes, said once: a list of steps that torch, the training tape and the engine each interpret.

An architecture has one method ``wire(steps)`` that calls the methods of :class:`Recorder` in the order of its dataflow.
Everything else follows: the reference (:meth:`Wiring.run`), the training gradient (:mod:`equipot.models.tape`) and the
engine's program (:mod:`equipot.engine.lowering`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from equipot.kernels import ConvolutionPlan
from equipot.models.steps import (
    Activate,
    Batch,
    Convolve,
    Mix,
    Multiply,
    Readout,
    Rows,
    SpeciesTable,
    Square,
    Step,
    Sum,
    Value,
)
from equipot.nn import Gate, Invariants, IrrepsLinear, Message, MultiLayerPerceptron, SpeciesLinear, SymmetricProduct


@dataclass(frozen=True, eq=False)
class Wiring:
    """A straight-line program over node features; every value is written by one step.

    Attributes:
        steps: in the order they run; each has a user, or computes the energy.
        energy: (N, 1) node energies.
    """

    steps: tuple[Step, ...]
    energy: Value

    def run(self, batch: Batch) -> Tensor:
        """Node energies (N,), by torch: what every other interpreter is held against."""
        values: dict[Value, Tensor] = {}
        for step in self.steps:
            values[step.output] = step.reference(batch, *(values[value] for value in step.inputs))
        return values[self.energy].squeeze(1)

    @cached_property
    def users(self) -> dict[Value, list[Step]]:
        """For each value, the steps that take it."""
        found: dict[Value, list[Step]] = {step.output: [] for step in self.steps}
        for step in self.steps:
            for value in step.inputs:
                found[value].append(step)
        return found

    @cached_property
    def num_convolutions(self) -> int:
        """Convolutions one behind the other: an energy reaches so many cutoffs far."""
        depth: dict[Value, int] = {}
        for step in self.steps:
            before = max((depth[value] for value in step.inputs), default=0)
            depth[step.output] = before + isinstance(step, Convolve)
        return depth[self.energy]

    @property
    def convolution_plans(self) -> list[ConvolutionPlan]:
        """Of all convolutions."""
        return [step.message.convolution.plan for step in self.steps if isinstance(step, Convolve)]

    @cached_property
    def why_not_taped(self) -> str | None:
        """Why no tape serves the model, as the end of a sentence; None: one does."""
        return next((reason for step in self.steps if (reason := step.why_not_taped()) is not None), None)

    @cached_property
    def why_not_lowered(self) -> str | None:
        """Why the engine does not serve the model, as the end of a sentence; None: it does."""
        return next((reason for step in self.steps if (reason := step.why_not_lowered()) is not None), None)


class Recorder:
    """Records what an architecture wires; each method adds a step and returns its value."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._energy: Value | None = None

    def _add(self, step: Step) -> Value:
        self._steps.append(step)
        return step.output

    def species(self, owner: nn.Module, name: str) -> Value:
        """A parameter of ``owner``, (num_species, channels): scalars of each species."""
        return self._add(SpeciesTable(owner, name))

    def mix(self, linear: IrrepsLinear | SpeciesLinear, x: Value) -> Value:
        """Mix channels."""
        return self._add(Mix(linear, x))

    def add(self, one: Value, other: Value) -> Value:
        """The sum of two values."""
        if one.is_table != other.is_table:
            one, other = self._rows(one), self._rows(other)
        return self._add(Sum(one, other))

    def convolve(self, message: Message, x: Value) -> Value:
        """Sum messages over neighbours."""
        if any(isinstance(step, Convolve) for step in self._steps):
            x = self._rows(x)  # the engine folds constants into its first convolution only
        return self._add(Convolve(message, x))

    def gate(self, gate: Gate, x: Value) -> Value:
        """The gate nonlinearity."""
        return self._add(Activate(gate, x))

    def product(self, product: SymmetricProduct, x: Value) -> Value:
        """Symmetric products."""
        return self._add(Multiply(product, x))

    def invariants(self, invariants: Invariants, x: Value) -> Value:
        """The mean square of the components of each channel."""
        return self._add(Square(invariants, x))

    def readout(self, perceptron: MultiLayerPerceptron, x: Value) -> None:
        """Add a perceptron of the scalars to the energy."""
        self._energy = self._add(Readout(perceptron, self._rows(x), self._energy))

    def _rows(self, x: Value) -> Value:
        return self._add(Rows(x)) if x.is_table else x

    def finish(self) -> Wiring:
        """The program, with sums fused into the mixing that makes one of their terms, and without what nobody uses."""
        assert self._energy is not None, "a model needs a readout"
        steps = _fuse_sums(self._steps)
        used, kept = {self._energy}, []
        for step in reversed(steps):
            if step.output in used:
                kept.append(step)
                used.update(step.inputs)
        return Wiring(tuple(reversed(kept)), self._energy)


def _fuse_sums(steps: list[Step]) -> list[Step]:
    """``x W + other`` as one step, where a term of a sum is made by mixing and used for nothing else."""
    made_by = {step.output: step for step in steps}
    counts: dict[Value, int] = {}
    for step in steps:
        for value in step.inputs:
            counts[value] = counts.get(value, 0) + 1
    order = {step: k for k, step in enumerate(steps)}
    dropped: set[Step] = set()
    fused: dict[Step, Step] = {}
    for step in steps:
        if not isinstance(step, Sum):
            continue
        terms = [made_by[value] for value in step.inputs]
        fit = [term for term in terms if isinstance(term, Mix) and len(term.inputs) == 1 and counts[term.output] == 1]
        if not fit:
            continue
        # The one recorded last: what it is added to is there by then.
        mix = max(fit, key=order.__getitem__)
        other = step.inputs[1 - terms.index(mix)]
        dropped.add(mix)
        fused[step] = Mix(mix.linear, mix.inputs[0], other, step.output)
    return [fused.get(step, step) for step in steps if step not in dropped]
