"""What can be wrong with a pool or a server, each as an expression that has a series only while it is."""

from __future__ import annotations

from dataclasses import dataclass

import runbooks
from queries import (
    EACH_POOL,
    EACH_SERVER,
    increase,
    match,
    overdue_at_work,
    pool,
    server,
    server_share,
    stale_unprotected,
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that can be wrong. The number in its name is its place: the first of those listed is the cause."""

    name: str
    expr: str
    runbook: str

    def labelled(self) -> str:
        """Return the expression with the name and the runbook as labels."""
        named = f'label_replace({self.expr}, "trouble", "{self.name}", "", "")'
        return f'label_replace({named}, "runbook", "{self.runbook}", "", "")'


def _pool(name: str, expr: str, runbook: str) -> Trouble:
    return Trouble(name, f"sum by ({EACH_POOL}) ({expr}) > 0", runbook)


def _server(name: str, expr: str, runbook: str) -> Trouble:
    return Trouble(name, f"{expr} > 0", runbook)


def _lately(selector: str) -> str:
    """Return how often it happened lately, so that one event stays long enough to be read."""
    return increase(selector, "10m")


COLOURS = {"1": "dark-red", "2": "red", "3": "orange", "4": "yellow", "5": "blue", "6": "purple", "7": "text"}
"""By the place of a trouble: the same in every graph, and none by chance."""

OF_POOLS = (
    _pool("2 leak: held, and asleep on the server", match("leak_suspects"), runbooks.LEAK),
    Trouble("3 stale: idle in the pool, gone on the server", stale_unprotected(), runbooks.STALE),
    _pool("3 stale: errors in the last 10 minutes", _lately(pool("stale_total", found="use")), runbooks.STALE_ERRORS),
    _pool("4 too small: waiting for a connection", pool("waiting"), runbooks.WAITING),
    _pool("4 too small: timeouts in the last 10 minutes", _lately(pool("timeouts_total")), runbooks.TIMEOUTS),
    Trouble("5 slow database: overdue, and still at work", f"{overdue_at_work(EACH_POOL)} > 0", runbooks.SLOW),
)

OF_SERVERS = (
    _server("1 server: cannot be sampled", f"(1 - sum by ({EACH_SERVER}) ({server('up')}))", runbooks.DOWN),
    Trouble(
        "6 server: nearly all its connections are open",
        f"sum by ({EACH_SERVER}) ({server('connections')}) and {server_share(EACH_SERVER)} >= 0.9",
        runbooks.LIMIT,
    ),
    Trouble(
        "7 sessions: asleep in a transaction for over a minute",
        f"sum by ({EACH_SERVER}) ({server('sessions', state='~sleeping_in_.*')}) > 0"
        f" and max by ({EACH_SERVER}) ({server('transaction_longest_seconds')}) > 60",
        runbooks.TRANSACTION,
    ),
    _server(
        "7 sessions: asleep, and nobody's", f"sum by ({EACH_SERVER}) ({server('unowned_sessions')})", runbooks.UNOWNED
    ),
    _server(
        "7 sessions: hidden from the sampler", f"sum by ({EACH_SERVER}) ({server('sessions_hidden')})", runbooks.HIDDEN
    ),
)


def listed() -> str:
    """Return a series for each trouble that there is, with its name, its runbook, and where it is."""
    return _either(OF_POOLS + OF_SERVERS)


def counted(*, of: str) -> str:
    """Return how many kinds of trouble each pool or each server has, 0 included."""
    troubles, all_of_them = (OF_POOLS, pool("info")) if of == "pool" else (OF_SERVERS, server("up"))
    kinds = f"count by (job, {of}) (count by (job, {of}, trouble) ({_either(troubles)}))"
    return f"{kinds} or 0 * count by (job, {of}) ({all_of_them})"


def over_time() -> str:
    """Return how many pools and servers have each trouble."""
    return f"count by (trouble) (count by (trouble, job, pool, server) ({listed()}))"


def colours() -> dict[str, str]:
    """Return the colour of each trouble."""
    return {trouble.name: COLOURS[trouble.name[0]] for trouble in OF_POOLS + OF_SERVERS}


def _either(troubles: tuple[Trouble, ...]) -> str:
    return " or ".join(trouble.labelled() for trouble in troubles)
