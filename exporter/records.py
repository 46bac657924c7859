"""The floor: plain frozen data that the other rooms hand to each other. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

CLOSE_REASONS = (
    "recycle",
    "overflow",
    "invalidated",
    "pool_invalidated",
    "soft_invalidated",
    "detached",
    "disposed",
    "garbage_collected",
    "other",
)
"""Why a pool closed a connection; the values of the label ``reason``."""

INVALIDATION_CAUSES = ("ping", "disconnect", "cancelled", "error", "application", "soft")
"""Why a connection was invalidated; the values of the label ``cause``."""

STALE_CODES = (
    # MySQL and MariaDB: gone away, lost during query, lost with the system's word, ended for inactivity, killed
    "2006", "2013", "2055", "4031", "1927",
    # PostgreSQL: admin or crash shutdown, cannot connect now, database dropped, idle session, idle in transaction
    "57P01", "57P02", "57P03", "57P04", "57P05", "25P03",
    # PostgreSQL: connection exception, does not exist, failure
    "08000", "08003", "08006",
    "other",
)  # fmt: skip
"""The values of the label ``code``, the last for whatever cannot be told: psycopg2, for one, never says why."""

SESSION_STATES: tuple[SessionState, ...] = (
    "active",
    "sleeping",
    "sleeping_in_transaction",
    "sleeping_in_failed_transaction",
    "other",
)
"""What a server says of a session, in the words of this project."""

SAMPLE_ERRORS = ("connect", "auth", "privilege", "timeout", "query", "other")
"""Why a sample failed; the values of the label ``reason``."""

REJECT_REASONS = ("unreadable", "not_regular", "too_big", "malformed", "unknown_format")
"""Why a file in the letterbox is not read; the values of the label ``reason``."""

USE_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)
"""Upper bounds, in seconds, of the histogram of uses. They reach hours: a leak lies far beyond ten seconds."""

WAIT_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 29.0, 31.0, 60.0, 120.0)
"""Upper bounds, in seconds, of the histogram of waits. They straddle 30 s, the default pool_timeout."""

CONNECT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds, in seconds, of the histogram of connects."""

IDLE_BUCKETS = (0.1, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0, 28800.0)
"""Upper bounds, in seconds, of the histogram of idle times; the last is MySQL's default wait_timeout."""

LIFETIME_BUCKETS = (1.0, 10.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0)
"""Upper bounds, in seconds, of the histogram of ages at close."""

PING_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)
"""Upper bounds, in seconds, of the histogram of pings: mostly a round trip to the server."""

HISTOGRAMS = {
    "use_seconds": USE_BUCKETS,
    "wait_seconds": WAIT_BUCKETS,
    "connect_seconds": CONNECT_BUCKETS,
    "idle_seconds": IDLE_BUCKETS,
    "lifetime_seconds": LIFETIME_BUCKETS,
    "ping_seconds": PING_BUCKETS,
}
"""The histograms of a pool, and the upper bounds that each must have."""

SLEEP_BUCKETS = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0, 28800.0)
"""Upper bounds, in seconds, of the histogram of sleeping sessions; the last is MySQL's default wait_timeout."""

UseState = Literal["idle", "used"]
SessionState = Literal["active", "sleeping", "sleeping_in_transaction", "sleeping_in_failed_transaction", "other"]
SampleErrorReason = Literal["connect", "auth", "privilege", "timeout", "query", "other"]


@dataclass(frozen=True)
class Histogram:
    """Counts by bucket, not yet added up: one per upper bound and a last one for everything beyond."""

    counts: tuple[int, ...]
    sum: float = 0.0


@dataclass(frozen=True)
class PoolIdentity:
    """What a pool is and where it connects to. Never holds a user or a password."""

    name: str
    pool_class: str
    dialect: str
    driver: str
    host: str = ""
    port: int | None = None
    database: str = ""


@dataclass(frozen=True)
class PooledConnection:
    """One open connection of a pool.

    ``server_id`` is what the server calls it (None when the driver cannot say); ``seconds`` is how long it has been in
    its state, ``age`` how long it has been open. ``site`` is where the application took it, ``holder`` the name of the
    thread or task that did; both only while it is used.
    """

    state: UseState
    seconds: float
    age: float
    server_id: int | None = None
    site: str | None = None
    holder: str | None = None


