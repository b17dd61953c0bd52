"""ASE's integrators for each ensemble, their initial velocities, and their whole state as named arrays."""

from __future__ import annotations

from operator import attrgetter

import numpy as np
from ase import Atoms, units
from ase.constraints import FixCom
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.nose_hoover_chain import MTKNPT, IsotropicMTKNPT, MaskedMTKNPT, NoseHooverChainNVT
from ase.md.verlet import VelocityVerlet

from equipot.errors import CheckpointError, UsageError
from equipot.simulation.md_config import MDConfig

_CHAIN = ("_thermostat._eta", "_thermostat._p_eta")
_BAROSTAT = ("_barostat._xi", "_barostat._p_xi")
#: What an integrator knows besides positions, momenta, cell and random numbers.
_STATE = {
    "nve": (),
    "nvt-langevin": (),
    "nvt-nose-hoover": _CHAIN,
    "npt": (*_CHAIN, *_BAROSTAT, "_eps", "_p_eps", "_cell0", "_volume0"),
    "npt-c": (*_CHAIN, *_BAROSTAT, "_p_c", "_h0_basis"),
    "npt-full": (*_CHAIN, *_BAROSTAT, "_p_g"),
}


def build_dynamics(atoms: Atoms, config: MDConfig, rng: np.random.Generator) -> MolecularDynamics:
    """Build the integrator of an ensemble for atoms that have velocities and a calculator.

    NVE is velocity Verlet; Langevin is ASE's (Vanden-Eijnden and Ciccotti, Chem. Phys. Lett. 429, 310 (2006)) with the
    centre of mass held (`hold_center_of_mass`); Nose-Hoover a chain of three (Martyna, Klein, Tuckerman, J. Chem. Phys.
    97, 2635 (1992)); NPT is Martyna-Tobias-Klein (J. Chem. Phys. 101, 4177 (1994)), isotropic, of the length of the
    third lattice vector alone, or of the full cell.

    Raises:
        UsageError: an ensemble the structure cannot be in.
    """
    _check_ensemble(atoms, config)
    timestep = config.timestep_fs * units.fs
    thermostat_time = (config.thermostat_time_fs or 100.0 * config.timestep_fs) * units.fs
    barostat_time = (config.barostat_time_fs or 1000.0 * config.timestep_fs) * units.fs
    if config.ensemble == "nve":
        return VelocityVerlet(atoms, timestep)
    if config.ensemble == "nvt-langevin":
        return Langevin(
            atoms,
            timestep,
            temperature_K=config.temperature,
            fixcm=False,
            rng=rng,
            friction=config.friction_per_ps / (1000.0 * units.fs),
        )
    if config.ensemble == "nvt-nose-hoover":
        return NoseHooverChainNVT(atoms, timestep, temperature_K=config.temperature, tdamp=thermostat_time)
    kind, mask = {
        "npt": (IsotropicMTKNPT, {}),
        "npt-c": (MaskedMTKNPT, {"mask": (False, False, True)}),
        "npt-full": (MTKNPT, {}),
    }[config.ensemble]
    return kind(
        atoms,
        timestep,
        temperature_K=config.temperature,
        pressure_au=config.pressure_gpa * units.GPa,
        tdamp=thermostat_time,
        pdamp=barostat_time,
        **mask,
    )


def hold_center_of_mass(atoms: Atoms, config: MDConfig) -> None:
    """Fix the centre of mass under Langevin noise, as ASE advises in place of its ``fixcm=True``.

    Where the user's own constraints hold atoms there is nothing to hold besides.
    """
    if config.ensemble == "nvt-langevin" and not atoms.constraints and len(atoms) > 1:
        atoms.set_constraint(FixCom())


def _check_ensemble(atoms: Atoms, config: MDConfig) -> None:
    if config.is_npt and not (atoms.pbc.all() and atoms.cell.rank == 3):
        raise UsageError(
            f"Ensemble {config.ensemble} needs a structure periodic in three dimensions; this one has pbc "
            f"{atoms.pbc.tolist()}."
        )
    if config.ensemble not in ("nve", "nvt-langevin"):
        if atoms.constraints:
            raise UsageError(
                f"Ensemble {config.ensemble} does not work with constraints (fixed atoms); use "
                "nvt-langevin or nve, or remove them."
            )
        if config.temperature == 0.0:
            raise UsageError(
                f"Ensemble {config.ensemble} needs a temperature above 0 K; to cool a structure to rest "
                "use nvt-langevin or a relaxation."
            )


def initial_velocities(atoms: Atoms, config: MDConfig, rng: np.random.Generator) -> None:
    """Give atoms Maxwell-Boltzmann momenta of exactly the temperature, unless they have momenta already.

    The total momentum is zero and, without periodic boundaries, the angular momentum too; both are left alone where
    constraints hold atoms. Temperature counts 3N degrees of freedom less those of constraints, as ASE does.
    """
    if not config.new_velocities and atoms.has("momenta") and np.any(atoms.arrays["momenta"]):
        return
    masses = atoms.get_masses()[:, None]
    atoms.set_momenta(rng.standard_normal((len(atoms), 3)) * np.sqrt(masses * units.kB * config.temperature))
    if all(isinstance(constraint, FixCom) for constraint in atoms.constraints):
        momenta = atoms.get_momenta()
        momenta -= masses * momenta.sum(axis=0) / masses.sum()
        if not atoms.pbc.any():
            momenta -= _rotation(atoms.positions - atoms.get_center_of_mass(), momenta, masses)
        atoms.set_momenta(momenta)
    present = atoms.get_temperature()
    if present > 0.0:
        atoms.set_momenta(atoms.get_momenta() * np.sqrt(config.temperature / present))


def _rotation(offsets: np.ndarray, momenta: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """Return the part of momenta that is rigid rotation; a linear molecule has no moment of inertia about its axis."""
    square = np.einsum("ij,ij->i", offsets, offsets)[:, None, None] * np.eye(3)
    inertia = np.sum(masses[:, :, None] * (square - offsets[:, :, None] * offsets[:, None, :]), axis=0)
    angular = np.cross(offsets, momenta).sum(axis=0)
    return masses * np.cross(np.linalg.pinv(inertia, rcond=1e-8, hermitian=True) @ angular, offsets)


def get_state(dynamics: MolecularDynamics, ensemble: str) -> dict[str, np.ndarray]:
    """Return copies of what the integrator knows besides the atoms."""
    return {name: np.array(attrgetter(name)(dynamics), dtype=np.float64) for name in _STATE[ensemble]}


def set_state(dynamics: MolecularDynamics, ensemble: str, state: dict[str, np.ndarray]) -> None:
    """Put back what `get_state` returned, to the bit.

    Raises:
        CheckpointError: the state is of another ensemble or of a version of ASE that names it differently.
    """
    for name in _STATE[ensemble]:
        owner, _, attribute = name.rpartition(".")
        target = attrgetter(owner)(dynamics) if owner else dynamics
        fits = name in state and np.shape(getattr(target, attribute, "")) == state[name].shape
        if not (fits and hasattr(target, attribute)):
            raise CheckpointError(
                f"The restart file does not fit ASE's {type(dynamics).__name__} ({name}); it was "
                "written with another version of ASE. Start a new run from its last frame."
            )
        setattr(target, attribute, np.array(state[name])[()])  # [()] turns a 0-d array into the number it was
