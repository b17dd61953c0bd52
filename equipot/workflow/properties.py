"""The job of ``equipot properties``: many structures, several processes, one folder that a second run goes on from."""

from __future__ import annotations

import logging
import multiprocessing
import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

from ase.calculators.calculator import BaseCalculator
from ase.calculators.emt import EMT

from equipot.checkpoint import lock
from equipot.config import to_dict, to_yaml
from equipot.data.occupancy import Occupation
from equipot.errors import ElementError, EquipotError, Interrupted, UsageError
from equipot.interfaces.ase import Calculator
from equipot.properties import (
    PropertySettings,
    Reference,
    StructureReport,
    compute,
    parse_structure,
    read_references,
)
from equipot.properties.reference import unused
from equipot.properties.registry import check_settings, choose
from equipot.properties.result import PropertyResult
from equipot.properties.store import Store, model_fingerprint
from equipot.properties.structures import Structure
from equipot.report.property_report import comparison_table, notes_of, value_table, write_property_report
from equipot.system.signals import StopRequest, stop_on_signal
from equipot.system.threads import num_threads, set_threads
from equipot.workflow.console import Console
from equipot.workflow.evaluation import find_model

logger = logging.getLogger("equipot.workflow")

#: MODEL that stands for ASE's EMT, the quickstart's teacher.
EMT_NAME = "emt"


@dataclass(frozen=True)
class PropertyJob:
    """What to measure and how; see `compute` for the names."""

    model: str
    structures: tuple[str, ...]
    output: Path
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    settings: PropertySettings = field(default_factory=PropertySettings)
    references: tuple[str, ...] = ()
    jobs: int = 1
    threads: int | None = None
    overwrite: bool = False
    dtype: str = "float64"
    device: str = "cpu"
    head: str | None = None
    occupation: Occupation | None = None


@dataclass(frozen=True)
class PropertyOutcome:
    """Reports of all structures, the references, and the files that were written (JSON and HTML last)."""

    reports: list[StructureReport]
    references: list[Reference]
    files: list[Path]

    @property
    def num_failed(self) -> int:
        """Properties that could not be measured."""
        return sum(result.status == "failed" for report in self.reports for result in report.results.values())


def measure_properties(job: PropertyJob, *, console: Console | None = None) -> PropertyOutcome:
    """Measure every structure of a job, write tables, plots and the report.

    Raises:
        UsageError, DataError, CheckpointError: the job cannot be done as it is said; nothing was computed.
        Interrupted: a signal came; what was finished is stored.
    """
    console = console or Console()
    check_settings(choose(job.only, job.skip, job.also), job.settings)
    structures = _structures(job.structures, job.occupation)
    for structure in structures:
        if structure.note:
            console.line(structure.note)
    references = [reference for path in job.references for reference in read_references(path)]
    names = [structure.label for structure in structures]
    model = job.model if job.model == EMT_NAME else str(find_model(job.model))
    calculator = make_calculator(job, model)
    _check_elements(calculator, structures)
    job.output.mkdir(parents=True, exist_ok=True)
    lock.acquire(job.output)
    try:
        with console.log_to(job.output / "properties.log"):
            for name in unused(references, names):
                console.warning(f"a reference is for {name!r}, which is not among the structures {', '.join(names)}.")
            begin = time.perf_counter()
            reports = _measure_all(job, model, calculator, structures, console)
            name = EMT_NAME.upper() if model == EMT_NAME else job.model
            facts = {
                "model": name if job.head is None else f"{name} (head {job.head})",
                "model_fingerprint": model_fingerprint(calculator),
                "dtype": job.dtype,
                "settings": to_dict(job.settings),
            }
            folders = {structure.label: job.output / structure.folder_name for structure in structures}
            files = write_property_report(job.output, reports, references, facts, folders, to_yaml(job.settings))
            for report in reports:
                console.table(value_table(report, brief=True))
                table = comparison_table(report, references)
                if table is not None:
                    console.table(table)
                for note in notes_of(report):
                    console.line(f"{report.label}: {note}")
            logger.info("%d structures in %.1f s", len(reports), time.perf_counter() - begin)
    finally:
        lock.release(job.output)
    return PropertyOutcome(reports, references, files)


def make_calculator(job: PropertyJob, model: str) -> BaseCalculator:
    """Make the calculator of a job's model file, or ASE's EMT for ``emt``."""
    if model != EMT_NAME:
        return Calculator(model, dtype=job.dtype, device=job.device, head=job.head)
    if job.head is not None:
        raise UsageError(f"{EMT_NAME} is one potential without heads: leave --head out.")
    return EMT()


def _structures(names: Sequence[str], occupation: Occupation | None) -> list[Structure]:
    structures = [parse_structure(name, occupation) for name in names]
    if occupation is not None and not any(structure.note for structure in structures):
        raise UsageError("--occupation has no effect: no structure comes from a file with partly occupied sites.")
    folders: dict[str, str] = {}
    for structure, name in zip(structures, names):
        other = folders.setdefault(structure.folder_name.lower(), name)
        if other != name or names.count(name) > 1:
            raise UsageError(
                f"{other} and {name} would share the folder {structure.folder_name}; rename a file, or "
                "measure them in two runs."
            )
    return structures


