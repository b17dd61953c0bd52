"""Why a model without a fault behaves badly far from its data, and what to do about it in the next training."""

from __future__ import annotations

from collections.abc import Sequence

from equipot.checks.model.registry import Context
from equipot.checks.model.result import Measure
from equipot.checks.model.subject import PotentialSubject

LEAST_SQUARES = (
    "atomic energies fitted by least squares set no dissociation limit: add frames of isolated atoms to the data, or "
    "give data.atomic_energies"
)
SWITCH_ON_ZBL = "model.zbl: true adds a repulsion of the cores that needs no data"


def short_range(context: Context, measures: Sequence[Measure]) -> str:
    """For dimers, and crystals under compression, without a wall."""
    if not isinstance(context.subject, PotentialSubject):
        return "the training data of such models hold no atoms so close; compressed and dimer frames would teach them"
    if context.subject.potential.zbl is None:
        return f"no short distances in the training data, so that nothing teaches the repulsion: {SWITCH_ON_ZBL}"
    return (
        "the network outweighs the ZBL repulsion where it has no data: add compressed frames, or dimers at short "
        "distances"
    )


def volumes(context: Context, measures: Sequence[Measure]) -> str:
    """For energies that run down on one of the two sides of a crystal's volume."""
    bad = [measure for measure in measures if not measure.is_good]
    parts = []
    if any("compression" in measure.name for measure in bad):
        parts.append(f"on compression: {short_range(context, measures)}")
    if any("expansion" in measure.name for measure in bad):
        parts.append(f"on expansion: {_expansion(context)}")
    return "; ".join(parts)


def _expansion(context: Context) -> str:
    subject = context.subject
    if isinstance(subject, PotentialSubject) and subject.potential.metadata.get("atomic_energies_origin") in (
        "least_squares",
        "refit",
    ):
        return LEAST_SQUARES
    return "no dilute structures in the training data: add expanded crystals"
