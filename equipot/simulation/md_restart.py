"""The restart file of a molecular dynamics run: everything a run needs to go on to the bit, in one verified file."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from equipot.checkpoint import tensor_file
from equipot.errors import CheckpointError, UsageError
from equipot.graph import check_structure
from equipot.interfaces.ase import Calculator
from equipot.simulation.md_config import CHANGEABLE, MDConfig
from equipot.version import __version__

_logger = logging.getLogger(__name__)
_FORMAT, _VERSION = "equipot-md", 1
_STATE = "state/"
#: Type and shape of what every restart file holds.
_ARRAYS = {
    "numbers": (np.int64, "atoms"),
    "pbc": (np.bool_, 3),
    "cell": (np.float64, 3, 3),
    "positions": (np.float64, "atoms", 3),
    "momenta": (np.float64, "atoms", 3),
    "masses": (np.float64, "atoms"),
}


def write_restart(
    path: Path,
    atoms: Atoms,
    config: MDConfig,
    step: int,
    state: dict[str, np.ndarray],
    rng: np.random.Generator,
    files: dict[str, int],
) -> None:
    """Write the state after a step, atomically.

    Args:
        path: the file.
        atoms: positions, momenta, cell and masses to go on from.
        config: settings of the run.
        step: steps done.
        state: what the integrator knows besides, see `dynamics.get_state`.
        rng: generator of the Langevin noise.
        files: recorded lengths of trajectory and log at this step.
    """
    arrays = {
        "numbers": atoms.numbers.astype(np.int64),
        "pbc": atoms.pbc,
        "cell": atoms.cell.array,
        "positions": atoms.positions,
        "momenta": atoms.arrays["momenta"],
        "masses": atoms.get_masses(),
    }
    arrays |= {_STATE + name: value for name, value in state.items()}
    document = {
        "format": _FORMAT,
        "format_version": _VERSION,
        "step": step,
        "config": _plain(config),
        "files": files,
        "calculator": _identity(atoms.calc),
        "rng": rng.bit_generator.state,
        **_versions(),
    }
    tensor_file.write(path, {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}, document)


class Restart:
    """A restart file that was read.

    Attributes:
        step: steps done.
        files: recorded lengths of trajectory and log.
        state: arrays of the integrator.

    Raises:
        CheckpointError: damaged, or no restart file of this version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        tensors, self._document = tensor_file.read(path)
        if self._document.get("format") != _FORMAT or self._document.get("format_version") != _VERSION:
            raise CheckpointError(f"{path}: not a restart file of molecular dynamics that this equipot reads.")
        self._arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        self._require_form()
        self.step: int = self._document["step"]
        self.files: dict[str, int] = self._document["files"]
        self.state = {
            name.removeprefix(_STATE): value for name, value in self._arrays.items() if name.startswith(_STATE)
        }

    def _require_form(self) -> None:
        """Make sure that everything is there and of the right kind; raises CheckpointError naming what is not."""
        document, files = self._document, self._document.get("files")
        sizes = list(files.values()) if isinstance(files, dict) else []
        good = {
            "step": _is_count(document.get("step")),
            "config": isinstance(document.get("config"), dict),
            "files": isinstance(files, dict) and set(files) == {"trajectory", "log"} and all(map(_is_count, sizes)),
            "calculator": isinstance(document.get("calculator"), str),
            "rng": _is_generator(document.get("rng")),
            "ase": "ase" in document,
            "torch": "torch" in document,
        }
        number = len(self._arrays["numbers"]) if np.ndim(self._arrays.get("numbers", 0)) == 1 else -1
        for name, (kind, *shape) in _ARRAYS.items():
            array = self._arrays.get(name)
            expected = tuple(number if size == "atoms" else size for size in shape)
            good[name] = (
                array is not None and array.dtype == kind and array.shape == expected and bool(np.isfinite(array).all())
            )
        for name, array in self._arrays.items():
            if name.startswith(_STATE):
                good[name] = array.dtype == np.float64 and bool(np.isfinite(array).all())
        for name, is_good in good.items():
            if not is_good:
                raise CheckpointError(
                    f"{self.path}: its '{name[:60]}' is missing or not what it should be; the file "
                    "is damaged. Start a new run from the last frame of its trajectory."
                )

    def apply(self, atoms: Atoms, config: MDConfig, rng: np.random.Generator) -> None:
        """Put positions, momenta, cell and random numbers back.

        Raises:
            UsageError: the run was started with other settings, another structure or another potential.
        """
        before, now = self._document["config"], _plain(config)
        changed = [name for name in now if name not in CHANGEABLE and before.get(name) != now[name]]
        if changed:
            what = ", ".join(f"{name} = {str(before.get(name))[:60]} and not {now[name]}" for name in changed)
            raise UsageError(f"{self.path}: the run was started with {what}; a resumed run keeps its settings.")
        if not (
            np.array_equal(self._arrays["numbers"], atoms.numbers)
            and np.array_equal(self._arrays["masses"], atoms.get_masses())
            and np.array_equal(self._arrays["pbc"], atoms.pbc)
        ):
            raise UsageError(
                f"{self.path}: the run was started with another structure (elements, their order, masses "
                "or pbc differ)."
            )
        if self._document["calculator"] != _identity(atoms.calc):
            raise UsageError(
                f"{self.path}: the run was started with another potential, dtype or calculator; a resumed run keeps it."
            )
        self._compare_versions(config)
        check_structure(self._arrays["positions"], self._arrays["cell"], self._arrays["pbc"], where=str(self.path))
        atoms.set_cell(self._arrays["cell"])
        atoms.set_positions(self._arrays["positions"], apply_constraint=False)
        atoms.set_momenta(self._arrays["momenta"], apply_constraint=False)
        rng.bit_generator.state = self._document["rng"]

    def _compare_versions(self, config: MDConfig) -> None:
        """Warn where the run goes on under other versions than it was saved with."""
        written = {name: str(self._document.get(name, "an earlier version"))[:40] for name in _versions()}
        other = [f"{name} {written[name]} (now {here})" for name, here in _versions().items() if written[name] != here]
        if other:
            _logger.warning(
                "%s was written with %s; the run goes on, but not to the bit.", self.path, " and ".join(other)
            )
        if "equipot" not in self._document and config.ensemble not in ("nve", "nvt-langevin"):
            _logger.warning(
                "%s was written by a version of equipot whose Nose-Hoover chain counted 3N degrees of freedom; from "
                "here those that can move are counted, so that temperature and conserved quantity step at the join.",
                self.path,
            )


def _versions() -> dict[str, str]:
    return {"equipot": __version__, "ase": ase.__version__, "torch": str(torch.__version__)}


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_generator(state: Any) -> bool:
    try:
        np.random.PCG64().state = state
    except (TypeError, ValueError, LookupError, OverflowError, AttributeError):
        return False
    return True


def _plain(config: MDConfig) -> dict:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()}


def _identity(calculator: BaseCalculator) -> str:
    return calculator.fingerprint() if isinstance(calculator, Calculator) else type(calculator).__name__
