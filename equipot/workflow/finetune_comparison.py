"""Before and after a fine-tuning, in numbers: errors, softening, what was forgotten, short range, cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from equipot.checks.model.cutoff import pairs_of
from equipot.checks.model.dimers import attracts_up_to, dimer_curve
from equipot.checks.model.subject import PotentialSubject
from equipot.data.datasets import frame_to_graph
from equipot.data.frames import Frame
from equipot.elements import sorted_symbols
from equipot.errors import EquipotError, Interrupted
from equipot.finetuning.forgetting import BaseDomain, held_out_domain
from equipot.models import Potential
from equipot.report.points import Points, parity_points
from equipot.system.signals import StopRequest
from equipot.training import Evaluation
from equipot.training import evaluate as evaluate_graphs
from equipot.training.metrics import group_names_of

#: The models of a comparison, in the order they are shown, and what they are called.
BASE, ZERO_SHOT, TUNED, SCRATCH = "base", "zero_shot", "tuned", "scratch"
LABELS = {BASE: "zero-shot", ZERO_SHOT: "zero-shot, refitted E0", TUNED: "fine-tuned", SCRATCH: "from scratch"}
#: By where the atomic energies of the model before the first step are from, if they were not fitted anew.
_ZERO_SHOT_LABELS = {
    "base": "zero-shot, kept E0",
    "isolated": "zero-shot, E0 of isolated atoms",
    "given": "zero-shot, given E0",
}
#: Pairs of elements of the user's frames whose dimer curves are computed.
MOST_PAIRS = 6


def label_of(name: str, model: Potential) -> str:
    """What a model of a comparison is called."""
    label = _ZERO_SHOT_LABELS.get(str(model.metadata.get("atomic_energies_origin"))) if name == ZERO_SHOT else None
    return label or LABELS[name]


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Attributes:
        document: as ``finetune.json`` holds it.
        points: model -> points of a parity plot on the user's frames.
        domain_points: the same of the tuned potential against its base on held-out crystals.
        dimers: pair -> model -> curve (see :func:`equipot.checks.model.dimers.dimer_curve`).
    """

    document: dict[str, Any]
    points: dict[str, Points]
    domain_points: Points | None
    dimers: dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class Settings:
    """How much is computed.

    Attributes:
        num_prototypes: held-out crystals, 0 for none.
        known: name -> labelled frames of what the base is good at.
        batch_edges: edges evaluated at once.
        stop: asked between the parts.
    """

    num_prototypes: int = 200
    known: Mapping[str, Sequence[Frame]] = field(default_factory=dict)
    batch_edges: int = 50_000
    stop: StopRequest | None = None


def compare_finetuned(
    models: Mapping[str, Potential],
    frames: Sequence[Frame],
    split: str,
    settings: Settings,
    cost: Mapping[str, Mapping[str, Any]],
) -> Comparison:
    """Compare a fine-tuned potential with what it began as.

    Args:
        models: some of ``base``, ``zero_shot``, ``scratch``, and ``tuned``. A model that does not know an element of
            the frames is not evaluated on them.
        frames: labelled, of the user.
        split: what they are called.
        settings: how much is computed.
        cost: model -> seconds, steps and so on, as they are shown.

    Raises:
        Interrupted: asked to stop.
        StructureError, DataError: frames that cannot be used.
    """
    elements = sorted_symbols(symbol for frame in frames for symbol in frame.atoms.symbols)
    able = {name: model for name, model in models.items() if set(elements) <= set(model.elements)}
    metrics, points, slopes = {}, {}, {}
    for name, model in able.items():
        _ask(settings.stop)
        metrics[name], points[name], slopes[name] = _on_frames(model, frames, settings.batch_edges)
    document: dict[str, Any] = {
        "split": split,
        "errors": metrics,
        "force_slopes": slopes,
        "models": {
            name: {
                "label": label_of(name, model),
                "num_parameters": model.num_parameters(),
                "name": model.metadata.get("name"),
            }
            for name, model in models.items()
        },
        "not_evaluated": {
            name: sorted(set(elements) - set(model.elements)) for name, model in models.items() if name not in able
        },
    }
    domain_points = None
    if BASE in models and TUNED in models:
        document["forgetting"], domain_points = _forgetting(models[BASE], models[TUNED], settings)
    _ask(settings.stop)
    dimers = _dimers(able, elements)
    document["dimers"] = {
        pair: {name: _short_range(curve) for name, curve in curves.items()} for pair, curves in dimers.items()
    }
    document["cost"] = {name: dict(entry) for name, entry in cost.items()}
    return Comparison(document, points, domain_points, dimers)


def force_slope(reference: np.ndarray, predicted: np.ndarray) -> float | None:
    """Slope of the line through the origin of predicted against reference force components; 1 where they agree.

    Below 1 the potential is too soft: universal potentials underestimate forces away from equilibrium, and a few frames
    of fine-tuning raise the slope (B. Deng et al., npj Comput. Mater. 11 (2025) 9).

    Returns:
        None where there are no forces other than zero.
    """
    square = float(np.square(reference).sum())
    return float((reference * predicted).sum()) / square if square > 1e-12 else None


