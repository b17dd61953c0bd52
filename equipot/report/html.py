"""One self-contained HTML page out of facts, tables and figures: nothing in it is fetched from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from matplotlib.figure import Figure

from equipot.report.figures import svg_data_uri
from equipot.report.tables import Column, Table


@dataclass(frozen=True)
class Picture:
    """A figure with the sentence that says what it shows."""

    figure: Figure
    caption: str


@dataclass(frozen=True)
class Verbatim:
    """Text shown as it is (a configuration, a log), folded away behind its title."""

    title: str
    text: str


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it: sentences, tables, pictures, verbatim text."""

    title: str
    blocks: Sequence[str | Table | Picture | Verbatim]


@dataclass(frozen=True)
class Page:
    """A whole report: its title, one line under it, facts as pairs of label and value, and sections."""

    title: str
    subtitle: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    footer: str = ""
    headline: Sequence[tuple[str, str, str]] = field(default_factory=tuple)


#: Text in a cell that is longer is broken into lines.
_LONG_CELL = 60

_CSS = """
:root{--ink:#1d2126;--soft:#5b6470;--line:#e1e5ea;--wash:#f5f7f9;--accent:#0072B2}
*{box-sizing:border-box}
body{margin:0;background:#fff;color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1080px;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2.4rem 0 .8rem;padding-top:1.1rem;border-top:1px solid var(--line)}
.sub{color:var(--soft);margin:0 0 1.4rem}
nav{margin:0 0 1.4rem}nav a{color:var(--accent);text-decoration:none;margin-right:1.1rem;white-space:nowrap}
nav a:hover{text-decoration:underline}
.head{display:flex;flex-wrap:wrap;gap:.75rem;margin:0 0 1.3rem;padding:0;list-style:none}
.head li{flex:1 1 8.5rem;background:var(--wash);border-left:3px solid var(--accent);border-radius:4px;
padding:.6rem .9rem}
.head b{display:block;font-size:1.35rem;line-height:1.25;font-variant-numeric:tabular-nums}
.head span{color:var(--soft);font-size:.85rem}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:.55rem 1.5rem;margin:0}
dl div{min-width:0}dt{color:var(--soft);font-size:.82rem}dd{margin:0;overflow-wrap:anywhere}
.scroll{overflow-x:auto;margin:.4rem 0 1.2rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.92rem}
caption{text-align:left;font-weight:600;padding:.2rem 0 .45rem}
th,td{padding:.26rem .62rem;text-align:left;white-space:nowrap}
th{border-bottom:1.5px solid var(--ink);vertical-align:bottom;font-weight:600}
th small{display:block;color:var(--soft);font-weight:400}
td{border-bottom:1px solid var(--line);vertical-align:top}.n{text-align:right}
td.w{white-space:normal;min-width:18rem;overflow-wrap:anywhere}
tr.strong td{font-weight:600;background:var(--wash)}
.note{color:var(--soft);font-size:.85rem;margin:-.8rem 0 1.2rem}
figure{margin:.4rem 0 1.6rem}figure img{max-width:100%;height:auto;display:block}
figcaption{color:var(--soft);font-size:.88rem;margin-top:.3rem}
details{margin:.5rem 0}summary{cursor:pointer;color:var(--accent)}
pre{background:var(--wash);border-radius:4px;padding:.9rem 1rem;overflow-x:auto;font-size:.83rem;line-height:1.4}
footer{margin-top:3rem;color:var(--soft);font-size:.85rem}
@media print{nav{display:none}h2{break-after:avoid}figure,table{break-inside:avoid}}
"""


def _table(table: Table) -> str:
    heads = "".join(f'<th{" class=n" if column.is_number else ""} scope="col">{escape(column.title)}'
                    + (f"<small>{escape(column.unit)}</small>" if column.unit else "") + "</th>"
                    for column in table.columns)
    rows = []
    for number, row in enumerate(table.rows):
        cells = "".join(f"<td{_cell_class(column, cell)}>{escape(cell)}</td>"
                        for column, cell in zip(table.columns, row))
        rows.append(f"<tr{' class=strong' if number in table.strong_rows else ''}>{cells}</tr>")
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (f'<div class="scroll"><table><caption>{escape(table.title)}</caption><thead><tr>{heads}</tr></thead>'
            f"<tbody>{''.join(rows)}</tbody></table></div>{note}")


def _cell_class(column: Column, cell: str) -> str:
    if column.is_number:
        return " class=n"
    return " class=w" if len(cell) > _LONG_CELL else ""


def _block(block: str | Table | Picture | Verbatim) -> str:
    if isinstance(block, str):
        return f"<p>{escape(block)}</p>"
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Verbatim):
        return f"<details><summary>{escape(block.title)}</summary><pre>{escape(block.text)}</pre></details>"
    return (f'<figure><img alt="{escape(block.caption, quote=True)}" src="{svg_data_uri(block.figure)}">'
            f"<figcaption>{escape(block.caption)}</figcaption></figure>")


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
    heads = "".join(f"<li><b>{escape(value)}</b><span>{escape(label)}{', ' + escape(unit) if unit else ''}</span></li>"
                    for label, value, unit in page.headline)
    facts = "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in page.facts)
    sections = "".join(f'<section><h2 id="{_anchor(section.title)}">{escape(section.title)}</h2>'
                       f"{''.join(map(_block, section.blocks))}</section>"
                       for section in page.sections if section.blocks)
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
            f"style-src 'unsafe-inline'\">"
            f"<title>{escape(page.title)}</title><style>{_CSS}</style></head><body><main>"
            f'<h1>{escape(page.title)}</h1><p class="sub">{escape(page.subtitle)}</p><nav>{links}</nav>'
            + (f'<ul class="head">{heads}</ul>' if heads else "") + f"<dl>{facts}</dl>{sections}"
            f"<footer>{escape(page.footer)}</footer></main></body></html>\n")
