"""A strict reader of YAML: plain data only, every entry with its line, nothing that surprises.

Differences from PyYAML's safe loader, each of which has cost somebody a run:

* ``1e-3`` is a number; ``No``, ``On``, ``yes`` are text (nobelium stays nobelium); only ``true`` and ``false`` are
  booleans; ``010`` and ``12:30:00`` are text, not 8 and 45000;
* keys are always text;
* a key given twice, an anchor, an alias (and with them alias bombs), a tag, a merge key, a second document, more than
  32 levels, or a file above 1 MB is an error.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from equipot.config.located import LocatedDict, LocatedList
from equipot.config.wording import describe_value
from equipot.errors import ConfigError

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_NODES = 20_000

_STRING = "tag:yaml.org,2002:str"
#: The YAML 1.2 core schema without octal and hexadecimal integers: (tag, pattern, first characters).
RESOLVERS = (
    ("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        re.compile(
            r"^(?:[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        list("-+.0123456789"),
    ),
)


class _Composer(yaml.SafeLoader):
    """Composes nodes under the rules above; it is never asked to construct objects."""

    yaml_implicit_resolvers: ClassVar[dict] = {}

    def __init__(self, stream: str, name: str):
        super().__init__(stream)
        self._name, self._depth, self._nodes = name, 0, 0

    def compose_node(self, parent, index):
        event = self.peek_event()
        place = f"{self._name}, line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ConfigError(
                f"{place}: anchors (&) and aliases (*) are not read here; write the value out, "
                "in quotes if it begins with that character."
            )
        if getattr(event, "tag", None) is not None:
            raise ConfigError(
                f"{place}: the tag {event.tag} is not read here; write a plain value, in quotes if it begins with '!'."
            )
        self._depth += 1
        self._nodes += 1
        if self._depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise ConfigError(
                f"{place}: more than {MAX_DEPTH} levels or {MAX_NODES} entries; no configuration needs that many."
            )
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


for _tag, _pattern, _first in RESOLVERS:
    _Composer.add_implicit_resolver(_tag, _pattern, _first)


def read_yaml(path: str | Path) -> LocatedDict:
    """Read a file whose top level is a mapping.

    Args:
        path: the file, UTF-8, at most 1 MB.

    Returns:
        The mapping; an empty file gives an empty one.

    Raises:
        ConfigError: the file is absent, too large, not text, or breaks a rule of this reader.
    """
    path = Path(path)
    try:
        if not path.is_file():
            kind = "is a folder" if path.is_dir() else "is not a file" if path.exists() else "does not exist"
            raise ConfigError(f"{path}: the configuration file {kind}; give the path of a YAML file.")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(
            f"{path}: the file is larger than {MAX_BYTES // 1000} kB, which no configuration is; is it the right file?"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8 text; is it the right file?") from None
    value = parse_yaml(text, str(path))
    if value is None:
        return LocatedDict(place=str(path))
    if not isinstance(value, LocatedDict):
        raise ConfigError(
            f"{path}, line 1: the file holds {describe_value(value)}, expected 'section:' lines with keys under them."
        )
    return value


def parse_yaml(text: str, name: str) -> Any:
    """Parse one YAML document into LocatedDict, LocatedList, str, int, float, bool and None.

    Args:
        text: the document.
        name: what messages call it (a file name).

    Raises:
        ConfigError: the text breaks a rule of this reader; the message begins with ``name`` and the line.
    """
    composer = None
    try:
        composer = _Composer(text, name)
        node = composer.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        problem = error.problem or error.context or "not valid YAML"
        if "single document" in f"{error.context}":
            problem = "a second document begins here ('---'), expected one"
        raise ConfigError(f"{name}{line}: {problem}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not readable as YAML ({' '.join(str(error).split())}).") from None
    except (ValueError, OverflowError):  # PyYAML's chr() of an escape such as \U00110000
        line = composer.line + 1 if composer is not None else 1
        raise ConfigError(
            f"{name}, line {line}: an escape in double quotes is not a character of Unicode; write the "
            "character itself, or use single quotes."
        ) from None
    finally:
        if composer is not None:
            composer.dispose()
    return None if node is None else _construct(node, name)


def _construct(node: yaml.Node, name: str) -> Any:
    place = f"{name}, line {node.start_mark.line + 1}"
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, place)
    if isinstance(node, yaml.SequenceNode):
        return LocatedList(
            (_construct(item, name) for item in node.value),
            place,
            [f"{name}, line {item.start_mark.line + 1}" for item in node.value],
        )
    result = LocatedDict(place=place)
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"{name}, line {line}: a key is a list or a mapping, expected a word.")
        key = key_node.value
        if key in result:
            raise ConfigError(
                f"{name}, line {line}: the key '{key}' is given a second time (first at "
                f"{result.places[key].removeprefix(name + ', ')}); keep one."
            )
        result[key] = _construct(value_node, name)
        result.places[key] = f"{name}, line {line}"
    return result


def _scalar(node: yaml.ScalarNode, place: str) -> Any:
    text, kind = node.value, node.tag.rsplit(":", 1)[-1]
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        if len(text) > 30:
            raise ConfigError(f"{place}: the number {text[:20]}... has {len(text)} digits; expected at most 30.")
        return int(text)
    if kind == "float":
        special = text.lower().lstrip("+-.")
        return float(text.replace(".", "", 1)) if special in ("inf", "nan") else float(text)
    return text
