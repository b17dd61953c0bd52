"""From measured calls to rows of medians, quartiles and ratios, and from rows to a table on paper."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from equipot.report.tables import ABSENT, Column, Table, format_number
from peers.driver import Measurement
from peers.matched import COMMON, CONVERTED, DIFFERENCES, PRETRAINED
from peers.structures import num_atoms, title

Row = dict[str, Any]

COLUMNS = (
    Column("case", is_number=False),
    Column("package", is_number=False),
    Column("time", "ms"),
    Column("quartiles", "ms"),
    Column("a call", "µs/atom"),
    Column("CPU/wall"),
    Column("memory", "MB"),
    Column("÷ equipot"),
)
#: Seconds from which a first call is worth a note.
SLOW_START = 20.0
TIME_NOTE = (
    "Time: median of all calls; CPU time of the process where it has one thread, wall time where it has more. "
    "÷ equipot: how many times longer than equipot (the first of its variants). Memory: highest resident "
    "memory of the process during the case."
)


def quartiles(values: list[float]) -> list[float]:
    """Lower quartile, median, upper quartile, in milliseconds."""
    return [float(1000 * value) for value in np.percentile(values, (25, 50, 75))]


def make_rows(group: dict[str, Any], case: str, results: dict[str, Measurement]) -> list[Row]:
    """Rows of one case; ``group`` (architecture, size, dtype, threads) is repeated in each.

    ``time_ms`` is what ratios are made of: CPU time with one thread, because other programs on the machine do not
    disturb it, wall time with several, because waiting threads burn CPU time.
    """
    clock, rows = "cpu" if group["threads"] == 1 else "wall", []
    for package, measurement in results.items():
        row: Row = {**group, "case": case, "package": package}
        if measurement.error is not None or not measurement.wall:
            row["error"] = measurement.error or "nothing was measured"
        else:
            times = {"wall_ms": quartiles(measurement.wall), "cpu_ms": quartiles(measurement.cpu)}
            time = times[f"{clock}_ms"][1]
            row |= {
                **times,
                "clock": clock,
                "time_ms": time,
                "us_per_atom": 1000 * time / num_atoms(case),
                "memory_mb": measurement.memory_mb,
                "num_calls": len(measurement.wall),
                "first_call_s": measurement.first_call_s,
            }
        rows.append(row)
    reference = next((row for row in rows if row["package"].startswith("equipot") and "error" not in row), None)
    for row in rows:
        if reference is not None and "error" not in row:
            row["ratio"] = row["time_ms"] / reference["time_ms"]
    return rows


def group_title(row: Row) -> str:
    """The heading over the rows of one group."""
    threads = f"{row['threads']} thread" + ("s" if row["threads"] > 1 else "")
    model = row["size"]
    if model == CONVERTED:
        model = f"converted: {PRETRAINED[row['architecture']].title}"
    return f"{row['architecture']} architecture, {model}, {row['dtype']}, {threads}"


def _cells(row: Row, is_first: bool) -> tuple[str, ...]:
    case = title(row["case"]) if is_first else ""
    if "error" in row:
        return (case, row["package"], *[ABSENT] * 6)
    low, _, high = row[f"{row['clock']}_ms"]
    busy = row["cpu_ms"][1] / row["wall_ms"][1]
    ratio = format_number(row["ratio"]) if "ratio" in row else ABSENT
    return (
        case,
        row["package"],
        format_number(row["time_ms"]),
        f"{format_number(low)}–{format_number(high)}",
        format_number(row["us_per_atom"]),
        f"{busy:.2f}",
        f"{row['memory_mb']:.0f}",
        ratio,
    )


def make_tables(rows: Iterable[Row]) -> list[Table]:
    """A table for every architecture, size, dtype and number of threads, in the order they were measured."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(group_title(row), []).append(row)
    tables = []
    for heading, members in groups.items():
        cells, strong, errors, last = [], set(), [], None
        for row in members:
            if row["package"].startswith("equipot"):
                strong.add(len(cells))
            cells.append(_cells(row, row["case"] != last))
            last = row["case"]
            if "error" in row:
                errors.append(f"{row['package']}, {title(row['case'])}: {row['error'].splitlines()[0]}")
        tables.append(Table(heading, COLUMNS, tuple(cells), frozenset(strong), "\n".join(dict.fromkeys(errors))))
    return tables


def notes(document: dict[str, Any]) -> list[str]:
    """Sentences under the tables: what was measured, how models differ, versions, machine."""
    machine = document["machine"]
    packages = dict.fromkeys(row["package"] for row in document["rows"])
    lines = [TIME_NOTE, COMMON]
    for name in packages:
        difference = DIFFERENCES.get(name.split(" ")[0])
        if difference:
            lines.append(f"{name}: {difference}")
    for name, reports in document["packages"].items():
        versions = next((report["versions"] for report in reports if "versions" in report), {})
        said = [", ".join(f"{key} {value}" for key, value in versions.items())]
        said += dict.fromkeys(
            f"{report['group']}: {report[key]}" for report in reports for key in ("note", "error") if report.get(key)
        )
        lines.append(f"{name}: " + "; ".join(part for part in said if part))
    slow = [
        f"{row['package']}, {group_title(row)}, {title(row['case'])}: {row['first_call_s']:.0f} s"
        for row in document["rows"]
        if row.get("first_call_s", 0) > SLOW_START
    ]
    if slow:
        lines.append("First call (compilation): " + "; ".join(slow) + ".")
    lines.append(
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']:.0f} GB, "
        f"{machine['system']}, Python {machine['python']}; load {machine['load_before']} before and "
        f"{machine['load_after']} after; {document['date']}."
    )
    return lines


def markdown(document: dict[str, Any]) -> str:
    """The whole report in Markdown."""
    parts = ["# equipot and its peers on this CPU"]
    for table in make_tables(document["rows"]):
        heads = [f"{column.title} ({column.unit})" if column.unit else column.title for column in table.columns]
        lines = [
            f"| {' | '.join(heads)} |",
            "|" + "|".join("---:" if column.is_number else "---" for column in table.columns) + "|",
        ]
        for k, row in enumerate(table.rows):
            bold = "**" if k in table.strong_rows else ""
            lines.append("| " + " | ".join(f"{bold}{cell}{bold}" if cell else "" for cell in row) + " |")
        parts.append(f"## {table.title}\n\n" + "\n".join(lines))
        if table.note:
            parts.append("\n".join(f"- {line}" for line in table.note.splitlines()))
    parts.append("## Notes\n\n" + "\n".join(f"- {line}" for line in notes(document)))
    return "\n\n".join(parts) + "\n"
