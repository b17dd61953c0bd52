"""A potential compiled for the engine: structures in, energies and first derivatives out, as numpy arrays."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass

import numpy as np
import torch

from equipot.engine.lowering import Lowering, why_not_lowered
from equipot.engine.program import Program
from equipot.errors import UsageError
from equipot.graph import NeighborList
from equipot.graph.validation import contact_error
from equipot.kernels.document import Document
from equipot.kernels.native import library
from equipot.models import Potential
from equipot.nn.radial_tables import RadialTables, table_form

logger = logging.getLogger(__name__)

#: Intervals of the splines that stand for radial networks which the model itself runs on every edge.
MLP_INTERVALS = 1024
#: Of a register of the widest instruction set there is a library for (AVX-512).
WIDEST_VECTOR_BYTES = 64
#: Singular values of a first layer's radial functions below this part of the largest are left out: errors of the forces
#: are then those of the dtype's rounding (1e-6 would double them in float32, 1e-5 is ten times worse).
TOLERANCE = {torch.float32: 3e-7, torch.float64: 1e-15}


class NotCompiled(UsageError):
    """The engine cannot run a potential; the message says why."""


@dataclass(frozen=True)
class Evaluation:
    """Results for N atoms, float64, new memory; what was not asked for is None.

    Attributes:
        node_energy: (N,) eV.
        forces: (N, 3) eV/Angstrom.
        virial: (3, 3) eV, -V * stress.
        node_virial: (N, 3, 3) eV, symmetric.
        centroid_virial: (N, 3, 3) eV, as :func:`equipot.models.unfolded.centroid_virials` defines them.
    """

    node_energy: np.ndarray
    forces: np.ndarray | None
    virial: np.ndarray | None
    node_virial: np.ndarray | None
    centroid_virial: np.ndarray | None = None

    @property
    def energy(self) -> float:
        """eV."""
        return float(self.node_energy.sum())


class CompiledPotential:
    """A potential for structures of some of its elements. Not to be used by two threads at once.

    Made by :func:`compile_potential`. Weights are those of the moment it was made.
    """

    def __init__(self, program: Program, elements: tuple[str, ...], species_of_number: np.ndarray) -> None:
        #: What runs; a caller with a list of points (images of atoms of his own, a halo) uses it directly.
        self.program = program
        #: Symbols of the elements it was compiled for.
        self.elements = elements
        self._species_of_number = species_of_number
        self._list: NeighborList | None = None
        self._numbers: tuple[np.dtype, bytes] | None = None

    def species(self, atomic_numbers: np.ndarray) -> np.ndarray:
        """(N,) int32 species in the compiled program; -1 for elements it was not compiled for."""
        return self._species_of_number[np.clip(atomic_numbers, 0, len(self._species_of_number) - 1)]

    def evaluate(
        self,
        atomic_numbers: np.ndarray,
        positions: np.ndarray,
        cell: np.ndarray,
        neighbors: NeighborList,
        *,
        forces: bool = True,
        virial: bool = True,
        node_virial: bool = False,
        centroid_virial: bool = False,
        min_distance: float = 0.0,
        num_threads: int | None = None,
    ) -> Evaluation:
        """Evaluate a structure.

        Args:
            atomic_numbers: (N,) of elements it was compiled for.
            positions: (N, 3) Angstrom.
            cell: (3, 3) Angstrom.
            neighbors: all pairs within the cutoff, and any more. As long as it is the same object, its edges are not
                looked at again.
            forces, virial, node_virial, centroid_virial: which derivatives to compute.
            min_distance: Angstrom; two atoms closer than this are an error.
            num_threads: at most this many; None: as many as torch uses.

        Raises:
            UsageError: an element it was not compiled for.
            StructureError: two atoms are too close.
            MemoryError: the structure is too large.
        """
        positions = np.ascontiguousarray(positions, dtype=np.float64)
        cell = np.ascontiguousarray(cell, dtype=np.float64)
        num_atoms = len(positions)
        if neighbors is not self._list or self._numbers != (atomic_numbers.dtype, atomic_numbers.tobytes()):
            self._take_in(atomic_numbers, positions, cell, neighbors)
        outputs = (
            np.empty(num_atoms),
            np.empty((num_atoms, 3)) if forces else None,
            np.empty((3, 3)) if virial else None,
            np.empty((num_atoms, 3, 3)) if node_virial else None,
            np.empty((num_atoms, 3, 3)) if centroid_virial else None,
        )
        threads = torch.get_num_threads() if num_threads is None else num_threads
        i, j, distance = self.program.update(positions, cell, threads)
        if distance < min_distance:
            raise contact_error(i, j, distance, min_distance, "structure")
        self.program.run(threads, outputs)
        return Evaluation(*outputs)

    def _take_in(
        self, atomic_numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, neighbors: NeighborList
    ) -> None:
        species = self._checked_species(atomic_numbers)
        arrays = [np.ascontiguousarray(array, dtype=np.int64) for array in neighbors]
        self._list = None
        self.program.set_list(species, *arrays, positions, cell)
        self._list, self._numbers = neighbors, (atomic_numbers.dtype, atomic_numbers.tobytes())

    def _checked_species(self, atomic_numbers: np.ndarray) -> np.ndarray:
        species = self.species(atomic_numbers)
        if species.size and species.min() < 0:
            raise UsageError(
                f"The potential was compiled for structures of {', '.join(self.elements)}; atom "
                f"{int(species.argmin())} has atomic number {int(atomic_numbers[species.argmin()])}."
            )
        return np.ascontiguousarray(species)

    def num_bytes(self) -> int:
        """Memory the present structure takes in the engine."""
        return self.program.num_bytes()


def compile_potential(
    potential: Potential, elements: tuple[str, ...] | None = None, *, tabulate: bool | None = None
) -> CompiledPotential:
    """Compile a potential for the engine.

    Radial networks that the model runs on every edge (``radial: mlp``) are tabulated with splines of 1024 intervals:
    relative force errors of about 2e-6, below the rounding of a float32 network. They are an approximation in float64.

    Args:
        potential: on the CPU; its weights are copied.
        elements: those of its elements that structures will have; None: all. Fewer elements are faster.
        tabulate: whether to tabulate radial networks run on every edge; None: where the network is float32.

    Raises:
        NotCompiled: no native kernels, an architecture the engine does not know, or one that would be tabulated.
    """
    chosen = tuple(potential.elements if elements is None else elements)
    program = Program(lower_potential(potential, chosen, tabulate=tabulate))
    of_number = potential._species_of_number.numpy()
    place = np.full(len(potential.elements), -1, dtype=np.int32)
    place[[potential.elements.index(element) for element in chosen]] = np.arange(len(chosen))
    return CompiledPotential(program, chosen, np.where(of_number >= 0, place[of_number], -1).astype(np.int32))


def lower_potential(
    potential: Potential,
    elements: tuple[str, ...],
    *,
    tabulate: bool | None = None,
    runs_everywhere: bool = False,
) -> bytes:
    """The document of a potential, from which the engine is built here or in a process without Python.

    Species are numbered as in ``elements``. Other arguments and errors as in :func:`compile_potential`.

    Args:
        potential: see there.
        elements: see there.
        tabulate: see there.
        runs_everywhere: whether the document shall run on CPUs of every instruction set; else on this machine's, and on
            those whose registers are as wide or narrower.
    """
    loaded = library.load()
    if isinstance(loaded, str):
        raise NotCompiled(loaded)
    if potential.device.type != "cpu":
        raise NotCompiled(f"The engine runs on the CPU; the potential is on {potential.device}.")
    reason = why_not_lowered(potential.architecture)
    if reason is not None:
        raise NotCompiled(reason)
    num_intervals = potential.architecture.edges.geometry.num_intervals
    if num_intervals is None:
        if not (potential.dtype == torch.float32 if tabulate is None else tabulate):
            raise NotCompiled(
                "The model runs its radial networks on every edge, in float64; the engine would tabulate "
                "them. Use radial: spline, or float32."
            )
        num_intervals = MLP_INTERVALS
    with torch.no_grad():
        vector_bytes = WIDEST_VECTOR_BYTES if runs_everywhere else loaded.functions.equipot_vector_bytes()
        return _lower(potential, elements, num_intervals, vector_bytes)


def _lower(potential: Potential, elements: tuple[str, ...], num_intervals: int, vector_bytes: int) -> bytes:
    species = torch.tensor([potential.elements.index(element) for element in elements])
    # Folded in float64 and rounded once.
    architecture = copy.deepcopy(potential.architecture).requires_grad_(False).to(torch.float64)
    geometry = architecture.edges.geometry
    form = table_form(architecture.radial, num_intervals, species)
    if form is None:
        raise NotCompiled(
            f"The cutoff function begins at {architecture.radial.onset} Angstrom, which no knot of the "
            "radial tables meets."
        )
    document = Document(
        potential.dtype, len(elements), potential.cutoff, geometry.l_max, form.num_intervals, vector_bytes
    )
    document.tables(-1 if form.break_interval is None else form.break_interval, form.table_of_pair)
    tables = RadialTables(architecture.radial, potential.cutoff, form, solid=architecture.edges.solid)
    Lowering(
        architecture.wiring, architecture.num_species, document, tables, species, TOLERANCE[potential.dtype]
    ).lower()
    zbl = potential.zbl
    document.finish(
        potential.scale[species],
        potential.shift[species],
        potential.atomic_energies[species],
        exact_isolated_atoms=potential.config.exact_isolated_atoms,
        charge=None if zbl is None else zbl.charge[species],
        radius=None if zbl is None else zbl.radius[species],
        repulsion=None if zbl is None else zbl.constants.in_a_row(),
    )
    return document.to_bytes()
