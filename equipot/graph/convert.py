"""ase.Atoms to AtomicGraph and back."""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from equipot.elements import require_elements
from equipot.errors import DataError, UsageError
from equipot.graph.atomic_graph import AtomicGraph
from equipot.graph.neighbors import NeighborList, neighbor_list
from equipot.graph.validation import check_distances, check_geometry
from equipot.units import matrix_to_voigt, voigt_to_matrix


def from_ase(
    atoms: Atoms,
    cutoff: float,
    *,
    energy: float | None = None,
    forces: np.ndarray | None = None,
    stress: np.ndarray | None = None,
    energy_weight: float = 1.0,
    forces_weight: float = 1.0,
    stress_weight: float = 1.0,
    config_type: str = "",
    source: str = "",
    frame_id: int = 0,
    min_distance: float | None = 0.05,
    max_edges: int | None = None,
    neighbors: NeighborList | None = None,
) -> AtomicGraph:
    """Build the graph of a structure. ``atoms`` is only read: its calculator, info and arrays are left alone.

    Labels are those given here, never those of a calculator; the data floor finds labels in files.

    Args:
        atoms: Any structure; positions need not be wrapped.
        cutoff: Å.
        energy: eV; None or NaN: missing.
        forces: (N, 3), eV/Å; None or NaN: missing.
        stress: (3, 3) or (6,) in ASE's Voigt order, eV/Å³, tension positive; None or NaN: missing.
        energy_weight: Factor on the frame's energy loss.
        forces_weight: Factor on the frame's forces loss.
        stress_weight: Factor on the frame's stress loss.
        config_type: Group of the frame.
        source: Where the frame comes from, e.g. ``"train.xyz frame 12"``; errors begin with it.
        frame_id: Index of the frame in its data set.
        min_distance: Å; two atoms nearer than this are an error. None: any distance is accepted.
        max_edges: Budget of edges; None: as in ``neighbor_list``.
        neighbors: Edges already found for exactly these positions and this cell (see ``VerletList``).

    Returns:
        The graph, float64, on the CPU, sharing no memory with ``atoms``.

    Raises:
        StructureError: the structure is not one a potential can be evaluated on.
        ElementError: an atom is not a chemical element (Z = 0, the dummy ``X``).
        DataError: a label has the wrong shape.
    """
    if not isinstance(atoms, Atoms):
        raise UsageError(f"from_ase needs an ase.Atoms, found {type(atoms).__name__}.")
    where = source or "structure"
    numbers = np.array(atoms.numbers, dtype=np.int64)
    require_elements(numbers, where)
    positions = np.array(atoms.positions, dtype=np.float64)
    cell, pbc = np.array(atoms.cell.array, dtype=np.float64), np.array(atoms.pbc, dtype=bool)
    if neighbors is None:
        neighbors = neighbor_list(
            positions, cell, pbc, cutoff, max_edges=max_edges, min_distance=min_distance, where=where
        )
    else:
        check_geometry(positions, cell, pbc, where=where)
        if min_distance is not None:
            check_distances(neighbors.center, neighbors.neighbor, neighbors.distance, min_distance, where=where)
    num_atoms = len(numbers)
    if stress is not None and np.shape(stress) == (6,):
        stress = voigt_to_matrix(np.asarray(stress))
    return AtomicGraph(
        atomic_numbers=torch.from_numpy(numbers),
        positions=torch.from_numpy(positions),
        cell=torch.from_numpy(cell[None]),
        pbc=torch.from_numpy(pbc[None]),
        edge_index=torch.from_numpy(np.stack((neighbors.center, neighbors.neighbor))),
        edge_shift=torch.from_numpy(neighbors.shift.astype(np.float64)),
        energy=_label(energy, (), "energy", where).reshape(1),
        forces=_label(forces, (num_atoms, 3), "forces", where),
        stress=_label(stress, (3, 3), "stress", where)[None],
        energy_weight=torch.tensor([float(energy_weight)], dtype=torch.float64),
        forces_weight=torch.tensor([float(forces_weight)], dtype=torch.float64),
        stress_weight=torch.tensor([float(stress_weight)], dtype=torch.float64),
        frame_id=torch.tensor([int(frame_id)], dtype=torch.int64),
        config_type=str(config_type),
        source=str(source),
    )


def to_ase(graph: AtomicGraph) -> Atoms | list[Atoms]:
    """Turn a graph into ase.Atoms, or a batch into a list of them.

    Labels that are finite go to a SinglePointCalculator (stress as ASE's Voigt), ``config_type`` to ``info``.

    Args:
        graph: A single graph, or a batch made by ``collate`` or torch_geometric.

    Returns:
        New Atoms that share no memory with the graph.
    """
    if "batch" in graph:
        return [_to_atoms(single) for single in graph.to_data_list()]
    return _to_atoms(graph)


def _to_atoms(graph: AtomicGraph) -> Atoms:
    def array(name: str) -> np.ndarray:
        return graph[name].detach().cpu().numpy().copy()

    atoms = Atoms(
        numbers=array("atomic_numbers"), positions=array("positions"), cell=array("cell")[0], pbc=array("pbc")[0]
    )
    if graph.config_type:
        atoms.info["config_type"] = graph.config_type
    labels = {
        "energy": float(array("energy")[0]),
        "forces": array("forces"),
        "stress": matrix_to_voigt(array("stress")[0]),
    }
    labels = {name: value for name, value in labels.items() if np.size(value) and np.isfinite(value).all()}
    if labels:
        atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


def _label(value: float | np.ndarray | None, shape: tuple[int, ...], name: str, where: str) -> torch.Tensor:
    if value is None:
        return torch.full(shape, float("nan"), dtype=torch.float64)
    try:
        label = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{where}: the label {name} is not a number or an array of numbers: {value!r}.") from None
    if label.shape != shape:
        expected = "a single number" if shape == () else f"shape {shape}"
        raise DataError(f"{where}: the label {name} should have {expected}, found shape {label.shape}.")
    return torch.from_numpy(label)
