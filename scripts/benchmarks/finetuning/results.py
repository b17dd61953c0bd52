"""What the grid gave: means over seeds as tables, plots and JSON, and the two questions it answers."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from equipot.finetuning.forgetting import BaseDomain
from equipot.report.figures import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    RED,
    empty_message,
    new_figure,
    save_figure,
    style,
)
from equipot.report.files import write_text
from equipot.report.plots import log_axis
from equipot.report.summary import to_json
from equipot.report.tables import ABSENT, Column, Table, format_number
from finetuning.runs import SCRATCH

Row = Mapping[str, Any]
ENERGY, FORCES, STRESS = "energy_mae_mev_per_atom", "forces_mae_mev_per_angstrom", "stress_mae_gpa"
#: Shown by name, in this order: heading, unit, where in a row.
MEASURES = {
    "energy": ("energy MAE", "meV/atom", ("errors", "all", ENERGY)),
    "forces": ("forces MAE", "meV/Å", ("errors", "all", FORCES)),
    "stress": ("stress MAE", "GPa", ("errors", "all", STRESS)),
    "forgotten": ("forgotten forces", "meV/Å", ("forgetting", "all", FORCES)),
    "forgotten_energy": ("forgotten energy", "meV/atom", ("forgetting", "all", ENERGY)),
    "known": ("known forces MAE", "meV/Å", ("known", FORCES)),
    "cpu": ("CPU time", "s", ("cpu_seconds",)),
}
COLORS = {"full": BLUE, "frozen": ORANGE, "lora": GREEN, "replay": PINK, "replay_strong": BLACK, SCRATCH: RED}


def value(row: Row, measure: str) -> float | None:
    """A number of a row, None where it was not measured."""
    found: Any = row
    for key in MEASURES[measure][2]:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def grouped(rows: Sequence[Row]) -> dict[tuple[str, str, int], list[Row]]:
    """Rows of all seeds by system, mode and number of frames."""
    found: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        found[row["system"], row["mode"], row["num_frames"]].append(row)
    return dict(sorted(found.items()))


def mean(rows: Sequence[Row], measure: str) -> float | None:
    """Over the seeds."""
    values = [value(row, measure) for row in rows]
    return None if None in values or not values else statistics.mean(values)


def _shown(rows: Sequence[Row], measure: str) -> str:
    values = [value(row, measure) for row in rows]
    if None in values:
        return ABSENT
    spread = f" ± {format_number(statistics.stdev(values), 2)}" if len(values) > 1 else ""
    return format_number(statistics.mean(values)) + spread


def describe(row: Row) -> str:
    """One line on one training."""
    parts = [
        f"{MEASURES[name][0]} {format_number(value(row, name))} {MEASURES[name][1]}"
        for name in ("energy", "forces", "forgotten", "cpu")
        if value(row, name) is not None
    ]
    return (
        f"{row['system']} {row['mode']} {row['num_frames']} frames, seed {row['seed']}, lr "
        f"{row['learning_rate']:g}: " + ", ".join(parts)
    )


def scan_table(rows: Sequence[Row]) -> Table:
    """Errors on validation frames by learning rate."""
    names = ("energy", "forces", "stress", "forgotten")
    columns = (
        Column("mode", is_number=False),
        Column("frames"),
        Column("learning rate"),
        *(Column(*MEASURES[name][:2]) for name in names),
    )
    return Table(
        "Learning rates on validation frames",
        columns,
        tuple(
            (
                row["mode"],
                str(row["num_frames"]),
                f"{row['learning_rate']:g}",
                *(format_number(value(row, name)) for name in names),
            )
            for row in rows
        ),
    )


def error_tables(rows: Sequence[Row], known_before: Mapping[str, Any]) -> list[Table]:
    """For each system: every mode and number of frames, mean and standard deviation over the seeds."""
    groups, tables = grouped(rows), []
    columns = (
        Column("mode", is_number=False),
        Column("frames"),
        Column("seeds"),
        Column("learning rate"),
        *(Column(*entry[:2]) for entry in MEASURES.values()),
    )
    for system in dict.fromkeys(row["system"] for row in rows):
        lines = []
        for (name, mode, number), members in sorted(groups.items(), key=lambda item: item[0][2]):
            if name != system:
                continue
            zero = [{"errors": row["zero_shot"]} for row in members if "zero_shot" in row]
            if zero:
                lines.append(
                    (
                        0,
                        number,
                        (
                            "zero-shot, refitted E0",
                            str(number),
                            str(len(zero)),
                            ABSENT,
                            *(_shown(zero, measure) for measure in MEASURES),
                        ),
                    )
                )
            lines.append(
                (
                    1 + list(COLORS).index(mode),
                    number,
                    (
                        mode,
                        str(number),
                        str(len(members)),
                        f"{members[0]['learning_rate']:g}",
                        *(_shown(members, measure) for measure in MEASURES),
                    ),
                )
            )
        note = (
            f"Forgotten: deviation from the base on held-out crystals. The base's own error on the known frames: "
            f"{format_number(known_before[FORCES])} meV/Å."
            if known_before
            else "Forgotten: deviation from the base on held-out crystals."
        )
        tables.append(
            Table(
                f"{system}: test errors, mean ± standard deviation over seeds",
                columns,
                tuple(line for _, _, line in sorted(lines, key=lambda item: item[:2])),
                note=note,
            )
        )
    return tables


def group_tables(rows: Sequence[Row]) -> list[Table]:
    """Forces errors of every group (config_type) of the test frames, for each system."""
    tables = []
    for system in dict.fromkeys(row["system"] for row in rows):
        groups = {key: members for key, members in grouped(rows).items() if key[0] == system}
        names = sorted({name for members in groups.values() for row in members for name in row["errors"]} - {"all"})
        if len(names) < 2:
            continue
        columns = (
            Column("group", is_number=False),
            Column("frames"),
            *(Column(mode, f"{number} frames") for _, mode, number in groups),
        )
        lines = []
        for name in names:
            counts = [row["errors"][name]["num_configurations"] for members in groups.values() for row in members]
            cells = []
            for members in groups.values():
                pairs = [(row["errors"][name][ENERGY], row["errors"][name][FORCES]) for row in members]
                cells.append(" / ".join(format_number(float(np.mean(side))) for side in zip(*pairs)))
            lines.append((name, str(counts[0]), *cells))
        tables.append(Table(f"{system}: energy (meV/atom) / forces (meV/Å) MAE by group", columns, tuple(lines)))
    return tables


def answers(rows: Sequence[Row], few: int = 16, many: int = 256) -> list[dict[str, Any]]:
    """Does tuning on few frames beat training on many, and does replay forget half as much at equal error?

    For the second, the errors of naive tuning (mode full) on all numbers of frames give its forgetting as a function
    of the forces error; it is read (log-linearly) at the error that replay reached.
    """
    groups, found = grouped(rows), []
    for system in dict.fromkeys(row["system"] for row in rows):
        cell = {(mode, number): members for (name, mode, number), members in groups.items() if name == system}
        entry: dict[str, Any] = {"system": system}
        if (SCRATCH, many) in cell:
            scratch = mean(cell[SCRATCH, many], "forces")
            entry["few_against_many"] = {
                mode: {
                    "forces_tuned": mean(members, "forces"),
                    "forces_scratch": scratch,
                    "energy_tuned": mean(members, "energy"),
                    "energy_scratch": mean(cell[SCRATCH, many], "energy"),
                }
                for (mode, number), members in cell.items()
                if number == few and mode != SCRATCH
            }
        naive = sorted(
            (mean(members, "forces"), mean(members, "forgotten"))
            for (mode, _), members in cell.items()
            if mode == "full"
        )
        entry["forgetting_against_naive"] = {
            f"{mode} {number}": {
                "forces": mean(members, "forces"),
                "forgotten": mean(members, "forgotten"),
                "naive_forgotten_same_frames": mean(cell["full", number], "forgotten")
                if ("full", number) in cell
                else None,
                "naive_forces_same_frames": mean(cell["full", number], "forces") if ("full", number) in cell else None,
                "naive_forgotten_at_equal_error": _at_error(naive, mean(members, "forces")),
            }
            for (mode, number), members in sorted(cell.items())
            if mode not in ("full", SCRATCH)
        }
        found.append(entry)
    return found


def _at_error(curve: Sequence[tuple[float, float]], error: float) -> float | None:
    """Forgetting of a curve of (error, forgetting) at an error; None outside the curve."""
    if len(curve) < 2 or not curve[0][0] <= error <= curve[-1][0]:
        return None
    errors, forgotten = zip(*curve)
    return float(np.interp(np.log(error), np.log(errors), forgotten))


def learning_plot(rows: Sequence[Row], system: str) -> Figure:
    """Errors against the number of frames, and forgetting against the error."""
    groups = {key[1:]: members for key, members in grouped(rows).items() if key[0] == system}
    with style():
        figure = new_figure(13.0, 4.0)
        left, middle, right = figure.subplots(1, 3)
        for axes, measure in ((left, "forces"), (middle, "energy")):
            zero = [
                (number, [{"errors": row["zero_shot"]} for row in members if "zero_shot" in row])
                for (_, number), members in groups.items()
            ]
            zero = sorted((number, mean(members, measure)) for number, members in zero if members)
            if zero:
                axes.plot(*zip(*zero), color=GREY, linestyle="--", label="zero-shot, refitted E0")
            for mode, color in COLORS.items():
                line = sorted(
                    (number, [value(row, measure) for row in members])
                    for (name, number), members in groups.items()
                    if name == mode
                )
                if line:
                    numbers = [number for number, _ in line]
                    axes.plot(
                        numbers,
                        [statistics.mean(values) for _, values in line],
                        "o-",
                        color=color,
                        label=mode,
                        markersize=4,
                    )
                    for number, values in line:
                        axes.plot([number] * len(values), values, ".", color=color, alpha=0.4, markersize=4)
            heading, unit, _ = MEASURES[measure]
            axes.set(xscale="log", yscale="log", xlabel="training frames", ylabel=f"test {heading} ({unit})")
            axes.set_xticks(sorted({number for _, number in groups}))
            low, high = axes.get_ylim()
            log_axis(axes.xaxis, 1, 1e6)
            log_axis(axes.yaxis, low, high)
        _forgetting_panel(right, groups)
        figure.legend(*left.get_legend_handles_labels(), loc="outside upper right", ncols=len(COLORS) + 1)
        figure.suptitle(system, x=0.01, ha="left", color=BLACK)
        return figure


def _forgetting_panel(axes, groups: Mapping[tuple[str, int], Sequence[Row]]) -> None:
    for mode, color in COLORS.items():
        line = sorted(
            (number, mean(members, "forces"), mean(members, "forgotten"))
            for (name, number), members in groups.items()
            if name == mode and mean(members, "forgotten") is not None
        )
        if line:
            _, errors, forgotten = zip(*line)
            axes.plot(errors, forgotten, "o-", color=color, label=mode, markersize=4)
            for number, error, lost in line:
                axes.annotate(str(number), (error, lost), xytext=(3, 3), textcoords="offset points", fontsize=7)
    if not axes.has_data():
        empty_message(axes, "nothing was tuned")
        return
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="test forces MAE (meV/Å)",
        ylabel="forgotten: forces, held-out crystals (meV/Å)",
    )
    for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        log_axis(axis, *limits)


def write_results(
    rows: Sequence[Row], known_before: Mapping[str, Any], prototypes: BaseDomain, folder: Path
) -> list[Table]:
    """Write ``benchmark.json`` and a plot a system; returns the tables."""
    document = {
        "runs": list(rows),
        "answers": answers(rows, few=16, many=max(row["num_frames"] for row in rows)),
        "base_on_known_frames": known_before,
        "num_prototypes": len(prototypes.frames),
        "num_prototypes_left_out": prototypes.num_left_out,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "benchmark.json", to_json(document))
    for system in dict.fromkeys(row["system"] for row in rows):
        save_figure(learning_plot(rows, system), folder / f"{system}.png")
    return [*error_tables(rows, known_before), *group_tables(rows)]
