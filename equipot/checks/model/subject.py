"""What is checked, behind one face: a potential of this package, or anybody's ASE calculator."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, PropertyNotImplementedError

from equipot.elements import covalent_radius
from equipot.errors import UsageError
from equipot.graph import AtomicGraph, collate, from_ase
from equipot.interfaces.ase import Calculator
from equipot.models import ModelOutput, Potential
from equipot.units import voigt_to_matrix

#: Edges of a batch in which structures are evaluated together.
_BATCH_EDGES = 50_000
#: Angstrom between a structure without a cell and its images, for calculators that ask for one.
_VACUUM = 25.0


@dataclass(frozen=True)
class Evaluation:
    """Energy (eV), forces (N, 3) eV/Angstrom and stress (3, 3) eV/Angstrom^3 or None of one structure, float64."""

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None


class PotentialSubject:
    """A `Potential`, evaluated through its graphs exactly as training does.

    Attributes:
        potential: in evaluation mode.
        elements, cutoff, dtype: of the potential; ``dtype`` is ``float32`` or ``float64``.
    """

    def __init__(self, potential: Potential) -> None:
        self.potential = potential
        self.elements: tuple[str, ...] = tuple(potential.elements)
        self.cutoff: float | None = potential.cutoff
        self.dtype = str(potential.dtype).removeprefix("torch.")

    @property
    def num_layers(self) -> int | None:
        """Message-passing layers, None where the architecture does not tell."""
        return self.potential.num_layers

    @property
    def is_rotation_only(self) -> bool:
        """Whether the architecture was chosen to tell left from right."""
        return self.potential.config.options.get("parity") == "none"

    @property
    def is_smooth(self) -> bool:
        """Whether the second derivative is promised to be continuous: not with XPLOR's envelope."""
        return self.potential.config.options.get("xplor_onset") is None

    @property
    def has_exact_atoms(self) -> bool:
        """Whether an atom without neighbours is promised to have its atomic energy to the bit."""
        return self.potential.config.exact_isolated_atoms

    def twin(self) -> PotentialSubject:
        """The same weights in float64."""
        return self if self.dtype == "float64" else PotentialSubject(self.potential.to_dtype("float64").eval())

    def calculator(self) -> BaseCalculator:
        """An ASE calculator of it."""
        return Calculator(self.potential, device=self.potential.device)

    def graph(self, atoms: Atoms) -> AtomicGraph:
        """The structure as this potential sees it."""
        graph = from_ase(atoms, self.potential.cutoff)
        return graph if self.potential.device.type == "cpu" else graph.to(self.potential.device)

    def output(self, atoms: Atoms, **options: bool) -> ModelOutput:
        """Everything the potential says about a structure."""
        return self.potential(self.graph(atoms), **options)

    def evaluate(self, atoms: Atoms) -> Evaluation:
        """Energy, forces and stress of a structure."""
        return self.evaluate_many([atoms])[0]

    def evaluate_many(self, structures: Sequence[Atoms]) -> list[Evaluation]:
        """The same for several, in batches."""
        results: list[Evaluation] = []
        batch: list[AtomicGraph] = []
        for atoms in structures:
            graph = self.graph(atoms)
            if batch and sum(other.num_edges for other in batch) + graph.num_edges > _BATCH_EDGES:
                results += self._evaluate_batch(batch)
                batch = []
            batch.append(graph)
        return results + (self._evaluate_batch(batch) if batch else [])

    def _evaluate_batch(self, graphs: list[AtomicGraph]) -> list[Evaluation]:
        output = self.potential(graphs[0] if len(graphs) == 1 else collate(graphs))
        energies, forces, stresses = (
            part.detach().cpu().numpy() for part in (output.energy, output.forces, output.stress)
        )
        ends = np.cumsum([graph.num_nodes for graph in graphs])
        return [
            Evaluation(
                float(energy), forces[end - graph.num_nodes : end], stress if np.isfinite(stress).all() else None
            )
            for energy, stress, end, graph in zip(energies, stresses, ends, graphs)
        ]

    def energy(self, atoms: Atoms) -> float:
        """Energy alone."""
        return float(self.output(atoms, forces=False, stress=False).energy)

    def atomic_energy(self, element: str) -> float:
        """E0 of an element (eV)."""
        return float(self.potential.atomic_energies[self.elements.index(element)])


