"""The physics check-up of a model: choose the structures, run the checks one by one, gather the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from ase.calculators.calculator import BaseCalculator

from equipot.checkpoint import load_model
from equipot.checks.model.registry import CHECKS, Check, Context, Settings, run_check
from equipot.checks.model.result import CheckReport, CheckResult
from equipot.checks.model.structures import equilibrium_structures, frames_to_check, generated_structures
from equipot.checks.model.subject import CalculatorSubject, PotentialSubject, Subject, make_subject
from equipot.data.frames import Frame
from equipot.data.reading import read_frames
from equipot.errors import UsageError
from equipot.models import Potential
from equipot.system.signals import StopRequest

FORMS = ("short", "full")
# Importing a group registers its checks, in the order they run.
for _group in (
    "symmetry",
    "derivatives",
    "cutoff",
    "extensivity",
    "neighbors",
    "calculator",
    "dimers",
    "labels",
    "volumes",
    "dynamics",
):
    import_module(f"equipot.checks.model.{_group}")


def check_model(
    model: str | Path | Potential | BaseCalculator,
    data: str | Path | Sequence[Frame] | None = None,
    *,
    form: str = "full",
    only: Sequence[str] = (),
    settings: Settings | None = None,
    elements: Sequence[str] | None = None,
    cutoff: float | None = None,
    dtype: str | None = None,
    progress: Callable[[CheckResult], None] | None = None,
    stop: StopRequest | None = None,
    seconds: float | None = None,
    name: str | None = None,
) -> CheckReport:
    """Check a model's physics: symmetries, derivatives, cutoff, extensivity, neighbour lists, behaviour in simulations.

    Args:
        model: model file, `Potential`, or any ASE calculator (checks that need more than energy, forces and stress are
            then skipped).
        data: the user's frames, a file or as read: a spread of them is checked besides structures made of the model's
            elements, and simulations start from the lowest-energy one of each composition.
        form: ``full``, or ``short``: what ends a training run, in seconds.
        only: codes of the checks to run (``P1``), or letters of groups (``P``); default: all of the form.
        settings: temperatures, pressures and lengths of the simulations.
        elements, cutoff: of a foreign calculator; default: the elements of the data, cutoff unknown.
        dtype: of the network (a potential), or whose thresholds apply (a calculator; default float64).
        progress: called with each outcome.
        stop: asked between checks and steps; what is done by then is reported.
        seconds: no check begins later than this; those left are skipped, and say so.
        name: what to call the model; default: its file.

    Returns:
        The report; ``report.worst`` is ``fail`` where a contract is broken, ``warn`` where behaviour is doubtful.

    Raises:
        UsageError: arguments without meaning.
        CheckpointError, DataError: the model or the data cannot be read.
    """
    if form not in FORMS:
        raise UsageError(f"The form of a check is {' or '.join(FORMS)}, not {form!r}.")
    chosen = _choose(form, only)
    title = name or (str(model) if isinstance(model, str | Path) else type(model).__name__)
    if isinstance(model, str | Path):
        model = load_model(model)
    frames = _read(data)
    if elements is None and not isinstance(model, Potential):
        elements = sorted({symbol for frame in frames for symbol in frame.atoms.get_chemical_symbols()})
    subject = make_subject(model, elements=elements, cutoff=cutoff, dtype=dtype)
    context = _context(subject, frames, form == "short", settings or Settings(), stop)
    report = CheckReport(title, form, facts=_facts(context))
    begin = time.perf_counter()
    for entry in chosen:
        if stop is not None and stop():
            break
        if seconds is not None and time.perf_counter() - begin > seconds:
            note = f"not run: the {seconds:g} s for checks were over"
            result = CheckResult(entry.code, entry.title, "skip", note=note)
        else:
            result = run_check(entry, context)
        report.results.append(result)
        if progress is not None:
            progress(result)
    report.curves = context.curves
    return report


def _choose(form: str, only: Sequence[str]) -> list[Check]:
    groups = {code[0] for code in CHECKS}
    unknown = [word for word in only if word not in CHECKS and word not in groups]
    if unknown:
        raise UsageError(
            f"There is no check {', '.join(unknown)}; there are {', '.join(CHECKS)}, and the groups "
            f"{', '.join(sorted(groups))}."
        )
    if only:  # asked for by name: also those the short form leaves out
        return [entry for code, entry in CHECKS.items() if code in only or code[0] in only]
    return [entry for entry in CHECKS.values() if entry.in_short or form == "full"]


def _read(data: str | Path | Sequence[Frame] | None) -> list[Frame]:
    if data is None:
        return []
    return read_frames(data, on_bad="skip").frames if isinstance(data, str | Path) else list(data)


def _context(
    subject: Subject, frames: list[Frame], is_short: bool, settings: Settings, stop: StopRequest | None
) -> Context:
    structures = generated_structures(subject.elements, settings.seed)
    if is_short and frames:
        structures = {name: structures[name] for name in ("molecule", "alloy", "small cell")}
    structures |= frames_to_check(frames, subject.elements, 2 if is_short else 6, settings.seed)
    starts = equilibrium_structures(frames, subject.elements, 1 if is_short else 3)
    return Context(subject, structures, starts, frames, is_short, settings, stop=stop)


def _facts(context: Context) -> dict:
    subject = context.subject
    facts = {
        "elements": list(subject.elements),
        "cutoff": subject.cutoff,
        "dtype": subject.dtype,
        "structures": {name: len(atoms) for name, atoms in context.structures.items()},
        "simulated": list(context.starts),
        "temperatures": list(context.settings.temperatures),
        "pressures_gpa": list(context.settings.pressures_gpa),
    }
    if isinstance(subject, PotentialSubject):
        facts["architecture"] = subject.potential.config.architecture
    if isinstance(subject, CalculatorSubject):
        facts["calculator"] = type(subject.calculator()).__name__
    return facts
