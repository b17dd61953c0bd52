"""The resolved configuration: every ``auto`` as the number it became, and what a resumed run may not change."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equipot.config import Config, to_dict
from equipot.data.paths import DATA_VARIABLE, resolve_file
from equipot.errors import ConfigError
from equipot.models import PotentialConfig, resolve_options

if TYPE_CHECKING:
    from equipot.data.datasets import DataSets

#: Keys that say where and how often, but not what: a resumed run may change them.
FREE_KEYS = frozenset(
    {
        "name",
        "run_directory",
        "device",
        "properties",
        "physics_check",
        "report",
        "model_card",
        "data.root",
        "data.source",
        "finetune.base",
        "finetune.report",
        "training.checkpoint_minutes",
        "training.evaluation_batch_edges",
        "training.keep_checkpoints",
        "training.max_bad_steps",
        "training.num_workers",
    }
)


def resolve(config: Config, datasets: DataSets, directory: str | Path) -> Config:
    """Replace every ``auto`` and preset by what it stands for with these data.

    Args:
        config: as the user wrote it.
        datasets: the data it names.
        directory: folder of the configuration file.

    Returns:
        A configuration that gives the same run again without looking at the data for a number.
    """
    model, statistics = config.model, datasets.statistics
    return replace(
        config,
        data=replace(
            config.data,
            root=_root(config, directory),
            elements=tuple(datasets.elements),
            atomic_energies=dict(datasets.atomic_energies.values),
        ),
        model=replace(
            model,
            preset=None,
            options=resolve_options(model.architecture, model.preset, model.options),
            avg_num_neighbors=_number(model.avg_num_neighbors, max(statistics.avg_num_neighbors, 1e-3)),
            scale=_number(model.scale, statistics.forces_rms),
            shift=_number(model.shift, statistics.energy_mean_per_atom_after_e0),
        ),
    )


def resolve_finetune(config: Config, datasets: DataSets, directory: str | Path, base: Path) -> Config:
    """:func:`resolve` for a fine-tuning: its model is that of its base, its atomic energies are numbers.

    Args:
        config, directory: as for :func:`resolve`.
        datasets: with the atomic energies of the fine-tuning.
        base: the base's model file.
    """
    finetune = replace(config.finetune, base=str(base), atomic_energies=dict(datasets.atomic_energies.values))
    return replace(config, data=replace(config.data, root=_root(config, directory)), finetune=finetune)


def _number(value: Any, automatic: float) -> Any:
    return automatic if value == "auto" else value


def _root(config: Config, directory: str | Path) -> str | None:
    """The folder all relative file names were found in, absolute, so that the configuration works from anywhere."""
    data, directory = config.data, Path(directory)
    names = [name for name in (*data.train, *data.validation, *data.test) if not Path(name).expanduser().is_absolute()]
    if not names:
        return data.root
    found = [resolve_file(name, data, directory) for name in names]
    if data.root is not None:
        candidates = [directory / Path(data.root).expanduser()]
    else:
        variable = os.environ.get(DATA_VARIABLE)
        candidates = [*([Path(variable).expanduser()] if variable else []), directory]
    for candidate in candidates:
        if [candidate / name for name in names] == found:
            return str(candidate.resolve())
    return data.root


def potential_config(config: Config) -> PotentialConfig:
    """The configuration of the potential in a resolved configuration."""
    model = config.model
    return PotentialConfig(
        architecture=model.architecture,
        elements=tuple(config.data.elements),
        cutoff=model.cutoff,
        avg_num_neighbors=model.avg_num_neighbors,
        dtype=model.dtype,
        zbl=model.zbl,
        trainable_scale_shift=model.trainable_scale_shift,
        exact_isolated_atoms=model.exact_isolated_atoms,
        options=dict(model.options),
    )


def adopt_numbers(config: Config, stored: Config) -> Config:
    """Give a configuration the numbers that ``auto`` stood for in the run it goes on with.

    The weights on disk were trained with those numbers; computed again they could differ in the last digit.

    Args:
        config: resolved against the present data.
        stored: the resolved configuration in the run folder.
    """
    if config.finetune is not None:
        return replace(config, finetune=replace(config.finetune, atomic_energies=stored.finetune.atomic_energies))
    return replace(
        config,
        data=replace(config.data, atomic_energies=stored.data.atomic_energies),
        model=replace(
            config.model,
            avg_num_neighbors=stored.model.avg_num_neighbors,
            scale=stored.model.scale,
            shift=stored.model.shift,
        ),
    )


def require_same_run(
    requested: Config,
    resolved: Config,
    stored: Config,
    *,
    hashes: Mapping[str, str],
    stored_hashes: Mapping[str, str],
    where: str | Path,
) -> None:
    """Refuse to resume a run with other settings or other data than it began with.

    Args:
        requested: the configuration as the user wrote it (its ``auto`` may stand for any number).
        resolved: the same with numbers.
        stored: the resolved configuration in the run folder.
        hashes, stored_hashes: SHA-256 of the data files now and then.
        where: the run folder, for the message.

    Raises:
        ConfigError: names the keys, what the run has and what was asked for.
    """
    new, old = flatten(to_dict(resolved)), flatten(to_dict(stored))
    automatic = {key for key, value in flatten(to_dict(requested)).items() if _is_automatic(key, value)}
    changed = []
    for key in sorted(new.keys() | old.keys()):
        if any(key == free or key.startswith(f"{free}.") for free in (*FREE_KEYS, *automatic)):
            continue
        if new.get(key) != old.get(key):
            changed.append(f"{key} (the run has {_shown(old, key)}, now {_shown(new, key)})")
    if changed:
        more = f" and {len(changed) - 6} more" if len(changed) > 6 else ""
        raise ConfigError(
            f"The run in {where} cannot be resumed with a changed configuration: "
            f"{'; '.join(changed[:6])}{more}. Set them back, or start a new run (another name, or "
            "--overwrite)."
        )
    names = sorted(name for name in hashes.keys() | stored_hashes.keys() if hashes.get(name) != stored_hashes.get(name))
    if names:
        raise ConfigError(
            f"The run in {where} cannot be resumed: the contents of {', '.join(names)} are no longer "
            "those it began with. Bring the files back, or start a new run."
        )


def _is_automatic(key: str, value: Any) -> bool:
    if key in ("data.atomic_energies", "finetune.atomic_energies"):
        return isinstance(value, str)
    return value == "auto" and key in ("data.elements", "model.avg_num_neighbors", "model.scale", "model.shift")


def flatten(nest: Any, prefix: str = "") -> dict[str, Any]:
    """Write a nest of mappings as dotted key -> value; an empty mapping is a value."""
    if not isinstance(nest, Mapping) or not nest:
        return {prefix: nest}
    flat: dict[str, Any] = {}
    for key, value in nest.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _shown(flat: Mapping[str, Any], key: str) -> str:
    text = str(flat[key]) if key in flat else "nothing"
    return text if len(text) <= 60 else text[:57] + "..."
