"""The verdicts: what is wrong with pools and servers, the worst first, and what to do now. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from exporter.conclusions import Holder, Match, Overview, Recent, Verdict
from exporter.holders import holds, longest_first
from exporter.labels import LEVELS, VERDICTS, Level, VerdictName
from exporter.readable import many, span
from exporter.records import PoolSnapshot, ServerView
from exporter.troubles import troubles

NAMES: Mapping[VerdictName, str] = {
    "server_down": "Server down",
    "leak": "Leak",
    "stale": "Stale",
    "ended_in_use": "Ended in use",
    "slow_database": "Slow database",
    "too_small": "Too small",
    "server_full": "Server full",
    "came_back_open": "Came back open",
    "idle_in_transaction": "Idle in transaction",
    "held_long": "Held long",
    "unowned": "Unowned",
    "settings": "Settings",
    "unseen": "Not seen",
    "healthy": "All is well",
}
"""What people call each verdict."""

SLOW = 1.0
"""Seconds that a statement must have run to count as slow. Requests wait for it, and people for them."""

OPEN_LONG = 10.0
"""Seconds that a session must have slept in its transaction to be spoken of: whoever needs what it has locked waits."""

_ALMOST = 0.9
"""Of a server's connections: so many in use, and the next deployment does not start."""

_MOST_SITES = 3
_STALE_CURES = ("no_stale_protection", "recycle_exceeds_server_timeout")
_SERVER_CURES = {
    "connect": "see whether it runs, and whether its address is still right",
    "auth": "see to the account and password of the exporter",
    "privilege": "grant the exporter's account what it says",
    "timeout": "it is frozen, or far too busy: look at the machine first",
    "query": "see the log of the exporter for what it answered",
    "other": "see the log of the exporter",
}


def name_of(verdict: str) -> str:
    """Return what people call a verdict; one that a newer sidecar has, by its own name."""
    return {str(known): name for known, name in NAMES.items()}.get(verdict, verdict)


def verdicts(seen: Overview) -> tuple[Verdict, ...]:
    """Return what is wrong, the worst first; where nothing is, one verdict that says so."""
    found = [*_servers(seen), *(each for pool in seen.pools for each in _pool(pool, seen)), *_unseen(seen)]
    ordered = tuple(sorted(found, key=_rank))
    return ordered if any(each.level in LEVELS[:2] for each in ordered) else (_healthy(seen), *ordered)


def _rank(verdict: Verdict) -> tuple[int, int]:
    return LEVELS.index(verdict.level), VERDICTS.index(verdict.verdict)


def _servers(seen: Overview) -> Iterator[Verdict]:
    for view in seen.servers:
        yield from _state(view, seen.now)
        loose = sum(each.count for each in seen.unowned if each.server == view.name)
        if loose:
            what = f"{many(loose, 'sleeping session')} of the pools' clients belong to no live pool"
            do = "see what left them (killed workers, disposed pools, an engine for each request), and end them there"
            yield Verdict("unowned", "warning", what, do, server=view.name)


def _state(view: ServerView, now: float) -> Iterator[Verdict]:
    if view.reason is not None:
        last = "nothing is known of it" if view.sampled_at is None else f"last seen {span(now - view.sampled_at)} ago"
        what = f"it cannot be asked ({view.reason}): {view.message}; {last}"
        # One sample that fails may be chance: what the one before said still stands.
        level: Level = "bad" if view.snapshot is None else "warning"
        yield Verdict("server_down", level, what, _SERVER_CURES[view.reason], server=view.name)
    elif view.snapshot is None:
        yield Verdict("unseen", "info", "it has not been sampled yet", server=view.name)
    elif view.snapshot.connections_max and view.snapshot.connections >= _ALMOST * view.snapshot.connections_max:
        full = view.snapshot.connections >= view.snapshot.connections_max
        what = f"{view.snapshot.connections} of the {view.snapshot.connections_max} connections that it allows are open"
        do = "see who has them; take fewer for each process, end what is unowned, or raise the server's limit"
        yield Verdict("server_full", "bad" if full else "warning", what, do, server=view.name)


