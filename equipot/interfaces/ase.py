"""The ASE calculator: energy, forces and stress of a potential for anything that runs on ase.Atoms."""

from __future__ import annotations

import hashlib
import threading
import warnings
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.data import atomic_numbers, chemical_symbols

from equipot import checkpoint
from equipot.elements import require_elements
from equipot.engine import CompilationCache, CompiledPotential
from equipot.errors import ElementError, NumericalError, UsageError
from equipot.graph import AtomicGraph, VerletList
from equipot.kernels import selection
from equipot.models import Potential
from equipot.models.unfolded import centroid_virials
from equipot.system.forking import say_if_bound
from equipot.units import matrix_to_voigt

#: What in ``atoms.info`` and in per-atom arrays would change a calculation, but not one with this calculator.
_IGNORED_INFO = {"charge": 0, "total_charge": 0, "spin": 1, "total_spin": 1, "external_field": None}
_IGNORED_ARRAYS = ("initial_charges", "initial_magmoms")


class Calculator(AseCalculator):
    """Run a potential from ASE: ``atoms.calc = Calculator("model.eqp")``.

    Properties, in ASE's units and signs: ``energy`` and ``free_energy`` (eV, equal, atomic energies included),
    ``energies`` (N,), ``forces`` (N, 3), ``stress`` (6,) = (1/V) dE/dstrain, tension positive, Voigt order xx, yy, zz,
    yz, xz, xy, and ``stresses`` (N, 6). All arrays are float64 and the caller's own.

    Stress is per volume of the cell. It exists where the cell has a volume and the structure is periodic along at least
    one lattice vector; for a slab or wire in a full cell it is therefore the stress of the cell, vacuum included (times
    the height of the cell: the force per length). Otherwise it is refused, not given as zeros.
    ``stresses`` are minus each atom's virial over the volume of the cell, as in ASE's LennardJones, so that they sum to
    ``stress``; how a many-body energy is shared among atoms is a convention, only the sum is physical. They do not give
    the heat flux: :meth:`get_heat_flux` does, and :meth:`get_centroid_virials` gives what it is made of.

    The neighbour list holds pairs up to cutoff + skin and is searched anew when an atom has moved half the skin, which
    in molecular dynamics is rare; every step the pairs within the cutoff are taken from it, so the skin changes speed,
    not numbers. One calculator may serve many structures, threads and copies; it pickles.

    On a CPU the potential is compiled for the native inference engine (see :mod:`equipot.engine`), many times faster
    than torch. What the engine does not know runs through torch: another architecture, very high orders of harmonics,
    a float64 model with ``radial: mlp``. The radial networks of a float32 model with ``radial: mlp`` are tabulated, to
    about 2e-6 of the forces.

    Args:
        model: model file, or a `Potential`, of which the calculator keeps its own frozen copy.
        device: ``cpu``, ``cuda``, ``cuda:1``, ..., or ``auto``: a GPU where there is one.
        dtype: precision of the network, ``float32`` or ``float64``; None: that of the model. Geometry and sums are
            float64 in either case.
        skin: Angstrom; 0 searches neighbours every time.
        min_distance: Angstrom; atoms closer than this are a StructureError.
        kernels: ``native``: the engine and the native kernels, ``reference``: pure torch, ``auto``: native where they
            were built; None: as the environment variable ``EQUIPOT_KERNELS`` says, else ``auto``.
        head: which level of theory, where the model file holds several.

    Raises:
        UsageError: an argument that has no meaning, a device that is not there, or native kernels that are not; none
            of several heads was chosen, or one that is not there.
        CheckpointError: the model file cannot be read.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress", "stresses"]  # noqa: RUF012
    ignored_changes = set(_IGNORED_ARRAYS)  # noqa: RUF012

    def __init__(
        self,
        model: str | Path | Potential,
        *,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype | None = None,
        skin: float = 0.5,
        min_distance: float = 0.05,
        kernels: str | None = None,
        head: str | None = None,
    ) -> None:
        super().__init__()
        if not (np.isfinite(skin) and skin >= 0.0):
            raise UsageError(f"The skin is {skin}; give a length in Angstrom of 0 or more.")
        self.device = _check_device(device)
        self.potential = _own_potential(model, self.device, _check_dtype(dtype), head)
        self.min_distance = float(min_distance)
        self.skin = float(skin)
        with selection.use(kernels):  # refuses what has no meaning
            self.kernels = kernels
        self.parameters.update(
            model=str(model) if isinstance(model, str | Path) else type(model).__name__,
            dtype=str(self.potential.dtype).removeprefix("torch."),
        )
        known = np.zeros(len(chemical_symbols), dtype=bool)
        known[[atomic_numbers[symbol] for symbol in self.potential.elements]] = True
        self._known_numbers = known
        self._has_warned = False
        #: Of the present structure, where they were asked for. Not among the results: ASE knows no such property.
        self._centroid_virials: np.ndarray | None = None
        #: Properties asked of the present structure, and of the one before it.
        self._asked: set[str] = set()
        self._expected: set[str] = set()
        self._make_transient_state()

    def _make_transient_state(self) -> None:
        self._lock = threading.RLock()
        self._graph: AtomicGraph | None = None
        self._copy: Atoms | None = None
        self._compilation = CompilationCache(self.potential)
        self._neighbors = VerletList(self.potential.cutoff, self.skin)

    def _get_name(self) -> str:
        return "equipot"

    # --- ASE's protocol

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        """Return what differs from the last calculation, to the bit (``tol`` is ASE's and not used)."""
        last = self.atoms
        if last is None:
            return list(all_changes)
        changes = []
        for name, old, new in (
            ("positions", last.positions, atoms.positions),
            ("numbers", last.numbers, atoms.numbers),
            ("cell", last.cell.array, atoms.cell.array),
            ("pbc", last.pbc, atoms.pbc),
        ):
            if old.shape != new.shape or old.tobytes() != new.tobytes():  # faster than comparing, for a few atoms
                changes.append(name)
        return changes

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True):
        """Return a property, from the last calculation where the structure is the same.

        Raises:
            PropertyNotImplementedError: this calculator, or this structure, has no such property.
            ElementError: an element the potential does not know.
            StructureError: a structure no potential can be evaluated on.
            NumericalError: the potential gave a number that is not finite.
        """
        if name not in self.implemented_properties:
            raise PropertyNotImplementedError(
                f"The equipot calculator has no {name!r}; it computes {', '.join(self.implemented_properties)}."
            )
        with self._lock:  # threads that share a calculator take turns
            value = super().get_property(name, atoms, allow_calculation)
            self._asked.add(name)
        return value

    def get_centroid_virials(self, atoms: Atoms) -> np.ndarray:
        """Return the virials whose sum over W_j v_j is the potential part of the heat flux.

        W_j = sum_i (r_i - r_j) (x) dU_i/dr_j over all atoms i of the infinite structure, U_i their energies, with the
        distance along the way on which r_j comes into U_i (Langer, Frank and Knoop, Phys. Rev. B 108, L100302 (2023)).
        Features that travel from atom to atom carry energy further than one cutoff, which ``stresses`` do not see. The
        sum is -V times the stress. A few times the cost of forces.

        Returns:
            (N, 3, 3) eV, position first; not symmetric.

        Raises:
            ElementError: an element the potential does not know.
            StructureError: a structure no potential can be evaluated on.
            UsageError: an architecture of which it is not known how far its energies reach.
        """
        with self._lock:
            changes = self.check_state(atoms)
            if changes or self._centroid_virials is None:
                self.calculate(atoms, ["centroid_virials"], changes)
            self._asked.add("centroid_virials")
            return self._centroid_virials.copy()

    def get_heat_flux(self, atoms: Atoms, *, convective: bool = True) -> np.ndarray:
        """Return the heat flux J = sum_j (e_j v_j + W_j v_j), e_j an atom's potential and kinetic energy.

        It is the time derivative of sum_j r_j e_j in the infinite structure. The thermal conductivity along x is
        1/(V kB T^2) times the integral over time of <Jx(0) Jx(t)> (Green and Kubo). Energies include the atomic
        energies, which for several elements that diffuse is a choice the conductivity depends on.

        Args:
            atoms: with velocities.
            convective: whether to count sum_j e_j v_j; without it, the flux of a solid whose atoms stay on
                their sites.

        Returns:
            (3,) in eV times ASE's unit of velocity, for the whole cell, not divided by its volume. Times
            ``1000 * ase.units.fs`` it is in eV Angstrom/ps, as LAMMPS in units metal has it.

        Raises:
            Those of :meth:`get_centroid_virials`.
        """
        velocities = atoms.get_velocities()
        flux = np.einsum("jab,jb->a", self.get_centroid_virials(atoms), velocities)
        if convective:
            kinetic = 0.5 * atoms.get_masses() * (velocities**2).sum(axis=1)
            flux += (self.get_property("energies", atoms) + kinetic) @ velocities
        return flux

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | tuple[str, ...] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute ``properties`` of ``atoms`` into ``results``.

        Only what is asked for is computed, and energies alone cost no derivative; but what the structure before this
        one was asked for in several questions (forces, then stress) is computed at once.
        """
        if atoms is not None:
            self._remember(atoms, system_changes)
        asked = set(properties)
        has_volume = bool(self.atoms.pbc.any() and self.atoms.cell.array.any(axis=1).all())
        if asked & {"stress", "stresses"} and not has_volume:
            raise PropertyNotImplementedError(
                f"A stress is a force per area of a cell, and this structure has pbc {self.atoms.pbc.tolist()} and "
                f"{self.atoms.cell.rank} independent lattice vectors; it needs 3 of them and at least one periodic."
            )
        self._check_elements(self.atoms)
        if not self._has_warned:
            self._warn_of_ignored(self.atoms if atoms is None else atoms)
        say_if_bound()
        if system_changes:
            self._expected, self._asked = self._asked, set()
        wanted = {name for name in asked | self._expected if has_volume or name not in ("stress", "stresses")}
        with self._lock, selection.use(self.kernels):
            compiled = None
            if self.device.type == "cpu" and selection.instruction_set() is not None:
                compiled = self._compilation.get(self.atoms.numbers)
            new = self._run_torch(wanted) if compiled is None else self._run_compiled(compiled, wanted)
        self._check_finite(new)
        found = new.pop("centroid_virials", None)
        if system_changes or found is not None:
            self._centroid_virials = found
        self.results = new if system_changes else {**self.results, **new}

    # --- the parts of a calculation

    def _remember(self, atoms: Atoms, system_changes: list[str]) -> None:
        """Keep the structure of this calculation; where atoms have only moved, in the copy there is."""
        if self._copy is not None and system_changes == ["positions"] and len(self._copy) == len(atoms):
            self._copy.positions[:] = atoms.positions
        else:
            self._copy = atoms.copy()
        self.atoms = self._copy

    def _check_elements(self, atoms: Atoms) -> None:
        known = self._known_numbers[np.clip(atoms.numbers, 0, len(self._known_numbers) - 1)]
        if not known.all():
            require_elements(atoms.numbers, "structure")
            index = int(np.argmin(known))
            symbol = chemical_symbols[atoms.numbers[index]]
            raise ElementError(
                f"Atom {index} is {symbol}, which this potential does not know; it was made for "
                f"{', '.join(self.potential.elements)}."
            )

    def _warn_of_ignored(self, atoms: Atoms) -> None:
        names = [
            f"info[{name!r}]"
            for name, neutral in _IGNORED_INFO.items()
            if name in atoms.info and not _is_neutral(atoms.info[name], neutral)
        ]
        names += [name for name in _IGNORED_ARRAYS if name in atoms.arrays and np.any(atoms.arrays[name])]
        if names:
            self._has_warned = True
            warnings.warn(
                f"The equipot calculator ignores {', '.join(names)}: the potential depends on elements, "
                "positions and cell only. (This is said once.)",
                stacklevel=2,
            )

    def _refresh_graph(self, atoms: Atoms) -> AtomicGraph:
        self._neighbors.min_distance = self.min_distance
        edges = self._neighbors.update(atoms.positions, atoms.cell.array, atoms.pbc)
        parts = {
            "positions": torch.from_numpy(np.ascontiguousarray(atoms.positions, dtype=np.float64)),
            "cell": torch.from_numpy(atoms.cell.array[None].copy()),
            "pbc": torch.from_numpy(atoms.pbc[None].copy()),
            "edge_index": torch.from_numpy(np.stack((edges.center, edges.neighbor))),
            "edge_shift": torch.from_numpy(edges.shift.astype(np.float64)),
            "atomic_numbers": torch.from_numpy(atoms.numbers.astype(np.int64)),
        }
        if self.device.type != "cpu":
            parts = {name: value.to(self.device) for name, value in parts.items()}
        graph = self._graph
        if graph is None or graph.num_nodes != len(atoms):
            self._graph = graph = AtomicGraph(**parts)
        else:
            for name, value in parts.items():
                graph[name] = value
        return graph

    def _run_compiled(self, compiled: CompiledPotential, wanted: set[str]) -> dict[str, float | np.ndarray]:
        """Let the engine compute; every array is new memory in float64."""
        atoms = self.atoms
        neighbors = self._neighbors.stored(atoms.positions, atoms.cell.array, atoms.pbc)
        output = compiled.evaluate(
            atoms.numbers,
            atoms.positions,
            atoms.cell.array,
            neighbors,
            forces="forces" in wanted,
            virial="stress" in wanted,
            node_virial="stresses" in wanted,
            centroid_virial="centroid_virials" in wanted,
            min_distance=self.min_distance,
        )
        results = {"energy": output.energy, "free_energy": output.energy, "energies": output.node_energy}
        if output.forces is not None:
            results["forces"] = output.forces
        if output.virial is not None:
            results["stress"] = matrix_to_voigt(output.virial / -_volume(atoms)).copy()
        if output.node_virial is not None:
            results["stresses"] = matrix_to_voigt(output.node_virial / -_volume(atoms)).copy()
        if output.centroid_virial is not None:
            results["centroid_virials"] = output.centroid_virial
        return results

    def _run_torch(self, wanted: set[str]) -> dict[str, float | np.ndarray]:
        """Let the potential compute through torch; every array is new memory in float64."""
        graph = self._refresh_graph(self.atoms)
        output = self.potential(
            graph,
            forces="forces" in wanted,
            stress="stress" in wanted,
            node_virial="stresses" in wanted,
        )
        energy = float(output.energy.detach()[0])
        results = {"energy": energy, "free_energy": energy, "energies": _to_numpy(output.node_energy)}
        if output.forces is not None:
            results["forces"] = _to_numpy(output.forces)
        if output.stress is not None:
            results["stress"] = matrix_to_voigt(_to_numpy(output.stress)[0]).copy()
        if output.node_virial is not None:
            virial = _to_numpy(output.node_virial)
            symmetric = 0.5 * (virial + virial.transpose(0, 2, 1))
            results["stresses"] = matrix_to_voigt(symmetric / -_volume(self.atoms)).copy()
        if "centroid_virials" in wanted:
            results["centroid_virials"] = _to_numpy(centroid_virials(self.potential, graph))
        return results

    def _check_finite(self, results: dict[str, float | np.ndarray]) -> None:
        for name, value in results.items():
            if not np.isfinite(value).all():
                self.results = {}
                rows = np.isfinite(value).reshape(len(self.atoms), -1).all(axis=1) if np.ndim(value) == 2 else []
                where = f" of atom {int(np.argmin(rows))}" if len(rows) else ""
                raise NumericalError(
                    f"The potential gives a value of {name}{where} that is not finite; the structure "
                    "is far outside what the potential was made for, or its weights are damaged."
                )

    # --- copies and identity

    def __getstate__(self) -> dict:
        state = self.__dict__.copy()
        for name in ("_lock", "_graph", "_copy", "_neighbors", "_compilation"):
            del state[name]
        state["results"] = dict(self.results)
        state["parameters"] = deepcopy(self.parameters)
        return state

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._make_transient_state()

    def fingerprint(self) -> str:
        """Return a hash of the potential's numbers, to tell whether two runs used the same one."""
        digest = hashlib.sha256(f"{self.potential.elements} {self.potential.cutoff} {self.potential.dtype}".encode())
        for name, tensor in sorted(self.potential.state_dict().items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).tobytes())
        return digest.hexdigest()


