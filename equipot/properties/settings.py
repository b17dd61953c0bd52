"""The settings of the measured properties, each with its meaning, unit, default and limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from equipot.config.limits import FractionBelowOne, Positive, PositiveInt, Seed
from equipot.config.position import FieldError
from equipot.config.section import Section

Miller = tuple[int, int, int]


@dataclass(frozen=True)
class RelaxationSettings(Section):
    """How the crystal itself is brought to rest; everything else starts from it."""

    #: eV/Angstrom: largest force, and largest row of the cell gradient (eV), that count as rest.
    fmax: Positive = 1e-4
    steps: PositiveInt = 500
    #: Angstrom: how far atoms may be from symmetric sites in the structure given.
    symmetry_tolerance: Positive = 0.01
    #: Keep the space group of the structure given; false: atoms and cell may break it.
    keep_symmetry: bool = True
    #: GPa, compression positive. Everything but the equation of state, expansion and melting needs 0.
    pressure_gpa: float = 0.0


@dataclass(frozen=True)
class EquationOfStateSettings(Section):
    """Third-order Birch-Murnaghan through energies at several volumes."""

    #: Half width of the fitted window, as a part of the volume.
    window: FractionBelowOne = 0.06
    points: PositiveInt = 11

    def check(self) -> None:
        if self.points < 5:
            raise FieldError("points", f"is {self.points}, expected at least 5: the fit has 4 parameters.")


@dataclass(frozen=True)
class ElasticSettings(Section):
    """Elastic constants from the stress of strained cells, atoms relaxed."""

    strain: Positive = 0.005
    #: eV/Angstrom in the strained cells.
    fmax: Positive = 1e-4


@dataclass(frozen=True)
class PhononSettings(Section):
    """Finite displacements with phonopy."""

    #: Angstrom.
    displacement: Positive = 0.01
    #: Shortest edge of the supercell (Angstrom) where ``supercell`` is not given. Force constants of a message-passing
    #: potential reach twice layers times cutoff: see that a larger cell changes nothing.
    length: Positive = 12.0
    #: Copies of the conventional cell along its axes.
    supercell: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    #: q-points along the longest piece of the band path.
    points: PositiveInt = 51
    #: Density of the mesh of the density of states and the thermal functions (phonopy's length, Angstrom).
    mesh: Positive = 100.0
    max_temperature: Positive = 1000.0
    #: THz: a frequency below minus this is called imaginary.
    imaginary_tolerance: Positive = 0.05


@dataclass(frozen=True)
class VacancySettings(Section):
    """One atom taken out of a supercell, the others relaxed at fixed cell."""

    #: Shortest edges of the supercells (Angstrom); more than one shows the convergence with size, the last one counts.
    lengths: tuple[Positive, ...] = (12.0,)
    fmax: Positive = 0.002
    steps: PositiveInt = 300

    def check(self) -> None:
        if not self.lengths or list(self.lengths) != sorted(self.lengths):
            raise FieldError("lengths", f"is {list(self.lengths)}, expected one or more lengths in rising order.")


@dataclass(frozen=True)
class SurfaceSettings(Section):
    """Slabs with two surfaces, all layers relaxed at the crystal's cell."""

    #: Planes of the conventional cell; default: low indices of its lattice.
    planes: tuple[Miller, ...] | None = None
    #: Angstrom: least thickness of the slab, and of the vacuum between slabs.
    thickness: Positive = 16.0
    vacuum: Positive = 15.0
    #: Terminations of a plane that are relaxed, the lowest as cut first; the lowest relaxed one is kept.
    terminations: PositiveInt = 4
    fmax: Positive = 0.005
    steps: PositiveInt = 400

    def check(self) -> None:
        for plane in self.planes or ():
            if not any(plane):
                raise FieldError("planes", "holds (0 0 0), which is no plane.")


@dataclass(frozen=True)
class FaultLine(Section):
    """One line of the generalised stacking fault energy: the plane that slips and the direction it slips along."""

    plane: Miller
    direction: Miller
    #: Length of the slip in units of ``direction`` times the lattice constant: 0.5 for bcc <111>, 1/6 for fcc <112>.
    length: Positive

    def check(self) -> None:
        if not any(self.plane) or not any(self.direction):
            raise FieldError("plane", "and direction must not be (0 0 0).")
        if sum(a * b for a, b in zip(self.plane, self.direction)):
            raise FieldError("direction", f"{self.direction} does not lie in the plane {self.plane}.")