class CalculatorSubject:
    """Anybody's ASE calculator.

    Attributes:
        elements: that structures are made of.
        cutoff: Angstrom, None where it is not known (checks of the cutoff are then skipped).
        dtype: whose thresholds apply.
    """

    num_layers = None
    is_rotation_only = is_smooth = False
    has_exact_atoms = True

    def __init__(
        self,
        calculator: BaseCalculator,
        elements: Sequence[str],
        *,
        cutoff: float | None = None,
        dtype: str = "float64",
    ) -> None:
        if dtype not in ("float32", "float64"):
            raise UsageError(f"The precision of a calculator is float32 or float64, not {dtype!r}.")
        self._calculator = calculator
        self.elements, self.cutoff, self.dtype = tuple(elements), cutoff, dtype

    def twin(self) -> CalculatorSubject:
        """Itself: nothing more exact is known."""
        return self

    def calculator(self) -> BaseCalculator:
        """The calculator, a copy where it can be copied."""
        try:
            return copy.deepcopy(self._calculator)
        except Exception:  # a calculator with a process or a device behind it
            return self._calculator

    @cached_property
    def needs_cell(self) -> bool:
        """Whether the calculator refuses structures without a cell: they are then put into a large one (CHGNet)."""
        atoms = Atoms(self.elements[:1] * 2, [[0, 0, 0], [0, 0, 2.2 * covalent_radius(self.elements[0])]])
        atoms.calc = self._calculator
        try:
            atoms.get_potential_energy()
        except Exception:
            return True
        return False

    def _placed(self, atoms: Atoms) -> Atoms:
        """A copy without constraints, in a box with much vacuum where the calculator asks for a cell."""
        copied = atoms.copy()
        copied.set_constraint()
        if not atoms.pbc.any() and len(atoms) and self.needs_cell:
            copied.set_cell(np.ptp(atoms.positions, axis=0) + _VACUUM)
            copied.center()
            copied.pbc = True
        return copied

    def evaluate(self, atoms: Atoms) -> Evaluation:
        """Energy, forces and stress (None where there is none) of a structure."""
        copied = self._placed(atoms)
        copied.calc = self._calculator
        energy, forces = float(copied.get_potential_energy()), np.array(copied.get_forces(), dtype=float)
        stress = None
        if atoms.pbc.any() and atoms.cell.rank == 3:
            try:
                stress = voigt_to_matrix(np.array(copied.get_stress(), dtype=float))
            except (PropertyNotImplementedError, NotImplementedError):
                stress = None
        return Evaluation(energy, forces, stress)

    def evaluate_many(self, structures: Sequence[Atoms]) -> list[Evaluation]:
        """The same for several, one after the other."""
        return [self.evaluate(atoms) for atoms in structures]

    def energy(self, atoms: Atoms) -> float:
        """Energy alone."""
        copied = self._placed(atoms)
        copied.calc = self._calculator
        return float(copied.get_potential_energy())


Subject = PotentialSubject | CalculatorSubject


def make_subject(
    model: Potential | BaseCalculator,
    *,
    elements: Sequence[str] | None = None,
    cutoff: float | None = None,
    dtype: str | None = None,
) -> Subject:
    """Wrap what is to be checked.

    Args:
        model: a potential, this package's calculator (its potential is checked), or any ASE calculator.
        elements, cutoff: of a foreign calculator; a potential brings its own.
        dtype: of a potential: convert it first; of a calculator: whose thresholds apply.

    Raises:
        UsageError: a foreign calculator without elements, or something else altogether.
    """
    if isinstance(model, Calculator):
        model = model.potential
    if isinstance(model, Potential):
        potential = model if dtype in (None, str(model.dtype).removeprefix("torch.")) else model.to_dtype(dtype)
        training = potential.training
        subject = PotentialSubject(copy.deepcopy(potential).eval().requires_grad_(True) if training else potential)
        return subject
    if isinstance(model, BaseCalculator):
        if not elements:
            raise UsageError("A calculator does not say which elements it knows: give elements, or data with them.")
        return CalculatorSubject(model, elements, cutoff=cutoff, dtype=dtype or "float64")
    raise UsageError(f"A check needs a model file, a Potential or an ASE calculator, not a {type(model).__name__}.")
