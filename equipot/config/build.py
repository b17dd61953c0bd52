"""The builder that turns a mapping into a frozen dataclass by its type hints, strictly.

Understood hints: bool, int, float, str, None, Any, Literal, unions, ``tuple[X, ...]``, ``tuple[X, Y]``, ``list[X]``,
``Mapping[K, V]``, dataclasses, and ``Annotated`` with ``Limit`` and ``Rule``. A whole number serves as a float; a
boolean never serves as a number; NaN and infinity never pass.

A dataclass may say more about itself:

* ``extra_keys = "options"`` (a class variable): keys that are no fields go, unchecked, to that field;
* ``ineffective(self) -> dict[str, str]``: dotted paths of fields that do nothing given the others, with the reason;
  such a key in a file is an error;
* ``__post_init__`` may raise ``FieldError`` for values that do not go together.
"""

from __future__ import annotations

import math
import numbers
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from equipot.config.foreign import foreign_answer
from equipot.config.limits import Limit, Rule
from equipot.config.located import LocatedDict, place_of
from equipot.config.position import FieldError, Position, given_at, locate
from equipot.config.wording import describe_hint, describe_value, nearest, shorten, suggestions
from equipot.errors import ConfigError

T = TypeVar("T")
_UNIONS = (Union, types.UnionType)


def build(cls: type[T], mapping: Mapping[str, Any], *, where: str = "", defaults: Mapping[str, Any] | None = None) -> T:
    """Build a dataclass from a mapping.

    Args:
        cls: the dataclass.
        mapping: field name -> value. A ``LocatedDict`` lets errors name file and line.
        where: dotted path of the mapping in the configuration, for messages ("model").
        defaults: values of fields the mapping does not give (a preset), in place of the dataclass's own defaults.

    Returns:
        The instance; lists have become tuples.

    Raises:
        ConfigError: an unknown key, a missing field, a value of the wrong type or out of range, or keys that do not
            go together. The message says place, path, what was found and what was expected.
    """
    position = Position(where, mapping.place if isinstance(mapping, LocatedDict) else "")
    return _build(cls, mapping, position, root=cls, defaults=defaults or {})


