"""From a base and the data to the potential that trains: everything a fine-tuning does before the first step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from equipot.config import FinetuneConfig
from equipot.models import Potential
from equipot.tuning.base import Base, plain_copy
from equipot.tuning.equality import Equality, require_equal
from equipot.tuning.freezing import freeze
from equipot.tuning.low_rank import add_low_rank

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from equipot.graph import AtomicGraph


@dataclass(frozen=True)
class Start:
    """What a training begins with.

    Attributes:
        potential: trains.
        export: what trains -> an ordinary potential with its present weights, for files and for use.
        zero_shot: an ordinary potential with the weights before the first step: the base with its new atomic energies.
        equality: how far that is from the base.
    """

    potential: Potential
    export: Callable[[Potential], Potential]
    zero_shot: Potential
    equality: Equality


def start_from(base: Base, config: FinetuneConfig, atomic_energies: Mapping[str, float],
               graphs: Sequence[AtomicGraph], *, seed: int = 0) -> Start:
    """Make the potential that trains.

    Args:
        base: what it begins with.
        config: of the fine-tuning.
        atomic_energies: element -> eV, one for each element.
        graphs: some of them are predicted with both potentials.
        seed: of what is drawn.

    Raises:
        ConfigError: a pattern matches nothing, or nothing is left to train.
        NumericalError: the potential does not predict what its base predicts.
    """
    potential = plain_copy(base.potential)
    with torch.no_grad():
        values = [float(atomic_energies[element]) for element in potential.elements]
        potential.atomic_energies.copy_(torch.tensor(values, dtype=torch.float64))
    zero_shot = plain_copy(potential)
    if config.mode == "lora":
        add_low_rank(potential, config, seed)
    else:
        freeze(potential, config)
    return Start(potential, plain_copy, zero_shot, require_equal(potential, base.potential, graphs))
