"""The status page for people: what is known now, as one HTML document that needs nothing else."""

from __future__ import annotations

import html
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from exporter.labels import PROCESS_STATES, UseState
from exporter.processes import process_name
from exporter.records import Match, Overview, PoolSnapshot, ProcessReport, ServerSnapshot, ServerView
from exporter.version import VERSION

STYLE = """
:root { color-scheme: light dark; --bad: light-dark(#b00020, #ff8a80); --line: light-dark(#ddd, #444); }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
nav a { margin-right: 1rem; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left; vertical-align: top; }
th { font-weight: 600; } td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.bad { color: var(--bad); font-weight: 600; }
"""
"""The only style; whoever serves the page lets nothing else in."""

_NONE = "-"
_TIMES = "\N{MULTIPLICATION SIGN}"
_PAIRS: tuple[tuple[UseState, str, str], ...] = (
    ("idle", "sleeping", "health"),
    ("used", "active", "work"),
    ("used", "sleeping", "a client that thinks or has forgotten"),
    ("used", "sleeping_in_transaction", "the same, and it holds locks"),
    ("idle", "gone", "the next user gets an error"),
    ("used", "gone", "ended while in use"),
    ("idle", "active", "came back with a statement still running"),
    ("idle", "sleeping_in_transaction", "came back with its transaction open"),
)
_ALARMING = frozenset({("idle", "gone"), ("used", "gone"), ("idle", "active"), ("idle", "sleeping_in_transaction")})

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Connection pools and their servers</title>
<style>{style}</style>
</head>
<body>
<h1>Connection pools and their servers</h1>
<nav><a href="/metrics">Metrics</a><a href="/-/healthy">Healthy</a><a href="/-/ready">Ready</a></nav>
<p>{moment}, {processes}. pool-exporter {version}.</p>
{sections}</body>
</html>
"""

# A "#" before the name of a column says that it holds numbers.
_POOLS = ("pool", "class", "#idle", "#used", "#max", "#longest use", "#overdue", "#checkouts")
_SERVERS = ("server", "state", "version", "#active", "#sleeping", "#in transaction", "#stale", "#of max", "#sampled")
_MATCHES = ("pool", "server", *(f"#{state} {_TIMES} {session.replace('_', ' ')}" for state, session, _ in _PAIRS))
_LEGEND = (
    f"<p>A pooled connection: what its pool says of it {_TIMES} what its server said when it was last asked. "
    + "; ".join(f"{state} {_TIMES} {session.replace('_', ' ')}: {meaning}" for state, session, meaning in _PAIRS)
    + ".</p>\n"
)


_PROCESSES = ("process", "state", "#pools", "#connections", "#reported")
_MOST_PROCESSES = 100
_LAST = "<p>Silent: it lives, but its last report is old. That still counts.</p>\n"


@dataclass(frozen=True)
class _Cell:
    text: str
    number: bool = False
    bad: bool = False


def render(seen: Overview, *, leak_after: float) -> str:
    """Return the page. A pool with a checkout older than ``leak_after`` seconds is marked."""
    live, silent = (sum(report.state == state for report in seen.processes) for state in PROCESS_STATES)
    sections = (
        _section("Pools", _POOLS, [_pool(pool, leak_after) for pool in seen.pools], "No pool is published."),
        _section("Servers", _SERVERS, [_server(view, seen.now) for view in seen.servers], "No server is set up."),
        _section(
            "The match", _MATCHES, [_match(each) for each in seen.matches], "No pool meets a sampled server.", _LEGEND
        ),
        _section("Processes", _PROCESSES, [_process(each) for each in _reported(seen)], "No process publishes.", _LAST),
    )
    return _PAGE.format(
        style=STYLE,
        version=html.escape(VERSION),
        moment=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seen.now)),
        processes=f"{live} live process{'' if live == 1 else 'es'}{_silent(silent)}{_rejects(seen)}",
        sections="".join(sections),
    )


def _pool(pool: PoolSnapshot, leak_after: float) -> list[_Cell]:
    longest, most = pool.used_longest_seconds, pool.connections_max
    return [
        _Cell(pool.identity.name),
        _Cell(pool.identity.pool_class),
        _number(pool.idle),
        _number(pool.used, bad=most is not None and pool.used >= most > 0),
        _Cell(_NONE if most is None else f"{most:g}".replace("inf", "unlimited"), number=True),
        _Cell(_span(longest) if longest else _NONE, number=True, bad=longest > leak_after),
        _number(pool.overdue, bad=pool.overdue > 0),
        _number(pool.checkouts),
    ]


def _server(view: ServerView, now: float) -> list[_Cell]:
    state = f"down ({view.reason}) {view.message}" if view.reason else view.message
    age = "never" if view.sampled_at is None else f"{_span(max(now - view.sampled_at, 0.0))} ago"
    return [
        _Cell(view.name),
        _Cell("up" if view.up else state, bad=view.reason is not None),
        *_sampled(view.snapshot),
        _Cell(age, number=True),
    ]


def _sampled(snapshot: ServerSnapshot | None) -> list[_Cell]:
    if snapshot is None:
        return [_Cell(_NONE), *[_Cell(_NONE, number=True)] * 5]
    most = _NONE if snapshot.connections_max is None else str(snapshot.connections_max)
    stale = sum(row.stale for row in snapshot.sleepers)
    return [
        _Cell(f"{snapshot.dialect} {snapshot.version}"),
        _number(_sessions(snapshot, ("active", "other"))),
        _number(_sessions(snapshot, ("sleeping",))),
        _number(_sessions(snapshot, ("sleeping_in_transaction", "sleeping_in_failed_transaction"))),
        _number(stale, bad=stale > 0),
        _Cell(f"{snapshot.connections} of {most}", number=True),
    ]


def _sessions(snapshot: ServerSnapshot, states: Sequence[str]) -> int:
    return sum(group.count for group in snapshot.groups if group.state in states)


def _match(match: Match) -> list[_Cell]:
    if not match.possible:
        said = f"{match.server}: the ids do not meet, as behind a proxy that pools by itself"
        return [_Cell(match.pool), _Cell(said, bad=True), *[_Cell(_NONE, number=True)] * len(_PAIRS)]
    counts = [(state, session, match.pairs.get((state, session), 0)) for state, session, _ in _PAIRS]
    return [
        _Cell(match.pool),
        _Cell(match.server),
        *(_number(count, bad=count > 0 and (state, session) in _ALARMING) for state, session, count in counts),
    ]


def _reported(seen: Overview) -> list[ProcessReport]:
    """Return the processes to show, the silent ones and those with the oldest reports first."""
    return sorted(seen.processes, key=lambda each: (each.state, each.age), reverse=True)[:_MOST_PROCESSES]


def _process(report: ProcessReport) -> list[_Cell]:
    pools = report.snapshot.pools
    return [
        _Cell(process_name(report)),
        _Cell("resting" if report.snapshot.resting else report.state, bad=report.state == "silent"),
        _number(len(pools)),
        _number(sum(pool.idle + pool.used for pool in pools)),
        _Cell(f"{_span(report.age)} ago", number=True),
    ]


def _number(value: int, *, bad: bool = False) -> _Cell:
    return _Cell(str(value), number=True, bad=bad)


def _silent(count: int) -> str:
    return f", {count} alive but silent" if count else ""


def _rejects(seen: Overview) -> str:
    count = sum(seen.rejected.values())
    return f", {count} file{'' if count == 1 else 's'} rejected" if count else ""


def _span(seconds: float) -> str:
    """Write a duration as people say it: its two largest units."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def _section(title: str, head: Iterable[str], rows: Sequence[Sequence[_Cell]], nothing: str, legend: str = "") -> str:
    if not rows:
        return f"<h2>{title}</h2>\n<p>{nothing}</p>\n"
    body = "\n".join(f"<tr>{''.join(map(_td, row))}</tr>" for row in rows)
    table = f"<table>\n<thead><tr>{''.join(map(_th, head))}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    return f'<h2>{title}</h2>\n<div class="wide">{table}</div>\n{legend}'


def _th(name: str) -> str:
    text = html.escape(name.lstrip("#"))
    return f'<th scope="col" class="number">{text}</th>' if name.startswith("#") else f'<th scope="col">{text}</th>'


def _td(cell: _Cell) -> str:
    classes = " ".join(name for name, wanted in (("number", cell.number), ("bad", cell.bad)) if wanted)
    opening = f'<td class="{classes}">' if classes else "<td>"
    return f"{opening}{html.escape(cell.text)}</td>"