def convert(value: Any, hint: Any, position: Position, root: type | None = None, shown: Any = None) -> Any:
    """Check one value against a type hint and return it normalised (lists to tuples, whole numbers to floats).

    ``shown`` is the hint that messages describe where it says more than ``hint``.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is Annotated:
        result = convert(value, arguments[0], position, root, hint)
        for rule in arguments[1:]:
            if isinstance(rule, Limit | Rule) and not rule.accepts(result):
                raise _mismatch(value, hint, position)
        return result
    if origin in _UNIONS:
        return _convert_union(value, hint, arguments, position, root)
    if origin is Literal:
        if any(value == choice and type(value) is type(choice) for choice in arguments):
            return value
        raise _mismatch(value, hint, position)
    if is_dataclass(hint):
        if isinstance(value, hint):
            return value
        if not isinstance(value, Mapping):
            raise _mismatch(value, hint, position)
        return _build(hint, value, position, root or hint)
    if origin in (tuple, list) or hint in (tuple, list):
        return _convert_list(value, hint, origin or hint, arguments, position, root)
    if _is_mapping_hint(origin or hint):
        return _convert_mapping(value, hint, arguments, position, root)
    return _convert_scalar(value, hint, position, shown or hint)


def _build(cls, mapping, position: Position, root: type, defaults: Mapping[str, Any] | None = None):
    if not isinstance(mapping, Mapping):
        raise _mismatch(mapping, cls, position)
    hints, extra = field_hints(cls), getattr(cls, "extra_keys", None)
    names = [field.name for field in fields(cls) if field.init and field.name != extra]
    given = dict(defaults or {})
    for key, value in mapping.items():
        if key not in names and extra is None:
            raise _unknown_key(cls, key, position, mapping, names, root)
        given[key] = value
    values = {
        name: convert(given.pop(name), hints[name], position.child(mapping, name), root)
        for name in names
        if name in given
    }
    if extra is not None:
        if extra in given:
            here = position.child(mapping, extra)
            raise here.error(f"is not a key; write the keys meant for it directly under {position.path or 'this'}.")
        kept = {key: place_of(mapping, key, position.place) for key in given}
        values[extra] = LocatedDict(given, position.place, kept, tuple(names))
    for field in fields(cls):
        if field.init and field.name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise position.error(f"has no '{field.name}', expected {describe_hint(hints[field.name])}.")
    try:
        result = cls(**values)
    except FieldError as error:
        raise locate(error.path, mapping, position).error(error.message) from None
    except ConfigError as error:
        raise ConfigError(f"{position.place}: {error}" if position.place else str(error)) from None
    except (ValueError, TypeError) as error:
        raise position.error(f"is not valid: {error}") from None
    if hasattr(result, "ineffective"):
        for path, reason in result.ineffective().items():
            if given_at(mapping, path) is not None:
                raise locate(path, mapping, position).error(f"has no effect here: {reason}. Remove it.")
    return result


@lru_cache(maxsize=256)
def field_hints(cls: type) -> dict[str, Any]:
    """The type hints of a dataclass, with their limits."""
    return get_type_hints(cls, include_extras=True)


def _convert_scalar(value: Any, hint: Any, position: Position, shown: Any) -> Any:
    if hint in (None, type(None)):
        if value is None:
            return None
    elif hint is bool:
        if isinstance(value, bool):
            return value
    elif hint is int:
        if isinstance(value, numbers.Integral) and not isinstance(value, bool):
            return int(value)
        if isinstance(value, float) and value.is_integer():
            raise position.error(f"is {value!r}, expected {describe_hint(shown)}; write {int(value)}.")
    elif hint is float:
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            if not _is_finite(value):
                raise position.error(f"is {shorten(str(value))}, expected a finite number.")
            return float(value)
    elif hint is str:
        if isinstance(value, str):
            return str(value)
    elif isinstance(hint, type):
        if isinstance(value, hint):
            return value
    else:
        raise TypeError(f"the type hint {hint!r} is not one the configuration builder knows")
    raise _mismatch(value, shown, position)


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _convert_list(value, hint, origin, arguments, position: Position, root):
    if not isinstance(value, list | tuple):
        advice = f"; write [{value}]" if isinstance(value, str) and len(value) < 60 else ""
        raise position.error(f"is {describe_value(value)}, expected {describe_hint(hint)}{advice}.")
    is_fixed = origin is tuple and arguments and arguments[-1] is not Ellipsis
    if is_fixed and len(value) != len(arguments):
        raise _mismatch(value, hint, position)
    item_hints = arguments if is_fixed else [arguments[0] if arguments else Any] * len(value)
    items = [
        convert(item, item_hint, position.child(value, index), root)
        for index, (item, item_hint) in enumerate(zip(value, item_hints))
    ]
    return tuple(items) if origin is tuple else items


def _convert_mapping(value, hint, arguments, position: Position, root):
    if not isinstance(value, Mapping):
        raise _mismatch(value, hint, position)
    key_hint, value_hint = arguments if arguments else (str, Any)
    result = LocatedDict(place=position.place, siblings=value.siblings) if isinstance(value, LocatedDict) else {}
    for key, item in value.items():
        here = position.child(value, key)
        try:
            key = convert(key, key_hint, Position("the key"), root)
        except ConfigError:
            advice = nearest(key, suggestions(key_hint))
            raise here.error(
                f"is not a valid key, expected {describe_hint(key_hint)}"
                + (f"; did you mean '{advice}'?" if advice else ".")
            ) from None
        result[key] = convert(item, value_hint, here, root)
        if isinstance(result, LocatedDict):
            result.places[key] = here.place
    return result


def _convert_union(value, hint, members, position: Position, root):
    suited = [member for member in members if _kind(value) in _kinds(member)]
    failure = None
    for member in suited:
        try:
            return convert(value, member, position, root)
        except ConfigError as error:
            failure = error
    if failure is not None and (
        isinstance(value, Mapping | list | tuple) or (isinstance(value, float) and not _is_finite(value))
    ):
        raise failure
    raise _mismatch(value, hint, position)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, numbers.Real):
        return "number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list | tuple):
        return "list"
    return "mapping"


def _kinds(hint: Any) -> set[str]:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return {"null", "bool", "number", "text", "list", "mapping"}
    if origin is Annotated:
        return _kinds(arguments[0])
    if origin in _UNIONS:
        return set().union(*map(_kinds, arguments))
    if origin is Literal:
        return {_kind(value) for value in arguments}
    if origin in (tuple, list) or hint in (tuple, list):
        return {"list"}
    return {int: {"number"}, float: {"number"}, bool: {"bool"}, str: {"text"}, type(None): {"null"}}.get(
        hint, {"mapping"}
    )


def _is_mapping_hint(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _mismatch(value: Any, hint: Any, position: Position) -> ConfigError:
    advice = nearest(value, suggestions(hint)) if isinstance(value, str) else None
    return position.error(
        f"is {describe_value(value)}, expected {describe_hint(hint)}"
        + (f"; did you mean '{advice}'?" if advice else ".")
    )


def _unknown_key(cls, key, position: Position, mapping, names, root) -> ConfigError:
    here = position.child(mapping, shorten(str(key)))
    place = place_of(mapping, key, position.place)
    candidates = [*names, *getattr(mapping, "siblings", ())]
    close = nearest(key, candidates)
    elsewhere = [path for path in _paths(root) if path.rsplit(".", 1)[-1] == key]
    foreign = None
    if getattr(root, "answers_foreign_keys", False) or position.path.split(".")[0] == "model":
        foreign = foreign_answer(key, mapping[key])
    if foreign is not None and (close is None or position.child(mapping, close).path != foreign[0]):
        advice = f"{foreign[1]}."
    elif close is not None:
        advice = f"did you mean {position.child(mapping, close).path}?"
    elif elsewhere and root is not cls:
        advice = f"did you mean {' or '.join(elsewhere[:3])}?"
    elif elsewhere:
        prefix = f"{position.path}." if position.path else ""
        advice = f"did you mean {' or '.join(prefix + path for path in elsewhere[:3])}?"
    else:
        advice = f"valid here: {', '.join(candidates)}."
    return Position(here.path, place).error(f"is not a known key; {advice}")


def _paths(cls: type, prefix: str = "", depth: int = 3) -> list[str]:
    """Dotted paths of all fields of a dataclass and of the sections in it."""
    result = []
    for name, hint in field_hints(cls).items():
        if name not in {field.name for field in fields(cls)}:
            continue
        result.append(prefix + name)
        for section in (hint, *get_args(hint)):
            if isinstance(section, type) and is_dataclass(section) and depth:
                result += _paths(section, f"{prefix}{name}.", depth - 1)
    return result
