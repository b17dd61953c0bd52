"""What measuring a property leaves: values with units, curves to draw, and sentences a reader should see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Units of values and how many of the default one (first of its kind) each is.
UNIT_FACTORS: dict[str, dict[str, float]] = {
    "length": {"A": 1.0, "nm": 10.0, "bohr": 0.529177210903},
    "volume": {"A^3/atom": 1.0},
    "energy": {"eV": 1.0, "meV": 1e-3, "kJ/mol": 1.0 / 96.48533212},
    "energy per atom": {"eV/atom": 1.0, "meV/atom": 1e-3, "kJ/mol/atom": 1.0 / 96.48533212},
    "pressure": {"GPa": 1.0, "kbar": 0.1, "Mbar": 100.0, "MPa": 1e-3, "eV/A^3": 160.2176634},
    "energy per area": {"J/m^2": 1.0, "mJ/m^2": 1e-3, "eV/A^2": 16.02176634, "meV/A^2": 0.01602176634},
    "frequency": {"THz": 1.0, "meV": 1.0 / 4.135667696, "cm^-1": 0.0299792458},
    "heat capacity": {"J/K/mol": 1.0, "kB": 8.314462618},
    "expansion": {"1e-6/K": 1.0, "1/K": 1e6},
    "temperature": {"K": 1.0},
    "number": {"": 1.0},
    "angle": {"degree": 1.0},
}

#: Outcome of a property. ``doubtful``: there are values, but the notes say why not to trust them as they stand.
STATUSES = ("done", "doubtful", "failed", "skipped")


@dataclass(frozen=True)
class Value:
    """A number with its unit (one of ``UNIT_FACTORS``)."""

    value: float
    unit: str = ""


@dataclass(frozen=True)
class PropertyResult:
    """One property of one structure.

    Attributes:
        name: of the property (``elastic``).
        status: one of ``STATUSES``.
        values: name -> value, the names that reference files use.
        curves: what the plots are drawn from: numbers, lists and mappings, ready for JSON.
        notes: sentences for the reader: warnings, what was assumed, why it failed.
        seconds: wall time.
    """

    name: str
    status: str
    values: Mapping[str, Value] = field(default_factory=dict)
    curves: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def to_dict(self) -> dict:
        """Return everything for JSON."""
        return {
            "name": self.name,
            "status": self.status,
            "seconds": round(self.seconds, 3),
            "values": {name: {"value": value.value, "unit": value.unit} for name, value in self.values.items()},
            "notes": list(self.notes),
            "curves": dict(self.curves),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> PropertyResult:
        """Make it from what ``to_dict`` gave.

        Raises:
            KeyError, TypeError, ValueError: the document is another.
        """
        values = {
            str(name): Value(float("nan") if entry["value"] is None else float(entry["value"]), str(entry["unit"]))
            for name, entry in document["values"].items()
        }
        if document["status"] not in STATUSES:
            raise ValueError(document["status"])
        return cls(
            str(document["name"]),
            document["status"],
            values,
            dict(document["curves"]),
            tuple(map(str, document["notes"])),
            float(document["seconds"]),
        )


class NotApplicable(Exception):
    """The property has no meaning for this crystal, or no default; the text says which."""


class Findings:
    """Collects values, curves and notes while a property is measured."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.curves: dict[str, Any] = {}
        self.notes: list[str] = []
        self.is_doubtful = False

    def add(self, name: str, value: float, unit: str = "") -> None:
        """Keep a value."""
        self.values[name] = Value(float(value), unit)

    def note(self, sentence: str) -> None:
        """Keep a sentence of information."""
        self.notes.append(sentence)

    def doubt(self, sentence: str) -> None:
        """Keep a sentence that makes the values doubtful."""
        self.notes.append(sentence)
        self.is_doubtful = True


def convert_unit(value: float, unit: str, wanted: str) -> float | None:
    """Convert a number between units of one kind; None where they are not of one kind."""
    for factors in UNIT_FACTORS.values():
        if unit in factors and wanted in factors:
            return value * factors[unit] / factors[wanted]
    return None
