"""The cells: tables of the status page as HTML, in which every text is text and nothing more."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NONE = "-"
"""What stands where nothing is known."""


@dataclass(frozen=True)
class Cell:
    """One cell: its text, whether it is a number, and whether it needs a look."""

    text: str
    number: bool = False
    bad: bool = False


def number_cell(value: int, *, bad: bool = False) -> Cell:
    """Return the cell of a count."""
    return Cell(str(value), number=True, bad=bad)


def span(seconds: float) -> str:
    """Write a duration as people say it: its two largest units."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def section(title: str, head: Iterable[str], rows: Sequence[Sequence[Cell]], nothing: str, legend: str = "") -> str:
    """Return a table with its title; ``nothing`` says so when it has no rows. A "#" before a column: it holds numbers.

    All but the cells is HTML already.
    """
    if not rows:
        return f"<h2>{title}</h2>\n<p>{nothing}</p>\n"
    body = "\n".join(f"<tr>{''.join(map(_td, row))}</tr>" for row in rows)
    table = f"<table>\n<thead><tr>{''.join(map(_th, head))}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    return f'<h2>{title}</h2>\n<div class="wide">{table}</div>\n{legend}'


def _th(name: str) -> str:
    text = html.escape(name.lstrip("#"))
    return f'<th scope="col" class="number">{text}</th>' if name.startswith("#") else f'<th scope="col">{text}</th>'


def _td(cell: Cell) -> str:
    classes = " ".join(name for name, wanted in (("number", cell.number), ("bad", cell.bad)) if wanted)
    opening = f'<td class="{classes}">' if classes else "<td>"
    return f"{opening}{html.escape(cell.text)}</td>"
