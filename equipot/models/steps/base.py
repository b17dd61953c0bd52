"""What a step of a model is: one operation on node features, together with everything that is ever done with it.

A model is a list of steps (:mod:`equipot.models.wiring`). Each kind of step stands in one file of this folder: its
reference in torch, its four hand-differentiated passes for training, and what it becomes in the inference engine.
What a kind of step cannot do it says in a sentence, so that an option is served or refused by name, never ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from equipot.kernels import EdgeIndex, FeatureLayout
from equipot.kernels.document import Document
from equipot.nn import EdgeFeatures
from equipot.nn.radial_tables import RadialTables

Gradients = list[Tensor | None]


@dataclass(frozen=True, eq=False)
class Value:
    """What a step computes.

    Attributes:
        layout: irreps of a row.
        is_table: one row per species, (num_species, layout.dim), instead of one per atom, (N, layout.dim). Holds what
            depends on the species alone, as long as nothing per atom has entered.
        is_constant: no edge vector has entered, so that no gradient has to be followed back to the edges.
    """

    layout: FeatureLayout
    is_table: bool = False
    is_constant: bool = False


@dataclass
class Batch:
    """The atoms and edges the reference or the tape runs on.

    Attributes:
        species: (N,).
        num_species: rows of every table.
        edges: features of the edges.
    """

    species: Tensor
    num_species: int
    edges: EdgeFeatures | None

    @classmethod
    def of_tables(cls, num_species: int) -> Batch:
        """For steps that compute tables only: no atoms, no edges."""
        return cls(torch.arange(0), num_species, None)

    def rows(self, value: Value) -> Tensor:
        """The species of each row of a value."""
        return torch.arange(self.num_species, device=self.species.device) if value.is_table else self.species


@dataclass
class TapedEdges:
    """The edges of a batch on a tape, and what the passes gather for them.

    Attributes:
        index: where the edges lead.
        harmonics, basis, knot: of each edge.
        embedded: (num_knots, num_radial) input of the radial networks at the knots of their splines.
        wants_embedded: whether the gradient of ``embedded`` is asked for.
        g_harmonics, g_basis: dE/d(harmonics, basis), summed by the backward passes.
        h_harmonics, h_basis: tangents of them.
        b_embedded: dL/d(embedded), summed by the adjoints.
    """

    index: EdgeIndex
    harmonics: Tensor
    basis: Tensor
    knot: Tensor
    embedded: Tensor
    wants_embedded: bool = False
    g_harmonics: Tensor | None = None
    g_basis: Tensor | None = None
    h_harmonics: Tensor | None = None
    h_basis: Tensor | None = None
    b_embedded: Tensor | None = None


@dataclass
class TapedBatch:
    """The atoms and edges a tape runs on; the arguments of :meth:`Step.passes`."""

    species: Tensor
    num_species: int
    edges: TapedEdges
    species_of_table: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.species_of_table = torch.arange(self.num_species)

    def rows(self, value: Value) -> Tensor:
        """The species of each row of a value."""
        return self.species_of_table if value.is_table else self.species


class Passes(Protocol):
    """The four passes of one step on one batch; see :mod:`equipot.models.tape`.

    ``totals`` are the gradients that the inputs have from other steps already, None where there are none; what is
    returned includes them, so that a kernel can add on its way. Nothing that comes in is written to.
    """

    def forward(self, *inputs: Tensor) -> Tensor:
        """Inputs -> output."""
        ...

    def backward(self, g: Tensor, totals: Gradients) -> Gradients:
        """dE/d(output) -> dE/d(each input)."""
        ...

    def tangent(self, *h: Tensor | None) -> Tensor | None:
        """Directional derivatives of the inputs -> that of the output; None is zero."""
        ...

    def adjoint(self, b: Tensor, totals: Gradients) -> tuple[Gradients, list[Tensor]]:
        """dL/d(output) -> dL/d(each input), dL/d(each parameter)."""
        ...


class Lowering(Protocol):
    """What a step finds when it is lowered to the engine; see :mod:`equipot.engine.lowering`.

    Attributes:
        document: the engine's program under construction.
        tables: radial functions of the model.
        species: (S,) the species of the model the document is for, in its order.
        tolerance: relative size of radial functions that may be left out.
    """

    document: Document
    tables: RadialTables
    species: Tensor
    tolerance: float

    def buffer(self, value: Value) -> int:
        """The engine's buffer of a value."""
        ...

    def own_buffer(self, value: Value) -> int:
        """A buffer of a value that one operation alone reads: its gradient need not be added to others."""
        ...

    def constant(self, value: Value) -> Tensor:
        """(S, dim) a table's rows for the document's species."""
        ...

    def users(self, value: Value) -> list[Step]:
        """The steps that take a value."""
        ...

    def take(self, step: Step) -> None:
        """Say that the first operation of a step has been added together with another step's."""
        ...


#: Inputs that have to be there, and what adds to the document.
Operation = tuple[tuple[Value, ...], Callable[[Lowering], None]]


class Step:
    """One operation; ``output`` is written by this step alone.

    Attributes:
        inputs: values it takes, each of them once.
        output: what it computes.
        accumulates: whether its operations in the engine can add to a buffer that others write too.
        begins_stage: whether it needs its input of all atoms, and so begins a stage of the engine.
    """

    inputs: tuple[Value, ...]
    output: Value
    accumulates = False
    begins_stage = False

    @property
    def addends(self) -> tuple[Value, ...]:
        """Inputs that are added to the output as they are."""
        return ()

    def parameters(self) -> list[Tensor]:
        """The tensors its passes take, as they are now."""
        return []

    def reference(self, batch: Batch, *inputs: Tensor) -> Tensor:
        """The output, by torch: what everything else is held against."""
        raise NotImplementedError

    def why_not_taped(self) -> str | None:
        """Why its passes do not serve, as the end of a sentence; None: they do."""
        return None

    def passes(self, batch: TapedBatch, parameters: Sequence[Tensor]) -> Passes:
        """Its passes for a batch, on the tensors of :meth:`parameters`."""
        raise NotImplementedError

    def why_not_lowered(self) -> str | None:
        """Why the engine does not serve it, as the end of a sentence; None: it does."""
        return None

    def lower(self) -> Iterator[Operation]:
        """What it becomes in the engine; not asked of steps whose output is a table."""
        raise NotImplementedError


def plus(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """The sum of two gradients or tangents, None being zero."""
    if one is None or other is None:
        return other if one is None else one
    return one + other
