"""Which of all servers has answered, and since when it runs."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.pace import steady
from exporter.records import Instance
from exporter.servers.sense import count, number, text

_LONGEST = 1000  # characters that servers are told apart by


@dataclass(frozen=True)
class Born:
    """A server as a new connection has found it: it cannot become another without ending that connection."""

    identity: str
    since: float
    socket: str
    port: int | None

    def now(self, moment: float) -> Instance:
        """Return who it is, with its start by the clock that says ``moment`` now: one that is set takes it along."""
        return Instance(self.identity, moment - (steady() - self.since), self.socket, self.port)


def born(identity: str, uptime: float, *, socket: str = "", port: int | None = None) -> Born:
    """Note a server that has run for ``uptime`` seconds; raise SampleError where it said what cannot be."""
    since = steady() - number(uptime, "the time since its start")
    where = text(socket, "the path of its socket")
    return Born(identity[:_LONGEST], since, where, None if port is None else count(port, "its port"))
