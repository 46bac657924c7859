"""What earlier samples have taught of a server's pools: whom it has met, and whether their ids mean anything there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from exporter.conclusions import Report
from exporter.records import PoolIdentity, ServerSnapshot
from exporter.sightings import SLACK, Sighting

ENOUGH = 3
"""How many samples must agree before a pool's ids are said to mean nothing on a server."""

MOST_HOMES = 100
"""Under how many names the sessions of one pool are remembered."""

IDLE_TIMEOUTS = ("wait_timeout", "idle_session_timeout")
"""What ends a session that sleeps outside a transaction, by the families' own words."""

_REMEMBERED = 8  # samples; whoever looks late has one of the last few
_SAME = 1.0  # seconds; a connection that was opened at the same moment and has the same id is the same
_LARGEST_PID = 2**22  # the most that Linux gives; a proxy makes its ids up, from all that 32 bits hold
_PRACTICALLY_NONE = 0.1  # of a pool's ids, found by chance: MySQL's are small numbers


class Home(NamedTuple):
    """What a pool's sessions are known by on the server."""

    user: str
    database: str
    client: str
    place: str


@dataclass(frozen=True)
class Acquaintance:
    """What is known of one pool on one server.

    ``met``: sessions of its connections were found. ``against`` counts samples that speak against its ids meaning
    anything here, ``blank`` those that say nothing. ``astray``: a connection was not found that should have been.
    """

    met: bool = False
    against: int = 0
    blank: int = 0
    astray: bool = False
    judged: float = -math.inf
    homes: frozenset[Home] = frozenset()

    @property
    def possible(self) -> bool:
        """Tell whether its ids may mean something on this server."""
        return self.against < ENOUGH

    @property
    def trusted(self) -> bool:
        """Tell whether an id that the server does not know is that of a session that has ended."""
        return self.possible and not self.against and not self.astray and (self.met or self.blank >= ENOUGH)


STRANGER = Acquaintance()


@dataclass(frozen=True)
class Known:
    """What is known of all pools of one server, which took the place of another at ``since`` (seconds since 1970).

    ``met`` are the connections whose sessions were found, by process and id, with the moment when each was opened;
    ``starts`` has when their sessions began by the server's own clock, where it says so. ``ends`` is when the last
    samples ended, the newest first.
    """

    identity: str | None = None
    since: float = -math.inf
    ends: tuple[float, ...] = ()
    met: Mapping[tuple[str, int | None], float] = field(default_factory=dict)
    starts: Mapping[tuple[str, int | None], float] = field(default_factory=dict)
    pools: Mapping[PoolIdentity, Acquaintance] = field(default_factory=dict)

    def has_met(self, seen: Sighting) -> bool:
        """Tell whether the session of this very connection was found once."""
        return self._is_met((seen.report.process, seen.connection.server_id), seen.opened)

    def start(self, process: str, id_: int, opened: float) -> float | None:
        """Return when the session of a connection began by the server's own clock; None where that is not known."""
        key = process, id_
        return self.starts.get(key) if self._is_met(key, opened) else None

    def _is_met(self, key: tuple[str, int | None], opened: float) -> bool:
        before = self.met.get(key)
        return before is not None and abs(before - opened) < _SAME

    def users(self, identity: PoolIdentity) -> frozenset[str]:
        """Return as whom a pool's connections have logged in."""
        return frozenset(home.user for home in self.of(identity).homes)

    def of(self, identity: PoolIdentity) -> Acquaintance:
        """Return what is known of a pool."""
        return self.pools.get(identity, STRANGER)

    def is_gone(self, seen: Sighting) -> bool:
        """Tell whether a connection is one that the server has ended, and that its pool still held afterwards.

        One that was found once is; another only where the server's own timeout explains it: it may live on a server
        that is not this one, behind the same name.
        """
        if seen.standing not in ("missing", "ended"):
            return False
        return self.has_met(seen) or (self.of(seen.report.pool.identity).trusted and self.is_expired(seen, SLACK))

    def is_expired(self, seen: Sighting, margin: float) -> bool:
        """Tell whether a connection had lain idle for ``margin`` seconds longer than its server lets one sleep."""
        sample, connection = seen.sample, seen.connection
        if sample is None or connection.state != "idle":
            return False
        accounts = {home[:2] for home in self.of(seen.report.pool.identity).homes}
        meant = [sample.overrides.get(account, sample.idle_timeouts) for account in accounts]
        timeouts = [_idle_timeout(some) for some in meant or [sample.idle_timeouts, *sample.overrides.values()]]
        slept = sample.began - (seen.report.taken - connection.seconds)
        return slept > max(timeouts) + margin


