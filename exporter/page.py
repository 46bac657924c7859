"""The status page for people: what is known now, as one HTML document that needs nothing else."""

from __future__ import annotations

import html
import time
from collections.abc import Mapping, Sequence

from exporter.cells import NONE, Cell, number_cell, section, span
from exporter.holders import holds, longest_first
from exporter.labels import PROCESS_STATES, UseState
from exporter.processes import process_name, process_names
from exporter.records import (
    Finding,
    Holder,
    Match,
    Overview,
    PoolSnapshot,
    ProcessReport,
    ServerSnapshot,
    ServerView,
)
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
<nav><a href="/metrics">Metrics</a><a href="/-/healthy">Healthy</a><a href="/-/ready">Ready</a>
<a href="/api/v1/pools">Pools as JSON</a><a href="/api/v1/holders">Holders as JSON</a></nav>
<p>{moment}, {processes}. pool-exporter {version}.</p>
{sections}</body>
</html>
"""

_POOLS = ("pool", "class", "#idle", "#used", "#max", "#longest use", "#overdue", "#checkouts")
_SERVERS = ("server", "state", "version", "#active", "#sleeping", "#in transaction", "#stale", "#of max", "#sampled")
_MATCHES = ("pool", "server", *(f"#{state} {_TIMES} {session.replace('_', ' ')}" for state, session, _ in _PAIRS))
_FINDINGS = ("pool", "server", "finding", "the pool says", "held against", "why it will hurt", "change")
_LEGEND = (
    f"<p>A pooled connection: what its pool says of it {_TIMES} what its server said when it was last asked. "
    + "; ".join(f"{state} {_TIMES} {session.replace('_', ' ')}: {meaning}" for state, session, meaning in _PAIRS)
    + ".</p>\n"
)


_PROCESSES = ("process", "state", "#pools", "#connections", "#reported")
_MOST_PROCESSES = 100
_HOLDERS = ("pool", "server", "process", "held by", "call site", "#for", "its session", "#for", "mark")
_MOST_HOLDERS = 50
_LAST = "<p>Silent: it lives, but its last report is old. That still counts.</p>\n"


def render(seen: Overview, *, leak_after: float) -> str:
    """Return the page. A pool with a checkout older than ``leak_after`` seconds is marked."""
    live, silent = (sum(report.state == state for report in seen.processes) for state in PROCESS_STATES)
    sections = (
        section("Pools", _POOLS, [_pool(pool, leak_after) for pool in seen.pools], "No pool is published."),
        section("Servers", _SERVERS, [_server(view, seen.now) for view in seen.servers], "No server is set up."),
        section(
            "The match", _MATCHES, [_match(each) for each in seen.matches], "No pool meets a sampled server.", _LEGEND
        ),
        section("Who holds what", _HOLDERS, _holders(seen), "No connection is in use.", _left_out(seen)),
        section("Findings", _FINDINGS, [_finding(each) for each in seen.findings], "Nothing to change is known."),
        section("Processes", _PROCESSES, [_process(each) for each in _reported(seen)], "No process publishes.", _LAST),
    )
    return _PAGE.format(
        style=STYLE,
        version=html.escape(VERSION),
        moment=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seen.now)),
        processes=f"{live} live process{'' if live == 1 else 'es'}{_silent(silent)}{_rejects(seen)}",
        sections="".join(sections),
    )


def _pool(pool: PoolSnapshot, leak_after: float) -> list[Cell]:
    longest, most = pool.used_longest_seconds, pool.connections_max
    return [
        Cell(pool.identity.name),
        Cell(pool.identity.pool_class),
        number_cell(pool.idle),
        number_cell(pool.used, bad=most is not None and pool.used >= most > 0),
        Cell(NONE if most is None else f"{most:g}".replace("inf", "unlimited"), number=True),
        Cell(span(longest) if longest else NONE, number=True, bad=longest > leak_after),
        number_cell(pool.overdue, bad=pool.overdue > 0),
        number_cell(pool.checkouts),
    ]


def _server(view: ServerView, now: float) -> list[Cell]:
    state = f"down ({view.reason}) {view.message}" if view.reason else view.message
    age = "never" if view.sampled_at is None else f"{span(max(now - view.sampled_at, 0.0))} ago"
    return [
        Cell(view.name),
        Cell("up" if view.up else state, bad=view.reason is not None),
        *_sampled(view.snapshot),
        Cell(age, number=True),
    ]


def _sampled(snapshot: ServerSnapshot | None) -> list[Cell]:
    if snapshot is None:
        return [Cell(NONE), *[Cell(NONE, number=True)] * 5]
    most = NONE if snapshot.connections_max is None else str(snapshot.connections_max)
    stale = sum(row.stale for row in snapshot.sleepers)
    return [
        Cell(f"{snapshot.dialect} {snapshot.version}"),
        number_cell(_sessions(snapshot, ("active", "other"))),
        number_cell(_sessions(snapshot, ("sleeping",))),
        number_cell(_sessions(snapshot, ("sleeping_in_transaction", "sleeping_in_failed_transaction"))),
        number_cell(stale, bad=stale > 0),
        Cell(f"{snapshot.connections} of {most}", number=True),
    ]


def _sessions(snapshot: ServerSnapshot, states: Sequence[str]) -> int:
    return sum(group.count for group in snapshot.groups if group.state in states)


def _match(match: Match) -> list[Cell]:
    if not match.possible:
        said = f"{match.server}: the ids do not meet, as behind a proxy that pools by itself"
        return [Cell(match.pool), Cell(said, bad=True), *[Cell(NONE, number=True)] * len(_PAIRS)]
    counts = [(state, session, match.pairs.get((state, session), 0)) for state, session, _ in _PAIRS]
    return [
        Cell(match.pool),
        Cell(match.server),
        *(number_cell(count, bad=count > 0 and (state, session) in _ALARMING) for state, session, count in counts),
    ]


def _holders(seen: Overview) -> list[list[Cell]]:
    names = process_names(seen.processes)
    return [_holder(each, names) for each in longest_first(seen.holders)[:_MOST_HOLDERS]]


def _holder(holder: Holder, names: Mapping[str, str]) -> list[Cell]:
    slept = holder.session_seconds
    return [
        Cell(holder.pool),
        Cell(holder.server or NONE),
        Cell(names.get(holder.process, str(holder.pid))),
        Cell(holder.holder or NONE),
        Cell(holder.site or NONE),
        Cell(span(holder.seconds), number=True),
        Cell((holder.session or NONE).replace("_", " "), bad=holder.session == "gone"),
        Cell(NONE if slept is None else span(slept), number=True),
        _mark(holder),
    ]


def _mark(holder: Holder) -> Cell:
    marks = [name for name, wanted in (("leak suspect", holder.suspect), ("held transaction", holds(holder))) if wanted]
    return Cell(", ".join(marks), bad=bool(marks))


def _left_out(seen: Overview) -> str:
    rest = len(seen.holders) - _MOST_HOLDERS
    return f'<p>{rest} more, held for less long: <a href="/api/v1/holders">all</a>.</p>\n' if rest > 0 else ""


def _finding(finding: Finding) -> list[Cell]:
    return [
        Cell(finding.pool),
        Cell(finding.server),
        Cell(finding.finding, bad=finding.severity == "warning"),
        Cell(finding.pool_says),
        Cell(finding.held_against),
        Cell(finding.why),
        Cell(finding.change),
    ]


def _reported(seen: Overview) -> list[ProcessReport]:
    """Return the processes to show, the silent ones and those with the oldest reports first."""
    return sorted(seen.processes, key=lambda each: (each.state, each.age), reverse=True)[:_MOST_PROCESSES]


def _process(report: ProcessReport) -> list[Cell]:
    pools = report.snapshot.pools
    return [
        Cell(process_name(report)),
        Cell("resting" if report.snapshot.resting else report.state, bad=report.state == "silent"),
        number_cell(len(pools)),
        number_cell(sum(pool.idle + pool.used for pool in pools)),
        Cell(f"{span(report.age)} ago", number=True),
    ]


def _silent(count: int) -> str:
    return f", {count} alive but silent" if count else ""


def _rejects(seen: Overview) -> str:
    count = sum(seen.rejected.values())
    return f", {count} file{'' if count == 1 else 's'} rejected" if count else ""
