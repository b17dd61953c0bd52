"""The engine on lists of points: images of atoms of the caller's own, and halos of atoms evaluated elsewhere."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from equipot.engine import CompiledPotential, Evaluation, compile_potential
from equipot.errors import UsageError
from equipot.graph import neighbor_list
from equipot.kernels.native import library
from tests.systems import CUTOFF, STRUCTURES
from tests.unit.engine.test_engine import engine_results, potential_of

pytestmark = pytest.mark.skipif(isinstance(library.load(), str), reason="the native kernels were not built")

SKIN = 0.3


@dataclass
class Domain:
    """What one of several processes knows: its atoms, images of atoms as points, and the halo."""

    nodes: np.ndarray  # the structure's numbers of the nodes, its own atoms first
    num_atoms: int
    point_node: np.ndarray
    positions: np.ndarray
    start: np.ndarray
    point: np.ndarray


def domain(atoms: Atoms, owned: np.ndarray) -> Domain:
    """The domain of the atoms for which ``owned`` is true."""
    edges = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, CUTOFF + SKIN)
    mine = np.flatnonzero(owned)
    keep = owned[edges.center]
    neighbor, shift = edges.neighbor[keep], edges.shift[keep]
    images = np.unique(np.column_stack((neighbor, shift)), axis=0)
    images = images[(images[:, 1:] != 0).any(axis=1) | ~owned[images[:, 0]]]
    nodes = np.concatenate((mine, np.setdiff1d(images[:, 0], mine)))
    node_of = np.full(len(atoms), -1)
    node_of[nodes] = np.arange(len(nodes))
    positions = np.concatenate(
        (atoms.positions[mine], atoms.positions[images[:, 0]] + images[:, 1:] @ atoms.cell.array)
    )
    number = {(atom, 0, 0, 0): k for k, atom in enumerate(mine)}
    number.update({tuple(image): len(mine) + k for k, image in enumerate(images)})
    point = np.array([number[(j, *s)] for j, s in zip(neighbor, shift.tolist())], dtype=np.int32)
    start = np.searchsorted(edges.center[keep], np.append(mine, len(atoms)))
    return Domain(
        nodes,
        len(mine),
        node_of[np.concatenate((mine, images[:, 0]))].astype(np.int32),
        positions,
        start.astype(np.int64),
        point,
    )


@dataclass
class Sums:
    """Results of all domains, in the structure's numbers."""

    node_energy: np.ndarray
    forces: np.ndarray
    virial: np.ndarray
    node_virial: np.ndarray
    centroid_virial: np.ndarray


