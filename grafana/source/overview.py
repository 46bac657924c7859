"""The overview: every pool and every server at a glance, worst first."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

import runbooks
import troubles
from alerting import firing
from answers import answers
from faces import ANY_IS_BAD, SHARE, Face, Levels
from frame import OVERVIEW, POOLS, SERVERS, Row, made
from panels import UP_OR_DOWN, bars, lines
from queries import Query, match, pool, server, server_share, used_share, within_view
from tables import Column, Key, grid, to_dashboard

SAYS = (
    "Every pool and every server at a glance, worst first: is it a leak, stale connections, a pool that is too small,"
    " or a slow database? A click on a name opens its own dashboard. Made for sqlalchemy-pool-exporter."
)

POOL = Key("pool", "Pool", to_dashboard(POOLS, "pool"))
SERVER = Key("server", "Server", to_dashboard(SERVERS, "server"))
JOB = Key("job", "Job")


_TROUBLE_KEYS = (
    Key("trouble", "Trouble"),
    POOL,
    SERVER,
    JOB,
    Key("instance", "Instance", hidden=True),
    Key("runbook", "Runbook", "${docs}/${__value.raw}"),
)
_ALERT_KEYS = (
    Key("alertname", "Alert", "${docs}/runbooks/${__value.raw}.md"),
    Key("severity", "Severity"),
    POOL,
    SERVER,
    JOB,
    *(Key(label, label, hidden=True) for label in ("__name__", "alertstate", "instance", "user", "database")),
)
_LISTS: tuple[dashboard.Panel, ...] = (
    grid(
        Face(
            8,
            "What is wrong now",
            "Each trouble of each pool and server, with how many connections, waits or errors it counts. Read it"
            " from the top: a leak makes a pool look too small, and a server that is down breaks every"
            " connection, so the first line is the cause. A click on a pool or a server opens its dashboard, one"
            " on a runbook the page.",
            runbooks.LEAK,
            width=16,
            decimals=0,
        ),
        _TROUBLE_KEYS,
        (Column("How many", troubles.listed(), decimals=0),),
        first=(("Trouble", False), ("How many", True)),
        empty="Nothing is wrong",
    ),
    grid(
        Face(
            9,
            "Alerts that fire",
            "The alerts of prometheus/alerts.yaml that fire now, each with the way to its runbook. Without those"
            " rules in Prometheus this stays empty.",
            runbooks.LEAK,
            width=8,
        ),
        _ALERT_KEYS,
        (Column("Firing", firing()),),
        first=(("Severity", False),),
        empty="No alert fires",
    ),
)

_POOLS: tuple[dashboard.Panel, ...] = (
    grid(
        Face(
            21,
            "Pools",
            "Every pool, those with the most kinds of trouble first, then the fullest. Sums over all instances of"
            " a job; the share is the fullest instance's. Timeouts are those in the time shown.",
            runbooks.EXHAUSTION,
            width=24,
            height=10,
        ),
        (POOL, JOB),
        (
            Column("Troubles", troubles.counted(of="pool"), levels=ANY_IS_BAD),
            Column("In use, of the limit", used_share("job, pool"), "percentunit", 0, SHARE),
            Column("In use", f"sum by (job, pool) ({pool('connections', state='used')})"),
            Column("Limit", f"sum by (job, pool) ({pool('connections_max')} < +Inf)"),
            Column("Waiting", f"sum by (job, pool) ({pool('waiting')})", levels=ANY_IS_BAD),
            Column("Timeouts", f"sum by (job, pool) ({within_view(pool('timeouts_total'))})", "short", 0, ANY_IS_BAD),
            Column("Leak suspects", f"sum by (job, pool) ({match('leak_suspects')})", levels=ANY_IS_BAD),
            Column("Stale", f"sum by (job, pool) ({match('stale_connections')})", levels=ANY_IS_BAD),
            Column("Overdue", f"sum by (job, pool) ({pool('overdue')})", levels=Levels(orange=1)),
            Column("Oldest checkout", f"max by (job, pool) ({pool('used_longest_seconds')})", "s"),
            Column("Findings", f"count by (job, pool) ({match('finding')})", levels=Levels(orange=1)),
        ),
        first=(("Troubles", True), ("In use, of the limit", True)),
    ),
    bars(
        Face(
            22,
            "The fullest pools",
            "Connections in use, of all that the pool may open: the ten fullest. Pools without a limit are left out.",
            runbooks.EXHAUSTION,
            "percentunit",
            0,
        ),
        Query(f"sort_desc(topk(10, {used_share('pool')}))", "{{pool}}"),
        levels=SHARE,
        top=1,
    ),
    bars(
        Face(
            23,
            "The oldest checkouts",
            "Age of the oldest connection still out, of the ten pools that have the oldest. Whether its session"
            " works or sleeps, the list above says.",
            runbooks.OVERDUE,
            "s",
        ),
        Query(f"sort_desc(topk(10, max by (pool) ({pool('used_longest_seconds')})))", "{{pool}}"),
        levels=Levels(orange=60, red=300),
    ),
)

_SERVERS: tuple[dashboard.Panel, ...] = (
    grid(
        Face(
            31,
            "Servers",
            "Every server, those with the most kinds of trouble first, then the fullest. A server that cannot be"
            " sampled is down; its figures are withheld after three intervals.",
            runbooks.DOWN,
            width=24,
            height=8,
        ),
        (SERVER, JOB),
        (
            Column("Troubles", troubles.counted(of="server"), levels=ANY_IS_BAD),
            Column(
                "Up", f"min by (job, server) ({server('up')})", levels=Levels(red=1, falling=True), words=UP_OR_DOWN
            ),
            Column("Open, of the limit", server_share("job, server"), "percentunit", 0, SHARE),
            Column("Asleep", f"sum by (job, server) ({server('sessions', state='~sleeping.*')})"),
            Column(
                "Asleep in a transaction",
                f"sum by (job, server) ({server('sessions', state='~sleeping_in_.*')})",
                levels=Levels(orange=1),
            ),
            Column(
                "Oldest transaction",
                f"max by (job, server) ({server('transaction_longest_seconds')})",
                "s",
                levels=Levels(orange=60, red=600),
            ),
            Column("Stale", f"sum by (job, server) ({server('stale_sessions')})", levels=Levels(orange=1)),
            Column("Nobody's", f"sum by (job, server) ({server('unowned_sessions')})", levels=Levels(orange=1)),
            Column("Hidden", f"max by (job, server) ({server('sessions_hidden')})", levels=ANY_IS_BAD),
            Column("Sampled", f"max by (job, server) (time() - {server('sample_timestamp_seconds')})", "s", 0),
        ),
        first=(("Troubles", True), ("Open, of the limit", True)),
    ),
    bars(
        Face(
            32,
            "The fullest servers",
            "Open connections, of all that the server allows to ordinary users: the ten fullest. At the limit it"
            " refuses new ones, to every application.",
            runbooks.LIMIT,
            "percentunit",
            0,
            width=24,
            height=6,
        ),
        Query(f"sort_desc(topk(10, {server_share('server')}))", "{{server}}"),
        levels=SHARE,
        top=1,
    ),
)

_HISTORY: tuple[dashboard.Panel, ...] = (
    lines(
        Face(
            41,
            "Troubles over time",
            "How many pools and servers have each kind of trouble. Where a colour begins, so did the trouble.",
            runbooks.LEAK,
            width=24,
            decimals=0,
        ),
        Query(troubles.over_time(), "{{trouble}}"),
        stacked=True,
        colours=troubles.colours(),
    ),
    lines(
        Face(
            42,
            "In use, of the limit",
            "Connections in use, of all that the pool may open; the fullest instance of each pool.",
            runbooks.EXHAUSTION,
            "percentunit",
            0,
        ),
        Query(used_share("pool"), "{{pool}}"),
        levels=SHARE,
    ),
    lines(
        Face(
            43,
            "Waiting for a connection",
            "Threads or tasks that wait, by pool.",
            runbooks.WAITING,
            decimals=0,
        ),
        Query(f"sum by (pool) ({pool('waiting')})", "{{pool}}"),
        stacked=True,
    ),
)


def text() -> str:
    """Return the dashboard's file."""
    return made(
        OVERVIEW,
        SAYS,
        (
            Row(1, "Leak, stale, too small, or a slow database?", (*answers(2), *_LISTS)),
            Row(20, "Pools, worst first", _POOLS),
            Row(30, "Servers, worst first", _SERVERS),
            Row(40, "Since when", _HISTORY),
        ),
    )
