"""Blocks of a potential by name: which parameters ``readout``, ``layer_0`` or a regular expression mean."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from equipot.errors import ConfigError

#: Block -> regular expression on the names of parameters. ``layer_N`` and ``last_layer`` come from the model.
_BLOCKS = {
    "embedding": r"^architecture\.embedding$",
    "radial": r"^architecture\.radial\.|\.radial_network\.|\.density_network\.",
    "radial_network": r"\.(radial|density)_network\.",
    "linear": r"\.linear(_up|_out)?\.",
    "self_connection": r"\.(self_connection|skip)\.",
    "product": r"\.product\.",
    "readout": r"^architecture\.readouts?\.",
    "scale_shift": r"^(scale|shift)$",
}
_LAYER = re.compile(r"^architecture\.layers\.(\d+)\.")


def parameter_names(potential: nn.Module) -> list[str]:
    """Names of everything that can train."""
    return [name for name, parameter in potential.named_parameters() if parameter.requires_grad]


def blocks(names: Sequence[str]) -> dict[str, list[str]]:
    """Block -> names of its parameters; blocks the model does not have are left out."""
    found = {block: [name for name in names if re.search(pattern, name)] for block, pattern in _BLOCKS.items()}
    numbers = sorted({layer for name in names if (layer := layer_of(name)) is not None})
    for number in numbers:
        found[f"layer_{number}"] = [name for name in names if layer_of(name) == number]
    if numbers:
        found["last_layer"] = found[f"layer_{numbers[-1]}"]
    return {block: members for block, members in found.items() if members}


def layer_of(name: str) -> int | None:
    """The number of the layer a parameter belongs to; None outside the layers."""
    found = _LAYER.match(name)
    return int(found[1]) if found else None


def select(names: Sequence[str], wanted: Sequence[str], key: str) -> set[str]:
    """The parameters that blocks or regular expressions mean.

    Args:
        names: of all parameters.
        wanted: names of blocks, or regular expressions that are searched for in the names.
        key: of the configuration, for messages.

    Raises:
        ConfigError: one of them means no parameter; the message lists the blocks and the names.
    """
    by_block = blocks(names)
    chosen: set[str] = set()
    for text in wanted:
        matched = by_block.get(text) or [name for name in names if re.search(text, name)]
        if not matched:
            raise ConfigError(
                f"{key}: {text!r} matches no parameter. The blocks of this model are "
                f"{', '.join(by_block)}; the parameters are {', '.join(names)}."
            )
        chosen |= set(matched)
    return chosen
