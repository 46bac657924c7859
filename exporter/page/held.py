"""Who holds connections now, and the sessions that nobody owns."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.conclusions import Holder, Overview
from exporter.holders import holds, longest_first
from exporter.page.cells import NONE, Cell, Row, number_cell, section, table
from exporter.processes import process_names
from exporter.readable import span

_HEAD = ("call site", "#held for", "its session", "pool", "server", "process", "mark")
_MOST = 50
_UNOWNED = ("server", "user", "database", "client", "#sleeping sessions")
_ORIGIN = (
    '<p class="quiet">They look like the sessions of the pools, and no live pool has them: left behind by killed '
    "workers, by pools that were disposed of, or by an engine for each request.</p>\n"
)


def holders(seen: Overview, *, leak_after: float) -> str:
    """Return who has connections in use, those held for longest first."""
    names = process_names(seen.processes)
    rows = [_holder(each, names, leak_after) for each in longest_first(seen.holders)[:_MOST]]
    body = table("holders", _HEAD, rows, "No connection is in use.")
    return section("holders", "Who holds connections now", body + _left_out(len(seen.holders) - _MOST))


def unowned(seen: Overview) -> str:
    """Return the sessions that no live pool owns, those of the largest clients first."""
    some = sorted((each for each in seen.unowned if each.count), key=lambda each: -each.count)
    rows = [
        Row(
            (each.server, each.user, each.database, each.client),
            (
                *map(Cell, (each.server, each.user, each.database, each.client)),
                number_cell(each.count, level="warning"),
            ),
        )
        for each in some
    ]
    body = table("unowned", _UNOWNED, rows, "No session that nobody owns is known.") + (_ORIGIN if rows else "")
    return section("unowned", "Sessions that no pool owns", body)


def _holder(holder: Holder, names: Mapping[str, str], leak_after: float) -> Row:
    process = names.get(holder.process, str(holder.pid))
    gone = holder.session == "gone"
    slept = "" if holder.session_seconds is None else f"for {span(holder.session_seconds)}"
    cells = (
        Cell(holder.site or "not known", holder.holder or ""),
        Cell(span(holder.seconds), number=True, level="warning" if holder.seconds > leak_after else None),
        Cell((holder.session or "not known").replace("_", " "), slept, level="bad" if gone else None),
        Cell(holder.pool),
        Cell(holder.server or NONE),
        Cell(process),
        _mark(holder),
    )
    return Row((holder.pool, holder.process, str(holder.server_id), holder.holder or "", holder.site or ""), cells)


def _mark(holder: Holder) -> Cell:
    if holder.suspect:
        return Cell("leak suspect", "holds a transaction" if holds(holder) else "", level="bad")
    return Cell("holds a transaction" if holds(holder) else "")


def _left_out(rest: int) -> str:
    return (
        f'<p class="quiet">{rest} more, held for less long: <a href="api/v1/holders">all</a>.</p>\n' if rest > 0 else ""
    )
