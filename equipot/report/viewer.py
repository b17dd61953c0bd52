"""Frames one can turn and look at inside the page: data for the script, controls, and still pictures for paper."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

import numpy as np
from ase.data import chemical_symbols
from ase.data.colors import jmol_colors
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from equipot.elements import covalent_radius
from equipot.report.figures import new_figure, plain_label, style
from equipot.report.outliers import Outlier
from equipot.report.tables import Column, Table, format_error, format_number

#: Atoms of all frames in one page: above it frames are listed but not drawn, so that the page stays small.
MOST_ATOMS = 20_000
#: Frames drawn as still pictures.
MOST_STILLS = 6
#: Error of an atom from none to the largest of its frame; the script has the same stops.
ERROR_COLORS = ("#dbe4ee", "#9fc2dd", "#f6c76b", "#e8743b", "#9b1c31")
#: Colours span at least this (meV/Å): errors that are nothing but rounding shall not look like errors.
LEAST_SCALE = 1.0
#: How the first view is turned: about the horizontal, then the vertical axis of the screen (degrees).
_TILT, _TURN = -68.0, 24.0
_CORNERS = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=float)
_EDGES = [(a, b) for a in range(8) for b in range(a + 1, 8) if np.abs(_CORNERS[a] - _CORNERS[b]).sum() == 1]


@dataclass(frozen=True)
class Viewer:
    """A block of the page: frames to look at in three dimensions.

    Attributes:
        outliers: in the order they are offered.
        identifier: of its elements in the page.
    """

    outliers: tuple[Outlier, ...]
    identifier: str = "viewer"

    @property
    def drawn(self) -> tuple[Outlier, ...]:
        """The frames that fit in the page together."""
        found, total = [], 0
        for outlier in self.outliers:
            if total + outlier.num_atoms <= MOST_ATOMS:
                found.append(outlier)
                total += outlier.num_atoms
        return tuple(found)


def script() -> str:
    """The script behind all viewers of a page: plain JavaScript, no library, no network."""
    return files("equipot.report").joinpath("assets", "viewer.js").read_text(encoding="utf-8")


def outlier_table(outliers: Sequence[Outlier]) -> Table:
    """Table of the frames with the largest errors."""

    def signed(value: float | None) -> str:
        return format_number(value) if value is None or value < 0 else f"+{format_number(value)}"

    columns = (
        Column("frame", is_number=False),
        Column("split", is_number=False),
        Column("config_type", is_number=False),
        Column("atoms"),
        Column("energy error", "meV/atom"),
        Column("force RMSE", "meV/Å"),
        Column("worst atom", "meV/Å"),
        Column("stress MAE", "GPa"),
        Column("shown for", is_number=False),
    )
    rows = tuple(
        (
            outlier.source,
            outlier.split,
            outlier.config_type,
            str(outlier.num_atoms),
            signed(outlier.energy_error),
            format_error(outlier.force_error),
            format_error(outlier.largest_force_error),
            format_error(outlier.stress_error),
            "; ".join(outlier.reasons),
        )
        for outlier in outliers
    )
    return Table(
        "Frames with the largest errors",
        columns,
        rows,
        note="Energy: prediction less reference. Worst atom: length of its force error.",
    )


def payload(outliers: Sequence[Outlier]) -> dict:
    """What the script draws: positions (Å), errors and reference forces (eV/Å), flat lists of three numbers an atom."""
    numbers = sorted({int(number) for outlier in outliers for number in outlier.atomic_numbers})
    place = {number: k for k, number in enumerate(numbers)}
    elements = [
        {
            "symbol": chemical_symbols[number],
            "radius": round(float(covalent_radius(chemical_symbols[number])), 3),
            "color": "#" + "".join(f"{round(255 * part):02x}" for part in jmol_colors[number]),
        }
        for number in numbers
    ]
    return {
        "elements": elements,
        "colors": list(ERROR_COLORS),
        "least": LEAST_SCALE,
        "tilt": _TILT,
        "turn": _TURN,
        "frames": [_frame(outlier, place) for outlier in outliers],
    }


def _frame(outlier: Outlier, place: dict[int, int]) -> dict:
    errors = outlier.predicted - outlier.forces
    facts = [
        ("Split", outlier.split),
        ("config_type", outlier.config_type or "(none)"),
        ("Atoms", str(outlier.num_atoms)),
        ("Energy error", _with_unit(outlier.energy_error, "meV/atom")),
        ("Force RMSE", _with_unit(outlier.force_error, "meV/Å")),
        ("Worst atom", _with_unit(outlier.largest_force_error, "meV/Å")),
        ("Stress MAE", _with_unit(outlier.stress_error, "GPa")),
        ("Shown for", "; ".join(outlier.reasons)),
    ]
    return {
        "name": outlier.source,
        "element": [place[int(number)] for number in outlier.atomic_numbers],
        "position": _flat(outlier.positions, 3),
        "error": _flat(errors, 5),
        "force": _flat(outlier.forces, 5),
        "cell": _flat(outlier.cell, 4) if abs(np.linalg.det(outlier.cell)) > 1e-6 else None,
        "pbc": [bool(flag) for flag in outlier.pbc],
        "facts": [list(pair) for pair in facts if pair[1]],
    }


def _with_unit(value: float | None, unit: str) -> str:
    return "" if value is None else f"{format_error(value)} {unit}"


def _flat(values: np.ndarray, digits: int) -> list[float | None]:
    return [round(float(value), digits) + 0.0 if math.isfinite(value) else None for value in np.ravel(values)]


def viewer_html(viewer: Viewer) -> str:
    """The controls, the canvas and the data; without the script nothing of it is seen."""
    drawn = viewer.drawn
    if not drawn:
        return ""
    # "<" is written as an escape: no text in the data can end the element it stands in.
    data = json.dumps(payload(drawn), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    data = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    name = escape(viewer.identifier, quote=True)
    options = "".join(
        f'<option value="{k}">{escape(f"{k + 1}. {outlier.source}")}</option>' for k, outlier in enumerate(drawn)
    )
    return f"""<div class="viewer" id="{name}">
