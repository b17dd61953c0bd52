"""A new potential from its configuration, atomic energies, scale and shift, with seeded weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from equipot.errors import ConfigError
from equipot.models.config import PotentialConfig
from equipot.models.potential import Potential
from equipot.models.registry import EXAMPLE, resolve_options


def build_potential(
    config: PotentialConfig,
    *,
    atomic_energies: Mapping[str, float],
    scale: float | Mapping[str, float] = 1.0,
    shift: float | Mapping[str, float] = 0.0,
    seed: int = 0,
) -> Potential:
    """Build a potential with random weights.

    Args:
        config: architecture, elements, cutoff, dtype, ...
        atomic_energies: element -> eV, one for each element.
        scale: eV, of the network's output, one number or one an element.
        shift: eV/atom added to bound atoms, likewise.
        seed: of the weights; torch's global generator is left as it was.

    Raises:
        ConfigError: an element without a number, or a number that is not finite.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        potential = Potential(config)
    with torch.no_grad():
        potential.atomic_energies.copy_(_by_element(config, "atomic_energies", atomic_energies))
        potential.scale.copy_(_by_element(config, "scale", scale))
        potential.shift.copy_(_by_element(config, "shift", shift))
    return potential


def example_potential(
    elements: tuple[str, ...], cutoff: float, *, avg_num_neighbors: float, dtype: str, **options: Any
) -> Potential:
    """A small potential with random weights, for tests of an installation.

    Args:
        elements, cutoff, avg_num_neighbors, dtype: as in :class:`PotentialConfig`.
        options: of the architecture, over its preset ``small``.
    """
    config = PotentialConfig(
        architecture=EXAMPLE,
        elements=elements,
        cutoff=cutoff,
        avg_num_neighbors=avg_num_neighbors,
        dtype=dtype,
        options=resolve_options(EXAMPLE, "small", options),
    )
    return build_potential(config, atomic_energies={element: -1.0 - k for k, element in enumerate(elements)})


def _by_element(config: PotentialConfig, name: str, values: float | Mapping[str, float]) -> torch.Tensor:
    if not isinstance(values, Mapping):
        values = {element: values for element in config.elements}
    missing = [element for element in config.elements if element not in values]
    if missing:
        raise ConfigError(f"{name} has no value for {', '.join(missing)}; give one for each of the elements.")
    unknown = [element for element in values if element not in config.elements]
    if unknown:
        raise ConfigError(
            f"{name} names {', '.join(unknown)}, which the potential does not have; its elements are "
            f"{', '.join(config.elements)}."
        )
    chosen = [float(values[element]) for element in config.elements]
    if not all(math.isfinite(value) for value in chosen):
        raise ConfigError(f"{name} must be finite, found {chosen}.")
    return torch.tensor(chosen, dtype=torch.float64)
