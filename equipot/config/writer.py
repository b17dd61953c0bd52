"""Configuration objects back to plain data and YAML that load equal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import yaml

from equipot.config.yaml_reader import RESOLVERS


def to_dict(config: Any) -> dict[str, Any]:
    """Turn a configuration dataclass into JSON-able plain data that ``build`` turns back into an equal object.

    Keys that have no effect given the others are left out, keys of an ``extra_keys`` field stand beside the fields,
    tuples become lists.
    """
    extra = getattr(config, "extra_keys", None)
    result = {
        field.name: _plain(getattr(config, field.name))
        for field in fields(config)
        if field.init and field.name != extra
    }
    for path in config.ineffective() if hasattr(config, "ineffective") else ():
        *sections, name = path.split(".")
        section = result
        for key in sections:
            section = section[key]
        section.pop(name, None)
    if extra is not None:
        result.update(_plain(getattr(config, extra)))
    return result


def to_yaml(config: Any) -> str:
    """Write a configuration dataclass as YAML, every effective key with its value, in the order of the schema."""
    return yaml.dump(
        to_dict(config), Dumper=_Writer, sort_keys=False, default_flow_style=False, allow_unicode=True, width=120
    )


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


class _Writer(yaml.SafeDumper):
    """Quotes every text that either this package's reader or a YAML 1.1 reader would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        is_flat = not any(isinstance(item, list | dict) for item in sequence)
        return super().represent_sequence(tag, sequence, is_flat)


for _tag, _pattern, _first in RESOLVERS:
    _Writer.add_implicit_resolver(_tag, _pattern, _first)


def _represent_float(writer: _Writer, value: float) -> yaml.ScalarNode:
    text = repr(float(value))
    if not math.isfinite(value):
        text = {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}[text]
    elif "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    return writer.represent_scalar("tag:yaml.org,2002:float", text)


_Writer.add_representer(float, _represent_float)
