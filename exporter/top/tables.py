"""The tables of `top`. Every word that comes from elsewhere is printed as text, and acts on no terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich.table import Table
from rich.text import Text

from exporter.readable import brief, printable
from exporter.top.documents import Content, Holder, Pool, Server
from exporter.verdicts import name_of

T = TypeVar("T")

WIDE = 100
"""Columns from which on there is room for everything."""

_STYLES = {"bad": "bold red", "warning": "yellow", "info": "", "good": ""}
_NONE = "-"
_NUMBERS = frozenset(
    {"used", "idle", "max", "wait", "oldest", "overdue", "HELD", "number", "active", "asleep", "in tx", "stale"}
    | {"sampled", "sleeping sessions"}
)
_SESSIONS = (("active", "other"), ("sleeping",), ("sleeping_in_transaction", "sleeping_in_failed_transaction"))


@dataclass(frozen=True)
class Room:
    """How much room there is, and what stands for used, idle and free: not every terminal has blocks."""

    wide: bool = True
    signs: str = "#=."


def pools(content: Content, room: Room) -> Table | Text:
    """Return the pools, the worst first."""
    if not content.pools:
        return Text("No pool is published.", style="dim")
    used, idle, free = tuple(room.signs)
    bar = f"{used} used {idle} idle {free} free" if room.wide else f"{used}used {idle}idle {free}free"
    table = _table("POOL", bar, "used", "idle", "max", "wait", "oldest", *_extra(room, "overdue"), "verdict")
    for pool in in_order(content):
        found = [each for each in content.verdicts if each.pool == pool.name and each.level != "info"]
        oldest = pool.used_longest_seconds
        table.add_row(
            _text(pool.name, "bold"),
            _bar(pool, len(bar), room.signs),
            str(pool.used),
            str(pool.idle),
            "none" if pool.unlimited else _NONE if pool.max is None else f"{pool.max:g}",
            _waiting(pool),
            _NONE if oldest is None else brief(oldest),
            *_extra(room, _number(pool.overdue, "yellow")),
            _text(name_of(found[0].verdict) if found else "well", _STYLES.get(found[0].level, "") if found else ""),
        )
    return table


def holders(content: Content, room: Room, *, most: int) -> Table | None:
    """Return who holds connections, those held for longest first."""
    if not content.holders or most < 1:
        return None
    table = _table("HELD", "call site", "its session", "pool", *_extra(room, "server", "process"), "mark")
    for holder in content.holders[:most]:
        table.add_row(
            brief(holder.seconds),
            _text(holder.site or "not known"),
            _session(holder),
            _text(holder.pool),
            *_extra(room, _text(holder.server or _NONE), _text(holder.process)),
            _mark(holder),
        )
    left = max(len(content.holders) - most, 0) + content.left_out
    if left:
        table.add_row("", Text(f"and {left} more, held for less long", style="dim"))
    return table


def matches(content: Content, room: Room) -> Table | None:
    """Return the pairs of the match that have connections, in the order of the pools."""
    table = _table("MATCH", *_extra(room, "server"), "pool says", "server says", "number", "which means")
    for pool in in_order(content):
        for match in pool.matches:
            where = (_text(pool.name, "bold"), *_extra(room, _text(match.server)))
            if not match.possible:
                table.add_row(*where, _NONE, _NONE, _NONE, "the ids do not meet, as behind a proxy")
            for cell in match.cells:
                said = (cell.pool_says, cell.server_says.replace("_", " "), str(cell.count), cell.meaning)
                table.add_row(*where, *(_text(each, _STYLES.get(cell.level or "", "")) for each in said))
    return table if table.row_count else None


def servers(content: Content, room: Room) -> Table | Text:
    """Return the servers, those in trouble first."""
    if not content.servers:
        return Text("No server is set up.", style="dim")
    counts = ("active", "asleep", "in tx", *_extra(room, "stale"))
    table = _table("SERVER", "state", *_extra(room, "version"), "connections", *counts, "sampled")
    for server in sorted(content.servers, key=lambda server: (server.up, server.name)):
        table.add_row(*_server(server, room))
    return table


def unowned(content: Content) -> Table | None:
    """Return the sessions that no pool owns."""
    table = _table("UNOWNED ON", "user", "database", "client", "sleeping sessions")
    for each in sorted(content.unowned, key=lambda each: -each.count):
        if each.count:
            names = (each.server, each.user, each.database, each.client)
            table.add_row(*map(_text, names), _number(each.count, "yellow"))
    return table if table.row_count else None


def findings(content: Content) -> Table | None:
    """Return the settings that will hurt, and what to change."""
    table = _table("SETTING OF", "what will hurt", "change")
    for pool in in_order(content):
        for finding in pool.findings:
            hurts = _text(finding.finding.replace("_", " "))
            table.add_row(_text(pool.name, "bold"), hurts, _text(finding.change))
    return table if table.row_count else None


def in_order(content: Content) -> list[Pool]:
    """Return the pools with the worst verdict first; of the others, those that are used most."""
    worst: dict[str, int] = {}
    for number, verdict in enumerate(content.verdicts):
        worst.setdefault(verdict.pool, number)
    last = len(content.verdicts)
    return sorted(content.pools, key=lambda pool: (worst.get(pool.name, last), -pool.used, pool.name))


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold cyan", show_edge=False)
    for column in columns:
        folds = column in ("call site", "change", "which means")
        table.add_column(
            column,
            justify="right" if column in _NUMBERS else "left",
            overflow="fold" if folds else "ellipsis",
            no_wrap=not folds,
        )
    return table


def _extra(room: Room, *cells: T) -> tuple[T, ...]:
    return cells if room.wide else ()


def _text(words: str, style: str = "") -> Text:
    return Text(printable(words), style=style)


def _number(count: int, style: str) -> Text:
    return Text(str(count), style=style if count else "")


def _bar(pool: Pool, width: int, signs: str) -> Text:
    whole = pool.max or float(pool.used + pool.idle)
    if not whole:
        return Text("")
    used = _part(pool.used, whole, width)
    idle = min(_part(pool.idle, whole, width), width - used)
    full = pool.max is not None and pool.used >= pool.max
    return Text.assemble(
        (signs[0] * used, "bold red" if full else "bright_blue"),
        (signs[1] * idle, "blue"),
        (signs[2] * (width - used - idle), "dim"),
    )


def _part(count: int, whole: float, width: int) -> int:
    """Return how much of a bar something takes: what is there is to be seen."""
    return min(max(round(width * count / whole), 1), width) if count else 0


def _waiting(pool: Pool) -> Text:
    if not pool.waiting:
        return Text(_NONE if pool.waiting is None else "0")
    longest = pool.waiting_longest_seconds
    return Text(f"{pool.waiting} ({brief(longest)})" if longest else str(pool.waiting), style="bold red")


def _session(holder: Holder) -> Text:
    if holder.session is None:
        return Text("not known", style="dim")
    state = holder.session.replace("sleeping_in_transaction", "asleep in tx").replace("sleeping", "asleep")
    since = "" if holder.session_seconds is None else f" {brief(holder.session_seconds)}"
    return _text(f"{state}{since}", "bold red" if holder.session == "gone" else "")


def _mark(holder: Holder) -> Text:
    if holder.suspect:
        return Text("leak suspect", style="bold red")
    return Text("holds tx" if holder.holds_transaction else "", style="yellow")


def _server(server: Server, room: Room) -> Sequence[str | Text]:
    state = Text("up") if server.up else _text(f"down: {server.reason}" if server.reason else "waits", "bold red")
    ago = "never" if server.sampled_seconds_ago is None else f"{brief(server.sampled_seconds_ago)} ago"
    first, sample = (_text(server.name, "bold"), state), server.sample
    if sample is None:
        return [*first, *(_NONE,) * (6 if room.wide else 4), ago]
    counts = [str(sum(sample.sessions.get(state, 0) for state in some)) for some in _SESSIONS]
    most = "" if sample.connections_max is None else f" of {sample.connections_max}"
    return [
        *first,
        *_extra(room, _text(f"{sample.dialect} {sample.version}")),
        f"{sample.connections}{most}",
        *counts,
        *_extra(room, _number(sample.stale_sessions, "yellow")),
        ago,
    ]