def _pool(pool: PoolSnapshot, seen: Overview) -> Iterator[Verdict]:
    name = pool.identity.name
    matches = [match for match in seen.matches if match.pool == name and match.possible]
    mine = [holder for holder in seen.holders if holder.pool == name]
    recent = next((each for each in seen.recent if each.pool == name), Recent(name, 0.0, 0, 0))
    found = [*_leak(pool, mine, matches), *_slow(pool, mine, recent)]
    if not found:
        found += _too_small(pool, seen, recent)
    found += _asleep_in_transaction(name, mine)
    found += _dead(pool, seen, recent)
    found += _came_back(name, matches)
    yield from found
    cures = {verdict.do for verdict in found}
    yield from (verdict for verdict in _settings(name, seen) if verdict.do not in cures)


def _leak(pool: PoolSnapshot, mine: Sequence[Holder], matches: Sequence[Match]) -> Iterator[Verdict]:
    suspects = [holder for holder in mine if holder.suspect]
    if suspects:
        locks = sum(map(holds, suspects))
        longest = span(max(holder.seconds for holder in suspects))
        begun = "1 connection has" if len(suspects) == 1 else f"{len(suspects)} connections have"
        what = f"{begun} been out for up to {longest}, and {_sleep(len(suspects))}"
        what += f"; {locks} in an open transaction, locks and all" if locks else ""
        do = f"close the Session that is opened at {_sites(suspects)}; until then a restart of its process frees them"
        yield Verdict("leak", "bad", what + _waiting(pool), do, pool.identity.name)
    elif pool.overdue and not any(holder.session == "active" for holder in mine):
        what = f"{many(pool.overdue, 'connection')} out for longer than leak_after, up to {_longest(pool)}"
        # Where the server has been asked and says nothing yet, the next sample will tell.
        what += "" if matches else "; whether somebody works with them, no server can say"
        held = longest_first(mine)[: pool.overdue]
        do = f"look at {_sites(held)}" if held else "see the log of the application, which names the lines"
        yield Verdict("held_long", "warning", what + _waiting(pool), do, pool.identity.name)


def _asleep_in_transaction(name: str, mine: Sequence[Holder]) -> Iterator[Verdict]:
    open_ = [each for each in mine if holds(each) and not each.suspect and (each.session_seconds or 0.0) >= OPEN_LONG]
    if open_:
        longest = span(max(each.session_seconds or 0.0 for each in open_))
        what = f"{many(len(open_), 'transaction')} open while the session sleeps, up to {longest}, locks and all"
        do = f"commit before slow work, such as a call to another service; begun at {_sites(open_)}"
        yield Verdict("idle_in_transaction", "warning", what, do, name)


def _slow(pool: PoolSnapshot, mine: Sequence[Holder], recent: Recent) -> Iterator[Verdict]:
    working = [each for each in mine if each.session == "active" and (each.session_seconds or 0.0) >= SLOW]
    pressed = bool(pool.waiting or recent.timeouts)
    if working and len(working) * 2 >= pool.used and (pressed or pool.overdue or _is_full(pool)):
        longest = span(max(each.session_seconds or 0.0 for each in working))
        what = f"{len(working)} of {pool.used} used connections wait for the database, up to {longest}: no leak, and a"
        what += f" larger pool would only add to its load{_waiting(pool)}"
        do = f"see what the server is busy with; the slow statements come from {_sites(working)}"
        yield Verdict("slow_database", "bad" if pressed else "warning", what, do, pool.identity.name)


def _too_small(pool: PoolSnapshot, seen: Overview, recent: Recent) -> Iterator[Verdict]:
    if not (pool.waiting or recent.timeouts):
        return
    most = "" if pool.connections_max is None else f" of {pool.connections_max:g}"
    what = f"{pool.used}{most} connections are in use, and come back{_waiting(pool)}"
    if recent.timeouts:
        what += f"; {many(recent.timeouts, 'wait')} ended in a timeout in the last {span(recent.seconds)}"
    do = _change(pool.identity.name, seen, ("pool_too_small",)) or (
        "raise pool_size or max_overflow as far as the server allows, or hold each connection for less long"
    )
    yield Verdict("too_small", "bad" if pool.waiting else "warning", what, do, pool.identity.name)


