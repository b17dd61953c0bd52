"""Measure the properties of one crystal one after the other: choose, go on from what is stored, never stop at one."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from equipot.elements import require_elements
from equipot.errors import EquipotError, Interrupted, UsageError
from equipot.interfaces.ase import Calculator
from equipot.models import Potential
from equipot.properties.case import Case
from equipot.properties.registry import PROPERTIES, Property, check_settings, choose
from equipot.properties.relaxation import crystal_of, relax_crystal
from equipot.properties.result import Findings, NotApplicable, PropertyResult
from equipot.properties.settings import PropertySettings
from equipot.properties.store import Store, fingerprints, jsonable, model_fingerprint
from equipot.properties.structures import Structure, check_crystal, find_symmetry, parse_structure

logger = logging.getLogger("equipot.properties")


@dataclass
class StructureReport:
    """Everything measured of one structure.

    Attributes:
        label: of the structure.
        model: what the potential is called.
        results: name of a property -> its result, in the order they ran.
        num_resumed: results that were there already.
    """

    label: str
    model: str
    results: dict[str, PropertyResult] = field(default_factory=dict)
    num_resumed: int = 0

    @property
    def values(self) -> dict[str, float]:
        """All values by name."""
        return {name: entry.value for result in self.results.values() for name, entry in result.values.items()}

    @property
    def space_group(self) -> str:
        """Of the relaxed crystal, empty where it did not relax."""
        relaxation = self.results.get("relaxation")
        group = relaxation.curves.get("space_group") if relaxation is not None else None
        return f"{group['symbol']} ({group['number']})" if group else ""

    def to_dict(self) -> dict:
        """Return everything for JSON."""
        return {
            "label": self.label,
            "space_group": self.space_group,
            "results": {name: result.to_dict() for name, result in self.results.items()},
        }


def compute(
    model: str | Path | Potential | BaseCalculator,
    structure: str | Path | Atoms | Structure,
    *,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    also: Sequence[str] = (),
    settings: PropertySettings | None = None,
    folder: str | Path | None = None,
    overwrite: bool = False,
    dtype: str | None = "float64",
    device: str = "cpu",
    name: str | None = None,
    progress: Callable[[str], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> StructureReport:
    """Measure the properties of one crystal with a potential, or with any ASE calculator.

    Args:
        model: model file, `Potential`, or any ASE calculator with forces and stress.
        structure: a crystal: atoms, a file, or a prototype such as ``bcc:Ta`` or ``fcc:Cu:3.6``.
        only: names of the properties to measure (see ``PROPERTIES``); default: all but the long ones.
        skip: names to leave out of those.
        also: long properties to measure besides (``melting``).
        settings: of every property.
        folder: where finished results are kept, one file each; a second call with the same folder goes on from them.
            Default: nothing is kept.
        overwrite: compute again what the folder holds of another model, structure or settings.
        dtype, device: of a model; second derivatives want ``float64``. None: the model's own.
        name: what to call the model.
        progress: called with lines about what is being done.
        stop: asked between properties.

    Returns:
        The results. A property that could not be measured has the status ``failed`` and a note that says why.

    Raises:
        UsageError: names without meaning, or results of something else in the folder.
        DataError: the structure cannot be read or is no crystal.
        Interrupted: ``stop`` said so, or a signal came during a simulation; call again to go on.
    """
    chosen = choose(only, skip, also)
    check_settings(chosen, settings or PropertySettings())
    if isinstance(structure, Atoms):
        require_elements(structure.numbers, "structure")
        structure = Structure(structure.get_chemical_formula(empirical=True), structure)
    elif not isinstance(structure, Structure):
        structure = parse_structure(str(structure))
    check_crystal(structure.atoms, structure.label)
    calculator = model if isinstance(model, BaseCalculator) else Calculator(model, dtype=dtype, device=device)
    title = name or (str(model) if isinstance(model, str | Path) else type(model).__name__)
    with tempfile.TemporaryDirectory(prefix="equipot-") as temporary:
        store = Store(temporary if folder is None else folder, overwrite=overwrite)
        run = _Run(
            structure,
            calculator,
            settings or PropertySettings(),
            store,
            progress or (lambda text: None),
            stop or (lambda: False),
        )
        return run.go(StructureReport(structure.label, title), chosen)


class _Run:
    """One structure's properties, in order."""

    def __init__(
        self,
        structure: Structure,
        calculator: BaseCalculator,
        settings: PropertySettings,
        store: Store,
        say: Callable[[str], None],
        stop: Callable[[], bool],
    ) -> None:
        self.structure, self.calculator, self.settings = structure, calculator, settings
        self.store, self.say, self.stop = store, say, stop
        self.calculator_hash = model_fingerprint(calculator)

    def go(self, report: StructureReport, chosen: list[Property]) -> StructureReport:
        prints = {entry.name: self._prints(entry) for entry in chosen}
        # What does not fit is said before anything is computed.
        stored = {entry.name: self.store.load(entry.name, prints[entry.name]) for entry in chosen}
        case = None
        for entry in chosen:
            if self.stop():
                raise Interrupted(
                    f"Stopped before {entry.name} of {self.structure.label}; {len(report.results)} of "
                    f"{len(chosen)} properties are stored, the same command goes on from there."
                )
            result = stored[entry.name]
            if result is not None:
                report.num_resumed += 1
                self.say(f"{entry.name}: as stored")
            else:
                result = self._measure(entry, case, prints[entry.name])
                self.say(_outcome(result))
            report.results[entry.name] = result
            if entry.name == "relaxation":
                if result.status in ("failed", "skipped"):
                    break
                case = self._case(result)
        for entry in chosen[len(report.results) :]:
            report.results[entry.name] = PropertyResult(
                entry.name, "skipped", notes=("There is no crystal at rest to measure.",)
            )
        return report

    def _prints(self, entry: Property) -> dict[str, str]:
        return fingerprints(
            self.calculator_hash,
            self.structure.atoms,
            self.settings,
            entry.name,
            tuple(dict.fromkeys(("relaxation", *entry.sections))),
            entry.revision,
        )

    def _case(self, relaxation: PropertyResult) -> Case:
        crystal = crystal_of(relaxation.curves)
        return Case(
            self.structure.label,
            crystal,
            find_symmetry(crystal, self.settings.relaxation.symmetry_tolerance),
            self.calculator,
            self.settings,
            self.store.folder,
            self.say,
        )

    def _measure(self, entry: Property, case: Case | None, prints: dict[str, str]) -> PropertyResult:
        """Measure one property; every failure but an interruption becomes a result that says so."""
        begin = time.perf_counter()
        self.say(f"{entry.name}: begun")
        try:
            if case is None:
                _, findings = relax_crystal(self.structure.atoms, self.calculator, self.settings.relaxation)
            else:
                findings = entry.measure()(_with_folder(case, self.store.work(entry.name, prints)))
            status = "doubtful" if findings.is_doubtful else "done"
        except Interrupted:
            raise
        except NotApplicable as reason:
            findings, status = Findings(), "skipped"
            findings.note(f"Not measured: {reason}")
        except EquipotError as error:
            if isinstance(error, UsageError) and case is None:
                raise
            findings, status = Findings(), "failed"
            findings.note(str(error))
        except Exception as error:  # the libraries below raise anything; the other properties go on
            logger.debug("%s of %s failed", entry.name, self.structure.label, exc_info=True)
            findings, status = Findings(), "failed"
            findings.note(
                f"{type(error).__name__}: {str(error) or 'no message'} (while measuring {entry.name}; please "
                "report this if the crystal is a sound one)."
            )
        result = PropertyResult(
            entry.name,
            status,
            findings.values,
            jsonable(findings.curves),
            tuple(findings.notes),
            time.perf_counter() - begin,
        )
        self.store.save(result, prints)
        return result


def _with_folder(case: Case, folder: Path) -> Case:
    return Case(case.label, case.crystal, case.symmetry, case.calculator, case.settings, folder, case.say)


def _outcome(result: PropertyResult) -> str:
    shown = [f"{name} {entry.value:.4g} {entry.unit}".rstrip() for name, entry in list(result.values.items())[:3]]
    text = ", ".join(shown) if shown else (result.notes[0] if result.notes else "")
    return f"{result.name}: {result.status} in {result.seconds:.1f} s" + (f" ({text})" if text else "")


def property_names() -> list[str]:
    """Names of all properties in the order they run."""
    return list(PROPERTIES)
