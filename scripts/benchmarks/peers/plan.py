"""The order of a whole run: environments, then group after group its workers, its cases and their turns."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from peers.driver import Measurement, PeerError, Worker, run_case
from peers.environments import PACKAGES, InstallError, install
from peers.matched import CONVERTED, PRETRAINED, fingerprint
from peers.structures import PRETRAINED_CASES
from peers.table import group_title, make_rows


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        groups: architecture, size, dtype and threads of each.
        packages: the peers.
        cases: structures and batches.
        variants: (radial, kernels) of equipot; an empty word is equipot's own default.
    """

    groups: list[dict[str, Any]]
    packages: list[str]
    cases: list[str]
    variants: list[tuple[str, str]]


class Progress:
    """Tells what goes on: one moving line on a terminal, a line a sentence elsewhere (not for every turn)."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._status = self._console.status("starting") if self._console.is_terminal else None
        if self._status is not None:
            self._status.start()

    def step(self, text: str) -> None:
        """A passing step."""
        if self._status is not None:
            self._status.update(text)

    def say(self, text: str) -> None:
        """Something to keep."""
        self._console.print(text, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Take the moving line away."""
        if self._status is not None:
            self._status.stop()


def variant_name(radial: str, kernels: str) -> str:
    """``equipot``, ``equipot spline``, ``equipot mlp reference``, ..."""
    return " ".join(word for word in ("equipot", radial, kernels) if word)


def machine() -> dict[str, Any]:
    """What the times depend on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, AttributeError):
        memory = float("nan")
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": memory,
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": _load(),
        "load_after": _load(),
    }


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def _start(
    plan: Plan,
    group: dict[str, Any],
    pythons: dict[str, Path],
    args: argparse.Namespace,
    stack: ExitStack,
    reports: dict[str, list[dict[str, Any]]],
    say: Callable[[str], None],
) -> dict[str, Worker]:
    """Start the workers of a group and let them build their models; those that cannot are reported and left out.

    Where equipot takes in a peer's model the peer is first: it says where its checkpoint is.
    """
    logs, compiled, workers = args.environments / "logs", args.environments / "compiled", {}
    started = [
        (variant_name(*variant), Path(sys.executable), "equipot_worker", (), variant) for variant in plan.variants
    ]
    for name, python in pythons.items():
        package = PACKAGES[name]
        if _takes_part(name, group):
            started.append((name, python, package.worker, package.arguments, ("", "")))
    if group["size"] == CONVERTED:
        started.sort(key=lambda entry: entry[2] == "equipot_worker")
    checkpoint = None
    for name, python, module, arguments, (radial, kernels) in started:
        say(f"{group_title(group)}: {name} builds its model")
        environment = {"TORCHINDUCTOR_CACHE_DIR": str(compiled / "inductor")}
        if kernels:
            environment["EQUIPOT_KERNELS"] = kernels
        log = logs / f"{name.replace(' ', '-')}-{'-'.join(map(str, group.values()))}.log"
        command = [str(python), "-m", f"peers.{module}", *arguments]
        worker = Worker(name, command, group["threads"], log, environment)
        stack.callback(worker.stop)
        request = {
            "command": "build",
            **group,
            "radial": radial,
            "key": fingerprint(),
            "cache": str(compiled),
            "checkpoint": checkpoint,
        }
        report = {"group": group_title(group)}
        try:
            report |= worker.ask(request, args.timeout)
            workers[name] = worker
            checkpoint = report.get("checkpoint", checkpoint)
        except PeerError as error:
            report["error"] = str(error)
            worker.stop()
        reports.setdefault(name, []).append(report)
    return workers


def _takes_part(name: str, group: dict[str, Any]) -> bool:
    """Whether a package has a model for a group."""
    if name not in PACKAGES:
        return True
    if group["size"] == CONVERTED:
        return name == PRETRAINED[group["architecture"]].package
    return group["architecture"] in (PACKAGES[name].architectures or (group["architecture"],))


def _cases_of(name: str, case: str) -> bool:
    return any(case.startswith(start) for start in PACKAGES[name].cases) if name in PACKAGES else True


def group_cases(group: dict[str, Any], cases: list[str]) -> list[str]:
    """Those that the models of a group are measured on."""
    return [case for case in cases if (case in PRETRAINED_CASES) == (group["size"] == CONVERTED)]


def measure(plan: Plan, args: argparse.Namespace, save: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Run the plan and return the document: rows, reports of the packages, machine; ``save`` gets it by the group."""
    progress, pythons = Progress(), {}
    groups = [group for group in plan.groups if group_cases(group, plan.cases)]
    order = [*(variant_name(*variant) for variant in plan.variants), *plan.packages]
    reports: dict[str, list[dict[str, Any]]] = {}
    document: dict[str, Any] = {
        "rows": [],
        "packages": reports,
        "machine": machine(),
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    try:
        for name in (name for name in plan.packages if any(_takes_part(name, group) for group in groups)):
            try:
                pythons[name] = install(args.environments, PACKAGES[name], args.torch_index, progress.say)
            except (InstallError, OSError) as error:
                reports[name] = [{"group": "installation", "error": str(error)}]
                progress.say(f"{name} cannot be installed: {error}")
        for group in groups:
            heading = group_title(group)
            with ExitStack() as stack:
                workers = _start(plan, group, pythons, args, stack, reports, progress.step)
                failed = {
                    name: Measurement(error=entries[-1]["error"])
                    for name, entries in reports.items()
                    if entries[-1]["group"] in (heading, "installation")
                    and "error" in entries[-1]
                    and _takes_part(name, group)
                }
                for case in group_cases(group, plan.cases):
                    present = [worker for name, worker in workers.items() if _cases_of(name, case)]
                    results = run_case(
                        present,
                        case,
                        turns=args.repeats,
                        seconds=args.turn,
                        timeout=args.timeout,
                        say=lambda text, heading=heading: progress.step(f"{heading}: {text}"),
                    )
                    results |= {name: value for name, value in failed.items() if _cases_of(name, case)}
                    in_order = sorted(results.items(), key=lambda pair: order.index(pair[0]))
                    document["rows"] += make_rows(group, case, dict(in_order))
            document["machine"]["load_after"] = _load()
            save(document)
            progress.say(f"{heading}: done")
    finally:
        progress.close()
    return document
