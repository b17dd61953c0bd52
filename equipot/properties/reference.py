"""Reference values (DFT, experiment, another potential) and how far the measured ones are from them.

A reference file is YAML::

    references:
      - name: DFT                       # heading of its column
        citation: A. Author, Journal 1 (2020) 1
        structures: [bcc:Ta]            # labels or file names it is for; left out: every structure
        values:
          lattice_constant: 3.322       # in the unit of the table of values
          C11: {value: 2638, unit: kbar}
          vacancy_formation_energy: {value: 2.95, citation: another source}

or the ``properties.json`` that an earlier run wrote, of another potential or calculator.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from equipot.config import build
from equipot.config.limits import NotEmpty, PlainName
from equipot.config.position import FieldError
from equipot.config.section import Section
from equipot.config.yaml_reader import read_yaml
from equipot.errors import ConfigError, DataError
from equipot.properties.measurement import StructureReport
from equipot.properties.result import PropertyResult, convert_unit

_MILLER = r"-?\d-?\d-?\d"
#: Pattern of the names of values -> their unit. The names a reference file may use.
VALUE_UNITS: dict[str, str] = {
    r"lattice_constant(_[abc])?(_300K)?": "A",
    r"c_over_a": "",
    r"(alpha|beta|gamma)": "degree",
    r"volume(_300K)?": "A^3/atom",
    r"energy": "eV/atom",
    r"bulk_modulus(_voigt|_reuss|_hill|_300K)?": "GPa",
    r"bulk_modulus_derivative": "",
    r"C[1-6][1-6]": "GPa",
    r"(shear|youngs)_modulus_(voigt|reuss|hill)": "GPa",
    r"poisson_ratio_hill|universal_anisotropy": "",
    r"frequency_\w+_(\d+|min|max)|frequency_(min|max)": "THz",
    r"zero_point_energy": "meV/atom",
    r"vibrational_free_energy_300K": "meV/atom",
    r"(entropy|heat_capacity)_300K": "J/K/mol",
    r"vacancy_formation_energy(_unrelaxed)?(_[A-Z][a-z]?|_\d+)?": "eV",
    rf"surface_energy_{_MILLER}(_unrelaxed)?": "J/m^2",
    r"(unstable_)?stacking_fault_energy_\d+(_\d+)?": "J/m^2",
    r"(volume|linear)_expansion(_300K)?": "1e-6/K",
    r"gruneisen_300K": "",
    r"rdf_first_peak": "A",
    r"rdf_first_peak_height": "",
    r"melting_temperature": "K",
}
_EXAMPLES = (
    "lattice_constant",
    "bulk_modulus",
    "C12",
    "C44",
    "C33",
    "C11",
    "vacancy_formation_energy",
    "surface_energy_110",
    "unstable_stacking_fault_energy_110",
    "stacking_fault_energy_111",
    "linear_expansion_300K",
    "melting_temperature",
    "frequency_max",
    "frequency_H_1",
    "heat_capacity_300K",
    "bulk_modulus_hill",
    "shear_modulus_hill",
    "poisson_ratio_hill",
    "bulk_modulus_derivative",
    "c_over_a",
    "volume",
    "energy",
    "zero_point_energy",
    "lattice_constant_300K",
)


def unit_of(name: str) -> str | None:
    """Return the unit of a value by its name; None where there is no value of that name."""
    return next((unit for pattern, unit in VALUE_UNITS.items() if re.fullmatch(pattern, name)), None)


@dataclass(frozen=True)
class ReferenceValue(Section):
    """A number with its unit and where it is from."""

    value: float
    unit: NotEmpty | None = None
    citation: NotEmpty | None = None


@dataclass(frozen=True)
class ReferenceSource(Section):
    """One source of values."""

    name: PlainName
    values: Mapping[NotEmpty, float | ReferenceValue]
    citation: NotEmpty | None = None
    structures: tuple[NotEmpty, ...] | None = None

    def check(self) -> None:
        for name, given in self.values.items():
            unit = unit_of(name)
            if unit is None:
                close = difflib.get_close_matches(name, _EXAMPLES, n=1)
                raise FieldError(
                    f"values.{name}",
                    "is no value that is measured"
                    + (
                        f"; did you mean '{close[0]}'?"
                        if close
                        else f"; there are {', '.join(_EXAMPLES)} and the like."
                    ),
                )
            if isinstance(given, ReferenceValue) and given.unit and convert_unit(given.value, given.unit, unit) is None:
                raise FieldError(
                    f"values.{name}", f"has the unit '{given.unit}', expected one that converts to '{unit}'."
                )


@dataclass(frozen=True)
class _ReferenceFile(Section):
    references: tuple[ReferenceSource, ...]


@dataclass(frozen=True)
class Reference:
    """Values of one source for one structure or all, in the units of ``VALUE_UNITS``.

    Attributes:
        name: heading of its column.
        structures: labels it is for, None: all.
        values: name -> number.
        citations: sentences with the sources.
        curves: property -> curves to draw beside the measured ones (of a ``properties.json``).
    """

    name: str
    structures: tuple[str, ...] | None
    values: Mapping[str, float]
    citations: tuple[str, ...] = ()
    curves: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def is_for(self, label: str) -> bool:
        """Whether it says something about a structure; a lattice constant after the prototype does not matter."""
        return self.structures is None or any(_same(label, name) for name in self.structures)


@dataclass(frozen=True)
class ComparisonRow:
    """One value beside those of the references (name -> number)."""

    name: str
    value: float | None
    unit: str
    references: Mapping[str, float]

    def error_percent(self, reference: str) -> float | None:
        """100 (value - reference) / |reference|; None where either is not there, or the reference is zero."""
        other = self.references.get(reference)
        return None if self.value is None or not other else 100.0 * (self.value - other) / abs(other)

    def to_dict(self) -> dict:
        """Return it for JSON."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "references": dict(self.references),
            "errors_percent": {name: self.error_percent(name) for name in self.references},
        }


