"""Pickles read as data: a small machine that follows a pickle's opcodes and never imports or calls what it names.

A pickle is a program that builds objects by importing names and calling them. Here a name stays a :class:`Name`, a call
a :class:`Record` of its arguments, and state that would be set on an object is kept beside it. Nothing that a file says
runs; what a file can do is to be refused. The few calls an importer understands (a tensor from its storage, an ordered
dictionary) it gives as functions of its own, by name.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from equipot.errors import CheckpointError

#: Opcodes of one pickle; the largest checkpoint seen has 200 000.
MAX_OPCODES = 20_000_000
#: Parts of a dictionary's key: a tuple that holds one tuple twice, sixty deep, would take the age of the world to hash.
MAX_KEY_PARTS = 1000
#: What a pickle may hold when everything it refers to twice is written out twice, and may copy while it is read, for
#: each of its bytes, and besides.
MAX_SHARING, MAX_SHARING_OF_SMALL = 20, 1_000_000


@dataclass(frozen=True)
class Name:
    """A global that a pickle names, ``module.name``; it is not looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Record:
    """An object that a pickle would make: what would be called, with what, and what would be put into it after."""

    kind: Name | None
    arguments: tuple = ()
    state: dict[str, Any] = field(default_factory=dict)
    items: list = field(default_factory=list)
    entries: dict = field(default_factory=dict)
    #: State that is no dictionary of attributes.
    other_state: Any = None

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute the object would have."""
        return self.state.get(name, default)


#: Name of a call -> a function of our own that makes its value from the arguments.
Makers = Mapping[tuple[str, str], Callable[..., Any]]


class _Mark:
    """The mark of the pickle machine's stack."""


_MARK = _Mark()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {
    "INT",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG",
    "LONG1",
    "LONG4",
    "FLOAT",
    "BINFLOAT",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINBYTES8",
    "BYTEARRAY8",
    "UNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE",
    "BINUNICODE8",
}
_IGNORED = {"PROTO", "FRAME"}


def read_pickle(content: bytes, where: str, makers: Makers, persistent: Callable[[Any], Any]) -> Any:
    """Follow a pickle's opcodes.

    Args:
        content: the pickle.
        where: its file, for messages.
        makers: the calls that are understood.
        persistent: value of a persistent id.

    Raises:
        CheckpointError: not a pickle, damaged, or of a form that is not read.
    """
    most = MAX_SHARING_OF_SMALL + MAX_SHARING * len(content)
    machine = _Machine(makers, persistent, most)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(content))):
            if count > MAX_OPCODES:
                raise CheckpointError(
                    f"{where}: its pickle has more than {MAX_OPCODES} instructions; it is damaged or made to do harm."
                )
            if opcode.name == "STOP":
                value = machine.pop()
                check_written_out(value, most)
                return value
            machine.step(opcode.name, argument)
    except CheckpointError:
        raise
    except Exception as error:  # whatever damaged bytes lead to
        raise CheckpointError(f"{where}: its pickle cannot be read ({type(error).__name__}: {error}).") from None
    raise CheckpointError(f"{where}: its pickle is cut short.")


def check_written_out(value: Any, most: int) -> None:
    """Refuse a nest of containers that is small only because its parts are shared, or that holds itself.

    Whoever walks such a nest as the tree it stands for would not come to an end. A record is one part wherever it
    occurs; what it holds is looked at by itself.

    Args:
        value: tuples, lists, dictionaries and records.
        most: parts it may have as a tree.

    Raises:
        ValueError: it has more.
    """
    sizes: dict[int, int] = {}
    stack = [(value, False)]
    while stack:
        item, is_done = stack.pop()
        if isinstance(item, Record):
            if id(item) not in sizes:
                sizes[id(item)] = 1
                parts = (item.arguments, item.state, item.items, item.entries, item.other_state)
                stack.extend((part, False) for part in parts)
        elif isinstance(item, tuple | list | dict):
            parts = [*item.keys(), *item.values()] if isinstance(item, dict) else item
            if is_done:
                sizes[id(item)] = 1 + sum(sizes.get(id(part), 1) for part in parts)
                if sizes[id(item)] > most:
                    raise ValueError("its parts refer to each other too often")
            elif id(item) not in sizes:
                sizes[id(item)] = most + 1  # until it is known: what holds itself is refused
                stack.append((item, True))
                stack.extend((part, False) for part in parts)


def _key(value: Any) -> Any:
    """A dictionary's key, if it can be hashed in reasonable time."""
    stack, count = [value], 0
    while stack:
        item = stack.pop()
        count += 1
        if count > MAX_KEY_PARTS:
            raise ValueError("the key of a dictionary is too large")
        if isinstance(item, tuple):
            stack.extend(item[: MAX_KEY_PARTS + 1])
    return value