@dataclass(frozen=True)
class StackingFaultSettings(Section):
    """Crystal cut along a plane and slipped, atoms relaxed along the normal only."""

    #: Default: {110}<111> and {112}<111> of bcc, {111}<112> of fcc and cubic crystals with atoms on fcc sites.
    lines: tuple[FaultLine, ...] | None = None
    points: PositiveInt = 11
    #: Angstrom between neighbouring faults.
    thickness: Positive = 20.0
    fmax: Positive = 0.005
    steps: PositiveInt = 300

    def check(self) -> None:
        if self.points < 3:
            raise FieldError("points", f"is {self.points}, expected at least 3: both ends and something between.")


@dataclass(frozen=True)
class ExpansionSettings(Section):
    """Thermal expansion, quasi-harmonic with phonopy or from molecular dynamics at constant pressure."""

    method: Literal["quasi-harmonic", "dynamics"] = "quasi-harmonic"
    #: K.
    max_temperature: Positive = 1000.0
    #: Volumes of the quasi-harmonic fit, and how far they reach on either side of the volume at rest.
    volumes: PositiveInt = 7
    window: FractionBelowOne = 0.045
    #: Shortest edge of the supercell (Angstrom).
    length: Positive = 10.0
    #: K, of the simulations (method dynamics).
    temperatures: tuple[Positive, ...] = (150.0, 300.0, 450.0, 600.0)
    #: Steps of each simulation, the first third of which is not counted (method dynamics).
    steps: PositiveInt = 6000
    seed: Seed = 0

    def check(self) -> None:
        if self.volumes < 5:
            raise FieldError("volumes", f"is {self.volumes}, expected at least 5: the fit has 4 parameters.")
        if self.method == "dynamics" and (
            len(self.temperatures) < 2 or list(self.temperatures) != sorted(set(self.temperatures))
        ):
            raise FieldError("temperatures", f"is {list(self.temperatures)}, expected two or more in rising order.")

    def ineffective(self) -> dict[str, str]:
        if self.method == "dynamics":
            return dict.fromkeys(("max_temperature", "volumes", "window"), "the method is dynamics")
        return dict.fromkeys(("temperatures", "steps", "seed"), "the method is quasi-harmonic")


@dataclass(frozen=True)
class DistributionSettings(Section):
    """Radial distribution function from molecular dynamics at constant volume."""

    temperature: Positive = 300.0
    #: Shortest edge of the simulated cell (Angstrom).
    length: Positive = 12.0
    #: fs; default: 2, or 1 where an element is lighter than 20 amu, 0.5 with hydrogen.
    timestep_fs: Positive | None = None
    #: Steps that are not counted, and steps after them.
    equilibration: PositiveInt = 500
    steps: PositiveInt = 1500
    #: Angstrom: the function's reach (at most half the cell) and the width of its bins.
    reach: Positive = 6.0
    bin_width: Positive = 0.02
    seed: Seed = 0


@dataclass(frozen=True)
class MeltingSettings(Section):
    """Melting point from solid and liquid side by side at constant enthalpy and pressure."""

    #: K: first guess, best within 20 % of the answer; required.
    guess: Positive | None = None
    #: Copies of the conventional cell; the solid and the liquid half lie side by side along the last axis.
    supercell: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    #: Angstrom: edges of the cross section where ``supercell`` is not given; the long axis is three times as long.
    length: Positive = 16.0
    timestep_fs: Positive | None = None
    #: Steps to warm the solid, to melt half of it, and to cool that half again.
    preparation: PositiveInt = 3000
    #: Steps at constant enthalpy; the second half is averaged.
    steps: PositiveInt = 30000
    #: Times the guess is moved where everything melts or freezes.
    attempts: PositiveInt = 4
    pressure_gpa: float = 0.0
    seed: Seed = 0


@dataclass(frozen=True)
class PropertySettings(Section):
    """Settings of every property; a YAML file holds the same names as sections."""

    relaxation: RelaxationSettings = field(default_factory=RelaxationSettings)
    equation_of_state: EquationOfStateSettings = field(default_factory=EquationOfStateSettings)
    elastic: ElasticSettings = field(default_factory=ElasticSettings)
    phonons: PhononSettings = field(default_factory=PhononSettings)
    vacancy: VacancySettings = field(default_factory=VacancySettings)
    surfaces: SurfaceSettings = field(default_factory=SurfaceSettings)
    stacking_faults: StackingFaultSettings = field(default_factory=StackingFaultSettings)
    expansion: ExpansionSettings = field(default_factory=ExpansionSettings)
    distribution: DistributionSettings = field(default_factory=DistributionSettings)
    melting: MeltingSettings = field(default_factory=MeltingSettings)
