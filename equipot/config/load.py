"""A configuration from a YAML file with overrides, or from plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from equipot.config.build import build
from equipot.config.finetune import with_finetune_defaults
from equipot.config.overrides import apply_overrides
from equipot.config.schema import Config
from equipot.config.yaml_reader import read_yaml
from equipot.errors import ConfigError


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a training configuration.

    Args:
        path: YAML file.
        overrides: ``section.key=value`` texts applied on top of the file.

    Returns:
        The configuration with every default filled in.

    Raises:
        ConfigError: anything in the file or an override that is not valid or has no effect; the message names file
            and line (or the override), the dotted path, what was found and what was expected.
    """
    mapping = read_yaml(path)
    apply_overrides(mapping, overrides)
    config = build(Config, with_finetune_defaults(mapping))
    if not config.data.train and config.data.generate is None:
        raise ConfigError(
            f"{mapping.place}: data.train is not given, expected a list of files with frames to train on "
            "(or data.generate: cu_au_emt for the built-in example)."
        )
    return config


def from_dict(mapping: Mapping[str, Any]) -> Config:
    """Build a configuration from plain data, as strictly as from a file.

    Raises:
        ConfigError: as ``load_config``, without file and line.
    """
    return build(Config, with_finetune_defaults(mapping))
