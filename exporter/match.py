"""The join: pooled connections held against a server's sessions. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar

from sqlalchemy.engine import URL

from exporter.labels import SessionState, UseState
from exporter.records import Match, PooledConnection, PoolIdentity, PoolSnapshot, ProcessSnapshot, ServerSnapshot

USE_STATES: tuple[UseState, ...] = ("idle", "used")
MATCHED_SESSIONS = ("active", "sleeping", "sleeping_in_transaction", "gone")
"""What a server says of a pooled connection; the values of the label ``session``."""

_SAID: Mapping[SessionState, str] = {
    "active": "active",
    "sleeping": "sleeping",
    "sleeping_in_transaction": "sleeping_in_transaction",
    "sleeping_in_failed_transaction": "sleeping_in_transaction",  # it sleeps, and what it has locked stays locked
    "other": "active",  # neither asleep nor gone: it does something that has no name here
}
_DONE_BY: Mapping[str, UseState] = {"active": "used", "sleeping": "idle", "sleeping_in_transaction": "used"}
_FAMILIES = {"mysql": ("mysql", 3306), "mariadb": ("mysql", 3306), "postgresql": ("postgresql", 5432)}
_HERE = frozenset({"", "localhost", "127.0.0.1", "::1"})


class Addressed(Protocol):
    """What must be known of a configured server to tell which pools are its own."""

    @property
    def name(self) -> str:
        """Return the label ``server``."""

    @property
    def url(self) -> URL:
        """Return where it is."""

    @property
    def pools(self) -> Sequence[str]:
        """Return the patterns of its pools' names; empty when the address decides."""


Server = TypeVar("Server", bound=Addressed)


@dataclass(frozen=True)
class Report:
    """A pool as one process saw it at one moment (seconds since 1970)."""

    taken: float
    pool: PoolSnapshot


def belongs(identity: PoolIdentity, server: Addressed) -> bool:
    """Tell whether a pool may be this server's: by the patterns where it has some, else by family, host and port."""
    if server.pools:
        return any(fnmatchcase(identity.name, pattern) for pattern in server.pools)
    if not identity.host:
        return False  # a pool without an engine does not know where it connects to
    there = _address(server.url.get_backend_name(), _asked_host(server.url), server.url.port)
    return _address(identity.dialect, identity.host, identity.port) == there


def owners(identity: PoolIdentity, servers: Iterable[Server]) -> tuple[Server, ...]:
    """Return the servers that a pool belongs to; several only where patterns say so, none where addresses cannot tell.

    A pattern is somebody's word and goes before what addresses suggest.
    """
    found = [server for server in servers if belongs(identity, server)]
    told = tuple(server for server in found if server.pools)
    if told:
        return told
    return tuple(found) if len(found) == 1 else ()


def reports_by_server(
    processes: Iterable[ProcessSnapshot], servers: Sequence[Server]
) -> dict[str, dict[str, list[Report]]]:
    """Sort what the processes report by server and by pool. Every server is there, also one without pools."""
    known: dict[PoolIdentity, tuple[Server, ...]] = {}
    sorted_out: dict[str, dict[str, list[Report]]] = {server.name: {} for server in servers}
    for process in processes:
        for pool in process.pools:
            if pool.identity not in known:
                known[pool.identity] = owners(pool.identity, servers)
            for server in known[pool.identity]:
                by_pool = sorted_out[server.name]
                by_pool.setdefault(pool.identity.name, []).append(Report(process.taken, pool))
    return sorted_out


def match(
    pool: str,
    server: str,
    *,
    reports: Iterable[Report],
    sample: ServerSnapshot | None,
    earlier: ServerSnapshot | None = None,
) -> Match | None:
    """Hold one pool's connections, as all processes report them, against one sample; None without a sample.

    A connection whose session cannot be known (its id was not asked for, or it may be another's) is in no pair.
    """
    if sample is None:
        return None
    pairs = Counter({(state, session): 0 for state in USE_STATES for session in MATCHED_SESSIONS})
    for report in reports:
        # A report that is older than the sample cannot tell a connection that the server ended from one that the pool
        # closed meanwhile; held against the sample before, it can.
        held = earlier if earlier is not None and report.taken <= sample.ended else sample
        for connection in report.pool.connections:
            pair = _pair(connection, report.taken, held)
            if pair is not None:
                pairs[pair] += 1
    return Match(pool=pool, server=server, pairs=dict(pairs))


def _pair(connection: PooledConnection, taken: float, sample: ServerSnapshot) -> tuple[UseState, str] | None:
    if connection.server_id is None or connection.server_id not in sample.asked:
        return None
    if taken - connection.age >= sample.began:
        return None  # servers use an id again: what was asked for was an older connection
    session = sample.sessions.get(connection.server_id)
    if session is None:
        # A connection that the pool closed during the sample is gone as well, and nothing is wrong with it.
        return (connection.state, "gone") if taken > sample.ended else None
    said = _SAID[session.state]
    # The pool is seen now and the server a while ago. What came back or went out in between did so in good health, and
    # was then what its session says; else every busy pool would show idle connections at work.
    moved = taken - connection.seconds > sample.began
    return (_DONE_BY[said] if moved else connection.state, said)


def _address(dialect: str, host: str, port: int | None) -> tuple[str, str, int | None]:
    family, usual = _FAMILIES.get(dialect, (dialect, None))
    plain = host.lower().strip("[]").rstrip(".")
    return family, "localhost" if plain in _HERE else plain, port or usual


def _asked_host(url: URL) -> str:
    asked = url.host or url.query.get("host") or ""
    return asked if isinstance(asked, str) else asked[0]
