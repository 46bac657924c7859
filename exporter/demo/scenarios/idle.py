"""Connections that lie idle in the pool while the server ends their sessions, and what protects from that."""

from __future__ import annotations

from exporter.demo.scenarios.scenario import GOOD_POOL, Pool, Scenario, Setup
from exporter.demo.traffic import Customers, Request

TIMEOUT = 3
"""Seconds after which the server ends a session that sleeps; in earnest it would be hours."""

_BARE: Pool = {"pool_size": 3, "max_overflow": 2, "pool_timeout": 2}
# One request alone, the one after it, and then three at once, so that there is more than one connection to lose.
_ROUND = (Request("/products"), Request("/products"), Request("/reports/turnover", at_once=3))
_RARELY = Customers(_ROUND, pause=12.0)
_CURED = Setup((_RARELY,))
_UNTIL = "The server ends sessions that sleep for longer than 3 s (wait_timeout, idle_session_timeout); customers come"

STALE = Scenario(
    name="stale",
    title="the server ends sleeping connections: the next request fails once, the one after works",
    story=(
        _UNTIL,
        "every 12 s. The pool does not notice that its connections are gone: the first request after each pause gets",
        "a dead one and fails with a 500. SQLAlchemy then replaces them all, and the next request works.",
        "Customers who come more often would reset the server's idle clock, and hide the trouble.",
    ),
    look=(
        "sqlalchemy_pool_stale_connections, and idle x gone in the match: seen before anybody trips over it.",
        "sqlalchemy_pool_expiry_seconds: until the server ends the next one.",
        'sqlalchemy_pool_stale_total{found="use"}: errors that a customer saw, by the code that the driver gave.',
        'sqlalchemy_pool_finding{finding="no_stale_protection"}: foretold by the settings alone.',
    ),
    trouble=Setup((_RARELY,), pool=_BARE, idle_timeout=TIMEOUT),
    cure=(
        "The server lets connections sleep for as long as usual again, and the application is deployed anew with",
        "pool_recycle=1800, well below that: its pool replaces them before the server ends them.",
    ),
    cured=_CURED,
    alerts=("SqlalchemyPoolStaleConnections",),
)

_PINGED: Pool = {**_BARE, "pool_pre_ping": True}

STALE_PRE_PING = Scenario(
    name="stale-pre-ping",
    title="the same with pool_pre_ping=True: no error, but a small cost at every request",
    story=(
        _UNTIL,
        "every 12 s. pool_pre_ping=True throws a stone before every use: a dead connection is found by the ping and",
        "replaced, and nobody gets an error. Every other checkout pays for its ping, too.",
        "A second pool, `archive`, is asked every half second. That resets the server's idle clock, so its connection",
        "never dies: who watches only a busy pool does not see what happens to a quiet one.",
    ),
    look=(
        'sqlalchemy_pool_stale_total{found="ping"}: dead connections that harmed nobody; {found="use"} stays 0.',
        "sqlalchemy_pool_ping_seconds: the price, which the archive pays at every request, for nothing.",
        "sqlalchemy_pool_stale_connections: there as in `stale`, and harmless here; none in the archive.",
        "sqlalchemy_pool_expiry_seconds: jumps back at each use.",
    ),
    trouble=Setup(
        (_RARELY, Customers((Request("/archive"),), pause=0.5)), pool=_PINGED, archive=_PINGED, idle_timeout=TIMEOUT
    ),
    cure=(
        "Where the pings cost too much: the server lets connections sleep for as long as usual, and the application is",
        "deployed anew with pool_recycle=1800 in place of the ping, which costs nothing.",
    ),
    cured=_CURED,
)

STALE_RECYCLE = Scenario(
    name="stale-recycle",
    title="the same with a pool_recycle below the server's timeout: no error",
    story=(
        _UNTIL,
        "every 12 s. pool_recycle=2 has the pool replace, at the next checkout, whatever is older than 2 s: before",
        "the server has ended it, or at least before anybody is given a dead one. No error, no ping.",
    ),
    look=(
        'sqlalchemy_pool_closes_total{reason="recycle"}: replaced on purpose; sqlalchemy_pool_stale_total stays 0.',
        "sqlalchemy_pool_recycle_seconds against sqlalchemy_server_idle_timeout_seconds: the smaller one wins.",
        "idle x gone in the match: there as in `stale`; but sqlalchemy_pool_stale_connections stays 0, for nobody is",
        "going to meet those.",
    ),
    trouble=Setup((_RARELY,), pool={**_BARE, "pool_recycle": 2}, idle_timeout=TIMEOUT),
    cure=(
        "In earnest neither is so short: the server lets connections sleep for as long as usual, and the application",
        "is deployed anew with pool_recycle=1800.",
    ),
    cured=_CURED,
)

RECYCLE_TOO_LONG = Scenario(
    name="recycle-too-long",
    title="a pool_recycle above the server's timeout protects from nothing",
    story=(
        _UNTIL,
        "every 12 s. pool_recycle=3600 is meant to replace connections in time, but the server does not wait that",
        "long: the first request after each pause fails, as if there were no recycle.",
    ),
    look=(
        'sqlalchemy_pool_finding{finding="recycle_exceeds_server_timeout"}: foretold by the settings alone; so does',
        "`pool-exporter doctor`, with the line to change.",
        "sqlalchemy_pool_recycle_seconds against sqlalchemy_server_idle_timeout_seconds.",
        'sqlalchemy_pool_stale_connections and sqlalchemy_pool_stale_total{found="use"}, as in `stale`.',
    ),
    trouble=Setup((_RARELY,), pool={**GOOD_POOL, "pool_recycle": 3600}, idle_timeout=TIMEOUT),
    cure=(
        "The server lets connections sleep for as long as usual again (8 hours on MySQL), and the application is",
        "deployed anew with pool_recycle=1800, which is well below that.",
    ),
    cured=_CURED,
    alerts=("SqlalchemyPoolStaleConnections",),
)
