"""What broken disks, careless scripts and ill will do to files: changed bytes, and changed values in a nest."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

_INTERESTING = b"\n\n\r\t  \"'{}[]=:,.-+eE_\\\0\xff\xc3019999TFnN#&*!%@|>"


def nested(depth: int) -> Any:
    """A value so many levels deep."""
    value: Any = 1
    for level in range(depth):
        value = {"a": value} if level % 2 else [value]
    return value


#: Values nobody expects; all of them are plain JSON.
NASTY: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    3.0,
    0.5,
    -0.0,
    1e-320,
    1e308,
    -1e308,
    10**6,
    10**9,
    2**31,
    2**63,
    10**30,
    -(10**30),
    "",
    " ",
    "abc",
    "auto",
    "Qq",
    "X",
    "os.system",
    "__class__",
    "__import__('os').system('touch owned')",
    "../../owned",
    "/etc/passwd",
    "\0",
    "\u202eabc",
    "\U0001f4a3",
    "é" * 300,
    "1e-3",
    "NaN",
    "-inf",
    "yes",
    "null",
    "x" * 20_000,
    [],
    {},
    [[]],
    [None],
    [1, 2, 3],
    {"a": 1},
    {"": ""},
    {"__init__": 1},
    list(range(300)),
    ["Cu"] * 300,
    nested(50),
    nested(300),
)


def mutate_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Change, insert, delete, repeat or move a few bytes; often only one digit for another, which changes meaning."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        if not data:
            break
        place, kind, length = int(rng.integers(len(data))), int(rng.integers(13)), int(rng.integers(1, 40))
        if kind == 0:
            data[place] = int(rng.integers(256))
        elif kind == 1:
            data[place] = _INTERESTING[int(rng.integers(len(_INTERESTING)))]
        elif kind == 2:
            data[place:place] = bytes([_INTERESTING[int(rng.integers(len(_INTERESTING)))]])
        elif kind == 3:
            del data[place : place + length]
        elif kind == 4:
            data[place:place] = data[place : place + length]
        elif kind == 5:
            del data[place:]
        elif kind == 6:
            data[place] ^= 1 << int(rng.integers(8))
        elif kind < 12:
            places = [position for position, byte in enumerate(data) if 48 <= byte <= 57]
            data[places[int(rng.integers(len(places)))] if places else 0] = 48 + int(rng.integers(10))
        else:
            lines = bytes(data).split(b"\n")
            a, b = (int(rng.integers(len(lines))) for _ in range(2))
            lines[a], lines[b] = lines[b], lines[a]
            data = bytearray(b"\n".join(lines))
    return bytes(data)


def mutate_nest(value: Any, rng: np.random.Generator, nasty: tuple[Any, ...] = NASTY) -> Any:
    """A deep copy in which one to three entries are replaced, removed, renamed, added or exchanged."""
    value = copy.deepcopy(value)
    for _ in range(int(rng.integers(1, 4))):
        holders = _holders(value)
        if not holders:
            return nasty[int(rng.integers(len(nasty)))]
        holder = holders[int(rng.integers(len(holders)))]
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key, bad = keys[int(rng.integers(len(keys)))], copy.deepcopy(nasty[int(rng.integers(len(nasty)))])
        kind = int(rng.integers(9))
        if kind < 5:
            holder[key] = bad
        elif kind == 5:
            del holder[key]
        elif kind == 6:
            other = keys[int(rng.integers(len(keys)))]
            holder[key], holder[other] = holder[other], holder[key]
        elif kind == 7 and isinstance(holder, dict):
            holder[_misspelt(str(key), rng)] = holder.pop(key)
        elif isinstance(holder, dict):
            holder[bad if isinstance(bad, str) else "more"] = bad
        else:
            holder.insert(int(key), bad)
    return value


def _holders(value: Any) -> list[Any]:
    found = []
    level = [value]
    while level:
        here = [item for item in level if isinstance(item, dict | list) and item]
        found += here
        level = [child for item in here for child in (item.values() if isinstance(item, dict) else item)]
    return found


def _misspelt(key: str, rng: np.random.Generator) -> str:
    place = int(rng.integers(len(key) + 1))
    return [
        key[:place] + key[place + 1 :],
        key[:place] + "x" + key[place:],
        key.upper(),
        "__" + key + "__",
        key + " ",
        key.replace("e", "\u0435"),
    ][int(rng.integers(6))]
