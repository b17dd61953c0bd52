"""An architecture that says its dataflow once: the calls of an :class:`~equipot.models.Architecture` follow from it."""

from __future__ import annotations

from torch import Tensor, nn

from equipot.models import tape
from equipot.models.architecture import Edges
from equipot.models.steps import Batch
from equipot.models.wiring import Recorder, Wiring
from equipot.nn import AnyRadialEmbedding, EdgeEmbedding


class WiredArchitecture(nn.Module):
    """Base of architectures; a subclass makes its blocks and wires them.

    Attributes:
        num_species: rows of every table by species.
        radial: input of the radial networks.
        edges: edge vectors -> harmonics, spline basis, input of the radial networks.
    """

    radial: AnyRadialEmbedding
    edges: EdgeEmbedding
    num_species: int

    def wire(self, steps: Recorder) -> None:
        """Call the methods of ``steps`` in the order of the dataflow; the last readout completes the energy."""
        raise NotImplementedError

    @property
    def wiring(self) -> Wiring:
        """What :meth:`wire` says, recorded once."""
        found = self.__dict__.get("_wiring")
        if found is None:
            recorder = Recorder()
            self.wire(recorder)
            found = self.__dict__["_wiring"] = recorder.finish()
        return found

    def forward(self, species: Tensor, edges: Edges) -> Tensor:
        """(N,) species and the edges -> (N,) node energies."""
        length = None if self.edges.geometry.num_intervals is not None else edges.length
        features = self.edges(self.radial, edges.vector, length, edges.index, species)
        return self.wiring.run(Batch(species, self.num_species, features))

    @property
    def why_not_taped(self) -> str | None:
        """Why training goes through automatic differentiation, as the end of a sentence; None: a tape serves."""
        if self.edges.solid:
            return "harmonics times powers of the distance"
        if self.radial.envelope_on_weights:
            return "a cutoff function that multiplies the radial weights"
        return self.wiring.why_not_taped or tape.why_not_taped(self.edges.geometry)

    def remarks(self) -> list[str]:
        """Sentences on what the options chosen cost, or do not change, without saying so."""
        found = []
        if self.edges.geometry.num_intervals is not None and self.why_not_taped is not None:
            found.append(
                "Training goes through automatic differentiation, several times slower: native kernels do not serve "
                f"{self.why_not_taped}."
            )
        used = max((path.l2 for plan in self.wiring.convolution_plans for path in plan.paths), default=0)
        if used < self.edges.geometry.l_max:
            found.append(
                f"l_max is {self.edges.geometry.l_max}, but no path couples with harmonics of order above {used}; "
                f"the energy is that of a model with l_max {used}, computed with more work."
            )
        return found

    def energy_and_gradient(self, species: Tensor, edges: Edges, seed: Tensor) -> tuple[Tensor, Tensor] | None:
        """See :class:`equipot.models.Architecture`."""
        if self.why_not_taped is not None:
            return None
        return tape.energy_and_gradient(
            self.wiring, self.edges, self.radial, species, edges, seed, num_species=self.num_species
        )
