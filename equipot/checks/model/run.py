"""The physics check-up of a model: choose the structures, run the checks one by one, gather the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from ase.calculators.calculator import BaseCalculator

from equipot.checkpoint import load_model
from equipot.checks.model.registry import CHECKS, Check, Context, Settings, run_check
from equipot.checks.model.result import NOT_RUN, CheckReport, CheckResult
from equipot.checks.model.structures import choose_structures
from equipot.checks.model.subject import CalculatorSubject, PotentialSubject, Subject, make_subject
from equipot.data.examples import read_examples
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
        data: the user's frames, a file or as read: a spread of them is checked besides structures made from them, and
            simulations start from the lowest-energy one of each composition. Default: the training structures that
            the model file keeps; where it keeps none, structures made up from the model's elements.
        form: ``full``, or ``short``: what ends a training run, in seconds.
        only: codes of the checks to run (``P1``), or letters of groups (``P``); default: all of the form.
        settings: temperatures, pressures and lengths of the simulations.
        elements, cutoff: of a foreign calculator; default: the elements of the data, cutoff unknown.
        dtype: of the network (a potential), or whose thresholds apply (a calculator; default float64).
        progress: called with each outcome.
        stop: asked between checks and steps; what is done by then is reported.
        seconds: of computing time (CPU seconds of the calling thread, so that a busy machine does not count): no check
            begins later; those left are reported as not run.
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
    begin = time.thread_time()
    for entry in chosen:
        if stop is not None and stop():
            break
        if seconds is not None and time.thread_time() - begin > seconds:
            note = f"the {seconds:g} s of computing time for checks were used up"
            result = CheckResult(entry.code, entry.title, entry.group, NOT_RUN, note)
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
    near, origin = frames, "from the frames given"
    if not near and isinstance(subject, PotentialSubject):
        near, origin = read_examples(subject.potential.metadata), "from training structures in the model file"
    chosen = choose_structures(subject, near, is_short=is_short, seed=settings.seed)
    if not chosen.are_known:
        origin = "made up from the model's elements"
    return Context(
        subject,
        chosen.structures,
        chosen.starts,
        frames,
        is_short,
        settings,
        origin=origin,
        are_known=chosen.are_known,
        stop=stop,
    )


def _facts(context: Context) -> dict:
    subject = context.subject
    facts = {
        "elements": list(subject.elements),
        "cutoff": subject.cutoff,
        "dtype": subject.dtype,
        "structures_from": context.origin,
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
