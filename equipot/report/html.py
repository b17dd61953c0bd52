"""One self-contained HTML page out of facts, tables and figures: nothing in it is fetched from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from itertools import groupby
from typing import Literal

from matplotlib.figure import Figure

from equipot.report.figures import svg_data_uri
from equipot.report.tables import Table
from equipot.report.viewer import Viewer, script, viewer_html


@dataclass(frozen=True)
class Picture:
    """A figure with the sentence that says what it shows.

    Attributes:
        figure: as it is saved to a file.
        caption: also read out to those who do not see it.
        panels: the same in parts, each readable on the screen of a telephone; the page shows them where there are any.
        is_still: whether it stands in for a viewer, on paper and without the script.
    """

    figure: Figure | None
    caption: str
    panels: Sequence[Figure] = ()
    is_still: bool = False


@dataclass(frozen=True)
class Verbatim:
    """Text shown as it is (a configuration, a log), folded away behind its title."""

    title: str
    text: str


@dataclass(frozen=True)
class Facts:
    """Pairs of label and value; ``is_wide``: a line each, for longer values."""

    pairs: Sequence[tuple[str, str]]
    is_wide: bool = False


@dataclass(frozen=True)
class Notes:
    """Sentences with a status each (``warn``, ``error``, ``info``, ...)."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Folded:
    """Blocks folded away behind a title."""

    title: str
    blocks: Sequence[str | Table | Picture | Facts]


Block = str | Table | Picture | Verbatim | Facts | Notes | Folded | Viewer


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it: sentences, tables, pictures, viewers, verbatim text."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Headline:
    """A figure at the head of the page; ``status`` (``pass``, ``warn``, ``fail``) colours it."""

    label: str
    value: str
    unit: str = ""
    status: Literal["", "pass", "warn", "fail", "skip"] = ""


@dataclass(frozen=True)
class Page:
    """A whole report: its title, one line under it, facts as pairs of label and value, and sections."""

    title: str
    subtitle: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    footer: str = ""
    headline: Sequence[Headline] = field(default_factory=tuple)


#: Words that stand as a mark where they are the first cell of a row or the status of a note.
_MARKS = frozenset({"pass", "warn", "fail", "skip", "not run", "error", "warning", "info"})
#: Marks that have the colour of another one.
_LIKE = {"not run": "fail"}


def _asset(name: str) -> str:
    return files("equipot.report").joinpath("assets", name).read_text(encoding="utf-8")


def _mark(word: str) -> str:
    return f'<span class="mark {_LIKE.get(word, word) if word in _MARKS else ""}">{escape(word)}</span>'


def _table(table: Table) -> str:
    heads = "".join(
        f'<th{" class=n" if column.is_number else ""} scope="col">{escape(column.title)}'
        + (f"<small>{escape(column.unit)}</small>" if column.unit else "")
        + "</th>"
        for column in table.columns
    )
    rows = []
    for number, row in enumerate(table.rows):
        cells = "".join(
            f"<td{' class=n' if column.is_number else ''}>"
            + (_mark(cell) if not column.title and cell in _MARKS else escape(cell))
            + "</td>"
            for column, cell in zip(table.columns, row)
        )
        rows.append(f"<tr{' class=strong' if number in table.strong_rows else ''}>{cells}</tr>")
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<div class="scroll"><table><caption>{escape(table.title)}</caption><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{note}"
    )


def _picture(picture: Picture) -> str:
    figures = picture.panels or (picture.figure,)
    images = "".join(
        f'<img alt="{escape(picture.caption, quote=True)}" src="{svg_data_uri(figure)}">' for figure in figures
    )
    if picture.panels:
        images = f'<div class="panels{" two" if len(figures) in (2, 4) else ""}">{images}</div>'
    still = ' class="still"' if picture.is_still else ""
    return f"<figure{still}>{images}<figcaption>{escape(picture.caption)}</figcaption></figure>"


def _facts(facts: Facts) -> str:
    pairs = "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in facts.pairs)
    return f"<dl{' class=wide' if facts.is_wide else ''}>{pairs}</dl>"


def _notes(notes: Notes) -> str:
    items = "".join(f"<li>{_mark(status)}<span>{escape(text)}</span></li>" for status, text in notes.items)
    return f'<ul class="marks">{items}</ul>'


def _block(block: Block) -> str:
    if isinstance(block, str):
        return f"<p>{escape(block)}</p>"
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Facts):
        return _facts(block)
    if isinstance(block, Notes):
        return _notes(block)
    if isinstance(block, Viewer):
        return viewer_html(block)
    if isinstance(block, Folded):
        return f"<details><summary>{escape(block.title)}</summary>{_blocks(block.blocks)}</details>"
    if isinstance(block, Verbatim):
        return f"<details><summary>{escape(block.title)}</summary><pre>{escape(block.text)}</pre></details>"
    return _picture(block)


def _blocks(blocks: Sequence[Block]) -> str:
    """Blocks under each other; pictures of one panel that follow each other stand side by side where there is room."""

    def is_small(block: Block) -> bool:
        return isinstance(block, Picture) and len(block.panels) == 1

    parts = []
    for small, members in groupby(blocks, is_small):
        inside = "".join(map(_block, members))
        parts.append(f'<div class="row">{inside}</div>' if small else inside)
    return "".join(parts)


def _anchor(title: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in title.lower())


def render(page: Page) -> str:
    """Write a page as HTML; styles and images are inside it.

    Args:
        page: what it shows. All text is escaped: names from files cannot become markup.

    Returns:
        The document.
    """
    links = "".join(f'<a href="#{_anchor(section.title)}">{escape(section.title)}</a>' for section in page.sections)
    heads = "".join(
        f'<li class="{figure.status}"><b>{escape(figure.value)}</b><span>'
        f"{escape(figure.label)}{', ' + escape(figure.unit) if figure.unit else ''}</span></li>"
        for figure in page.headline
    )
    sections = "".join(
        f'<section><h2 id="{_anchor(section.title)}">{escape(section.title)}</h2>{_blocks(section.blocks)}</section>'
        for section in page.sections
        if section.blocks
    )
    code = (
        script()
        if any(isinstance(block, Viewer) and block.drawn for section in page.sections for block in section.blocks)
        else ""
    )
    # Only this very script may run, whatever else came into the page with the data.
    allowed = f"script-src 'sha256-{_sha256(code)}'; " if code else ""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; {allowed}'
        f"style-src 'unsafe-inline'\">"
        f"<title>{escape(page.title)}</title><style>{_asset('page.css')}</style></head><body><main>"
        f'<h1>{escape(page.title)}</h1><p class="sub">{escape(page.subtitle)}</p>'
        + (f'<ul class="head">{heads}</ul>' if heads else "")
        + f"<nav>{links}</nav>{_facts(Facts(page.facts))}"
        f"{sections}<footer>{escape(page.footer)}</footer></main>"
        + (f"<script>{code}</script>" if code else "")
        + "</body></html>\n"
    )


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
