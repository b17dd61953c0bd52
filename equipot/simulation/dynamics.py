"""ASE's integrators for each ensemble, their initial velocities, and their whole state as named arrays."""

from __future__ import annotations

import logging
from operator import attrgetter

import numpy as np
from ase import Atoms, units
from ase.constraints import FixCom
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.nose_hoover_chain import (
    MTKNPT,
    IsotropicMTKNPT,
    MaskedMTKNPT,
    NoseHooverChainNVT,
    NoseHooverChainThermostat,
)
from ase.md.verlet import VelocityVerlet

from equipot.errors import CheckpointError, UsageError
from equipot.simulation.freedom import Freedom, find_freedom
from equipot.simulation.md_config import MDConfig

_logger = logging.getLogger(__name__)
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
#: Momenta of a cell of any shape are symmetric: six of them, where ASE's barostat counts nine.
_CELL_FREEDOM = 6
#: A larger part of the kinetic energy in rigid motion is more than the rounding of a file's velocities.
_DRIFT = 1e-4


def build_dynamics(
    atoms: Atoms, config: MDConfig, rng: np.random.Generator, freedom: Freedom | None = None
) -> MolecularDynamics:
    """Build the integrator of an ensemble for atoms that have velocities and a calculator.

    NVE is velocity Verlet; Langevin is ASE's (Vanden-Eijnden and Ciccotti, Chem. Phys. Lett. 429, 310 (2006)) with the
    centre of mass held (`hold_center_of_mass`); Nose-Hoover a chain of three (Martyna, Klein, Tuckerman, J. Chem. Phys.
    97, 2635 (1992)); NPT is Martyna-Tobias-Klein (J. Chem. Phys. 101, 4177 (1994)), isotropic, of the length of the
    third lattice vector alone, or of the full cell. The chains drive the degrees of freedom that can move
    (`find_freedom`, the default of ``freedom``), not ASE's 3N.

    Raises:
        UsageError: an ensemble the structure cannot be in.
    """
    freedom = freedom or find_freedom(atoms, config.ensemble)
    _check_ensemble(atoms, config, freedom)
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
        dynamics = NoseHooverChainNVT(atoms, timestep, temperature_K=config.temperature, tdamp=thermostat_time)
        _drive(dynamics, freedom, config.temperature, thermostat_time)
        return dynamics
    kind, mask = {
        "npt": (IsotropicMTKNPT, {}),
        "npt-c": (MaskedMTKNPT, {"mask": (False, False, True)}),
        "npt-full": (MTKNPT, {}),
    }[config.ensemble]
    dynamics = kind(
        atoms,
        timestep,
        temperature_K=config.temperature,
        pressure_au=config.pressure_gpa * units.GPa,
        tdamp=thermostat_time,
        pdamp=barostat_time,
        **mask,
    )
    _drive(dynamics, freedom, config.temperature, thermostat_time)
    barostat = dynamics._barostat
    dynamics._num_atoms_global = barostat._num_atoms_global = freedom.count / 3
    kT = units.kB * config.temperature
    if config.ensemble == "npt":
        barostat._W = (freedom.count + 3) * kT * barostat_time**2
    else:
        barostat._W = (freedom.count / 3 + 1) * kT * barostat_time**2
    if config.ensemble == "npt-full":
        barostat._cell_dof = _CELL_FREEDOM
        barostat._R[0] = _CELL_FREEDOM * kT * barostat_time**2
    return dynamics


def _drive(dynamics: MolecularDynamics, freedom: Freedom, temperature: float, time: float) -> None:
    """Give an integrator a chain for the degrees of freedom that move; ASE writes their number as 3 * (atoms)."""
    dynamics._thermostat = NoseHooverChainThermostat(
        num_atoms_global=freedom.count / 3, masses=dynamics.masses, temperature_K=temperature, tdamp=time
    )


def hold_center_of_mass(atoms: Atoms, config: MDConfig) -> None:
    """Fix the centre of mass under Langevin noise, as ASE advises in place of its ``fixcm=True``.

    Where the user's own constraints hold atoms there is nothing to hold besides. With a Nose-Hoover chain the centre of
    mass that starts at rest stays there, and a `FixCom` of the user is left to that.
    """
    if config.ensemble == "nvt-langevin" and not atoms.constraints and len(atoms) > 1:
        atoms.set_constraint(FixCom())
    elif config.ensemble not in ("nve", "nvt-langevin"):
        atoms.set_constraint([c for c in atoms.constraints if not isinstance(c, FixCom)])


def _check_ensemble(atoms: Atoms, config: MDConfig, freedom: Freedom) -> None:
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
        if freedom.count == 0:
            raise UsageError(
                f"Ensemble {config.ensemble} has nothing to drive: a single atom whose centre of mass is at rest "
                "cannot move. Use nvt-langevin, or a supercell."
            )


def initial_velocities(atoms: Atoms, config: MDConfig, rng: np.random.Generator) -> Freedom:
    """Give atoms Maxwell-Boltzmann momenta of exactly the temperature, unless they have momenta already.

    New momenta hold no rigid motion of the whole that the ensemble conserves (`Freedom.motions`), and their temperature
    counts the other degrees of freedom. Momenta that are there lose such motion in the ensembles with a Nose-Hoover
    chain, which would take it for heat; a warning says so, or in the other ensembles that it is there.

    Returns:
        The degrees of freedom that temperatures of this run count.
    """
    freedom = find_freedom(atoms, config.ensemble)
    if not config.new_velocities and atoms.has("momenta") and np.any(atoms.arrays["momenta"]):
        _treat_drift(atoms, config, freedom)
        return freedom
    masses = atoms.get_masses()[:, None]
    atoms.set_momenta(rng.standard_normal((len(atoms), 3)) * np.sqrt(masses * units.kB * config.temperature))
    if len(freedom.motions):
        freedom.remove_drift(atoms)
    present = freedom.temperature(atoms)
    if present > 0.0:
        atoms.set_momenta(atoms.get_momenta() * np.sqrt(config.temperature / present))
    return freedom


def _treat_drift(atoms: Atoms, config: MDConfig, freedom: Freedom) -> None:
    share = freedom.drift_share(atoms)
    is_driven = config.ensemble not in ("nve", "nvt-langevin")
    if share > _DRIFT:
        _logger.warning(
            "The velocities of the structure hold drift or rotation of the whole, %.2g of the kinetic energy; %s.",
            share,
            "a Nose-Hoover chain would take it for heat, so it is removed"
            if is_driven
            else "the temperatures of this run include it. Ask for new velocities to be rid of it",
        )
    if is_driven:
        freedom.remove_drift(atoms)


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
