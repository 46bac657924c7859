"""The floor: plain frozen data that the other rooms hand to each other. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.buckets import USE_BUCKETS
from exporter.labels import (
    ProcessState,
    SampleErrorReason,
    SessionState,
    UseState,
)


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
    """All that one process knows of one pool at one moment. None means: has no meaning for this class of pool.

    ``drift`` is how many connections the events that we heard place elsewhere than the pool does, and keep placing so.
    """

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
    connect_errors: int | None = 0
    stale_ping: Mapping[str, int] = field(default_factory=dict)
    stale_use: Mapping[str, int] = field(default_factory=dict)
    timeouts: int | None = None
    overdue_checkouts: int = 0
    garbage_collected: int = 0
    detaches: int = 0
    disposals: int | None = 0
    wait_seconds: Histogram | None = None
    connect_seconds: Histogram | None = None
    idle_seconds: Histogram | None = None
    lifetime_seconds: Histogram | None = None
    ping_seconds: Histogram | None = None
    recycle_seconds: float | None = None
    timeout_seconds: float | None = None
    pre_ping: bool | None = None
    reset_on_return: bool | None = None
    drift: int | None = None
    connections: tuple[PooledConnection, ...] = ()


@dataclass(frozen=True)
class ProcessSnapshot:
    """What one process publishes: all its pools at one moment, and who and when that was (seconds since 1970).

    ``id`` is its own, whatever its pid is; ``host`` is the machine or container that it runs in. When it is ``locked``
    it holds a lock for as long as it lives. One that is ``resting`` publishes again when something happens, and one
    that has ``ended`` never again. ``contained`` are errors of ours that the application never saw, by place. ``left``
    is what pools had counted that are watched no more, and that no letter holds yet.
    """

    pid: int
    taken: float
    pools: tuple[PoolSnapshot, ...] = ()
    id: str = ""
    host: str = ""
    locked: bool = False
    resting: bool = False
    ended: bool = False
    contained: Mapping[str, int] = field(default_factory=dict)
    left: tuple[PoolSnapshot, ...] = ()


@dataclass(frozen=True)
class ProcessReport:
    """A process that lives, with the last that it published: how many seconds ago, and whether it is silent since."""

    snapshot: ProcessSnapshot
    state: ProcessState
    age: float


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
    """One session of the server, asked for because a pool says that it owns it; ``account`` is user and database.

    ``seconds`` is how long it has been in its state, ``age`` how long ago it began, where the server says so;
    ``started`` is when that was by the server's own clock, in seconds since 1970: ages change when that clock is set.
    ``client`` is its application's name, else its host; ``place`` always its host.
    """

    state: SessionState
    seconds: float | None = None
    account: tuple[str, str] | None = None
    client: str = ""
    place: str = ""
    age: float | None = None
    started: float | None = None


@dataclass(frozen=True)
class Unclaimed:
    """Sleeping sessions of one client whose ids no pool had claimed: ``counts`` by how long they have slept."""

    user: str
    database: str
    client: str
    place: str
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Instance:
    """Which server has answered: ``identity`` stays when it restarts; ``started`` is in seconds since 1970.

    ``socket`` and ``port`` are where it says that it listens on its own machine; empty where it does not say.
    """

    identity: str
    started: float
    socket: str = ""
    port: int | None = None


@dataclass(frozen=True)
class ServerSnapshot:
    """All that one sample found out about one server.

    ``asked`` are the ids that the pools claimed when the sample began; ``sessions`` those of them that the server
    knows. ``began`` and ``ended`` are seconds since 1970. ``hidden`` are sessions that exist but that the sampler may
    not see; while there are some, an id of which nothing can be said is not in ``asked``.
    ``aborted`` is empty where the server does not count them. ``advice`` is what to grant so that nothing is hidden.
    ``idle_timeouts`` are the shortest that the pools' sessions get; ``overrides`` those of the accounts (user and
    database) that get others. Seconds; what is off is absent. ``unclaimed`` are the sleeping sessions that were not
    asked for; ``instance`` is None where the family does not tell one server from another. ``crowded``: the smallest
    clients are added up. ``folded`` is how many names of a kind are not shown one by one.
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
    unclaimed: tuple[Unclaimed, ...] = ()
    instance: Instance | None = None
    crowded: bool = False
    folded: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ServerView:
    """What is known of a configured server now: whether the last sample went well, and the data while it is fresh.

    ``earlier`` are good samples before ``snapshot``, the newest first: each report of a process is held against the
    newest one that had ended before it.
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
    earlier: tuple[ServerSnapshot, ...] = ()
    hidden: int | None = None
    interval: float | None = None
