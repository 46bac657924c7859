"""What the sidecar's page says in each scenario of the lab: in the trouble, look by look, and once cured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from exporter.demo.client import ask
from exporter.demo.lab import Performance
from exporter.demo.page import Page, read
from waiting import eventually


@dataclass(frozen=True)
class Look:
    """One look at the page, and at what the application's customers have met so far."""

    page: Page
    performance: Performance

    def of(self, metric: str, *, pool: str = "shop", **labels: str) -> float:
        """Add up a metric of a pool; what is absent counts as 0."""
        return self.page.total(f"sqlalchemy_pool_{metric}", pool=pool, **labels) or 0.0

    def server(self, metric: str, **labels: str) -> float:
        """Add up a metric of the server; what is absent counts as 0."""
        return self.page.total(f"sqlalchemy_server_{metric}", **labels) or 0.0

    def pair(self, state: str, session: str) -> float:
        """Return how many connections are in one cell of the match."""
        return self.of("matched_connections", state=state, session=session)

    def has(self, metric: str) -> bool:
        """Tell whether the pool has this metric at all."""
        return bool(self.page.select(f"sqlalchemy_pool_{metric}", pool="shop"))

    @property
    def findings(self) -> set[str]:
        """Name the findings."""
        return {each.labels["finding"] for each in self.page.select("sqlalchemy_pool_finding") if each.value}

    @property
    def failures(self) -> int:
        """Return how many requests have failed."""
        return self.performance.traffic.failures

    @property
    def leaks(self) -> bool:
        """Tell whether anything looks like a leak."""
        return self.of("leak_suspects") > 0

    @property
    def well(self) -> bool:
        """Tell whether nothing is wrong now, whatever has been."""
        wrong = ("overdue", "waiting", "leak_suspects", "stale_connections", "orphaned")
        return (
            not self.findings
            and not any(map(self.of, wrong))
            and self.server("up") == 1
            and not self.server("unowned_sessions")
            and self.server("connections") < 0.8 * self.server("connections_max")
            and self.of("matched_connections") > 0
        )


Sign = Callable[[Look], bool]


@dataclass(frozen=True)
class Signs:
    """What is to be seen, one after the other, and then, besides that all is well, after the cure."""

    trouble: tuple[Sign, ...]
    cured: Sign = lambda look: look.has("size")


def shows(performance: Performance, sign: Sign, *, within: float = 60.0) -> None:
    """Look at the real page until it shows the sign."""

    def seen() -> bool:
        performance.check()
        page = read(performance.sidecar)
        return page is not None and sign(Look(page, performance))

    eventually(seen, within=within, every=0.1)


def _open_cart_is_named(look: Look) -> bool:
    holders = ask(f"{look.performance.sidecar}/api/v1/holders").body
    return "open_cart" in holders and "exporter/demo/lab_application.py" in holders


def _sessions_alive(look: Look) -> int:
    return int((look.performance.figure() or "0").rpartition(" ")[2])


SIGNS: Mapping[str, Signs] = {
    "healthy": Signs((lambda look: look.well and look.pair("idle", "sleeping") >= 5 and not look.failures,)),
    "leak": Signs(
        (
            lambda look: look.of("leak_suspects") == 5 and look.of("overdue") == 5,
            _open_cart_is_named,
            lambda look: look.of("timeouts_total") >= 1 and look.failures >= 1,
        )
    ),
    "stale": Signs(
        (
            lambda look: look.of("stale_connections") == 3 and look.findings == {"no_stale_protection"},
            lambda look: look.of("stale_total", found="use") >= 1 and look.failures >= 1,
        )
    ),
    "stale-pre-ping": Signs(
        (
            lambda look: look.of("stale_connections") >= 1,
            lambda look: look.of("stale_total", found="ping") >= 1 and look.of("ping_seconds_count") >= 2,
            lambda look: not look.of("stale_total", found="use") and not look.failures and not look.findings,
            lambda look: look.of("ping_seconds_count", pool="archive") >= 10,
            lambda look: look.of("stale_connections") >= 1 and not look.of("stale_connections", pool="archive"),
        )
    ),
    "stale-recycle": Signs(
        (
            lambda look: look.pair("idle", "gone") >= 1 and not look.of("stale_connections"),
            lambda look: look.of("closes_total", reason="recycle") >= 1,
            lambda look: not look.of("stale_total") and not look.failures and not look.findings,
        )
    ),
    "recycle-too-long": Signs(
        (
            lambda look: look.of("stale_connections") >= 1 and look.findings == {"recycle_exceeds_server_timeout"},
            lambda look: look.of("stale_total", found="use") >= 1 and look.failures >= 1,
        )
    ),
    "exhaustion": Signs(
        (
            lambda look: look.of("connections", state="used") == look.of("connections_max") == 3,
            lambda look: look.of("waiting") >= 1 and look.of("timeouts_total") >= 1 and look.failures >= 1,
            lambda look: not look.of("overdue") and not look.leaks,
        ),
        lambda look: look.of("connections_max") == 20 and look.of("connections", state="used") > 3,
    ),
    "slow-database": Signs(
        (lambda look: look.of("overdue") >= 1 and look.pair("used", "active") >= 2 and not look.leaks,),
    ),
    "idle-in-transaction": Signs(
        (
            lambda look: look.server("transaction_longest_seconds") >= 8,
            lambda look: look.pair("used", "sleeping_in_transaction") >= 2 and not look.of("overdue"),
        ),
        lambda look: look.server("transaction_longest_seconds") < 1,
    ),
    "killed-worker": Signs((lambda look: look.server("unowned_sessions") >= 3 and not look.failures,)),
    "commit-keeps-session": Signs(
        (lambda look: _sessions_alive(look) >= 5 and look.of("connections") <= 2 and not look.of("waiting"),)
    ),
    "lazy": Signs(
        (
            lambda look: look.of("info", pool="archive") == 1 and look.of("connects_total") >= 1,
            lambda look: look.of("connections", pool="archive") == look.of("connects_total", pool="archive") == 0,
        ),
        lambda look: look.of("connects_total", pool="archive") == look.of("connections", pool="archive") == 1,
    ),
    "null-pool": Signs(
        (
            lambda look: look.of("connects_total") == look.of("checkouts_total") >= 5,
            lambda look: not look.has("size") and not look.has("connections_max") and not look.failures,
        )
    ),
    "static-pool": Signs(
        (
            lambda look: look.of("checkouts_total") >= 5 and look.of("connects_total") == 1,
            lambda look: look.pair("idle", "sleeping") == 1 and not look.has("size") and not look.failures,
        )
    ),
    "server-down": Signs(
        (
            lambda look: bool(look.page.select("sqlalchemy_server_up")) and not look.server("up"),
            lambda look: look.of("connect_errors_total") >= 1 and look.failures >= 1,
            lambda look: not look.has("matched_connections"),
        ),
    ),
    "near-max-connections": Signs(
        (
            lambda look: look.server("connections") >= 0.9 * look.server("connections_max") > 0,
            lambda look: look.findings == {"capacity_exceeds_server_limit"} and not look.failures,
            lambda look: look.of("connections", state="idle") == 15 and not look.of("connections", state="used"),
        )
    ),
}
