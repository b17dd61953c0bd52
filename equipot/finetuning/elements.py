"""Elements of a finished potential dropped, or new ones added, without a change to what it says of the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch

from equipot.elements import MAX_ATOMIC_NUMBER, atomic_number, covalent_radius, sorted_symbols, symbol
from equipot.errors import ConfigError
from equipot.models import Potential, PotentialConfig

#: Option of an architecture that holds a number for each element.
_RADII = "agnesi_radii"
_NOBLE_GASES = (0, 2, 10, 18, 36, 54, 86, 118)


def with_elements(potential: Potential, elements: Sequence[str], neighbors: Mapping[str, str]) -> Potential:
    """A potential that knows other elements.

    Everything a potential has for each element (embedding, matrices of species, weights of products, atomic energies,
    scale, shift) is taken from the element itself or, for a new one, from its neighbour. The dimension that counts
    elements is found by building the potential with one element more, so that this holds for any architecture.

    Args:
        potential: left as it is.
        elements: symbols it shall know, in any order.
        neighbors: new element -> the known one it begins as.

    Raises:
        ConfigError: a new element without a neighbour, or a neighbour the potential does not know.
    """
    wanted, old = sorted_symbols(elements), potential.elements
    source = {element: neighbors.get(element, element) for element in wanted}
    unknown = [f"{element} (from {origin})" for element, origin in source.items() if origin not in old]
    if unknown:
        raise ConfigError(f"The base does not know {', '.join(unknown)}; it knows {', '.join(old)}.")
    if wanted == old:
        return potential
    rows = torch.tensor([old.index(source[element]) for element in wanted])
    axes = _species_axes(potential)
    state = {
        name: tensor.index_select(axes[name], rows.to(tensor.device)) if name in axes else tensor
        for name, tensor in potential.state_dict().items()
    }
    result = _build(_config_for(potential.config, wanted)).to(potential.device)
    result.load_state_dict(state)
    result.metadata = dict(potential.metadata)
    return result.train(potential.training).requires_grad_(False)


def _species_axes(potential: Potential) -> dict[str, int]:
    """Tensor -> its dimension that counts elements; tensors without one are left out."""
    extra = next(
        symbol(number) for number in range(1, MAX_ATOMIC_NUMBER + 1) if symbol(number) not in potential.elements
    )
    larger = _build(_config_for(potential.config, sorted_symbols([*potential.elements, extra]))).state_dict()
    axes = {}
    for name, tensor in potential.state_dict().items():
        changed = [axis for axis, (here, there) in enumerate(zip(tensor.shape, larger[name].shape)) if here != there]
        if len(changed) > 1:
            raise ConfigError(
                f"The base's tensor {name} has the elements in several dimensions; equipot cannot change "
                "the elements of such an architecture."
            )
        if changed:
            axes[name] = changed[0]
    return axes


def _build(config: PotentialConfig) -> Potential:
    with torch.random.fork_rng(devices=[]):
        return Potential(config)


def _config_for(config: PotentialConfig, elements: Sequence[str]) -> PotentialConfig:
    """The configuration with other elements: radii of new ones are covalent radii."""

    def radii(values: Sequence[float]) -> tuple[float, ...]:
        known = dict(zip(config.elements, values))
        return tuple(known.get(element, covalent_radius(element)) for element in elements)

    options = dict(config.options)
    if options.get(_RADII) is not None:
        options[_RADII] = radii(options[_RADII])
    return dataclasses.replace(
        config,
        elements=tuple(elements),
        options=options,
        zbl_radii=None if config.zbl_radii is None else radii(config.zbl_radii),
    )


def nearest_element(element: str, known: Sequence[str]) -> str:
    """The known element nearest in the periodic table: in the same group before the next, heavier before lighter."""

    def distance(other: str) -> tuple[float, bool]:
        (period, group, f), (its_period, its_group, its_f) = _place(element), _place(other)
        return (
            abs(period - its_period) + 3 * abs(group - its_group) + abs(f - its_f) / 2,
            atomic_number(other) < atomic_number(element),
        )

    return min(known, key=distance)


def _place(element: str) -> tuple[int, int, int]:
    """(period, group, place in the f block)."""
    number = atomic_number(element)
    period = next(k for k, last in enumerate(_NOBLE_GASES) if number <= last)
    place, length = number - _NOBLE_GASES[period - 1], _NOBLE_GASES[period] - _NOBLE_GASES[period - 1]
    if length == 32 and place > 2:
        return (period, 3, place - 3) if place < 17 else (period, place - 14, 0)
    if length == 8 and place > 2:
        return period, place + 10, 0
    return (period, 18, 0) if element == "He" else (period, place, 0)


def choose_elements(
    base: Potential, policy: str | Sequence[str], new: Mapping[str, str], present: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The elements of a fine-tuning, and the neighbours of the new ones.

    Args:
        base: the potential it begins with.
        policy: ``keep`` (those of the base), ``data`` (those in the frames) or a list; new ones come on top.
        new: new element -> neighbour, or ``auto``: the nearest in the periodic table.
        present: elements in the frames.

    Raises:
        ConfigError: a new element that the base knows, or that no frame contains; a neighbour or listed element that
            the base does not know; a list that lacks an element of the frames; nothing of the base is left.
    """
    for element, neighbor in new.items():
        if element in base.elements:
            raise ConfigError(f"finetune.new_elements names {element}, which the base knows already.")
        if element not in present:
            raise ConfigError(
                f"finetune.new_elements names {element}, which no frame contains: nothing would be learned of it."
            )
        if neighbor != "auto" and neighbor not in base.elements:
            raise ConfigError(
                f"finetune.new_elements.{element} is {neighbor}, which the base does not know; it knows "
                f"{', '.join(base.elements)}."
            )
    neighbors = {
        element: nearest_element(element, base.elements) if neighbor == "auto" else neighbor
        for element, neighbor in new.items()
    }
    if policy == "keep":
        chosen = base.elements
    elif policy == "data":
        chosen = [element for element in present if element not in new]
        if not chosen:
            raise ConfigError(
                f"finetune.elements is data, but the frames have only new elements "
                f"({', '.join(present)}), so that none of the base would be left; say keep, or list "
                "those that stay."
            )
    else:
        chosen = policy
        unknown = [element for element in chosen if element not in base.elements]
        if unknown:
            raise ConfigError(
                f"finetune.elements lists {', '.join(unknown)}, which the base does not know; say in "
                "finetune.new_elements which known element each begins as."
            )
        missing = [element for element in present if element not in chosen and element not in new]
        if missing:
            raise ConfigError(f"finetune.elements does not list {', '.join(missing)}, which the frames contain.")
    return sorted_symbols([*chosen, *new]), neighbors
