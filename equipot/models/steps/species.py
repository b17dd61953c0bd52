"""What atoms know at first: a row for each species, and the step that gives every atom its row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from equipot.kernels import Block, FeatureLayout
from equipot.models.steps.base import Batch, Gradients, Lowering, Operation, Step, TapedBatch, Value


class SpeciesTable(Step):
    """A parameter of shape (num_species, channels): even scalars of each species.

    Args:
        owner, name: the module that has it and what it is called there; read anew at every use, since fine-tuning may
            put something in its place.
    """

    def __init__(self, owner: nn.Module, name: str) -> None:
        self._owner, self._name = owner, name
        self.inputs = ()
        layout = FeatureLayout((Block(getattr(owner, name).shape[1], 0, 1),))
        self.output = Value(layout, is_table=True, is_constant=True)

    def parameters(self) -> list[Tensor]:
        return [getattr(self._owner, self._name)]

    def reference(self, batch: Batch) -> Tensor:
        return getattr(self._owner, self._name)

    def passes(self, batch: TapedBatch, parameters: Sequence[Tensor]) -> _TablePasses:
        return _TablePasses(*parameters)


class _TablePasses:
    def __init__(self, table: Tensor) -> None:
        self._table = table

    def forward(self) -> Tensor:
        return self._table

    def backward(self, g: Tensor, totals: Gradients) -> Gradients:
        return []

    def tangent(self) -> None:
        return None

    def adjoint(self, b: Tensor, totals: Gradients) -> tuple[Gradients, list[Tensor]]:
        return [], [b]


class Rows(Step):
    """The row of its species for each atom."""

    accumulates = True

    def __init__(self, table: Value) -> None:
        self.inputs = (table,)
        self.output = Value(table.layout, is_constant=True)

    def reference(self, batch: Batch, table: Tensor) -> Tensor:
        return table.index_select(0, batch.species)

    def passes(self, batch: TapedBatch, parameters: Sequence[Tensor]) -> RowsPasses:
        return RowsPasses(batch)

    def lower(self) -> Iterator[Operation]:
        def rows(lowering: Lowering) -> None:
            lowering.document.rows(lowering.buffer(self.output), lowering.constant(self.inputs[0]))

        yield (), rows


class RowsPasses:
    """Gather rows by species; the adjoint sums over the atoms of each species."""

    def __init__(self, batch: TapedBatch) -> None:
        self._species, self._num_species = batch.species, batch.num_species

    def forward(self, table: Tensor) -> Tensor:
        return table.index_select(0, self._species)

    def backward(self, g: Tensor, totals: Gradients) -> Gradients:
        return totals  # no edge has entered

    def tangent(self, h: Tensor | None) -> None:
        return None

    def adjoint(self, b: Tensor, totals: Gradients) -> tuple[Gradients, list[Tensor]]:
        return [self.scatter(b, totals[0])], []

    def scatter(self, b: Tensor, total: Tensor | None = None) -> Tensor:
        """(N, dim) -> (num_species, dim), plus ``total``."""
        summed = b.new_zeros(self._num_species, b.shape[1]).index_add_(0, self._species, b)
        return summed if total is None else summed.add_(total)
