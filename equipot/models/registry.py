"""The registry of architectures: name -> options dataclass, presets and module class.

A model of one's own needs no change inside the package::

    @dataclass(frozen=True)
    class MyOptions:
        width: int = 32

    equipot.models.register("mine", MyOptions, MyModule, presets={"small": {"width": 16}})

after which ``model.architecture: mine`` works in a configuration and ``equipot.load`` reads its files, in any process
that has run the registration.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from torch import nn

from equipot.config import build
from equipot.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Entry:
    """One registered architecture."""

    options_class: type
    module_class: type[nn.Module]
    presets: Mapping[str, Mapping[str, Any]]
    citation: str | None = None


_ENTRIES: dict[str, Entry] = {}
#: What examples and speed tests of the installation are built with.
EXAMPLE = "nequip"


def register(
    name: str,
    options_class: type,
    module_class: type[nn.Module],
    *,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    citation: str | None = None,
) -> None:
    """Make an architecture known under a name.

    Args:
        name: what ``model.architecture`` calls it.
        options_class: frozen dataclass of its options; every option has a default and a type hint.
        module_class: built as ``module_class(options, num_species=, cutoff=, avg_num_neighbors=)``; see
            :class:`equipot.models.Architecture`.
        presets: for each size name, the options that differ from the defaults.
        citation: the paper to cite for it.

    Raises:
        ConfigError: the name is taken by another class, or the options are no dataclass.
    """
    if not dataclasses.is_dataclass(options_class):
        raise ConfigError(f"The options of architecture {name!r} must be a dataclass, not {options_class!r}.")
    known = _ENTRIES.get(name)
    if known is not None and _identity(known.module_class) != _identity(module_class):
        raise ConfigError(f"An architecture named {name!r} is already registered ({known.module_class.__name__}).")
    _ENTRIES[name] = Entry(options_class, module_class, dict(presets or {}), citation)


def _identity(module_class: type) -> tuple[str, str]:
    """Of a class; the same after its file has been run again."""
    return module_class.__module__, module_class.__qualname__


def names() -> list[str]:
    """Names of all registered architectures."""
    return sorted(_ENTRIES)


def entry(name: str) -> Entry:
    """The entry of a name; ConfigError with the known names otherwise."""
    if name not in _ENTRIES:
        near = difflib.get_close_matches(str(name), names(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"model.architecture is {name!r}, expected one of {', '.join(names())}.{hint} "
            "An architecture from outside the package must be registered before it is used."
        )
    return _ENTRIES[name]


def build_options(architecture: str, options: Mapping[str, Any], preset: str | None = None) -> Any:
    """The options dataclass of an architecture: defaults, then the preset, then the given options.

    Raises:
        ConfigError: unknown architecture, preset or option, or a value that does not fit.
    """
    found = entry(architecture)
    defaults: Mapping[str, Any] = {}
    if preset is not None:
        if preset not in found.presets:
            known = ", ".join(found.presets) or "none"
            raise ConfigError(f"model.preset {preset!r} does not exist for {architecture}; it has: {known}.")
        defaults = found.presets[preset]
    return build(found.options_class, options, where="model", defaults=defaults)


def resolve_options(architecture: str, preset: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of an architecture as a plain dict, as they go into the model file."""
    return dataclasses.asdict(build_options(architecture, options, preset))