<div class="bar"><button type="button" data-do="previous" aria-label="previous frame">◀</button>
<select data-do="frame" aria-label="frame">{options}</select>
<button type="button" data-do="next" aria-label="next frame">▶</button></div>
<div class="stage">
<canvas tabindex="0" role="img" aria-describedby="{name}-help" aria-label="atoms of a frame"></canvas>
<div class="scale" aria-hidden="true"><i></i><span data-is="low"></span><span data-is="high"></span></div></div>
<div class="bar"><label>colour <select data-do="color"><option value="error">force error</option>
<option value="element">element</option></select></label>
<label>arrows <select data-do="arrows"><option value="error">force error</option><option value="force">reference force
</option><option value="predicted">predicted force</option><option value="none">none</option></select></label>
<label><input type="checkbox" data-do="images"> neighbouring cells</label>
<button type="button" data-do="worst">next worst atom</button><button type="button" data-do="reset">reset</button></div>
<p class="atom" data-is="atom" aria-live="polite"></p><dl data-is="facts"></dl>
<p class="note" id="{name}-help">Drag, or the arrow keys, to turn; wheel, pinch, + and − to zoom; click an atom for its
numbers; n and p for the next and previous frame, w for the next worst atom, 0 to reset.</p>
<script type="application/json">{data}</script></div>"""


def rotation(tilt: float = _TILT, turn: float = _TURN) -> np.ndarray:
    """(3, 3) rotation of the first view; its rows are right, up and towards the reader."""
    a, b = np.radians(tilt), np.radians(turn)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return about_x @ about_z


def still(outlier: Outlier, title: str = "") -> Figure:
    """One frame as it is first seen in the viewer: atoms by force error, error vectors, the cell."""
    turned = rotation()
    atoms = outlier.positions @ turned.T
    errors = outlier.atom_errors
    highest = max(float(np.nanmax(errors)), LEAST_SCALE) if np.isfinite(errors).any() else 0.0
    colors = LinearSegmentedColormap.from_list("error", ERROR_COLORS).with_extremes(bad="#b8bec6")
    with style():
        figure = new_figure(3.5, 3.7)
        axes = figure.subplots()
        axes.set_axis_off()
        axes.set_aspect("equal")
        axes.set_title(plain_label(title))
        points = atoms
        if abs(np.linalg.det(outlier.cell)) > 1e-6:
            corners = _CORNERS @ outlier.cell @ turned.T
            axes.add_collection(
                LineCollection([corners[[a, b], :2] for a, b in _EDGES], colors="#8A8F98", linewidths=0.8, zorder=1)
            )
            points = np.concatenate([atoms, corners])
        order = np.argsort(atoms[:, 2])
        radii = [0.55 * covalent_radius(chemical_symbols[number]) for number in outlier.atomic_numbers]
        circles = PatchCollection(
            [Circle(atoms[k, :2], radii[k]) for k in order],
            edgecolors="#2b3138",
            linewidths=0.4,
            cmap=colors,
            norm=Normalize(0.0, highest or 1.0),
            zorder=2,
            rasterized=outlier.num_atoms > 150,
        )
        circles.set_array(np.ma.masked_invalid(errors[order]))
        axes.add_collection(circles)
        low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
        reach = max(float((high - low).max()), 2.0)
        if highest > 0.0:
            arrows = np.nan_to_num((outlier.predicted - outlier.forces) @ turned.T) * (250.0 * reach / highest)
            kept = np.linalg.norm(arrows, axis=1) > 0.03 * reach
            axes.quiver(
                atoms[kept, 0],
                atoms[kept, 1],
                arrows[kept, 0],
                arrows[kept, 1],
                angles="xy",
                scale_units="xy",
                scale=1.0,
                width=0.005,
                color="#1d2126",
                zorder=3,
            )
            bar = figure.colorbar(circles, ax=axes, orientation="horizontal", shrink=0.7, pad=0.02, aspect=25)
            bar.set_label("force error (meV/Å)", fontsize=8.5)
        margin = max(radii) + 0.06 * reach
        axes.set(xlim=(low[0] - margin, high[0] + margin), ylim=(low[1] - margin, high[1] + margin))
        return figure
