"""Checks of what a pool has been seen to do since its processes started. Few figures allow no advice, and get none."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from exporter.buckets import USE_BUCKETS, WAIT_BUCKETS
from exporter.conclusions import Finding
from exporter.findings.case import IDLE_TIMEOUTS, Case, half, plain, summed
from exporter.records import PoolSnapshot

ENOUGH = 1000
"""Checkouts, or pings, that must have been seen before their shares mean anything."""

PING_SHARE = 0.2
"""Of the time that checkouts take, pings included; beyond it pinging is no small cost any more."""

BUSY_SHARE = 0.1
"""Of all checkouts; when so many are thrown away or wait, the pool is too small for what is usual."""

SHORT_WAIT = 0.1
"""Seconds; whoever waits longer, notices."""

QUIET_SHARE = 0.2
"""Of a pool's size; when no more was ever used at once, the rest serves nobody."""

LARGE = 10
"""Connections; SQLAlchemy's default of 5 is not too large for anybody."""

LONG_ENOUGH = 3600.0
"""Seconds that a process must have been watched before what it never did tells anything."""

TRANSACTION_TIMEOUTS = (
    "idle_in_transaction_session_timeout",
    "idle_transaction_timeout",
    "idle_write_transaction_timeout",
    "idle_readonly_transaction_timeout",
)

_USUAL_RECYCLE = 1800
# Behind these closes comes a connect in the same place; all others make or leave room for one more.
_REPLACED = ("recycle", "soft_invalidated", "pool_invalidated")


def idle_in_transaction_timeout_too_short(case: Case) -> Finding | None:
    """Find a server that ends transactions which sleep, on connections that are used for longer than that."""
    timeout = case.shortest(TRANSACTION_TIMEOUTS)
    longest = max(map(_longest_use, case.reports), default=0.0)
    if timeout is None or longest < timeout.seconds:
        return None
    return Finding(
        case.pool,
        case.server,
        "idle_in_transaction_timeout_too_short",
        pool_says=f"uses of {plain(longest)} s and more",
        held_against=str(timeout),
        why=f"a use that leaves its transaction idle for {plain(timeout.seconds)} s loses it, and gets an error",
        change=f"commit before slow work, or on the server: {timeout.name} = {2 * int(longest + 1)} seconds",
    )


def ping_costs(case: Case) -> Finding | None:
    """Find a pool whose pings take a large share of the time that its connections are wanted for."""
    pinging = [each for each in case.reports if each.pre_ping]
    pings, uses = summed(each.ping_seconds for each in pinging), summed(each.use_seconds for each in pinging)
    count, whole = sum(pings.counts), pings.sum + uses.sum
    if count < ENOUGH or pings.sum <= PING_SHARE * whole or case.sample is None:
        return None
    timeout = case.shortest(IDLE_TIMEOUTS)
    recycle = _USUAL_RECYCLE if timeout is None else half(timeout)
    if recycle is None:
        return None  # the server is so quick to end connections that only a ping is quick enough
    return Finding(
        case.pool,
        case.server,
        "ping_costs",
        severity="info",
        pool_says="pool_pre_ping=True",
        held_against=f"{pings.sum / whole:.0%} of the time of {count} checkouts that pinged",
        why=f"each waits {1000 * pings.sum / count:.2g} ms for an answer first; a recycle in time costs nothing, "
        "though it does not see a server restart",
        change=f"create_engine(..., pool_pre_ping=False, pool_recycle={recycle})",
    )


def pool_too_small(case: Case) -> Finding | None:
    """Find a pool that works beyond its size all the time: it makes connections to throw them away, or lets wait."""
    sized = [each for each in case.reports if each.size]
    checkouts = sum(each.checkouts for each in sized)
    if checkouts < ENOUGH:
        return None
    thrown = sum(each.closes.get("overflow", 0) for each in sized)
    if thrown >= BUSY_SHARE * checkouts:
        return _thrown_away(case, sized[0], share=thrown / checkouts, checkouts=checkouts)
    waited = _waited(sized)
    # Where connections are held for too long, waiting says nothing about the size.
    if waited < BUSY_SHARE * checkouts or any(each.overdue or each.overdue_checkouts for each in sized):
        return None
    return Finding(
        case.pool,
        case.server,
        "pool_too_small",
        severity="info",
        pool_says=_size(sized[0]),
        held_against=f"{waited / checkouts:.0%} of {checkouts} checkouts waited longer than {SHORT_WAIT:g} s",
        why="users wait for a connection while the server could give them one",
        change=f"create_engine(..., pool_size={2 * (sized[0].size or 0)})",
    )


def pool_too_large(case: Case) -> Finding | None:
    """Find a pool of which only a small part was ever used at once, in any process."""
    sized = [each for each in case.reports if each.size is not None]
    size, most = min((each.size or 0 for each in sized), default=0), max(map(_most_at_once, sized), default=0)
    if size < LARGE or most > QUIET_SHARE * size or sum(each.checkouts for each in sized) < ENOUGH:
        return None
    if any(each.disposals != 0 for each in sized) or max(map(_watched, sized)) < LONG_ENOUGH:
        return None
    return Finding(
        case.pool,
        case.server,
        "pool_too_large",
        severity="info",
        pool_says=f"pool_size={size}",
        held_against=f"at most {most} used at once in any process",
        why="only a pile-up would fill the rest: a leak or a slow statement takes it all from the server unnoticed",
        change=f"create_engine(..., pool_size={max(5, 2 * most)})",
    )


def _thrown_away(case: Case, report: PoolSnapshot, *, share: float, checkouts: int) -> Finding:
    most = report.connections_max
    bounded = most is not None and most != float("inf")
    cure = f"pool_size={most:.0f}, max_overflow=0" if bounded else f"pool_size={2 * (report.size or 0)}"
    return Finding(
        case.pool,
        case.server,
        "pool_too_small",
        severity="info",
        pool_says=_size(report),
        held_against=f"{share:.0%} of {checkouts} checkouts ended with their connection closed as overflow",
        why="each of these connections was made for one use, and the next user waits until another one is made",
        change=f"create_engine(..., {cure})",
    )


def _size(report: PoolSnapshot) -> str:
    if report.connections_max is None or report.size is None:
        return f"pool_size={report.size}"
    overflow = report.connections_max - report.size
    return f"pool_size={report.size}, max_overflow={-1 if overflow == float('inf') else int(overflow)}"


def _waited(reports: Sequence[PoolSnapshot]) -> int:
    waits = summed(each.wait_seconds for each in reports)
    return sum(waits.counts[bisect_right(WAIT_BUCKETS, SHORT_WAIT) :])


def _longest_use(report: PoolSnapshot) -> float:
    """Return a time that the longest use reached for certain. One that is overdue is a leak, not a use."""
    bucket = max((index for index, count in enumerate(report.use_seconds.counts) if count), default=0)
    ended = USE_BUCKETS[bucket - 1] if bucket else 0.0
    return ended if report.overdue else max(ended, report.used_longest_seconds)


def _most_at_once(report: PoolSnapshot) -> int:
    """Return what was surely not exceeded: a pool opens a connection only when all that it has are used."""
    places = report.connects - sum(report.closes.get(reason, 0) for reason in _REPLACED)
    return max(report.idle + report.used, places)


def _watched(report: PoolSnapshot) -> float:
    """Return seconds that a pool was surely watched for: no place in it was idle or used for longer than that."""
    idle = 0.0 if report.idle_seconds is None else report.idle_seconds.sum
    return (idle + report.use_seconds.sum) / max(_most_at_once(report), 1)
