"""A potential's lattice constant, bulk modulus and elastic constants beside a reference's, from the same code."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.calculators.emt import EMT
from ase.calculators.emt import parameters as EMT_PARAMETERS

from equipot.config.schema import PropertyConfig
from equipot.errors import ConfigError, EquipotError
from equipot.properties.crystal import build_crystal, is_cubic
from equipot.properties.elastic import ElasticConstants, elastic_constants
from equipot.properties.equation_of_state import EquationOfState, equation_of_state

#: Name and unit of every row, in order; a reference may be given under these names.
UNITS = {"lattice_constant": "A", "bulk_modulus": "GPa", "C11": "GPa", "C12": "GPa", "C44": "GPa"}

#: How far the bulk modulus of the energy may be from that of the stress before a note is made (checks: V8).
_BULK_MODULUS_TOLERANCE = 0.02


@dataclass(frozen=True)
class PropertyRow:
    """One property: its value with the potential and the reference. None: not known or not computable."""

    name: str
    value: float | None
    reference: float | None
    unit: str

    @property
    def deviation_percent(self) -> float | None:
        """100 (value - reference) / |reference|, or None."""
        if self.value is None or not self.reference:
            return None
        return 100.0 * (self.value - self.reference) / abs(self.reference)

    def to_dict(self) -> dict:
        """Return the row for JSON."""
        return {
            "name": self.name,
            "value": self.value,
            "reference": self.reference,
            "unit": self.unit,
            "deviation_percent": self.deviation_percent,
        }


@dataclass(frozen=True)
class PropertyComparison:
    """The rows of one crystal, printable with ``str``, and the curves behind them.

    Attributes:
        name: of the entry in the configuration.
        lattice: its lattice.
        reference: ``emt``, ``given`` or None.
        rows: one a property.
        notes: sentences a reader should see (what failed, what disagrees).
        equation_of_state: that of the potential, None where it has none.
        elastic: elastic constants of the potential, None where they could not be computed.
        reference_equation_of_state: that of the reference calculator, None for given numbers.
    """

    name: str
    lattice: str
    reference: str | None
    rows: tuple[PropertyRow, ...]
    notes: tuple[str, ...] = ()
    equation_of_state: EquationOfState | None = None
    elastic: ElasticConstants | None = None
    reference_equation_of_state: EquationOfState | None = None

    @property
    def max_deviation_percent(self) -> float | None:
        """Largest |deviation| over the rows that have one, None where none has."""
        deviations = [abs(row.deviation_percent) for row in self.rows if row.deviation_percent is not None]
        return max(deviations, default=None)

    def to_dict(self) -> dict:
        """Return rows, notes and curves for JSON."""

        def document(part: EquationOfState | ElasticConstants | None) -> dict | None:
            return None if part is None else part.to_dict()

        return {
            "name": self.name,
            "lattice": self.lattice,
            "reference": self.reference,
            "rows": [row.to_dict() for row in self.rows],
            "notes": list(self.notes),
            "equation_of_state": document(self.equation_of_state),
            "elastic": document(self.elastic),
            "reference_equation_of_state": document(self.reference_equation_of_state),
        }

    def __str__(self) -> str:
        """Return the table as text."""
        title = f"{self.name} ({self.lattice})"
        reference = {"emt": "EMT", "given": "reference", None: "reference"}[self.reference]
        lines = [f"{title:<28}{'potential':>12}{reference:>12}{'deviation':>12}"]
        for row in self.rows:
            digits = 4 if row.unit == "A" else 2
            deviation = row.deviation_percent
            lines.append(
                f"  {row.name + ' (' + row.unit + ')':<26}{_number(row.value, digits):>12}"
                f"{_number(row.reference, digits):>12}"
                f"{'-' if deviation is None else f'{deviation:+.2f} %':>12}"
            )
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


@dataclass(frozen=True)
class _Properties:
    values: dict[str, float]
    notes: list[str]
    equation_of_state: EquationOfState | None = None
    elastic: ElasticConstants | None = None


def compare(config: PropertyConfig, calculator: BaseCalculator) -> PropertyComparison:
    """Compute a crystal's equation of state and elastic constants and set them beside the reference.

    The reference is ASE's EMT run through the same code (``reference: emt``), or numbers given in the configuration,
    or nothing. A property the potential does not have (no bound crystal, unknown element) is a note, not an error, so
    that a training run always ends with its table.

    Args:
        config: the crystal and its reference.
        calculator: any ASE calculator; for elastic constants to better than 0.1 GPa one in float64.

    Returns:
        The rows and curves.

    Raises:
        ConfigError: the entry itself has no meaning (lattice, formula, names of the reference values).
    """
    given = _given_reference(config)
    crystal = build_crystal(config)
    if config.reference == "emt":
        unknown = sorted(set(crystal.symbols) - set(EMT_PARAMETERS))
        if unknown:
            raise ConfigError(
                f"properties entry {config.name!r}: ASE's EMT does not know {', '.join(unknown)}; give "
                "the reference as numbers or leave it out."
            )
    own = _compute(crystal, is_cubic(config), calculator, "the potential")
    reference = _Properties(given, [])
    if config.reference == "emt":
        reference = _compute(crystal, is_cubic(config), EMT(), "EMT")
    names = [name for name in UNITS if is_cubic(config) or not name.startswith("C")]
    rows = tuple(PropertyRow(name, own.values.get(name), reference.values.get(name), UNITS[name]) for name in names)
    kind = "emt" if config.reference == "emt" else "given" if given else None
    return PropertyComparison(
        config.name,
        config.lattice,
        kind,
        rows,
        tuple(own.notes + reference.notes),
        own.equation_of_state,
        own.elastic,
        reference.equation_of_state,
    )


def _given_reference(config: PropertyConfig) -> dict[str, float]:
    if config.reference is None or config.reference == "emt":
        return {}
    return {name: float(value) for name, value in config.reference.items()}


def _compute(crystal: Atoms, cubic: bool, calculator: BaseCalculator, who: str) -> _Properties:
    """Compute what can be computed; every failure becomes a note."""
    notes: list[str] = []
    try:
        state = equation_of_state(crystal, calculator)
    except EquipotError as error:
        return _Properties({}, [f"{who}: {error}"])
    values = {"lattice_constant": state.lattice_constant, "bulk_modulus": state.bulk_modulus_gpa}
    elastic = None
    if cubic:
        relaxed = crystal.copy()
        relaxed.set_cell(crystal.cell.array * (state.volume / crystal.get_volume()) ** (1 / 3), scale_atoms=True)
        try:
            elastic = elastic_constants(relaxed, calculator)
        except EquipotError as error:
            notes.append(f"{who}: {error}")
        else:
            values |= {"C11": elastic.C11, "C12": elastic.C12, "C44": elastic.C44}
            notes += _inspect(state, elastic, who)
    return _Properties({name: float(value) for name, value in values.items()}, notes, state, elastic)


def _inspect(state: EquationOfState, elastic: ElasticConstants, who: str) -> list[str]:
    """Return sentences about results that contradict each other or physics."""
    notes = []
    mismatch = elastic.bulk_modulus_gpa / state.bulk_modulus_gpa - 1.0
    if not abs(mismatch) < _BULK_MODULUS_TOLERANCE:
        notes.append(
            f"{who}: the bulk modulus from the stress, (C11 + 2 C12)/3 = {elastic.bulk_modulus_gpa:.2f} GPa, "
            f"differs by {mismatch:+.1%} from that of the energies."
        )
    if not elastic.is_stable:
        notes.append(f"{who}: the elastic constants are not positive definite; the crystal is unstable to a strain.")
    return notes


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"
