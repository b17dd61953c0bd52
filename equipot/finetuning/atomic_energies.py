"""Atomic energies of a fine-tuning: the base's, fitted anew to what the base leaves of the energies, or given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from equipot.data.atomic_energies import AtomicEnergies, fit_composition, isolated_energies
from equipot.data.label_masks import label_masks
from equipot.errors import ConfigError, DataError
from equipot.graph import collate
from equipot.training.evaluate import batches_by_edges
from equipot.units import MEV_PER_EV

if TYPE_CHECKING:
    from equipot.data.frames import Frame
    from equipot.graph import AtomicGraph
    from equipot.models import Potential

#: Edges a batch when the base predicts energies.
BATCH_EDGES = 50_000


def choose_atomic_energies(
    base: Potential, policy: str | Mapping[str, float], graphs: Sequence[AtomicGraph], isolated: Sequence[Frame]
) -> AtomicEnergies:
    """Atomic energies of every element of the base for a fine-tuning.

    Args:
        base: with its own atomic energies.
        policy: ``refit``, ``keep``, ``isolated``, or a mapping element -> eV for some or all elements; see
            :class:`equipot.config.FinetuneConfig`.
        graphs: training graphs with labels.
        isolated: isolated-atom frames.

    Returns:
        A value for each element of the base. Elements the data say nothing about keep the base's.

    Raises:
        DataError: ``isolated`` without isolated-atom frames of the elements in the data; ``refit`` without energies.
        ConfigError: a given element that the base does not have.
    """
    own = dict(zip(base.elements, base.atomic_energies.tolist()))
    if policy == "keep":
        return AtomicEnergies(own, "base", num_elements=len(own))
    if policy == "refit":
        return _refit(base, own, graphs)
    if policy == "isolated":
        return _isolated(base, own, _present(base, graphs), isolated)
    return _given(own, _present(base, graphs), policy)


def _present(base: Potential, graphs: Sequence[AtomicGraph]) -> list[str]:
    """Elements in the graphs, in the order of the base."""
    species = torch.cat([base.species(graph.atomic_numbers) for graph in graphs]).unique().tolist()
    return [base.elements[k] for k in species]


def _refit(base: Potential, own: Mapping[str, float], graphs: Sequence[AtomicGraph]) -> AtomicEnergies:
    """Least squares of (label - base) / N on composition: a change for each element that is there."""
    labelled = [graph for graph in graphs if bool(label_masks(graph).energy.all())]
    if not labelled:
        raise DataError(
            "finetune.atomic_energies is refit, but no training frame has an energy to fit to. Use keep, "
            "or give the atomic energies."
        )
    present = _present(base, labelled)
    column = {element: k for k, element in enumerate(present)}
    fractions = np.zeros((len(labelled), len(present)))
    for row, graph in enumerate(labelled):
        for k in base.species(graph.atomic_numbers).tolist():
            fractions[row, column[base.elements[k]]] += 1 / graph.num_nodes
    left = np.array([float(graph.energy) for graph in labelled]) - base_energies(base, labelled)
    left /= [graph.num_nodes for graph in labelled]
    change = fit_composition(fractions, left, present)
    values = {element: energy + change.values.get(element, 0.0) for element, energy in own.items()}
    remaining = left - fractions @ np.array([change.values[element] for element in present])
    warnings = [text.replace("data.atomic_energies", "finetune.atomic_energies") for text in change.warnings]
    result = replace(
        change,
        values=values,
        origin="refit",
        warnings=warnings,
        residual_rms_mev_per_atom=float(np.sqrt(np.mean(remaining**2)) * MEV_PER_EV),
    )
    return _warn_of_absent(result, own, present)


def _isolated(
    base: Potential, own: Mapping[str, float], present: Sequence[str], frames: Sequence[Frame]
) -> AtomicEnergies:
    """Each isolated atom of the potential has the energy of its frame."""
    energies, warnings = isolated_energies(frames)
    missing = [element for element in present if element not in energies]
    if missing:
        raise DataError(
            f"finetune.atomic_energies is isolated, but there is no isolated-atom frame with an energy for "
            f"{', '.join(missing)}. Add one frame with a single atom and config_type=IsolatedAtom, or use "
            "refit."
        )
    lone = lone_energies(base)
    values = {
        element: energy + (energies[element] - lone[element] if element in energies else 0.0)
        for element, energy in own.items()
    }
    result = AtomicEnergies(values, "isolated", num_elements=len(energies), warnings=list(warnings))
    return _warn_of_absent(result, own, [element for element in own if element in energies])


def _given(own: Mapping[str, float], present: Sequence[str], values: Mapping[str, float]) -> AtomicEnergies:
    unknown = [element for element in values if element not in own]
    if unknown:
        raise ConfigError(
            f"finetune.atomic_energies names {', '.join(unknown)}, which the model does not have; its "
            f"elements are {', '.join(own)}."
        )
    missing = [element for element in present if element not in values]
    if missing:
        raise ConfigError(
            f"finetune.atomic_energies has no value for {', '.join(missing)}, which the frames contain; "
            f"it has {', '.join(values) or 'none'}."
        )
    return _warn_of_absent(AtomicEnergies({**own, **values}, "given", num_elements=len(values)), own, list(values))


def _warn_of_absent(result: AtomicEnergies, own: Mapping[str, float], present: Sequence[str]) -> AtomicEnergies:
    absent = [element for element in own if element not in present]
    changed = any(result.values[element] != before for element, before in own.items())
    if absent and changed:
        shown = ", ".join(absent[:8]) + (f" and {len(absent) - 8} more" if len(absent) > 8 else "")
        source = "finetune.atomic_energies says" if result.origin == "given" else "the training frames say"
        result.warnings.append(
            f"{source} nothing about the atomic energies of {shown}: these stay "
            "those of the base, so that energies of structures with them and with elements of the "
            "frames mix two levels of theory"
        )
    return result


def isolated_drift(potential: Potential, frames: Sequence[Frame]) -> dict[str, float]:
    """Element -> by how much (eV) the energy of a lone atom is above that of its isolated-atom frame."""
    energies, _ = isolated_energies(frames)
    lone = lone_energies(potential)
    return {element: lone[element] - energy for element, energy in energies.items() if element in lone}


def base_energies(base: Potential, graphs: Sequence[AtomicGraph]) -> np.ndarray:
    """(frames,) total energies of the base, eV."""
    energies = [
        base(batch.to(base.device), forces=False, stress=False).energy.cpu()
        for batch in batches_by_edges(graphs, BATCH_EDGES)
    ]
    return torch.cat(energies).numpy()


def lone_energies(potential: Potential) -> dict[str, float]:
    """Element -> energy of an atom without neighbours, eV."""
    from ase import Atoms

    from equipot.graph import from_ase

    graphs = [from_ase(Atoms(element), potential.cutoff) for element in potential.elements]
    energy = potential(collate(graphs).to(potential.device), forces=False, stress=False).energy
    return dict(zip(potential.elements, energy.tolist()))