class _Machine:
    def __init__(self, makers: Makers, persistent: Callable[[Any], Any], most_copied: int) -> None:
        self.makers, self.persistent = makers, persistent
        self.left_to_copy = most_copied
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a value is missing")
        return value

    def pop_to_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError("a mark is missing")
        values = self.stack[at + 1 :]
        del self.stack[at:]
        return values

    def step(self, opcode: str, argument: Any) -> None:
        if opcode in _VALUES:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode])
        elif opcode not in _IGNORED:
            method = getattr(self, f"_{opcode.lower()}", None)
            if method is None:
                raise ValueError(f"the instruction {opcode} is not read")
            method(argument)

    # --- stack and memo

    def _mark(self, _: Any) -> None:
        self.stack.append(_MARK)

    def _pop(self, _: Any) -> None:
        self.stack.pop()

    def _pop_mark(self, _: Any) -> None:
        self.pop_to_mark()

    def _dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def _put(self, index: int) -> None:
        self.memo[int(index)] = self.stack[-1]

    _binput = _long_binput = _put

    def _memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _get(self, index: int) -> None:
        self.stack.append(self.memo[int(index)])

    _binget = _long_binget = _get

    # --- containers

    def _empty_tuple(self, _: Any) -> None:
        self.stack.append(())

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(self.pop_to_mark()))

    def _tuple1(self, _: Any) -> None:
        self._tuple_of(1)

    def _tuple2(self, _: Any) -> None:
        self._tuple_of(2)

    def _tuple3(self, _: Any) -> None:
        self._tuple_of(3)

    def _tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(values)))

    def _empty_list(self, _: Any) -> None:
        self.stack.append([])

    def _list(self, _: Any) -> None:
        self.stack.append(self.pop_to_mark())

    def _append(self, _: Any) -> None:
        value = self.pop()
        _items(self.stack[-1]).append(value)

    def _appends(self, _: Any) -> None:
        values = self.pop_to_mark()
        _items(self.stack[-1]).extend(values)

    def _empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def _dict(self, _: Any) -> None:
        values = self.pop_to_mark()
        self.stack.append(dict(zip(map(_key, values[::2]), values[1::2])))

    def _setitem(self, _: Any) -> None:
        value, key = self.pop(), self.pop()
        _entries(self.stack[-1])[_key(key)] = value

    def _setitems(self, _: Any) -> None:
        values = self.pop_to_mark()
        _entries(self.stack[-1]).update(zip(map(_key, values[::2]), values[1::2]))

    def _empty_set(self, _: Any) -> None:
        self.stack.append(Record(Name("builtins", "set")))

    def _additems(self, _: Any) -> None:
        values = self.pop_to_mark()
        _items(self.stack[-1]).extend(values)

    def _frozenset(self, _: Any) -> None:
        self.stack.append(Record(Name("builtins", "frozenset"), items=self.pop_to_mark()))

    # --- what would be imported and called

    def _global(self, argument: str) -> None:
        module, name = argument.split(" ", 1)
        self.stack.append(Name(module, name))

    def _stack_global(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a name is not text")
        self.stack.append(Name(module, name))

    def _reduce(self, _: Any) -> None:
        arguments, kind = self.pop(), self.pop()
        self._make(kind, arguments)

    def _newobj(self, _: Any) -> None:
        self._reduce(_)

    def _newobj_ex(self, _: Any) -> None:
        self.pop()
        self._reduce(_)

    def _obj(self, _: Any) -> None:
        kind, *arguments = self.pop_to_mark()
        self._make(kind, tuple(arguments))

    def _inst(self, argument: str) -> None:
        module, name = argument.split(" ", 1)
        self._make(Name(module, name), tuple(self.pop_to_mark()))

    def _make(self, kind: Any, arguments: Any) -> None:
        if not isinstance(arguments, tuple):
            raise ValueError("the arguments of a call are not a tuple")
        maker = self.makers.get((kind.module, kind.name)) if isinstance(kind, Name) else None
        if maker is not None:
            self.left_to_copy -= sum(
                len(part) for part in arguments if isinstance(part, tuple | list | dict | str | bytes)
            )
            if self.left_to_copy < 0:
                raise ValueError("it makes the same object too often")
            self.stack.append(maker(*arguments))
        else:
            self.stack.append(Record(kind if isinstance(kind, Name) else None, arguments))

    def _build(self, _: Any) -> None:
        state, target = self.pop(), self.stack[-1]
        if not isinstance(target, Record):
            return  # attributes of an ordered dictionary, hooks of a tensor
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.left_to_copy -= len(part)
                if self.left_to_copy < 0:
                    raise ValueError("it sets the same state too often")
                target.state.update({key: value for key, value in part.items() if isinstance(key, str)})
        target.other_state = None if isinstance(state, dict) else state

    def _persid(self, argument: str) -> None:
        self.stack.append(self.persistent(argument))

    def _binpersid(self, _: Any) -> None:
        self.stack.append(self.persistent(self.pop()))


def _items(target: Any) -> list:
    if isinstance(target, Record):
        return target.items
    if not isinstance(target, list):
        raise ValueError("values are added to what is no list")
    return target


def _entries(target: Any) -> dict:
    if isinstance(target, Record):
        return target.entries
    if not isinstance(target, dict):
        raise ValueError("entries are added to what is no dictionary")
    return target
