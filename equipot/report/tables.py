"""Tables of numbers with units: drawn by rich on a terminal, as plain aligned text anywhere else."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

#: Keys of one group of metrics and the heading each gets; an empty second line has no unit.
ERROR_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("energy_mae_mev_per_atom", "energy MAE", "meV/atom"),
    ("energy_rmse_mev_per_atom", "energy RMSE", "meV/atom"),
    ("forces_mae_mev_per_angstrom", "forces MAE", "meV/Å"),
    ("forces_rmse_mev_per_angstrom", "forces RMSE", "meV/Å"),
    ("stress_mae_gpa", "stress MAE", "GPa"),
    ("stress_rmse_gpa", "stress RMSE", "GPa"),
)
SPLITS = ("train", "validation", "test")
ABSENT = "–"

Metrics = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Column:
    """One column: its heading, its unit (may be empty) and whether it holds numbers (aligned right)."""

    title: str
    unit: str = ""
    is_number: bool = True


@dataclass(frozen=True)
class Table:
    """A titled table of strings; ``strong_rows`` are the numbers of rows that sum up others."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    strong_rows: frozenset[int] = frozenset()
    note: str = ""


def format_number(value: Any, digits: int = 3) -> str:
    """Write a number with so many significant digits, without exponents where that is readable; None is a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ABSENT
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value}"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude < -4 or magnitude >= 7:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{max(0, digits - 1 - magnitude)}f}"


def format_error(value: float | None) -> str:
    """Write an error in its unit of the tables; what symmetry makes zero but for rounding is ``<0.001``."""
    return "<0.001" if value is not None and 0 < value < 1e-3 else format_number(value)


def group_names(metrics: Metrics) -> list[str]:
    """The groups of one split in the order they are shown: ``all`` first, then by name."""
    return [name for name in ("all",) if name in metrics] + sorted(name for name in metrics if name != "all")


def error_table(
    metrics_by_split: Mapping[str, Metrics], *, title: str = "Errors", groups: bool = True, heading: str = "split"
) -> Table:
    """Make the table of errors from the metrics of each split.

    Args:
        metrics_by_split: split -> group (``all`` or a config_type) -> the metrics of the summary.
        title: heading of the table.
        groups: whether each config_type gets a line, or only the whole split.
        heading: what the keys of ``metrics_by_split`` are, where they are no splits.
    """
    used = [
        column
        for column in ERROR_COLUMNS
        if any(group.get(column[0]) is not None for metrics in metrics_by_split.values() for group in metrics.values())
    ]
    columns = (
        Column(heading, is_number=False),
        Column("config_type", is_number=False),
        Column("frames"),
        *(Column(name, unit) for _, name, unit in used),
    )
    rows, strong = [], set()
    for split, metrics in metrics_by_split.items():
        names = group_names(metrics)
        if not groups or len(names) == 2:  # one config_type only: its line would repeat the one for all
            names = names[:1]
        for name in names:
            if name == "all":
                strong.add(len(rows))
            group = metrics[name]
            rows.append(
                (
                    split if name == "all" else "",
                    name or "(none)",
                    str(group.get("num_configurations", 0)),
                    *(format_error(group.get(key)) for key, _, _ in used),
                )
            )
    return Table(title, columns, tuple(rows), frozenset(strong), "Forces and stress: per component.")


def _width(text: str) -> int:
    return len(text)


def plain_text(table: Table) -> str:
    """Write a table as aligned plain text, ready for a log file."""
    titles = [column.title for column in table.columns]
    units = [column.unit for column in table.columns]
    lines = [titles, *([units] if any(units) else []), *map(list, table.rows)]
    widths = [max(_width(line[k]) for line in lines) for k in range(len(titles))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(
            cell.rjust(width) if column.is_number else cell.ljust(width)
            for cell, width, column in zip(cells, widths, table.columns)
        ).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    text = [table.title, line(titles), *([line(units)] if any(units) else []), rule, *map(line, table.rows)]
    return "\n".join([*text, *([table.note] if table.note else [])])


def print_table(table: Table, file: TextIO | None = None) -> None:
    """Print a table: with rich where ``file`` (default: standard output) is a terminal, else as plain text."""
    file = sys.stdout if file is None else file
    if not (hasattr(file, "isatty") and file.isatty()):
        print(plain_text(table) + "\n", file=file, flush=True)
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(title=Text(table.title, style="bold"), box=SIMPLE_HEAD, title_justify="left")
    for column in table.columns:
        heading = Text(column.title)
        if column.unit:
            heading.append(f"\n{column.unit}", style="dim")
        drawn.add_column(heading, justify="right" if column.is_number else "left", no_wrap=column.is_number)
    for number, row in enumerate(table.rows):
        drawn.add_row(*map(Text, row), style="bold" if number in table.strong_rows else None)
    console = Console(file=file, highlight=False)
    console.print(drawn, end="" if table.note else "\n")
    if table.note:  # not as a caption: rich would wrap it to the width of a narrow table
        console.print(Text(table.note + "\n", style="dim"), soft_wrap=True)