def _own_potential(
    model: str | Path | Potential, device: torch.device, dtype: str | None, head: str | None = None
) -> Potential:
    """Return a potential that is the calculator's alone: frozen, in evaluation mode, of the dtype asked for."""
    if isinstance(model, str | Path):
        potential = checkpoint.load_model(model, head=head)
    elif isinstance(model, Potential):
        if head is not None:
            raise UsageError("The head is chosen when a model file is loaded; this potential is loaded already.")
        potential = deepcopy(model)
    else:
        raise UsageError(f"A calculator needs a model file or a Potential, not a {type(model).__name__}.")
    if dtype is not None and str(potential.dtype) != f"torch.{dtype}":
        potential = potential.to_dtype(dtype)
    return potential.to(device).eval().requires_grad_(False)


def _check_dtype(dtype: str | torch.dtype | None) -> str | None:
    name = dtype if dtype is None else str(dtype).removeprefix("torch.")
    if name not in ("float32", "float64", None):
        raise UsageError(f"The dtype of a calculator is float32 or float64, not {dtype!r}.")
    return name


def _check_device(device: str | torch.device) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise UsageError(f"There is no device {str(device)!r} here; use cpu, or a torch built for it.") from error
    return device


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return np.array(tensor.detach().to("cpu", torch.float64).numpy())


def _volume(atoms: Atoms) -> float:
    """Of the cell; a twentieth of the time of ``atoms.get_volume``."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = atoms.cell.array.tolist()
    return abs(ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx))


def _is_neutral(value: object, neutral: object) -> bool:
    if value is None:
        return True
    try:
        return bool(np.all(np.isin(value, [0, neutral] if neutral is not None else [0])))
    except TypeError:
        return False
