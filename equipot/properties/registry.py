"""The list of properties: what each is called, which settings it reads, which file measures it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

from equipot.errors import UsageError
from equipot.properties.case import Case
from equipot.properties.result import Findings
from equipot.properties.settings import PropertySettings


@dataclass(frozen=True)
class Property:
    """One property.

    Attributes:
        name: on the command line, in files and in settings.
        title: for people.
        target: ``module:function`` in this package that measures it.
        sections: settings it reads besides those of the relaxation.
        is_long: measured only where it is asked for by name.
        revision: raised when the code would give other numbers, so that stored ones are not mixed with new ones.
    """

    name: str
    title: str
    target: str
    sections: tuple[str, ...]
    is_long: bool = False
    revision: int = 1

    def measure(self) -> Callable[[Case], Findings]:
        """Return the function that measures it."""
        module, _, function = self.target.partition(":")
        return getattr(import_module(f"equipot.properties.{module}"), function)


PROPERTIES: dict[str, Property] = {
    entry.name: entry
    for entry in (
        Property("relaxation", "Crystal at rest", "", ("relaxation",)),
        Property("equation_of_state", "Equation of state", "volumes:measure_equation_of_state", ("equation_of_state",)),
        Property("elastic", "Elastic constants", "elasticity:measure_elastic", ("elastic",)),
        Property("phonons", "Phonons", "phonons:measure_phonons", ("phonons",)),
        Property("vacancy", "Vacancy", "vacancy:measure_vacancy", ("vacancy",)),
        Property("surfaces", "Surfaces", "surfaces:measure_surfaces", ("surfaces",)),
        Property("stacking_faults", "Stacking faults", "stacking_faults:measure_stacking_faults", ("stacking_faults",)),
        Property("expansion", "Thermal expansion", "expansion:measure_expansion", ("expansion", "phonons")),
        Property("distribution", "Radial distribution", "distribution:measure_distribution", ("distribution",)),
        Property("melting", "Melting point", "melting:measure_melting", ("melting",), is_long=True),
    )
}

#: Properties whose definition wants a crystal at zero pressure.
_AT_REST = frozenset(("elastic", "vacancy", "surfaces", "stacking_faults", "expansion"))


def choose(only: Sequence[str] = (), skip: Sequence[str] = (), also: Sequence[str] = ()) -> list[Property]:
    """Return the properties to measure, the relaxation always first.

    Raises:
        UsageError: a name that is none.
    """
    for word in (*only, *skip, *also):
        if word not in PROPERTIES:
            close = difflib.get_close_matches(word, PROPERTIES, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise UsageError(f"There is no property {word!r}{hint}; there are {', '.join(PROPERTIES)}.")
    if "relaxation" in skip:
        raise UsageError("The relaxation cannot be skipped: every other property starts from the crystal at rest.")
    wanted = set(only) if only else {name for name, entry in PROPERTIES.items() if not entry.is_long}
    wanted = ((wanted | set(also)) - set(skip)) | {"relaxation"}
    return [entry for name, entry in PROPERTIES.items() if name in wanted]


def check_settings(chosen: Sequence[Property], settings: PropertySettings) -> None:
    """Refuse, before anything is computed, settings that a chosen property cannot do with.

    Raises:
        UsageError: says which.
    """
    names = {entry.name for entry in chosen}
    if "melting" in names and settings.melting.guess is None:
        raise UsageError(
            "Melting needs a first guess of the melting point: give melting.guess in K, best within 20 % of the answer."
        )
    if settings.relaxation.pressure_gpa and names & _AT_REST:
        raise UsageError(
            f"relaxation.pressure_gpa is {settings.relaxation.pressure_gpa:g}, but "
            f"{', '.join(sorted(names & _AT_REST))} need a crystal without pressure; leave them out with "
            "--skip, or the pressure."
        )
