"""The rounds of `scripts/bench sampling`: in each our sample, one scrape of every exporter, and a moment of nothing."""

from __future__ import annotations

import functools
import gzip
import random
import re
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sampling_clocks import ServerClock, cpu_milliseconds, resident_megabytes
from sampling_exporters import Exporter

_LEAD = 0.05  # seconds before a sample is due at which the clocks are read
_SETTLE = 0.01  # seconds for a server to put away what an answer took
_REST = 0.2  # seconds of the moment of nothing
_LATE = 5  # so many times the rounds, where the machine is so busy that samples come late
_NEAR = 0.05, 0.15  # the halves of the rounds agree within this share, or within so many milliseconds
_PLACE = r"^sqlalchemy_server_sample_%s\{[^}]*\} (\S+)$"
# What Prometheus sends, as of 2.42.
_ACCEPT = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
_HEADERS = {"Accept": _ACCEPT, "Accept-Encoding": "gzip", "Connection": "close"}


class Used(NamedTuple):
    """What something took, in milliseconds: the server's CPU time, the exporter's, and on the wall."""

    server: float
    own: float
    wall: float

    def less(self, rest: Used) -> Used:
        """Return it without what is used at rest in the same time."""
        share = (self.wall + 1000 * _SETTLE) / (rest.wall + 1000 * _SETTLE)
        return Used(self.server - share * rest.server, self.own - share * rest.own, self.wall)