@dataclass(frozen=True)
class PoolSnapshot:
    """All that one process knows of one pool at one moment. None means: has no meaning for this class of pool."""

    identity: PoolIdentity
    idle: int = 0
    used: int = 0
    size: int | None = None
    overflow: int | None = None
    connections_max: float | None = None
    used_longest_seconds: float = 0.0
    overdue: int = 0
    checkouts: int = 0
    checkins: int = 0
    connects: int = 0
    closes: Mapping[str, int] = field(default_factory=dict)
    invalidations: Mapping[str, int] = field(default_factory=dict)
    use_seconds: Histogram = Histogram(counts=(0,) * (len(USE_BUCKETS) + 1))
    detached: int = 0
    orphaned: int = 0
    waiting: int | None = None
    waiting_longest_seconds: float | None = None
    overdue_by_site: Mapping[str, int] = field(default_factory=dict)
    connect_errors: int = 0
    stale_ping: Mapping[str, int] = field(default_factory=dict)
    stale_use: Mapping[str, int] = field(default_factory=dict)
    timeouts: int | None = None
    overdue_checkouts: int = 0
    garbage_collected: int = 0
    detaches: int = 0
    disposals: int = 0
    wait_seconds: Histogram | None = None
    connect_seconds: Histogram | None = None
    idle_seconds: Histogram | None = None
    lifetime_seconds: Histogram | None = None
    ping_seconds: Histogram | None = None
    recycle_seconds: float | None = None
    timeout_seconds: float | None = None
    pre_ping: bool | None = None
    connections: tuple[PooledConnection, ...] = ()


@dataclass(frozen=True)
class ProcessSnapshot:
    """What one process publishes: all its pools at one moment, and who and when that was (seconds since 1970)."""

    pid: int
    taken: float
    pools: tuple[PoolSnapshot, ...] = ()


@dataclass(frozen=True)
class SessionGroup:
    """How many sessions of a server share user, database, client and state."""

    user: str
    database: str
    client: str
    state: SessionState
    count: int


@dataclass(frozen=True)
class Sleepers:
    """How long the sleeping sessions of one user and database have slept. Seconds throughout."""

    user: str
    database: str
    sleep_seconds: Histogram
    longest: float
    stale: int


@dataclass(frozen=True)
class HeldTransaction:
    """The oldest transaction that sleeping sessions of one user and database hold open; its age is in seconds."""

    user: str
    database: str
    longest: float


@dataclass(frozen=True)
class Session:
    """One session of the server, asked for because a pool says that it owns it; ``account`` is user and database."""

    state: SessionState
    seconds: float | None = None
    account: tuple[str, str] | None = None


@dataclass(frozen=True)
class ServerSnapshot:
    """All that one sample found out about one server.

    ``asked`` are the ids that the pools claimed when the sample began; ``sessions`` those of them that the server
    knows. ``began`` and ``ended`` are seconds since 1970. ``hidden`` are sessions that exist but that the sampler may
    not see; while there are some, an id of which nothing can be said is not in ``asked``.
    ``aborted`` is empty where the server does not count them. ``advice`` is what to grant so that nothing is hidden.
    ``idle_timeouts`` are the shortest that the pools' sessions get; ``overrides`` those of the accounts (user and
    database) that get others. Seconds; what is off is absent.
    """

    dialect: str
    version: str
    source: str
    began: float
    ended: float
    groups: tuple[SessionGroup, ...]
    sleepers: tuple[Sleepers, ...]
    connections: int
    connections_max: int | None
    idle_timeouts: Mapping[str, float] = field(default_factory=dict)
    asked: frozenset[int] = frozenset()
    sessions: Mapping[int, Session] = field(default_factory=dict)
    transactions: tuple[HeldTransaction, ...] = ()
    aborted: Mapping[str, int] = field(default_factory=dict)
    hidden: int | None = None
    advice: str | None = None
    overrides: Mapping[tuple[str, str], Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class ServerView:
    """What is known of a configured server now: whether the last sample went well, and the data while it is fresh.

    ``earlier`` is the good sample before ``snapshot``: what a process reported between the two is held against it.
    ``snapshot`` is None before the first good sample and when the last good one is too old to be shown.
    ``sample_seconds`` and ``sampled_at`` (of the last good sample, seconds since 1970) are None before there was one.
    ``hidden`` is also known when the last sample failed for want of a privilege; ``interval`` is the one kept now.
    """

    name: str
    up: bool
    reason: SampleErrorReason | None
    message: str
    snapshot: ServerSnapshot | None
    sample_seconds: float | None
    sampled_at: float | None
    errors: Mapping[str, int]
    earlier: ServerSnapshot | None = None
    hidden: int | None = None
    interval: float | None = None


@dataclass(frozen=True)
class Match:
    """One pool held against one server: how many of its connections are in which pair of states."""

    pool: str
    server: str
    pairs: Mapping[tuple[UseState, str], int]


@dataclass(frozen=True)
class Overview:
    """Everything that the sidecar shows, put together at one moment (``now``, seconds since 1970)."""

    now: float
    pools: tuple[PoolSnapshot, ...]
    servers: tuple[ServerView, ...]
    matches: tuple[Match, ...]
    processes: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