def run_domains(
    engines: list[CompiledPotential], atoms: Atoms, owners: np.ndarray, *, exchanges: bool = True, num_threads: int = 1
) -> Sums:
    """Evaluate a structure cut into domains, one thread each, that exchange rows of their halos."""
    total = len(atoms)
    sums = Sums(np.zeros(total), np.zeros((total, 3)), np.zeros((3, 3)), *(np.zeros((total, 3, 3)) for _ in range(2)))
    barrier, failures, shared = threading.Barrier(len(engines)), [], {}

    def work(rank: int) -> None:
        part, program = domain(atoms, owners == rank), engines[rank].program
        species = engines[rank].species(atoms.numbers[part.nodes])
        own_points = np.arange(part.num_atoms, dtype=np.int32)
        places = program.set_points(species, own_points, part.point_node, part.start, part.point, part.positions)

        def exchange(rows: np.ndarray) -> None:
            own = part.nodes[: part.num_atoms]
            whole = shared.setdefault("rows", np.zeros((total, rows.shape[1]), rows.dtype))
            barrier.wait()
            whole = shared["rows"]
            whole[own] = rows[places[: part.num_atoms]]
            barrier.wait()
            rows[places[part.num_atoms :]] = whole[part.nodes[part.num_atoms :]]
            if barrier.wait() == 0:
                shared.pop("rows")
            barrier.wait()

        energy = np.empty(part.num_atoms)
        forces, virial = np.zeros((len(part.positions), 3)), np.empty((3, 3))
        of_points = [np.zeros((len(part.positions), 3, 3)) for _ in range(2)]
        program.update(part.positions, None, num_threads)
        program.run(num_threads, (energy, forces, virial, *of_points), exchange if exchanges else None)
        barrier.wait()
        with lock:
            sums.node_energy[part.nodes[: part.num_atoms]] = energy
            np.add.at(sums.forces, part.nodes[part.point_node], forces)
            for total_virial, virial_of_points in zip((sums.node_virial, sums.centroid_virial), of_points):
                np.add.at(total_virial, part.nodes[part.point_node], virial_of_points)
            sums.virial += virial

    def guarded(rank: int) -> None:
        try:
            work(rank)
        except BaseException as error:
            failures.append(error)
            barrier.abort()

    lock = threading.Lock()
    threads = [threading.Thread(target=guarded, args=(rank,)) for rank in range(len(engines))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sums


def engines(name: str, number: int, dtype: str = "float64", exact: bool = True) -> list[CompiledPotential]:
    return [compile_potential(potential_of(name, dtype, True, exact)) for _ in range(number)]


def cut(atoms: Atoms, number: int) -> np.ndarray:
    """Owners by rank of the x coordinate."""
    rank = np.argsort(np.argsort(atoms.positions[:, 0], kind="stable"))
    return rank * number // max(1, len(atoms))


def whole_results(engine: CompiledPotential, atoms: Atoms) -> Evaluation:
    return engine_results(engine, atoms, centroid_virial=True)


def largest_difference(found: Sums, expected: Evaluation) -> float:
    return max(
        float(np.abs(getattr(found, name) - getattr(expected, name)).max(initial=0.0))
        for name in ("node_energy", "forces", "virial", "node_virial", "centroid_virial")
    )


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("name", ["nequip", "mace density residual", "nequip both parities"])
def test_domains_give_what_the_whole_gives(name: str, structure: str, number: int) -> None:
    atoms = STRUCTURES[structure]()
    parts = engines(name, number)
    found = run_domains(parts, atoms, cut(atoms, number))
    assert largest_difference(found, whole_results(parts[0], atoms)) < 1e-10


def test_without_the_exchange_they_do_not() -> None:
    atoms = STRUCTURES["alloy"]()
    parts = engines("nequip", 2)
    found = run_domains(parts, atoms, cut(atoms, 2), exchanges=False)
    assert np.abs(found.forces - engine_results(parts[0], atoms).forces).max() > 1e-3


def test_a_domain_without_atoms_takes_part() -> None:
    atoms = STRUCTURES["alloy"]()
    parts = engines("mace density residual", 3)
    owners = np.array([0, 2])[cut(atoms, 2)]
    found = run_domains(parts, atoms, owners)
    assert largest_difference(found, whole_results(parts[0], atoms)) < 1e-10


def test_threads_add_to_points_without_losing_anything() -> None:
    atoms = bulk("Cu", cubic=True, a=3.8) * (4, 4, 4)
    atoms.symbols[::4] = "Au"
    atoms.rattle(0.1, seed=3)
    parts = engines("nequip", 2)
    found = run_domains(parts, atoms, cut(atoms, 2), num_threads=2)
    assert largest_difference(found, whole_results(parts[0], atoms)) < 1e-10


def test_float32_rows_are_exchanged() -> None:
    atoms = STRUCTURES["alloy"]()
    parts = engines("nequip", 2, "float32")
    found, expected = run_domains(parts, atoms, cut(atoms, 2)), engine_results(parts[0], atoms)
    assert np.abs(found.forces - expected.forces).max() < 2e-5


def test_an_exchange_that_fails_is_not_swallowed() -> None:
    atoms = STRUCTURES["alloy"]()
    part = domain(atoms, cut(atoms, 2) == 0)
    program = engines("nequip", 1)[0].program
    program.set_points(
        np.zeros(len(part.nodes), dtype=np.int32),
        np.arange(part.num_atoms, dtype=np.int32),
        part.point_node,
        part.start,
        part.point,
        part.positions,
    )
    program.update(part.positions, None, 1)

    def exchange(rows: np.ndarray) -> None:
        raise ConnectionError("the other side has gone")

    with pytest.raises(ConnectionError, match="has gone"):
        program.run(1, (np.empty(part.num_atoms), np.zeros((len(part.positions), 3)), None, None), exchange)


@pytest.mark.parametrize("damage", ["magic", "end", "middle", "operation", "behind"])
def test_a_damaged_document_is_refused(damage: str) -> None:
    from equipot.engine.compile import lower_potential
    from equipot.engine.program import Program

    document = lower_potential(potential_of("nequip", "float64"), ("Cu", "Au"))
    damaged = {
        "magic": b"equipot0" + document[8:],
        "end": document[:-40],
        "middle": document[: len(document) // 2],
        "operation": document.replace(b"gate\0", b"gato\0"),
        "behind": document + document[8:200],
    }[damage]
    with pytest.raises(UsageError, match="The engine refuses the potential"):
        Program(damaged)
