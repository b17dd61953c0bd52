"""Nests of plain values and tensors, taken apart into named tensors and a JSON skeleton, and put together again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from equipot.errors import CheckpointError

MAX_DEPTH = 60


def flatten_state(nested: Any) -> tuple[dict[str, Tensor], Any]:
    """Take apart a nest of dict, list, tuple, None, bool, int, float, str and tensors.

    Keys of dicts may be text, numbers, booleans or None; order and types are kept, as are infinities and NaN
    (subclasses of dict become dict).

    Args:
        nested: the nest (an optimiser's ``state_dict()``, for example).

    Returns:
        (tensors by name, JSON-able skeleton) for :func:`unflatten_state`. Tensors are not copied.

    Raises:
        CheckpointError: something else is in it; the message says where.
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _flatten(nested, "", tensors, 0)


def unflatten_state(tensors: Mapping[str, Tensor], skeleton: Any) -> Any:
    """Put together what :func:`flatten_state` took apart, exactly.

    Raises:
        CheckpointError: tensors and skeleton do not belong together.
    """
    try:
        return _unflatten(skeleton, tensors, 0)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"The saved state does not fit its tensors ({type(error).__name__}: {str(error)[:200]})."
        ) from None


def _flatten(value: Any, path: str, tensors: dict[str, Tensor], depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise CheckpointError(f"The state to save is nested deeper than {MAX_DEPTH} levels at {path[:80]}.")
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if isinstance(value, float):  # NumPy's float64 too, which is a float
        return float(value) if math.isfinite(value) else {"float": repr(float(value))}
    if isinstance(value, Tensor):
        name = path or "value"
        while name in tensors:
            name += "'"
        tensors[name] = value
        return {"tensor": name}
    if kind in (list, tuple):
        items = [_flatten(item, _join(path, index), tensors, depth + 1) for index, item in enumerate(value)]
        return items if kind is list else {"tuple": items}
    if isinstance(value, dict):
        pairs = []
        for key, item in value.items():
            if key is not None and type(key) not in (bool, int, float, str):
                raise CheckpointError(
                    f"The state to save has a key of type {type(key).__name__} at "
                    f"{path or 'the top'}, expected text or a number."
                )
            pairs.append([_flatten(key, path, tensors, depth), _flatten(item, _join(path, key), tensors, depth + 1)])
        return {"dict": pairs}
    raise CheckpointError(
        f"The state to save holds {kind.__name__} at {path or 'the top'}, expected tensors, numbers, "
        "text, None, lists, tuples and dicts."
    )


def _unflatten(value: Any, tensors: Mapping[str, Tensor], depth: int) -> Any:
    if depth > 4 * MAX_DEPTH:
        raise CheckpointError("The saved state is nested too deep.")
    if isinstance(value, list):
        return [_unflatten(item, tensors, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "float":
        return {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}[content]
    if kind == "tuple":
        return tuple(_unflatten(item, tensors, depth + 1) for item in content)
    if kind == "dict":
        return {_unflatten(key, tensors, depth + 1): _unflatten(item, tensors, depth + 1) for key, item in content}
    raise ValueError(f"unknown kind {kind!r}")


def _join(path: str, key: Any) -> str:
    return f"{path}/{key}" if path else str(key)
