"""What the terminal shows of a scenario beyond the tables of the demonstration: what has happened, and the advice."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from exporter.demo import table
from exporter.demo.cells import make, names, number
from exporter.demo.page import Page
from exporter.demo.traffic import Traffic

_COUNTS = {
    "waiting now": ("sqlalchemy_pool_waiting", {}),
    "waited in vain": ("sqlalchemy_pool_timeouts_total", {}),
    "connects": ("sqlalchemy_pool_connects_total", {}),
    "refused": ("sqlalchemy_pool_connect_errors_total", {}),
    "recycled": ("sqlalchemy_pool_closes_total", {"reason": "recycle"}),
    "found dead by use": ("sqlalchemy_pool_stale_total", {"found": "use"}),
    "found dead by ping": ("sqlalchemy_pool_stale_total", {"found": "ping"}),
}


def render(page: Page, traffic: Traffic, figure: str | None) -> Group:
    """Return all there is to see, one below the other."""
    lines = [*_pings(page), *_unowned(page), *_findings(page), *([] if figure is None else [figure])]
    return Group(_counts(page), "", table.render(page, traffic), *map(Text, lines))


def summarize(page: Page, traffic: Traffic) -> str:
    """Return how things stand in one line."""
    requests = f"{traffic.requests} requests, {traffic.failures} failed"
    down = (
        ["a server is down"] if page.select("sqlalchemy_server_up") and not page.total("sqlalchemy_server_up") else []
    )
    return "; ".join([table.summarize(page), *_unowned(page), *down, requests])


def _counts(page: Page) -> Table:
    shown = make("pool", *_COUNTS)
    shown.title = "What has happened so far"
    for pool in names(page, "sqlalchemy_pool_info", "pool"):
        figures = (page.total(metric, pool=pool, **labels) for metric, labels in _COUNTS.values())
        shown.add_row(pool, *map(number, figures))
    return shown


def _pings(page: Page) -> list[str]:
    count = page.total("sqlalchemy_pool_ping_seconds_count")
    if not count:
        return []
    each = (page.total("sqlalchemy_pool_ping_seconds_sum") or 0.0) / count
    return [f"Pings: {count:g}, each took {1000 * each:.2g} ms on average"]


def _unowned(page: Page) -> list[str]:
    count = page.total("sqlalchemy_server_unowned_sessions")
    return [f"Sessions that nobody owns: {count:g}"] if count else []


def _findings(page: Page) -> list[str]:
    return [
        f"Finding: {each.labels['finding']} (pool {each.labels['pool']}, server {each.labels['server']})"
        for each in page.select("sqlalchemy_pool_finding")
        if each.value
    ]
