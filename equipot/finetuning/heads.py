"""Two levels of theory in a fine-tuning: parameters that each head has for itself, over a trunk that both share.

The user's frames train the new head and the trunk, replayed structures the base's head and the trunk. Afterwards each
head is an ordinary potential (``equipot.checkpoint.heads`` keeps both in one file).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import nn
from torch.nn.utils import parametrize

from equipot.finetuning.base import plain_copy
from equipot.models import Potential


class HeadSwitch:
    """Which head a potential is at the moment."""

    def __init__(self) -> None:
        self.is_base = False

    @contextlib.contextmanager
    def base(self) -> Iterator[None]:
        """The potential is the base's head for the time of the ``with`` block."""
        before, self.is_base = self.is_base, True
        try:
            yield
        finally:
            self.is_base = before


class PerHead(nn.Module):
    """In place of a parameter: one for the new head and one for the base's, equal at first.

    Args:
        weight: what both begin with.
        switch: says which is meant.
        fan_in: of the matrix, for the learning rates.
    """

    def __init__(self, weight: torch.Tensor, switch: HeadSwitch, fan_in: float) -> None:
        super().__init__()
        self.of_new = nn.Parameter(weight.detach().clone())
        self.of_base = nn.Parameter(weight.detach().clone())
        self.switch = switch
        self.fan_in = {"of_new": fan_in, "of_base": fan_in}

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return self.of_base if self.switch.is_base else self.of_new


def split_heads(potential: Potential, names: Iterable[str]) -> HeadSwitch:
    """Let each head have some parameters for itself; all of them train.

    Args:
        potential: changed in place.
        names: of the parameters.
    """
    switch, factors = HeadSwitch(), potential.learning_rate_factors()
    for name in sorted(names):
        module_name, _, own = name.rpartition(".")
        parameter = potential.get_parameter(name).requires_grad_(False)
        pair = PerHead(parameter, switch, factors[name] ** -2)
        parametrize.register_parametrization(potential.get_submodule(module_name), own, pair)
    return switch


def export_heads(
    potential: Potential, switch: HeadSwitch, base: Potential, name: str
) -> tuple[Potential, dict[str, Potential]]:
    """The new head and the base's, each an ordinary potential.

    Args:
        potential: as it trains.
        switch: of :func:`split_heads`.
        base: with the atomic energies and the metadata of the base's head.
        name: of the base's head.
    """
    with switch.base():
        kept = plain_copy(potential)
    with torch.no_grad():
        kept.atomic_energies.copy_(base.atomic_energies)
    kept.metadata = {**base.metadata, "head": name}
    return plain_copy(potential), {name: kept}


def shares_what_trains(potential: Potential) -> bool:
    """Whether any parameter trains that both heads use."""
    return any(
        parameter.requires_grad and not name.endswith((".of_new", ".of_base"))
        for name, parameter in potential.named_parameters()
    )
