"""The dashboard of a pool: its rows stand in the order in which one asks."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

import pools_behind
import pools_load
import pools_lost
import runbooks
from answers import answers
from faces import SHARE, Face, Levels
from frame import POOLS, Row, made
from panels import figures, lines
from queries import Query, match, pool, used_share

SAYS = (
    "Connection pools as the application sees them, held against the sessions that the database server sees: leak,"
    " stale, too small, or a slow database. Made for sqlalchemy-pool-exporter."
)

PAIRS = {
    "idle × sleeping": "green",
    "used × active": "blue",
    "used × sleeping": "yellow",
    "used × sleeping_in_transaction": "orange",
    "idle × sleeping_in_transaction": "light-orange",
    "idle × gone": "red",
    "used × gone": "dark-red",
    "idle × active": "purple",
}
"""What the pool says × what the server says: calm colours for health and work, warm ones for what is lost."""


_FIGURES: tuple[dashboard.Panel, ...] = (
    figures(
        Face(
            4,
            "Pool in use, of its limit",
            "Connections in use, of all that the pool may open; the fullest instance of each pool. Pools without"
            " a limit are left out.",
            runbooks.EXHAUSTION,
            "percentunit",
            0,
            width=8,
            height=4,
        ),
        Query(used_share("pool"), "{{pool}}"),
        levels=SHARE,
    ),
    figures(
        Face(
            5,
            "Stale: idle in the pool, gone on the server",
            "Connections that the server has ended while the pool still keeps them. Without pool_pre_ping the"
            " next user of each gets an error.",
            runbooks.STALE,
            width=8,
            height=4,
        ),
        Query(
            f"sum by (pool, server) ({match('matched_connections', state='idle', session='gone')})",
            "{{pool}} on {{server}}",
        ),
        levels=Levels(orange=1),
    ),
    figures(
        Face(
            207,
            "Oldest checkout now",
            "Age of the oldest connection still out. A leak's only grows; a slow statement's ends.",
            runbooks.OVERDUE,
            "s",
            width=8,
            height=4,
        ),
        Query(f"max by (pool) ({pool('used_longest_seconds')})", "{{pool}}"),
        levels=Levels(orange=60, red=300),
    ),
)
"""The figures of each pool."""

_PICTURES: tuple[dashboard.Panel, ...] = (
    lines(
        Face(
            7,
            "Connections against the limit",
            "Open connections, idle and used, below the most that the pool may open (pool_size + max_overflow"
            " over all processes). Choose one job where an application and a sidecar show the same pool: the sums"
            " would count it twice.",
            runbooks.EXHAUSTION,
            height=9,
        ),
        Query(f"sum by (pool, state) ({pool('connections')})", "{{pool}} {{state}}"),
        Query(f"sum by (pool) ({pool('connections_max')} < +Inf)", "{{pool}} limit"),
    ),
    lines(
        Face(
            8,
            "The match: what the pool says × what the server says",
            "Every pooled connection with the state of its session. idle × sleeping is health, used × active is"
            " work, used × sleeping a client that thinks or has forgotten, used × sleeping_in_transaction holds"
            " locks, idle × gone is the next error, used × gone was ended in use.",
            runbooks.LEAK,
            height=9,
        ),
        Query(f"sum by (state, session) ({match('matched_connections')})", "{{state}} × {{session}}"),
        stacked=True,
        colours=PAIRS,
    ),
)
"""The two pictures that explain most of the rest."""


def text() -> str:
    """Return the dashboard's file."""
    return made(
        POOLS,
        SAYS,
        (
            Row(1, "At a glance", (*answers(201), *_FIGURES, *_PICTURES)),
            Row(20, "Leak? Connections that nobody gives back", pools_lost.LEAKS),
            Row(23, "Stale? Connections that the server has ended", pools_lost.STALE),
            Row(15, "Too small? Waiting for a connection", pools_load.WAITING),
            Row(28, "Slow database? Connections that are out because it works", pools_load.SLOW),
            Row(6, "Churn: connections opened and closed", pools_behind.CHURN),
            Row(103, "How the pools are set up", pools_behind.SETTINGS),
            Row(48, "Where the figures come from: processes, the match, the exporter itself", pools_behind.SOURCES),
        ),
    )