def read_references(path: str | Path) -> list[Reference]:
    """Read a reference file: YAML, or the ``properties.json`` of another run.

    Raises:
        ConfigError: the YAML breaks the schema; the message says line, key and what was expected.
        DataError: the JSON is not that of such a run.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        return _read_run(path)
    sources = build(_ReferenceFile, read_yaml(path)).references
    names = [(source.name, label) for source in sources for label in source.structures or ("",)]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"{path}: two references have the same name for the same structure; their columns would be "
            "one. Give them different names."
        )
    return [_convert(source) for source in sources]


def references_of(report: StructureReport, name: str) -> Reference:
    """Make a reference of what was measured with another calculator."""
    curves = {key: result.curves for key, result in report.results.items()}
    return Reference(name, (report.label,), _known(report.values), curves=curves)


def compare_values(report: StructureReport, references: Sequence[Reference]) -> list[ComparisonRow]:
    """Set what was measured beside the references: one row for each value that a reference has."""
    mine = [reference for reference in references if reference.is_for(report.label)]
    values = {name: entry for result in report.results.values() for name, entry in result.values.items()}
    wanted = set().union(*(reference.values for reference in mine)) if mine else set()
    order = [name for name in values if name in wanted] + sorted(wanted - set(values))
    return [
        ComparisonRow(
            name,
            values[name].value if name in values else None,
            values[name].unit if name in values else unit_of(name) or "",
            {reference.name: reference.values[name] for reference in mine if name in reference.values},
        )
        for name in order
    ]


def unused(references: Iterable[Reference], labels: Sequence[str]) -> list[str]:
    """Return the names of structures that references speak of and nobody measures."""
    named = {name for reference in references for name in reference.structures or ()}
    return sorted(name for name in named if not any(_same(label, name) for label in labels))


def _same(label: str, name: str) -> bool:
    def plain(text: str) -> str:
        return ":".join(text.split(":")[:2]) if ":" in text else Path(text).stem

    return label == name or plain(label) == plain(name)


def _convert(source: ReferenceSource) -> Reference:
    values, citations = {}, [source.citation] if source.citation else []
    for name, given in source.values.items():
        entry = given if isinstance(given, ReferenceValue) else ReferenceValue(given)
        unit = unit_of(name)
        values[name] = convert_unit(entry.value, entry.unit, unit) if entry.unit else entry.value
        if entry.citation:
            citations.append(f"{name}: {entry.citation}")
    return Reference(source.name, source.structures, values, tuple(citations))


def _read_run(path: Path) -> list[Reference]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        references = []
        for entry in document["structures"]:
            results = {name: PropertyResult.from_dict(result) for name, result in entry["results"].items()}
            report = StructureReport(str(entry["label"]), str(document["model"]), results)
            references.append(references_of(report, str(document["model"])))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not the properties.json of a run of equipot properties ({type(error).__name__}: {error})."
        ) from error
    return references


def _known(values: Mapping[str, float]) -> dict[str, float]:
    return {
        name: value
        for name, value in values.items()
        if unit_of(name) is not None and value == value and name not in ("energy", "frequency_min")
    }
