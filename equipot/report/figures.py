"""The look of equipot's figures, and how they are saved: matplotlib objects without any global state."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine

from equipot.report.files import write_bytes

#: Okabe and Ito's colours, which people with any colour vision can tell apart (jfly.uni-koeln.de/color).
BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW, BLACK = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#222222",
)
GREY = "#8A8F98"
SPLIT_COLORS = {"train": BLUE, "validation": ORANGE, "test": RED, "data": GREEN}

_STYLE = {
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10.0,
    "legend.fontsize": 9.0,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555a63",
    "axes.labelcolor": BLACK,
    "text.color": BLACK,
    "xtick.color": "#555a63",
    "ytick.color": "#555a63",
    "xtick.labelcolor": BLACK,
    "ytick.labelcolor": BLACK,
    "axes.grid": True,
    "grid.color": "#dfe2e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "font.family": "DejaVu Sans",
    "svg.fonttype": "path",
    "svg.hashsalt": "equipot",
}


def style() -> AbstractContextManager:
    """The style of equipot's figures as a context; settings outside it are untouched."""
    return matplotlib.rc_context(_STYLE)


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of so many inches, on the Agg canvas."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain_label(text: str) -> str:
    """Return text that people chose, a config_type or a name, so that matplotlib draws it as it is.

    Matplotlib reads what stands between two dollar signs as a formula, and leaves names that begin with an underscore
    out of legends.
    """
    escaped = text.replace("$", r"\$")
    return "\u200b" + escaped if escaped.startswith("_") else escaped


def empty_message(axes: Axes, text: str) -> None:
    """Say in the middle of a plot why it is empty."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, plain_label(text), ha="center", va="center", color=GREY, transform=axes.transAxes)


def _lay_out(figure: Figure) -> None:
    """Place everything once; matplotlib would lay the figure out again for each format it is written in."""
    engine = figure.get_layout_engine()
    if engine is not None and not isinstance(engine, PlaceHolderLayoutEngine):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


@contextmanager
def _at(figure: Figure, dpi: float) -> Iterator[None]:
    """A figure laid out and at a resolution, for a canvas to print: ``print_figure`` would draw it once more before."""
    _lay_out(figure)
    own, figure.dpi = figure.dpi, dpi
    try:
        yield
    finally:
        figure.dpi = own


def save_figure(figure: Figure, path: str | Path, *, dpi: int = 140) -> Path:
    """Save a figure as PNG, whole or not at all."""
    buffer = io.BytesIO()
    with _at(figure, dpi):
        FigureCanvasAgg(figure).print_png(buffer)
    return write_bytes(path, buffer.getvalue())


def svg_data_uri(figure: Figure) -> str:
    """The figure as a ``data:`` address of an SVG image (clouds of points inside it are rasterised)."""
    buffer = io.BytesIO()
    with _at(figure, 160), style():  # svg.fonttype is read while drawing
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