def _dead(pool: PoolSnapshot, seen: Overview, recent: Recent) -> Iterator[Verdict]:
    name = pool.identity.name
    servers = sorted({match.server for match in seen.matches if match.pool == name})
    now = {each.trouble: each.what for server in servers for each in troubles(pool, server, matches=seen.matches)}
    met = f"{many(recent.stale_errors, 'use')} met a dead connection in the last {span(recent.seconds)}, and failed"
    do = _change(name, seen, _STALE_CURES) or "pool_pre_ping=True, or a pool_recycle below the server's timeout"
    if "stale_connections" in now:
        what = now["stale_connections"] + (f"; {met}" if recent.stale_errors else "")
        yield Verdict("stale", "bad", what, do, name)
    elif recent.stale_errors:
        yield Verdict("stale", "warning", met, do, name)
    if "ended_in_use" in now:
        do = "the server's log says who ended them: a KILL, a timeout inside a transaction, or a restart"
        yield Verdict("ended_in_use", "bad", now["ended_in_use"], do, name)


def _came_back(name: str, matches: Sequence[Match]) -> Iterator[Verdict]:
    pairs: Counter[tuple[str, str]] = Counter()
    for match in matches:
        pairs.update(match.pairs)
    running, open_ = pairs["idle", "active"], pairs["idle", "sleeping_in_transaction"]
    if running or open_:
        ways = ((running, "a statement still running"), (open_, "a transaction still open"))
        said = " and ".join(f"{count} with {way}" for count, way in ways if count)
        do = "let the pool roll back what comes back: pool_reset_on_return='rollback'"
        yield Verdict("came_back_open", "warning", f"connections lie idle in the pool, {said}", do, name)


def _settings(name: str, seen: Overview) -> Iterator[Verdict]:
    for finding in seen.findings:
        if finding.pool == name:
            level: Level = "warning" if finding.severity == "warning" else "info"
            what = f"{finding.pool_says}, and on {finding.server} {finding.held_against}: {finding.why}"
            yield Verdict("settings", level, what, finding.change, name)


def _unseen(seen: Overview) -> Iterator[Verdict]:
    if not seen.processes:
        do = "start the applications with POOL_EXPORTER_DIR set to what processes.directory says here"
        yield Verdict("unseen", "warning", "no process that lives publishes its pools", do)
    if not seen.servers:
        yield Verdict(
            "unseen", "info", "no server is set up, so pools are held against none", "name each under servers"
        )
    silent = sum(report.state == "silent" for report in seen.processes)
    if silent:
        what = "1 process is alive, but silent" if silent == 1 else f"{silent} processes are alive, but silent"
        yield Verdict("unseen", "info", f"{what}: what they last reported still counts")


def _healthy(seen: Overview) -> Verdict:
    used, idle = sum(pool.used for pool in seen.pools), sum(pool.idle for pool in seen.pools)
    waiting = sum(pool.waiting or 0 for pool in seen.pools)
    what = f"{many(len(seen.pools), 'pool')} with {used} connections in use and {idle} idle; "
    return Verdict("healthy", "good", what + (f"{waiting} wait" if waiting else "nobody waits"))


def _is_full(pool: PoolSnapshot) -> bool:
    return pool.connections_max is not None and pool.used >= pool.connections_max > 0


def _waiting(pool: PoolSnapshot) -> str:
    if not pool.waiting:
        return ""
    longest = pool.waiting_longest_seconds
    waits = "1 waits" if pool.waiting == 1 else f"{pool.waiting} wait"
    return f"; {waits} for a connection" + (f", up to {span(longest)}" if longest else "")


def _sleep(count: int) -> str:
    if count == 1:
        return "its session sleeps: nobody works with it"
    return "their sessions sleep: nobody works with them"


def _longest(pool: PoolSnapshot) -> str:
    return span(pool.used_longest_seconds)


def _sites(held: Sequence[Holder]) -> str:
    """Name the lines that took most of what is held."""
    sites = Counter(holder.site or "a place that is not known" for holder in held).most_common()
    named = ", ".join(f"{site} ({count})" for site, count in sites[:_MOST_SITES])
    return f"{named} and elsewhere" if len(sites) > _MOST_SITES else named


def _change(name: str, seen: Overview, findings: Sequence[str]) -> str:
    return next((each.change for each in seen.findings if each.pool == name and each.finding in findings), "")