@dataclass(frozen=True)
class Beat:
    """When our last sample ended (seconds since 1970), how long it took, and how often there is one, in seconds."""

    ended: float
    lasted: float
    interval: float

    @property
    def began(self) -> float:
        """Return when it began."""
        return self.ended - self.lasted

    def next_after(self, now: float) -> float:
        """Return when the first sample after ``now`` is due."""
        return self.began + self.interval * max(1, -(-(now - self.began) // self.interval))


@dataclass
class Seen:
    """What the rounds have seen of one exporter: its scrapes, and as they were at rest."""

    scrapes: list[Used] = field(default_factory=list)
    rests: list[Used] = field(default_factory=list)
    series: int = 0


class Rounds:
    """Measures until the figures stand still. The first of ``exporters`` is ours.

    ``wake`` stirs some of the sessions; while ``publishing`` is entered, pools ask for the ids of some.
    """

    def __init__(
        self,
        exporters: Sequence[Exporter],
        server: ServerClock,
        *,
        wake: Callable[[], None],
        publishing: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._exporters = exporters
        self._ours = exporters[0]
        self._server = server
        self._wake = wake
        self._publishing = publishing
        self._order = random.Random(0)
        self._seen = {exporter.name: Seen() for exporter in exporters}
        self._asked: list[Used] = []
        self._plain: list[Used] = []
        self._pairs: list[tuple[Used, dict[str, Used]]] = []
        self._beat = Beat(0.0, 0.0, 1.0)

    def run(self, *, least: int, most: int) -> None:
        """Make rounds until our sample costs the same in both halves of them; every other one with ids asked for."""
        self._get(self._ours)
        self._rest(whatever=True)
        for number in range(_LATE * most):
            if number % 2:
                self._round(self._plain)
            else:
                with self._publishing():
                    self._round(self._asked)
            enough = number + 1 >= most or (number + 1 >= least and _stand_still([used.server for used in self._asked]))
            if enough and self._asked and self._plain:
                return
        raise RuntimeError(f"the machine is too busy: in {_LATE * most} rounds no sample came when it was due")

    def figures(self) -> dict[str, Any]:
        """Return what it all takes, without what is used at rest: milliseconds, megabytes and counts."""
        rest = self._at_rest(self._ours)
        asked, plain = _middle(self._asked).less(rest), _middle(self._plain).less(rest)
        return {
            "rest": {"server_cpu": 1000 * rest.server / rest.wall, "own_cpu": 1000 * rest.own / rest.wall},
            "sample": {
                "server_cpu": asked.server,
                "server_cpu_without_ids": plain.server,
                "own_cpu": asked.own,
                "interval": self._beat.interval,
                "count": len(self._asked) + len(self._plain),
                "server_cpu_over": {exporter.name: self._over(exporter) for exporter in self._exporters[1:]},
            },
            "scrapes": {exporter.name: self._scrape_figures(exporter) for exporter in self._exporters},
        }

    def _scrape_figures(self, exporter: Exporter) -> dict[str, float]:
        seen = self._seen[exporter.name]
        used = _middle(seen.scrapes).less(self._at_rest(exporter))
        return {
            "server_cpu": used.server,
            "own_cpu": used.own,
            "scrape": used.wall,
            "rss": resident_megabytes(exporter.pid),
            "series": seen.series,
            "count": len(seen.scrapes),
        }

    def _over(self, exporter: Exporter) -> float:
        """Return how many times the server's CPU time of an exporter's scrape a sample of the same round takes.

        The neighbours of a machine slow it down by half for seconds, and then both. 0 where the other asks no server.
        """
        rest, theirs = self._at_rest(self._ours), self._at_rest(exporter)
        pairs = [(ours.less(rest).server, scrapes[exporter.name].less(theirs).server) for ours, scrapes in self._pairs]
        return statistics.median(ours / other for ours, other in pairs) if all(other > 0 for _, other in pairs) else 0.0

    def _at_rest(self, exporter: Exporter) -> Used:
        """Return what is used when nobody asks anything; the server's part has been looked at with every exporter."""
        server = statistics.median(used.server for seen in self._seen.values() for used in seen.rests)
        return _middle(self._seen[exporter.name].rests)._replace(server=server)

    def _round(self, samples: list[Used]) -> None:
        self._wake()
        before = self._beat
        due = before.next_after(time.time() + _LEAD)
        _sleep_until(due - _LEAD)
        # A sample has time enough for three of the last one, and never more than half of its interval.
        until = due + min(max(3 * before.lasted, 0.1), before.interval / 2)
        sample = self._measured(self._ours, functools.partial(_sleep_until, until))
        scrapes = {
            exporter.name: self._measured(exporter, functools.partial(self._get, exporter))
            for exporter in self._order.sample(self._exporters, len(self._exporters))
        }
        for name, scrape in scrapes.items():
            self._seen[name].scrapes.append(scrape)
        # Where the machine was late, the sample lay outside; where the interval has changed, it was none or another.
        if due - _LEAD < self._beat.began and self._beat.ended < until and self._beat.interval == before.interval:
            samples.append(sample)
            if samples is self._asked:
                self._pairs.append((sample, scrapes))
        self._rest()

    def _rest(self, *, whatever: bool = False) -> None:
        """Measure what is used at rest, where there is time for it before the next sample."""
        for exporter in self._exporters:
            share = _REST / len(self._exporters)
            if whatever or self._beat.next_after(time.time()) > time.time() + share + _SETTLE + _LEAD:
                self._seen[exporter.name].rests.append(self._measured(exporter, functools.partial(time.sleep, share)))

    def _measured(self, exporter: Exporter, act: Callable[[], object]) -> Used:
        server, own, began = self._server.read(), cpu_milliseconds(exporter.pid), time.perf_counter()
        act()
        took = time.perf_counter() - began
        time.sleep(_SETTLE)
        own = cpu_milliseconds(exporter.pid) - own
        return Used(self._server.read() - server, own, 1000 * took)

    def _get(self, exporter: Exporter) -> None:
        address = urlsplit(exporter.page)
        connection = HTTPConnection(address.hostname or "", address.port, timeout=30)
        try:
            connection.request("GET", address.path, headers=_HEADERS)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        self._read(exporter, gzip.decompress(body) if answer.headers["Content-Encoding"] == "gzip" else body)

    def _read(self, exporter: Exporter, page: bytes) -> None:
        text = page.decode()
        self._seen[exporter.name].series = sum(not line.startswith("#") for line in text.splitlines())
        if exporter is self._ours:
            names = ("timestamp_seconds", "seconds", "interval_seconds")
            ended, lasted, interval = (re.search(_PLACE % name, text, re.MULTILINE) for name in names)
            if ended is None or lasted is None or interval is None:
                raise RuntimeError(f"{exporter.page} shows no sample; see its log")
            self._beat = Beat(float(ended[1]), float(lasted[1]), float(interval[1]))


def _middle(used: Sequence[Used]) -> Used:
    return Used(*(statistics.median(values) for values in zip(*used, strict=True)))


def _stand_still(values: Sequence[float]) -> bool:
    if len(values) < 4:
        return False
    early, late = statistics.median(values[::2]), statistics.median(values[1::2])
    return abs(early - late) <= max(_NEAR[0] * late, _NEAR[1])


def _sleep_until(moment: float) -> None:
    time.sleep(max(moment - time.time(), 0.0))
