"""Which pool belongs to which server: by what somebody says, else by where both of them connect to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import IPv6Address, ip_address
from typing import Protocol, TypeVar

from sqlalchemy.engine import URL

from exporter.conclusions import Report
from exporter.records import Instance, PoolIdentity, ProcessSnapshot

_FAMILIES = {"mysql": ("mysql", 3306), "mariadb": ("mysql", 3306), "postgresql": ("postgresql", 5432)}
_HERE = "localhost"
_FOLDERS = frozenset({"postgresql"})
"""The families whose socket lies in a folder, under a name with the port's number."""


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


def _unknown(_host: str) -> Collection[str] | None:
    return None


@dataclass(frozen=True)
class Map:
    """What is known of names: ``addresses`` gives those of a host (None when not known) and never waits.

    ``instances`` are the servers as they last answered, by name.
    """

    addresses: Callable[[str], Collection[str] | None] = _unknown
    instances: Mapping[str, Instance] = field(default_factory=dict)


NOTHING_KNOWN = Map()


@dataclass(frozen=True)
class _Place:
    family: str
    host: str
    port: int | None

    @property
    def is_socket(self) -> bool:
        return self.host.startswith("/")

    @property
    def is_here(self) -> bool:
        return self.is_socket or self.host == _HERE


def belongs(identity: PoolIdentity, server: Addressed, known: Map = NOTHING_KNOWN) -> bool:
    """Tell whether a pool may be this server's: by the patterns where it has some, else by family, host and port."""
    if server.pools:
        return any(fnmatchcase(identity.name, pattern) for pattern in server.pools)
    if not identity.host:
        return False  # a pool without an engine does not know where it connects to
    ours = _place(identity.dialect, identity.host, identity.port)
    there = _place(server.url.get_backend_name(), _asked_host(server.url), server.url.port)
    if ours.family != there.family:
        return False
    if ours.is_socket or there.is_socket:
        return _same_socket(ours, there, known.instances.get(server.name))
    return ours.port == there.port and _same_host(ours.host, there.host, known)


def owners(identity: PoolIdentity, servers: Iterable[Server], known: Map = NOTHING_KNOWN) -> tuple[Server, ...]:
    """Return the servers that a pool belongs to; several only where patterns say so, none where addresses cannot tell.

    A pattern is somebody's word and goes before what addresses suggest.
    """
    found = [server for server in servers if belongs(identity, server, known)]
    told = tuple(server for server in found if server.pools)
    if told:
        return told
    return tuple(found) if len(found) == 1 else ()


@dataclass(frozen=True)
class Sorted:
    """Reports by server and by pool; ``nobodys`` are those of pools that belong to no server."""

    by_server: Mapping[str, Mapping[str, Sequence[Report]]]
    nobodys: Sequence[Report]

    def of(self, server: str) -> list[Report]:
        """Return all reports of the pools of a server."""
        return [report for reports in self.by_server[server].values() for report in reports]


def sorted_out(processes: Iterable[ProcessSnapshot], servers: Sequence[Server], known: Map = NOTHING_KNOWN) -> Sorted:
    """Sort what the processes report by server and by pool. Every server is there, also one without pools."""
    owned: dict[PoolIdentity, tuple[Server, ...]] = {}
    by_server: dict[str, dict[str, list[Report]]] = {server.name: {} for server in servers}
    nobodys: list[Report] = []
    for process in processes:
        name = process_name(process)
        for pool in process.pools:
            if pool.identity not in owned:
                owned[pool.identity] = owners(pool.identity, servers, known)
            report = Report(process.taken, pool, name, process.pid)
            for server in owned[pool.identity]:
                by_server[server.name].setdefault(pool.identity.name, []).append(report)
            if not owned[pool.identity]:
                nobodys.append(report)
    return Sorted(by_server, nobodys)


def reports_by_server(
    processes: Iterable[ProcessSnapshot], servers: Sequence[Server], known: Map = NOTHING_KNOWN
) -> Mapping[str, Mapping[str, Sequence[Report]]]:
    """Sort what the processes report by server and by pool, without the pools that belong to none."""
    return sorted_out(processes, servers, known).by_server


def process_name(process: ProcessSnapshot) -> str:
    """Return what tells a process from every other one."""
    return process.id or str(process.pid)


def same_family(dialect: str, server: Addressed) -> bool:
    """Tell whether a pool of this dialect could connect to a server at all."""
    return _family(dialect)[0] == _family(server.url.get_backend_name())[0]


def hosts(servers: Iterable[Addressed]) -> frozenset[str]:
    """Return the names of hosts that servers are configured by."""
    places = (_place(server.url.get_backend_name(), _asked_host(server.url), None) for server in servers)
    return frozenset(place.host for place in places if not place.is_here)


def plain(host: str) -> str:
    """Return a host in the one way that it is written here: all loopback addresses alike, sockets as they are."""
    if host.startswith("/"):
        return host.rstrip("/")
    bare = host.lower().strip("[]").rstrip(".")
    if bare in ("", _HERE):
        return _HERE
    try:
        address = ip_address(bare)
    except ValueError:
        return bare
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return _HERE if str(address) in ("127.0.0.1", "::1") else str(address)


def several(addresses: Collection[str]) -> bool:
    """Tell whether addresses of one name may be more than one host: each has one of either version of IP at most."""
    newer = sum(":" in address for address in addresses)
    return newer > 1 or len(addresses) - newer > 1


def _family(dialect: str) -> tuple[str, int | None]:
    return _FAMILIES.get(dialect, (dialect, None))


def _place(dialect: str, host: str, port: int | None) -> _Place:
    family, usual = _family(dialect)
    return _Place(family, plain(host), port or usual)


def _asked_host(url: URL) -> str:
    asked = url.query.get("unix_socket") or url.host or url.query.get("host") or ""
    return asked if isinstance(asked, str) else asked[0]


def _same_socket(ours: _Place, there: _Place, instance: Instance | None) -> bool:
    if ours.is_socket and there.is_socket:
        same_name = ours.family not in _FOLDERS or ours.port == there.port
        return ours.host == there.host and same_name
    if not (ours.is_here and there.is_here):
        return False
    if ours.family in _FOLDERS:
        return ours.port == there.port  # a server's socket bears the number of its port
    # Nothing in the name of MySQL's tells of a port, so the server itself has to.
    socket, other = (ours, there) if ours.is_socket else (there, ours)
    return instance is not None and (plain(instance.socket), instance.port) == (socket.host, other.port)


def _same_host(ours: str, there: str, known: Map) -> bool:
    if _HERE in (ours, there) and ours == there:
        return True
    mine, theirs = _addresses(ours, known), _addresses(there, known)
    if several(mine) or several(theirs):
        return False  # replicas behind one name, perhaps: whom each connection has reached cannot be told
    return ours == there or bool(mine & theirs)


def _addresses(host: str, known: Map) -> frozenset[str]:
    if host == _HERE:
        return frozenset({_HERE})
    return frozenset(map(plain, known.addresses(host) or ()))
