"""The model card: what a model is for, what it was made from, where it holds, and what is known to be wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from equipot.checks.model import CheckReport
from equipot.checks.model.result import NOT_RUN
from equipot.models.registry import entry, names
from equipot.report.check_plots import outcome_text
from equipot.report.tables import Metrics, format_error
from equipot.version import __version__

_E3NN = "M. Geiger and T. Smidt, e3nn: Euclidean neural networks, arXiv 2207.09453 (2022)"
#: A group whose error is so many times that of its split is named among the limits,
_FACTOR = 3.0
#: as is one with fewer training frames than this.
_FEW = 5
_MOST_GROUPS = 8
NOT_GIVEN = "not given"


def _citation(architecture: str) -> str | None:
    """The paper of an architecture; None where it is not registered here."""
    return entry(architecture).citation if architecture in names() else None


def card_facts(document: Mapping[str, Any], coverage: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Pairs of label and value: purpose, origin, range, licence, citations.

    Args:
        document: of the model file.
        coverage: what the training data cover, in words.
    """
    metadata = document.get("metadata") or {}
    elements = list(document.get("elements", ()))
    data = metadata.get("training_data") or {}
    options = (document.get("config") or {}).get("options") or {}
    layers = options.get("num_layers")
    cutoff = document.get("cutoff")
    reach = f"{cutoff:g} Å" + (f", {layers} layers: {layers * cutoff:g} Å in all" if isinstance(layers, int) else "")
    frames = ", ".join(f"{count} {split}" for split, count in (data.get("num_frames") or {}).items() if count)
    architecture = str(document.get("architecture", ""))
    citations = [metadata.get("citation"), _citation(architecture), _E3NN, f"equipot {__version__}"]
    return [
        (
            "Purpose",
            metadata.get("purpose")
            or (
                f"energies, forces and stresses of structures of {', '.join(elements)} in molecular dynamics, "
                "relaxation and properties, near the structures it was trained on"
            ),
        ),
        (
            "Not for",
            "other elements; charges, spin, electronic or magnetic properties; long-range electrostatics and "
            "anything beyond its reach",
        ),
        ("Elements", " ".join(elements)),
        ("Architecture", architecture),
        ("Reach", reach),
        ("Parameters", f"{document.get('num_parameters', 0):,}"),
        ("Precision", str(document.get("dtype", ""))),
        ("Level of theory", metadata.get("level_of_theory") or NOT_GIVEN),
        ("Trained on", frames or NOT_GIVEN),
        ("Source of the data", data.get("source") or NOT_GIVEN),
        *coverage,
        ("Licence", _named(metadata.get("licence"))),
        ("Please cite", "; ".join(filter(None, map(_named_or_none, citations)))),
    ]


def known_limits(
    document: Mapping[str, Any], metrics: Mapping[str, Metrics], check: CheckReport | None, warnings: Sequence[str]
) -> list[tuple[str, str]]:
    """What is known to be wrong or untested: (``fail``, ``warn`` or ``info``, sentence), worst first."""
    limits: list[tuple[str, str]] = []
    if check is None:
        limits.append(
            (
                "warn",
                "The physics check was not run: nothing is known of symmetries, derivatives, short "
                "range and stability. equipot check runs it.",
            )
        )
    else:
        limits += [
            (result.status, f"{result.title}: {outcome_text(result)}")
            for result in check.results
            if result.status in ("fail", "warn")
        ]
        if not check.is_complete:
            missing = ", ".join(result.title for result in check.results if result.status == NOT_RUN)
            limits.append(("warn", f"{check.counts[NOT_RUN]} physics checks were not run for lack of time: {missing}."))
    limits += _group_limits(metrics)
    held_out = next((split for split in ("test", "data", "validation") if split in metrics), None)
    if held_out is None:
        limits.append(("warn", "There are no test frames: the errors are those of training."))
    elif held_out == "validation":
        limits.append(
            (
                "info",
                "There are no test frames; the validation frames chose the epoch, so their errors are "
                "somewhat too good.",
            )
        )
    for label, key in (
        ("energies", "energy_mae_mev_per_atom"),
        ("forces", "forces_mae_mev_per_angstrom"),
        ("stresses", "stress_mae_gpa"),
    ):
        if metrics and all(groups.get("all", {}).get(key) is None for groups in metrics.values()):
            limits.append(("warn", f"There are no labelled {label}: those of the model are untested."))
    limits += [("warn", warning) for warning in warnings]
    order = {"fail": 0, "warn": 1, "info": 2}
    return sorted(limits, key=lambda item: order[item[0]])


def _group_limits(metrics: Mapping[str, Metrics]) -> list[tuple[str, str]]:
    """Groups that come out much worse than the rest, and groups the model has hardly seen."""
    found = []
    split = next((name for name in ("test", "data", "validation", "train") if name in metrics), None)
    for label, key, unit in (
        ("forces", "forces_mae_mev_per_angstrom", "meV/Å"),
        ("energies", "energy_mae_mev_per_atom", "meV/atom"),
    ):
        groups = metrics.get(split, {}) if split else {}
        whole = groups.get("all", {}).get(key)
        bad = [
            (group[key], name)
            for name, group in groups.items()
            if name != "all" and whole and group.get(key) is not None and group[key] > _FACTOR * whole
        ]
        if bad:
            shown = ", ".join(
                f"{name or '(none)'} ({format_error(value)} {unit})"
                for value, name in sorted(bad, reverse=True)[:_MOST_GROUPS]
            )
            found.append(
                (
                    "warn",
                    f"{label.capitalize()} are more than {_FACTOR:g} times worse than on the whole "
                    f"({split}: {format_error(whole)} {unit}) for {shown}.",
                )
            )
    few = sorted(
        name or "(none)"
        for name, group in metrics.get("train", {}).items()
        if name != "all" and group.get("num_configurations", 0) < _FEW
    )
    if few:
        more = f" and {len(few) - _MOST_GROUPS} more" if len(few) > _MOST_GROUPS else ""
        found.append(("info", f"Fewer than {_FEW} training frames: {', '.join(few[:_MOST_GROUPS])}{more}."))
    return found


def _named(value: Any) -> str:
    return _named_or_none(value) or NOT_GIVEN


def _named_or_none(value: Any) -> str | None:
    """Licences and citations of converted models may be lists or tables."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_named(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(map(_named, value))
    return None if value in (None, "") else str(value)
