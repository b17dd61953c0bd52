"""A line scan of extended XYZ files that counts the frames and checks their layout before ASE reads them.

ASE ends a file silently at a blank line, reads atoms at the origin where the position column is missing, ignores
columns nobody described, and loops on an absurd atom count. Here each frame either fits its own header or the file
is refused with frame and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from equipot.data.extxyz_comment import parse_comment
from equipot.data.formats import DAMAGED, describe_damage, open_text
from equipot.errors import DataError, ElementError

#: Longest line that is taken for text (characters).
MAX_LINE = 4_000_000
MAX_COLUMNS = 10_000
_ATOM_COUNT = re.compile(r"\d{1,12}", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,9}", re.ASCII)
_SYMBOL_NAMES, _NUMBER_NAMES, _POSITION_NAMES = ("species", "symbols"), ("Z", "numbers"), ("pos", "positions")
_TRUTH = {"T", "F", "True", "False"}


@dataclass(frozen=True)
class Column:
    """A described group of columns: name, type (R, I, S, L) and the slice of a row's fields it occupies."""

    name: str
    kind: str
    start: int
    stop: int


@dataclass
class FrameText:
    """One frame as text: its number and first line in the file, its header as read, and its rows."""

    index: int
    line: int
    comment: str
    info: dict[str, Any]
    columns: list[Column]
    rows: list[str]


class _Lines:
    """Lines of a file with a number, a length limit and errors in words."""

    def __init__(self, path: Path):
        self.path, self.number = path, 0
        try:
            self.handle = open_text(path)
        except DAMAGED as error:
            raise DataError(describe_damage(path, error)) from error

    def next(self) -> str | None:
        try:
            line = self.handle.readline(MAX_LINE)
        except DAMAGED as error:
            message = describe_damage(self.path, error)
            raise DataError(f"{message[:-1]} (after line {self.number}).") from error
        if not line:
            return None
        self.number += 1
        if len(line) >= MAX_LINE and not line.endswith("\n"):
            raise DataError(f"{self.path}, line {self.number} is longer than {MAX_LINE} characters: not extended XYZ.")
        if "\0" in line:
            raise DataError(f"{self.path}, line {self.number} holds a zero byte: not a text file.")
        return line


def iter_frame_texts(path: Path, *, check: bool = True) -> Iterator[FrameText]:
    """Go through the frames of a file as text, one at a time.

    Args:
        path: Plain, .gz or .xz extended XYZ file.
        check: Whether the values in the rows are looked at too (numbers, element symbols), not only their count.

    Raises:
        DataError: Anything that does not fit: names file, frame and line. Nothing is skipped, nothing is guessed.
    """
    lines = _Lines(path)
    index = 0
    with lines.handle:
        while (header := lines.next()) is not None:
            if not header.strip():
                _only_blank_lines_left(lines, index)
                break
            yield _read_frame(lines, header, index, check)
            index += 1
    if index == 0:
        raise DataError(f"{path} holds no frames (only blank lines).")


def count_frames(path: Path) -> int:
    """Check the whole file and count its frames."""
    return sum(1 for _ in iter_frame_texts(path))


def _only_blank_lines_left(lines: _Lines, index: int) -> None:
    blank = lines.number
    while (line := lines.next()) is not None:
        if line.strip():
            where = f"after frame {index - 1}" if index else "before the first frame"
            raise DataError(
                f"{lines.path}, line {blank}: a blank line {where} where the number of atoms of frame {index} should "
                f"be, and the file goes on after it; other programs would silently stop reading here. Remove the "
                f"blank line."
            )