def _idle_timeout(timeouts: Mapping[str, float]) -> float:
    return min((timeouts[name] for name in IDLE_TIMEOUTS if name in timeouts), default=math.inf)


def follow(known: Known, sample: ServerSnapshot | None) -> Known:
    """Take in who has answered last: behind the same name may be another server by now, which has met nobody."""
    # Whoever looks late brings one that was seen. One that is not is new, though it seems older: a clock was set back.
    if sample is None or sample.ended in known.ends:
        return known
    identity = None if sample.instance is None else sample.instance.identity
    ends = (sample.ended, *known.ends)[:_REMEMBERED]
    if known.identity is not None and identity != known.identity:
        return Known(identity, since=sample.began, ends=ends)
    set_back = max(known.ends[0] - sample.ended, 0.0) if known.ends else 0.0
    return replace(known, identity=identity, since=known.since - set_back, ends=ends)


def learn(known: Known, seen: Sequence[Sighting], reports: Iterable[Report]) -> Known:
    """Take in what samples say of the connections; what no process reports any more is forgotten."""
    met: dict[tuple[str, int | None], float] = {}
    starts: dict[tuple[str, int | None], float] = {}
    by_pool: dict[PoolIdentity, list[Sighting]] = {report.pool.identity: [] for report in reports}
    for each in seen:
        if each.standing == "found" or known.has_met(each):
            key = each.report.process, each.connection.server_id
            met[key] = each.opened
            start = known.starts.get(key) if each.session is None else each.session.started
            if start is not None:
                starts[key] = start
        by_pool[each.report.pool.identity].append(each)
    pools = {identity: _judged(known, identity, some) for identity, some in by_pool.items()}
    return replace(known, met=met, starts=starts, pools=pools)


def _judged(known: Known, identity: PoolIdentity, seen: Sequence[Sighting]) -> Acquaintance:
    before = known.of(identity)
    homes = _few(before.homes, {_home(each) for each in seen if each.session is not None})
    found = sum(each.standing == "found" for each in seen)
    told = sum(each.standing != "unknown" for each in seen)
    met = before.met or found > _PRACTICALLY_NONE * told
    # What was judged later than the newest sample ended was judged before a clock was set back.
    judged = before.judged if before.judged <= (known.ends or (math.inf,))[0] else -math.inf
    fresh = [
        each for each in seen if each.sample is not None and each.sample.ended > judged and each.standing != "unknown"
    ]
    now = replace(before, met=met, homes=homes)
    return _weighed(known, now, fresh) if fresh else now


def _few(before: frozenset[Home], now: AbstractSet[Home]) -> frozenset[Home]:
    """Keep the newest homes of a pool: one that gives each of its sessions another name must not fill the memory."""
    if len(before) + len(now) <= MOST_HOMES:
        return before | now
    return frozenset([*sorted(now), *sorted(before - now)][:MOST_HOMES])


def _weighed(known: Known, before: Acquaintance, seen: Sequence[Sighting]) -> Acquaintance:
    """Count what a new sample says for or against a pool's ids."""
    judged = max(each.sample.ended for each in seen if each.sample is not None)
    found = sum(each.standing == "found" for each in seen)
    lost = [each for each in seen if each.standing == "missing" and not _explained(known, each)]
    now = replace(before, judged=judged, astray=before.astray or bool(found and lost))
    if found > _PRACTICALLY_NONE * len(seen):
        return replace(now, against=0, blank=0)
    if _impossible(seen) or (not before.met and lost and _strangers_of(lost)):
        return replace(now, against=min(now.against + 1, ENOUGH))
    return replace(now, blank=min(now.blank + 1, ENOUGH))


def _explained(known: Known, seen: Sighting) -> bool:
    return known.has_met(seen) or known.is_expired(seen, -SLACK)


def _impossible(seen: Sequence[Sighting]) -> bool:
    """Tell whether ids are such as no server gives, or are all somebody else's."""
    if all(each.standing == "foreign" for each in seen):
        return True
    dialects = {each.sample.dialect for each in seen if each.sample is not None}
    ids = [each.connection.server_id or 0 for each in seen]
    return dialects == {"postgresql"} and any(not 0 < id_ <= _LARGEST_PID for id_ in ids)


def _strangers_of(lost: Sequence[Sighting]) -> bool:
    """Tell whether the server has sessions in the database of a pool that no pool claims: a proxy's, perhaps."""
    return any(
        row.database == each.report.pool.identity.database or not each.report.pool.identity.database
        for each in lost[:1]
        if each.sample is not None
        for row in each.sample.unclaimed
    )


def _home(seen: Sighting) -> Home:
    session = seen.session
    user, database = ("", "") if session is None or session.account is None else session.account
    return Home(user, database, "" if session is None else session.client, "" if session is None else session.place)
