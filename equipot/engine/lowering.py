"""From a model's wiring to the document of the engine: stages, buffers, and everything constant folded.

A stage begins with a convolution, which needs its input of all atoms; whatever follows is node-wise. Every operation
goes to the first stage that has its inputs, so that self-connections are computed where the features they act on are at
hand, one stage ahead of where they are added. What depends on the species alone is evaluated here.
"""

from __future__ import annotations

from torch import Tensor

from equipot.kernels.document import Document
from equipot.models.steps import Batch, Step, Value
from equipot.models.wired import WiredArchitecture
from equipot.models.wiring import Wiring
from equipot.nn.radial_tables import RadialTables


class Lowering:
    """Adds a model's operations to a document; see :class:`equipot.models.steps.base.Lowering`.

    Args:
        wiring: of the model, float64.
        num_species: of the model.
        document: new and empty.
        tables: of the model's radial networks.
        species: (S,) the species of the model the document is for, in its order.
        tolerance: of :func:`equipot.nn.radial_tables.compress`.
    """

    def __init__(
        self,
        wiring: Wiring,
        num_species: int,
        document: Document,
        tables: RadialTables,
        species: Tensor,
        tolerance: float,
    ) -> None:
        self.document, self.tables, self.species, self.tolerance = document, tables, species, tolerance
        self._wiring = wiring
        self._constants = _constants(wiring, num_species)
        self._made_by = {step.output: step for step in wiring.steps}
        self._buffers: dict[Value, int] = {}
        self._taken: set[Step] = set()

    def lower(self) -> None:
        """Add all operations, stage by stage."""
        for stage in self._stages():
            for step, number, operation in stage:
                # The first operation of a step that another one took along is done.
                if number > 0 or step not in self._taken:
                    operation(self)

    def _stages(self) -> list[list[tuple]]:
        stages: list[list[tuple]] = []
        stage_of: dict[Value, int] = {}
        for step in self._wiring.steps:
            if step.output.is_table:
                continue
            if step.begins_stage:
                stages.append([])
            for number, (needed, operation) in enumerate(step.lower()):
                # Constants are there from the beginning.
                at = (
                    len(stages) - 1
                    if step.begins_stage
                    else max((stage_of.get(value, 0) for value in needed), default=0)
                )
                stages[at].append((step, number, operation))
                stage_of[step.output] = max(at, stage_of.get(step.output, 0))
        return stages

    def users(self, value: Value) -> list[Step]:
        """The steps that take a value."""
        return self._wiring.users[value]

    def take(self, step: Step) -> None:
        """Say that the first operation of a step has been added together with another step's."""
        self._taken.add(step)

    def constant(self, value: Value) -> Tensor:
        """(S, dim) the rows of a table for the species of the document."""
        return self._constants[value].index_select(0, self.species)

    def buffer(self, value: Value) -> int:
        """The buffer of a value; terms of a sum that can add to it are written there at once."""
        users = self.users(value)
        if self._made_by[value].accumulates and len(users) == 1 and value in users[0].addends:
            return self.buffer(users[0].output)
        if value not in self._buffers:
            self._buffers[value] = self.document.buffer(value.layout.dim)
        return self._buffers[value]

    def own_buffer(self, value: Value) -> int:
        """A buffer of a value that one operation alone reads: its gradient need not be added to others."""
        buffer = self.buffer(value)
        if len(self.users(value)) == 1:
            return buffer
        copied = self.document.buffer(value.layout.dim)
        self.document.copy(buffer, copied, [(block.components, block.channels) for block in value.layout.blocks])
        return copied


def _constants(wiring: Wiring, num_species: int) -> dict[Value, Tensor]:
    """(num_species, dim) of every table."""
    batch, found = Batch.of_tables(num_species), {}
    for step in wiring.steps:
        if step.output.is_table:
            found[step.output] = step.reference(batch, *(found[value] for value in step.inputs)).detach()
    return found


def why_not_lowered(architecture: object) -> str | None:
    """Why the engine cannot run an architecture, in a sentence; None: it can."""
    if not isinstance(architecture, WiredArchitecture):
        return f"The engine does not know the architecture {type(architecture).__name__}."
    reason = architecture.wiring.why_not_lowered
    return None if reason is None else f"The engine has no {reason}."
