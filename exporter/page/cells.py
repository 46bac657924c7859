"""The cells: tables of the status page as HTML, in which every text is text and nothing more."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from exporter.labels import Level

_NOTHING = '<p class="nothing">'
NONE = "-"
"""What stands where nothing is known."""


@dataclass(frozen=True)
class Cell:
    """One cell: its text, what stands small below it, and how much it needs a look.

    ``markup`` is HTML already, made here and of no foreign text; it stands above the text.
    """

    text: str
    note: str = ""
    number: bool = False
    level: Level | None = None
    markup: str = ""


@dataclass(frozen=True)
class Row:
    """One row: its cells, and what no other row of the table is called."""

    key: tuple[str, ...]
    cells: Sequence[Cell]


def number_cell(value: int, *, level: Level | None = None, note: str = "") -> Cell:
    """Return the cell of a count."""
    return Cell(str(value), note, number=True, level=level)


def identifier(*names: str) -> str:
    """Return an id of an element for names that anybody may have chosen."""
    return f"k{hashlib.blake2b(repr(names).encode('utf-8', 'replace'), digest_size=8).hexdigest()}"


def text(words: str) -> str:
    """Return words as HTML that shows just these."""
    return html.escape(words, quote=True)


def section(name: str, title: str, body: str) -> str:
    """Return a part of the page under a heading of its own; one that has nothing to say takes a line."""
    kind = ' class="brief"' if body.startswith(_NOTHING) else ""
    heading = f'<h2 id="{name}-title">{title}</h2>'
    return f'<section id="{name}"{kind} aria-labelledby="{name}-title">\n{heading}\n{body}</section>\n'


def nothing(words: str) -> str:
    """Return the sentence that stands where there is nothing to show."""
    return f"{_NOTHING}{text(words)}</p>\n"


def table(name: str, head: Sequence[str], rows: Iterable[Row], otherwise: str) -> str:
    """Return a table, or the sentence ``otherwise`` when it has no rows. A "#" before a column: it holds numbers.

    On a phone each row is a card, in which each cell bears the name of its column. That takes the meaning of a table
    away from some browsers, so the roles say it.
    """
    lines = "\n".join(_tr(name, head, row) for row in rows)
    if not lines:
        return nothing(otherwise)
    titles = "".join(map(_th, head))
    return (
        f'<div class="wide"><table class="cards" role="table" aria-labelledby="{name}-title">\n'
        f'<thead role="rowgroup"><tr role="row">{titles}</tr></thead>\n'
        f'<tbody role="rowgroup">\n{lines}\n</tbody>\n</table></div>\n'
    )


def _th(name: str) -> str:
    words = text(name.lstrip("#"))
    kind = ' class="number"' if name.startswith("#") else ""
    return f'<th role="columnheader" scope="col"{kind}>{words}</th>'


def _tr(name: str, head: Sequence[str], row: Row) -> str:
    first, *others = (_td(cell, title.lstrip("#")) for cell, title in zip(row.cells, head, strict=True))
    named = first.replace("<td ", '<th scope="row" ', 1).removesuffix("</td>") + "</th>"
    named = named.replace('role="cell"', 'role="rowheader"', 1)
    return f'<tr role="row" id="{identifier(name, *row.key)}">{named}{"".join(others)}</tr>'


def _td(cell: Cell, title: str) -> str:
    kinds = ("number", cell.number), ("use", bool(cell.markup)), (cell.level or "", cell.level is not None)
    classes = " ".join(name for name, wanted in kinds if wanted)
    said = f' class="{classes}"' if classes else ""
    note = f'<span class="note">{text(cell.note)}</span>' if cell.note else ""
    words = f'<span class="value">{text(cell.text)}</span>' if cell.text else ""
    return f'<td role="cell" data-label="{text(title)}"{said}>{cell.markup}{words}{note}</td>'
