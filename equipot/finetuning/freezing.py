"""What of a potential trains in a fine-tuning, and a table of it."""

from __future__ import annotations

from equipot.config import FinetuneConfig
from equipot.errors import ConfigError
from equipot.finetuning.blocks import blocks, parameter_names, select
from equipot.models import Potential


def freeze(potential: Potential, config: FinetuneConfig) -> None:
    """Take ``requires_grad`` from the parameters that a configuration freezes.

    Raises:
        ConfigError: a pattern matches nothing, or nothing is left to train (a new head's own parameters always are).
    """
    if config.mode != "frozen":
        return
    names = parameter_names(potential)
    if config.freeze:
        trained = set(names) - select(names, config.freeze, "finetune.freeze")
    else:
        trained = select(names, config.train, "finetune.train")
    if not trained and config.head is None:
        raise ConfigError("finetune.freeze freezes every parameter; nothing is left to train.")
    for name, parameter in potential.named_parameters():
        parameter.requires_grad_(name in trained)


def trained_table(potential: Potential) -> list[tuple[str, str, str]]:
    """Rows (block, numbers that train, numbers that do not) that hold each parameter once, and their sum."""
    sizes = {name: parameter.numel() for name, parameter in potential.named_parameters()}
    trained = set(parameter_names(potential))
    members = {
        block: names
        for block, names in blocks(list(sizes)).items()
        if block in ("embedding", "readout", "scale_shift") or block.startswith("layer_")
    }
    listed = {name for names in members.values() for name in names}
    members["other"] = [name for name in sizes if name not in listed]
    rows = [(block, names) for block, names in members.items() if names]
    rows.append(("all", list(sizes)))
    return [
        (
            block,
            f"{sum(sizes[name] for name in names if name in trained):,}",
            f"{sum(sizes[name] for name in names if name not in trained):,}",
        )
        for block, names in rows
    ]
