"""From a base and the data to the potential that trains: everything a fine-tuning does before the first step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from equipot.config import FinetuneConfig
from equipot.errors import ConfigError
from equipot.finetuning.base import Base, plain_copy
from equipot.finetuning.blocks import parameter_names, select
from equipot.finetuning.equality import Equality, require_equal
from equipot.finetuning.freezing import freeze
from equipot.finetuning.heads import HeadSwitch, export_heads, split_heads
from equipot.finetuning.low_rank import add_low_rank
from equipot.models import Potential

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from equipot.graph import AtomicGraph


@dataclass(frozen=True)
class Start:
    """What a training begins with.

    Attributes:
        potential: trains.
        export: what trains -> an ordinary potential with its present weights, for files and for use, and other heads
            by name.
        zero_shot: an ordinary potential with the weights before the first step: the base with its new atomic energies.
        equality: how far that is from the base.
        switch: which head the potential is, where it has two.
    """

    potential: Potential
    export: Callable[[Potential], tuple[Potential, dict[str, Potential]]]
    zero_shot: Potential
    equality: Equality
    switch: HeadSwitch | None = None


def start_from(
    base: Base,
    config: FinetuneConfig,
    atomic_energies: Mapping[str, float],
    graphs: Sequence[AtomicGraph],
    *,
    seed: int = 0,
    own: Potential | None = None,
) -> Start:
    """Make the potential that trains.

    Args:
        base: what it is compared with.
        config: of the fine-tuning.
        atomic_energies: element -> eV, one for each element.
        graphs: some of them are predicted with both potentials.
        seed: of what is drawn.
        own: the base with the elements of the fine-tuning, where they are others.

    Raises:
        ConfigError: a pattern matches nothing, or nothing is left to train.
        NumericalError: the potential does not predict what its base predicts.
    """
    potential = plain_copy(base.potential if own is None else own)
    with torch.no_grad():
        values = [float(atomic_energies[element]) for element in potential.elements]
        potential.atomic_energies.copy_(torch.tensor(values, dtype=torch.float64))
    zero_shot = plain_copy(potential)
    own_by_head = set()
    if config.head is not None:
        own_by_head = select(parameter_names(potential), config.head_parameters, "finetune.head_parameters")
    if config.mode == "lora":
        add_low_rank(potential, config, seed, excluded=own_by_head)
    else:
        freeze(potential, config)
    if config.head is None:
        return Start(
            potential,
            lambda trained: (plain_copy(trained), {}),
            zero_shot,
            require_equal(potential, base.potential, graphs),
        )
    if config.head.lower() == base.head.lower():
        raise ConfigError(
            f"finetune.head is {config.head!r}, the name of the base's own head; give the new one another."
        )
    switch, before = split_heads(potential, own_by_head), base.potential if own is None else own
    with switch.base():
        equality = require_equal(potential, base.potential, graphs)
    equality = equality.worse(require_equal(potential, base.potential, graphs))
    return Start(
        potential, lambda trained: export_heads(trained, switch, before, base.head), zero_shot, equality, switch
    )
