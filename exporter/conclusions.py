"""Plain frozen data, like the records: what follows when the pools' records and the servers' are put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.labels import Between, FindingName, Level, Severity, TroubleName, UseState, VerdictName
from exporter.records import PoolSnapshot, ProcessReport, ServerView


@dataclass(frozen=True)
class Report:
    """A pool as one process saw it at one moment (seconds since 1970); ``process`` is no other process's."""

    taken: float
    pool: PoolSnapshot
    process: str = ""
    pid: int = 0


@dataclass(frozen=True)
class Holder:
    """A connection in use: who has it, since when, and what the server said of its session. Seconds throughout.

    ``session`` is one of the values of the label, or None when it is not known; ``session_seconds`` is how long it was
    in that state when the server was asked. ``suspect`` marks a use longer than leak_after whose session slept as long.
    ``server`` is None when the pool belongs to none that is sampled.
    """

    pool: str
    server: str | None
    process: str
    pid: int
    site: str | None
    holder: str | None
    seconds: float
    session: str | None = None
    session_seconds: float | None = None
    server_id: int | None = None
    suspect: bool = False


@dataclass(frozen=True)
class Match:
    """One pool held against one server: how many of its connections are in which pair of states.

    ``possible`` is False when the ids do not meet, as behind a proxy that pools by itself: the rest is then empty.
    ``expiry`` is in how many seconds the server closes the next sleeping one; None when it never does.
    """

    pool: str
    server: str
    pairs: Mapping[tuple[UseState, str], int]
    possible: bool = True
    leak_suspects: int = 0
    stale: int = 0
    expiry: float | None = None
    holders: tuple[Holder, ...] = ()


@dataclass(frozen=True)
class Drift:
    """How many connections two views of a pool place differently, for so long that no accident explains it."""

    pool: str
    between: Between
    count: int


@dataclass(frozen=True)
class Finding:
    """A configuration that will fail: what the pool says, what that is held against, and the one line to change.

    ``severity`` is "warning" where somebody will get an error, "info" where it only costs.
    """

    pool: str
    server: str
    finding: FindingName
    pool_says: str
    held_against: str
    why: str
    change: str
    severity: Severity = "warning"


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong with a pool already: how often, in words, and where in the code when that is known."""

    pool: str
    server: str
    trouble: TroubleName
    count: int
    what: str
    sites: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What is wrong, or that nothing is, in words for whoever is on call: what it is, and what to do about it.

    ``pool`` and ``server`` are empty where it is about no single one.
    """

    verdict: VerdictName
    level: Level
    what: str
    do: str = ""
    pool: str = ""
    server: str = ""


@dataclass(frozen=True)
class Recent:
    """What has happened to a pool within the last so many ``seconds``: waits in vain, dead connections met in use."""

    pool: str
    seconds: float
    timeouts: int
    stale_errors: int


@dataclass(frozen=True)
class Unowned:
    """How many sleeping sessions of a client that pools are known by no live pool owns."""

    server: str
    user: str
    database: str
    client: str
    count: int


@dataclass(frozen=True)
class Overview:
    """Everything that the sidecar shows, put together at one moment (``now``, seconds since 1970).

    ``pools`` holds what the ``processes`` report and, of counts, what ``ended`` ones had reported. ``contained`` are
    the errors that processes kept to themselves, added up by place. ``holders`` are all connections in use, those of
    the pools that belong to no server too. ``drifts`` is what our self-check has found, ``recent`` what has happened
    in the last minutes; ``folded`` is how many names of a kind are not shown one by one.
    """

    now: float
    pools: tuple[PoolSnapshot, ...]
    servers: tuple[ServerView, ...]
    matches: tuple[Match, ...]
    processes: tuple[ProcessReport, ...] = ()
    ended: tuple[PoolSnapshot, ...] = ()
    rejected: Mapping[str, int] = field(default_factory=dict)
    contained: Mapping[str, int] = field(default_factory=dict)
    unowned: tuple[Unowned, ...] = ()
    holders: tuple[Holder, ...] = ()
    findings: tuple[Finding, ...] = ()
    drifts: tuple[Drift, ...] = ()
    recent: tuple[Recent, ...] = ()
    folded: Mapping[str, int] = field(default_factory=dict)