def _check_elements(calculator: BaseCalculator, structures: Sequence[Structure]) -> None:
    """Refuse an element the potential does not know before anything is computed."""
    if isinstance(calculator, Calculator):
        known = set(calculator.potential.elements)
    elif isinstance(calculator, EMT):
        from ase.calculators.emt import parameters

        known = set(parameters)
    else:
        return
    for structure in structures:
        missing = sorted(set(structure.atoms.symbols) - known)
        if missing:
            raise ElementError(
                f"{structure.label} holds {', '.join(missing)}, which this potential does not know; it "
                f"was made for {', '.join(sorted(known))}."
            )


def _measure_all(
    job: PropertyJob, model: str, calculator: BaseCalculator, structures: list[Structure], console: Console
) -> list[StructureReport]:
    for structure in structures:  # what does not fit what is stored is said before anything is computed
        Store(job.output / structure.folder_name)
    workers = min(job.jobs, len(structures))
    threads = max(1, num_threads(job.threads) // workers) if workers > 1 else num_threads(job.threads)
    console.line(
        f"{len(structures)} structure{'s' if len(structures) != 1 else ''}, {workers} process"
        f"{'es' if workers != 1 else ''} of {threads} thread{'s' if threads != 1 else ''}; results in "
        f"{job.output}"
    )
    with stop_on_signal() as stop:
        if workers > 1:
            return _in_processes(job, model, structures, workers, threads, console, stop)
        set_threads(threads)
        reports = []
        for structure in structures:
            reports.append(_measure_one(job, calculator, structure, stop, _prefixed(console.line, structure.label)))
        return reports


def _prefixed(line: Callable[[str], None], label: str) -> Callable[[str], None]:
    return lambda text: line(f"{label}: {text}")


def _measure_one(
    job: PropertyJob,
    calculator: BaseCalculator,
    structure: Structure,
    stop: Callable[[], bool],
    say: Callable[[str], None],
) -> StructureReport:
    return compute(
        calculator,
        structure,
        only=job.only,
        skip=job.skip,
        also=job.also,
        settings=job.settings,
        folder=job.output / structure.folder_name,
        overwrite=job.overwrite,
        name=job.model,
        progress=say,
        stop=stop,
    )


# --- several processes

_shared: dict = {}


def _start_worker(lines, stop, threads: int) -> None:
    from equipot.system.threads import limit_spinning

    limit_spinning()
    set_threads(threads)
    _shared.update(lines=lines, stop=stop)


def _work(job: PropertyJob, model: str, label: str, structure: Structure) -> dict:
    """Measure one structure in a process of its own; what comes back is plain data."""
    with stop_on_signal() as own:
        calculator = make_calculator(job, model)
        report = _measure_one(
            job,
            calculator,
            structure,
            lambda: own() or _shared["stop"].is_set(),
            lambda text: _shared["lines"].put((label, text)),
        )
    return {"results": [result.to_dict() for result in report.results.values()], "resumed": report.num_resumed}


def _in_processes(
    job: PropertyJob,
    model: str,
    structures: list[Structure],
    workers: int,
    threads: int,
    console: Console,
    stop: StopRequest,
) -> list[StructureReport]:
    context = multiprocessing.get_context("spawn")
    lines, stopped = context.Queue(), context.Event()
    done: dict[str, StructureReport] = {}
    problem: BaseException | None = None
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(lines, stopped, threads)
    ) as pool:
        futures: dict[Future, Structure] = {
            pool.submit(_work, job, model, structure.label, structure): structure for structure in structures
        }
        pending = set(futures)
        while pending:
            finished, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
            _drain(lines, console)
            if (stop() or problem is not None) and not stopped.is_set():
                stopped.set()
                for future in pending:
                    future.cancel()
            for future in finished:
                structure = futures[future]
                try:
                    answer = future.result()
                except BrokenProcessPool:
                    problem = EquipotError(
                        "A process ended without a word (killed, or out of memory); what was "
                        "finished is stored, the same command goes on. Fewer --jobs need less "
                        "memory."
                    )
                except BaseException as error:  # raised again below, after the others have stored what they have
                    if problem is None or isinstance(problem, Interrupted):
                        problem = error
                else:
                    results = [PropertyResult.from_dict(entry) for entry in answer["results"]]
                    done[structure.label] = StructureReport(
                        structure.label, job.model, {result.name: result for result in results}, answer["resumed"]
                    )
        _drain(lines, console)
    if stop() and not (problem is not None and not isinstance(problem, Interrupted)):
        raise Interrupted(
            f"Stopped by {stop.signal_name}; {len(done)} of {len(structures)} structures are complete "
            "and every finished property is stored, the same command goes on from there."
        )
    if problem is not None:
        raise problem
    return [done[structure.label] for structure in structures]


def _drain(lines, console: Console) -> None:
    while True:
        try:
            label, text = lines.get_nowait()
        except queue.Empty:
            return
        console.line(f"{label}: {text}")
