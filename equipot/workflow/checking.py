"""The physics check that ends a training run: what of it is said, and that it never takes the run away."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Sequence
from typing import Any

from equipot.checks.model import CheckReport, check_model
from equipot.checks.model.result import NOT_RUN
from equipot.data.frames import Frame
from equipot.models import Potential
from equipot.report.check_plots import result_line
from equipot.system.signals import StopRequest
from equipot.workflow.console import Console

logger = logging.getLogger("equipot.workflow")

#: No check of the short form begins after so much computing time (CPU s): large frames and many elements must not hold
#: up a run.
SHORT_SECONDS = 60.0


def check_after_training(
    console: Console,
    potential: Potential,
    frames: Sequence[Frame],
    form: str,
    *,
    name: str,
    stop: StopRequest | None = None,
) -> CheckReport | None:
    """Check a finished potential on its own data and say how it went.

    Args:
        console: gets the verdict, a line for each check that did not pass, and a warning where one failed.
        potential: on the CPU; not changed.
        frames: labelled frames of the run.
        form: ``short``, ``full`` or ``off``.
        name: of the model.
        stop: asked between checks.

    Returns:
        The report; None where the form is ``off``, or where the check itself came to grief (which is a warning).
    """
    if form == "off":
        return None
    begin = time.perf_counter()
    try:
        # Checks may not leave a trace in the model that is about to be handed out.
        report = check_model(
            copy.deepcopy(potential).eval(),
            list(frames),
            form=form,
            name=name,
            stop=stop,
            seconds=SHORT_SECONDS if form == "short" else None,
        )
    except Exception as error:  # the model and its numbers are there; a check must not take them away
        logger.debug("the physics check raised", exc_info=True)
        console.warning(
            f"the physics check could not be run ({type(error).__name__}: {error}); try `equipot check` on the model"
        )
        return None
    announce(console, report, time.perf_counter() - begin)
    return report


def announce(console: Console, report: CheckReport, seconds: float) -> None:
    """Say the verdict in one line, what did not pass in one line each, and what a failure means."""
    console.line(f"Physics check ({report.form} form, {seconds:.0f} s): {report.tally()}.")
    for result in report.results:
        if result.status in ("warn", "fail"):
            console.line(f"  {result_line(result)}")
    if not report.is_complete:
        codes = ", ".join(result.code for result in report.results if result.status == NOT_RUN)
        console.warning(
            f"{report.counts[NOT_RUN]} checks were NOT RUN, since their computing time was used up ({codes}): nothing "
            "is known of these. `equipot check` on the model, with your frames, has no such limit."
        )
    if report.failed() == ["L1"]:
        console.warning(
            "the physics check failed in one point: the model does not reproduce the forces it was trained "
            "on. Train longer, or look at the labels with `equipot data check`."
        )
    elif report.failed():
        console.warning(
            f"THE PHYSICS CHECK FAILED ({', '.join(report.failed())}): numbers from this model are wrong "
            "somewhere. Do not use it before you know why; `equipot check` on the model, with your frames, "
            "says more."
        )


def check_summary(report: CheckReport) -> dict[str, Any]:
    """What ``summary.json`` keeps: the verdict, and of each check its status and worst figure."""

    def row(result) -> dict[str, Any]:
        worst = result.worst
        return {
            "code": result.code,
            "title": result.title,
            "status": result.status,
            "note": result.note,
            **({} if worst is None else {key: value for key, value in worst.to_dict().items() if key != "is_good"}),
        }

    return {
        "form": report.form,
        "worst": report.worst,
        "is_complete": report.is_complete,
        "counts": report.counts,
        "failed": report.failed(),
        "seconds": round(sum(result.seconds for result in report.results), 2),
        "checks": [row(result) for result in report.results],
    }
