"""What the terminal shows of a page: the pools, the servers, and the match with what it means."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from exporter.demo.cells import make, names, number, seconds
from exporter.demo.page import Page
from exporter.demo.traffic import Traffic

MEANINGS = {
    ("idle", "sleeping"): "health: it waits for the next request",
    ("idle", "active"): "given back with a statement still running",
    ("idle", "sleeping_in_transaction"): "given back with its transaction still open",
    ("idle", "gone"): "STALE: its next user gets an error",
    ("used", "active"): "work: the server runs a statement for it",
    ("used", "sleeping"): "a request that thinks, or a forgotten Session",
    ("used", "sleeping_in_transaction"): "a request that thinks, or a forgotten Session",
    ("used", "gone"): "ended by the server while in use",
}
LEAK = "LEAK: kept for up to {age}, and does nothing"
_STYLES = {("idle", "gone"): "bold red", ("used", "gone"): "bold red", ("used", "sleeping_in_transaction"): "yellow"}
_MATCH = "sqlalchemy_pool_matched_connections"


def render(page: Page, traffic: Traffic) -> Group:
    """Return all there is to see, one below the other."""
    return Group(_pools(page), "", _servers(page), "", _match(page), "", *map(Text, _traffic(traffic)))


def summarize(page: Page) -> str:
    """Return the pools and the pairs that mean trouble, in one line."""
    pools = [
        f"{pool}: {number(page.total('sqlalchemy_pool_connections', pool=pool, state='idle'))} idle, "
        f"{number(page.total('sqlalchemy_pool_connections', pool=pool, state='used'))} used"
        for pool in names(page, "sqlalchemy_pool_info", "pool")
    ]
    troubles = [
        f"{row.labels['pool']} {row.labels['state']} x {row.labels['session']}: {number(row.value)}"
        for row in page.select(_MATCH)
        if row.value and (row.labels["state"], row.labels["session"]) in _STYLES
    ]
    return "; ".join([*pools, *troubles]) or "nothing to see yet"


def _pools(page: Page) -> Table:
    table = make("pool", "database", "size", "idle", "used", "at most", "overdue", "oldest use", "checkouts")
    table.title = "Pools, as the application sees them (all its processes added up)"
    for pool in names(page, "sqlalchemy_pool_info", "pool"):
        overdue = page.total("sqlalchemy_pool_overdue", pool=pool)
        table.add_row(
            pool,
            ", ".join(names(page, "sqlalchemy_pool_info", "dialect", pool=pool)),
            number(page.total("sqlalchemy_pool_size", pool=pool)),
            number(page.total("sqlalchemy_pool_connections", pool=pool, state="idle")),
            number(page.total("sqlalchemy_pool_connections", pool=pool, state="used")),
            number(page.total("sqlalchemy_pool_connections_max", pool=pool)),
            Text(number(overdue), style="yellow" if overdue else ""),
            seconds(page.largest("sqlalchemy_pool_used_longest_seconds", pool=pool)),
            number(page.total("sqlalchemy_pool_checkouts_total", pool=pool)),
        )
    return table


def _servers(page: Page) -> Table:
    table = make("server", "version", "up", "active", "sleeping", "in transaction", "longest sleep", "connections")
    table.title = "Servers, as the database sees them"
    for server in names(page, "sqlalchemy_server_up", "server"):
        info = names(page, "sqlalchemy_server_info", "version", server=server)
        states = ("active", "sleeping", "sleeping_in_transaction")
        sessions = [page.total("sqlalchemy_server_sessions", server=server, state=state) for state in states]
        most = number(page.total("sqlalchemy_server_connections_max", server=server))
        table.add_row(
            server,
            ", ".join(info),
            "yes" if page.total("sqlalchemy_server_up", server=server) else Text("no", style="bold red"),
            # No session in a state is no line on the page; of a server that is not sampled, nothing is known.
            *(number(count or 0 if info else None) for count in sessions),
            seconds(page.largest("sqlalchemy_server_sleep_longest_seconds", server=server)),
            f"{number(page.total('sqlalchemy_server_connections', server=server))} of {most}",
        )
    return table


def _match(page: Page) -> Table:
    table = make("pool", "server", "the pool says", "the server says", "connections", "which means")
    table.title = "The match, which neither side can see alone"
    for row in page.select(_MATCH):
        pair = row.labels["state"], row.labels["session"]
        if row.value:
            style = _STYLES.get(pair, "")
            meaning = _meaning(page, row.labels["pool"], pair)
            table.add_row(row.labels["pool"], row.labels["server"], *pair, number(row.value), meaning, style=style)
    return table


def _meaning(page: Page, pool: str, pair: tuple[str, str]) -> str:
    forgotten = pair[0] == "used" and pair[1].startswith("sleeping")
    # Overdue alone is no leak: a slow statement is overdue, too, while its neighbour thinks for a moment.
    if forgotten and page.total("sqlalchemy_pool_leak_suspects", pool=pool):
        return LEAK.format(age=seconds(page.largest("sqlalchemy_pool_used_longest_seconds", pool=pool)))
    return MEANINGS.get(pair, "")


def _traffic(traffic: Traffic) -> list[str]:
    lines = [f"Traffic: {traffic.requests} requests, {traffic.failures} answered with an error"]
    return [*lines, f"The last error: {traffic.last_failure}"] if traffic.failures else lines
