"""The servers, those in trouble first: how full they are, what their sessions do, and how old that is."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.conclusions import Overview, Verdict
from exporter.labels import SessionState
from exporter.page.cells import NONE, Cell, Row, number_cell, section, table
from exporter.page.pools import bar
from exporter.ranking import order_servers
from exporter.readable import span
from exporter.records import ServerSnapshot, ServerView

_HEAD = ("server", "state", "connections", "#active", "#sleeping", "#in transaction", "#stale", "#sampled")
_WORK: tuple[SessionState, ...] = ("active", "other")
_REST: tuple[SessionState, ...] = ("sleeping",)
_OPEN: tuple[SessionState, ...] = ("sleeping_in_transaction", "sleeping_in_failed_transaction")


def servers(seen: Overview, found: Sequence[Verdict]) -> str:
    """Return the table of the servers."""
    rows = [_row(view, seen.now) for view in order_servers(seen.servers, found)]
    return section("servers", "Servers", table("servers", _HEAD, rows, "No server is set up."))


def _row(view: ServerView, now: float) -> Row:
    sample = view.snapshot
    kind = "" if sample is None else f"{sample.dialect} {sample.version}"
    return Row((view.name,), (Cell(view.name, kind), _state(view), *_sampled(sample), _age(view, now)))


def _state(view: ServerView) -> Cell:
    if view.up:
        return Cell("up")
    if view.reason is None:
        return Cell(view.message)
    return Cell(f"down ({view.reason})", view.message, level="bad")


def _age(view: ServerView, now: float) -> Cell:
    if view.sampled_at is None:
        return Cell("never", number=True)
    withheld = "too old to be shown" if view.snapshot is None else ""
    age = span(max(now - view.sampled_at, 0.0))
    return Cell(f"{age} ago", withheld, number=True, level="warning" if withheld else None)


def _sampled(sample: ServerSnapshot | None) -> tuple[Cell, ...]:
    if sample is None:
        return (Cell(NONE), *(Cell(NONE, number=True) for _ in range(4)))
    stale = sum(row.stale for row in sample.sleepers)
    return (
        _connections(sample),
        number_cell(_sessions(sample, _WORK)),
        number_cell(_sessions(sample, _REST)),
        number_cell(_sessions(sample, _OPEN)),
        number_cell(stale, level="warning" if stale else None),
    )


def _connections(sample: ServerSnapshot) -> Cell:
    most = sample.connections_max
    if most is None:
        return Cell(str(sample.connections))
    full = sample.connections >= most
    drawn = bar(sample.connections, 0, max(most - sample.connections, 0), bad=full)
    return Cell(f"{sample.connections} of {most}", level="bad" if full else None, markup=drawn)


def _sessions(sample: ServerSnapshot, states: Sequence[SessionState]) -> int:
    return sum(group.count for group in sample.groups if group.state in states)