def _on_frames(
    model: Potential, frames: Sequence[Frame], batch_edges: int
) -> tuple[dict[str, Any], Points, dict[str, float | None]]:
    """Errors by config_type, points, and the slope of the forces of every config_type."""
    graphs = [frame_to_graph(frame, model.cutoff, frame_id=place) for place, frame in enumerate(frames)]
    result = evaluate_graphs(model, graphs, batch_edges=batch_edges, device=model.device, collect=True)
    return _described(model, graphs, result)


def _described(
    model: Potential, graphs: Sequence, result: Evaluation
) -> tuple[dict[str, Any], Points, dict[str, float | None]]:
    energies = dict(zip(model.elements, model.atomic_energies.tolist()))
    points = parity_points(graphs, result.predictions, energies)
    slopes = {"all": force_slope(*points["forces"])}
    members: dict[str, list[int]] = defaultdict(list)
    shown = group_names_of([graph.config_type for graph in graphs])
    for place, graph in enumerate(graphs):
        members[shown[graph.config_type]].append(place)
    for group in sorted(members):
        chosen = members[group]
        part = parity_points([graphs[k] for k in chosen], [result.predictions[k] for k in chosen], energies)
        slopes[group] = force_slope(*part["forces"])
    return result.metrics, points, slopes


def _forgetting(base: Potential, tuned: Potential, settings: Settings) -> tuple[dict[str, Any], Points | None]:
    """On held-out crystals, against the base; on given frames, both against their labels."""
    shared = [element for element in base.elements if element in tuned.elements]
    found: dict[str, Any] = {"elements": len(shared), "known": {}}
    points = None
    if settings.num_prototypes:
        _ask(settings.stop)
        domain = held_out_domain(base, settings.num_prototypes, elements=shared)
        metrics, points, slopes = _deviation(domain, tuned, settings.batch_edges)
        rms = float(np.sqrt(np.mean(np.concatenate([np.ravel(frame.forces) for frame in domain.frames]) ** 2)))
        found["prototypes"] = {
            "num_structures": len(domain.frames),
            "num_left_out": domain.num_left_out,
            "base_forces_rms_ev_per_angstrom": rms,
            "deviation": metrics,
            "force_slopes": slopes,
        }
    for name, frames in settings.known.items():
        _ask(settings.stop)
        kept = [frame for frame in frames if set(frame.atoms.symbols) <= set(shared)]
        after = _with_zero_of(base, tuned, kept)
        found["known"][name] = {
            "num_left_out": len(frames) - len(kept),
            "before": _on_frames(base, kept, settings.batch_edges)[0],
            "after": _on_frames(tuned, after, settings.batch_edges)[0],
        }
    return found, points


def _deviation(
    domain: BaseDomain, tuned: Potential, batch_edges: int
) -> tuple[dict[str, Any], Points, dict[str, float | None]]:
    graphs = domain.graphs(tuned)
    return _described(
        tuned, graphs, evaluate_graphs(tuned, graphs, batch_edges=batch_edges, device=tuned.device, collect=True)
    )


def _with_zero_of(base: Potential, tuned: Potential, frames: Sequence[Frame]) -> list[Frame]:
    """Frames of the base's level of theory, their energies moved by the change of the atomic energies."""
    own = dict(zip(base.elements, base.atomic_energies.tolist()))
    new = dict(zip(tuned.elements, tuned.atomic_energies.tolist()))
    return [
        replace(frame, energy=frame.energy + sum(new[symbol] - own[symbol] for symbol in frame.atoms.symbols))
        for frame in frames
    ]


def _dimers(models: Mapping[str, Potential], elements: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Curves of pairs of the user's elements; the zero-shot model has those of the base."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    shown = {name: model for name, model in models.items() if name != BASE or ZERO_SHOT not in models}
    for pair in pairs_of(tuple(elements), MOST_PAIRS):
        curves = {}
        for name, model in shown.items():
            try:
                curves[name] = dimer_curve(PotentialSubject(model).twin(), pair)
            except EquipotError:
                continue
        found["-".join(pair)] = curves
    return found


def _short_range(curve: Mapping[str, Any]) -> dict[str, float]:
    """Where a dimer attracts at short range, and its minimum outside the wall."""
    outside = curve["distances"] >= 0.7 * curve["covalent"]
    lowest = int(np.argmin(np.where(outside, curve["energies"], np.inf)))
    return {
        "attracts_up_to_angstrom": attracts_up_to(curve),
        "minimum_angstrom": float(curve["distances"][lowest]),
        "minimum_ev": float(curve["energies"][lowest]),
    }


def _ask(stop: StopRequest | None) -> None:
    if stop is not None and stop():
        raise Interrupted("Stopped while the fine-tuned potential was compared with its base.")