def _read_frame(lines: _Lines, header: str, index: int, check: bool) -> FrameText:
    first = lines.number
    where = f"{lines.path}, frame {index} (line {first})"
    word = header.strip()
    if not _ATOM_COUNT.fullmatch(word):
        after = f" Frame {index - 1} may have more rows than it announces." if index else ""
        raise DataError(
            f"{lines.path}, line {first}: expected the number of atoms of frame {index}, found '{_short(word)}'.{after}"
        )
    num_atoms = int(word)
    if num_atoms == 0:
        raise DataError(f"{where} has no atoms.")
    comment = lines.next()
    if comment is None:
        raise DataError(f"{where} announces {num_atoms} atoms but the file ends after that line: it is cut off.")
    comment = comment.rstrip("\n")
    try:
        info = parse_comment(comment)
        columns = parse_properties(info.pop("Properties", "species:S:1:pos:R:3"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{lines.path}, frame {index} (line {first + 1}): {error}.") from error
    num_columns = columns[-1].stop
    rows: list[str] = []
    for row in range(num_atoms):  # grows with the file, not with the announced count
        line = lines.next()
        if line is None:
            raise DataError(f"{where} announces {num_atoms} atoms but the file ends after {row} rows: it is cut off.")
        found = len(line.split())
        if found != num_columns:
            raise DataError(_wrong_row(lines, line, index, row, found, num_columns, num_atoms, "Properties" in comment))
        rows.append(line)
    frame = FrameText(index, first, comment, info, columns, rows)
    if check:
        _check_values(lines.path, frame)
    return frame


def _wrong_row(
    lines: _Lines, line: str, index: int, row: int, found: int, expected: int, num_atoms: int, described: bool
) -> str:
    where = f"{lines.path}, line {lines.number}, atom {row} of frame {index}"
    if not line.strip():
        return f"{where}: a blank line inside the frame, which announces {num_atoms} atoms."
    if found == 1 and _ATOM_COUNT.fullmatch(line.strip()):
        return (
            f"{where}: expected {expected} columns, found '{_short(line)}', which looks like the next frame; frame "
            f"{index} announces {num_atoms} atoms and has {row} rows."
        )
    by = "Properties describes" if described else "a frame without Properties= has (element x y z)"
    plural = "column" if found == 1 else "columns"
    return f"{where}: found {found} {plural} but {by} {expected}: '{_short(line)}'."


def parse_properties(text: Any) -> list[Column]:
    """Read ``species:S:1:pos:R:3:forces:R:3`` into columns.

    Raises:
        ValueError: The description is malformed, names a column twice, or lacks the species or positions.
    """
    fields = str(text).split(":")
    if len(fields) % 3 or not fields:
        raise ValueError(f"Properties must be name:type:columns groups, found '{_short(str(text))}'")
    columns: list[Column] = []
    start = 0
    for name, kind, count in zip(fields[::3], fields[1::3], fields[2::3]):
        if kind not in ("R", "I", "S", "L") or not re.fullmatch(r"[1-9]\d{0,4}", count, re.ASCII):
            raise ValueError(
                f"Properties has '{_short(f'{name}:{kind}:{count}')}'; expected a type R, I, S or L and a "
                f"number of columns"
            )
        if not name or any(column.name == name for column in columns):
            raise ValueError(
                f"Properties names the column '{_short(name)}' twice"
                if name
                else "Properties has a column without a name"
            )
        columns.append(Column(name, kind, start, start + int(count)))
        start += int(count)
    if start > MAX_COLUMNS:
        raise ValueError(f"Properties describes {start} columns; at most {MAX_COLUMNS} are read")
    kinds = {column.name: (column.kind, column.stop - column.start) for column in columns}
    if not any(kinds.get(name) == ("R", 3) for name in _POSITION_NAMES):
        raise ValueError("Properties must describe the positions as pos:R:3")
    if not any(kinds.get(name) == ("S", 1) for name in _SYMBOL_NAMES) and not any(
        kinds.get(name) == ("I", 1) for name in _NUMBER_NAMES
    ):
        raise ValueError("Properties must describe the elements as species:S:1 or Z:I:1")
    return columns


def _check_values(path: Path, frame: FrameText) -> None:
    numbers: dict[str, list[int]] = {}
    for column in frame.columns:
        if column.kind == "S" and column.name not in _SYMBOL_NAMES:
            continue
        values = [row.split()[column.start : column.stop] for row in frame.rows]
        bad = _first_bad(column, values)
        if bad is not None:
            atom, value = bad
            line = frame.line + 2 + atom
            at = f"{path}, line {line}, atom {atom} of frame {frame.index}"
            if column.name in _SYMBOL_NAMES or column.name in _NUMBER_NAMES:
                raise ElementError(f"{at}: '{_short(value)}' is not a chemical element.")
            kind = {"R": "a number", "I": "a whole number", "L": "T or F"}[column.kind]
            raise DataError(f"{at}: the column '{column.name}' must be {kind}, found '{_short(value)}'.")
        if column.name in _SYMBOL_NAMES:
            numbers["symbols"] = [atomic_numbers[row[0].capitalize()] for row in values]
        elif column.name in _NUMBER_NAMES:
            numbers["numbers"] = [int(row[0]) for row in values]
    if len(numbers) == 2 and numbers["symbols"] != numbers["numbers"]:
        raise ElementError(f"{path}, frame {frame.index} (line {frame.line}): the species and Z columns disagree.")


def _first_bad(column: Column, rows: list[list[str]]) -> tuple[int, str] | None:
    if column.kind == "R":
        flat = [value for row in rows for value in row]
        try:
            np.array(flat, dtype=float)
            if "_" not in "".join(flat):  # Python reads 1_0 as ten
                return None
        except ValueError:
            pass
    for atom, row in enumerate(rows):
        for value in row:
            if not _is_good(column, value):
                return atom, value
    return None


def _is_good(column: Column, value: str) -> bool:
    if column.name in _SYMBOL_NAMES:
        return atomic_numbers.get(value.capitalize(), 0) > 0
    if column.kind == "L":
        return value in _TRUTH
    if column.kind == "I":
        return bool(_INTEGER.fullmatch(value)) and (column.name not in _NUMBER_NAMES or 0 < int(value) < 119)
    try:
        float(value)
    except ValueError:
        return False
    return "_" not in value


def _short(text: str) -> str:
    text = text.strip()
    return text if len(text) <= 60 else text[:57] + "..."
