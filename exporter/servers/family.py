"""What every server family answers to, and what one tells of a sample that failed."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Protocol

from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError

from exporter.labels import SampleErrorReason
from exporter.records import ServerSnapshot
from exporter.servers.wire import Wire
from exporter.tls import Tls

PROGRAM_NAME = "pool_exporter"
"""What a sampler's connection is called on the server, so that a DBA can read it and its sisters leave it out."""


_NO_THREAD = "can't start new thread"  # what Python says where there is no room for one


class SampleError(Exception):
    """A sample that failed, with the reason as one of a short fixed list; the message is one line, without secrets.

    ``hidden`` is how many sessions exist that the sampler may not see, where that is why and they can be counted.
    ``busy`` is for how many seconds the server has worked on it, where that is known; else 0. ``unforeseen`` is what no
    server, driver or family has said: a fault of ours, or of the URL's options.
    """

    def __init__(
        self,
        reason: SampleErrorReason,
        message: str,
        *,
        hidden: int | None = None,
        busy: float = 0.0,
        unforeseen: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason: SampleErrorReason = reason
        self.hidden = hidden
        self.busy = busy
        self.unforeseen = unforeseen

    @classmethod
    def wrapping(cls, error: Exception, told: str) -> SampleError:
        """Return one for an error that nobody has foreseen, ``told`` in a line; a want of memory is no fault."""
        if isinstance(error, MemoryError) or str(error) == _NO_THREAD:
            return cls("other", f"this process has no memory left for it, give it more ({told})")
        return cls("other", told, unforeseen=True)


class Outdated(Exception):  # noqa: N818  it is no error: a new connection puts it right
    """What a sampler's account may see has changed since it logged in: it is to be asked again, on a new connection."""


class Family(Protocol):
    """The questions to one kind of server; each module of a family has these four functions."""

    def engine(self, url: URL, *, timeout: float, wire: Wire, tls: Tls | None) -> Engine:
        """Make the engine of one polite connection, which puts its socket into ``wire`` as soon as it has one.

        With ``tls`` it must talk to nobody without it; raise SampleError where that cannot be had.
        """
        ...

    def prepare(self, connection: Connection, *, timeout: float) -> None:
        """Set the session's limits and choose what to ask, once for each new connection.

        ``timeout`` is for one statement. It is shorter than that of the sample, so that the server can say that it was
        too slow.
        """
        ...

    def sample(
        self, connection: Connection, *, asked: AbstractSet[int], stale_after: float, clock: Callable[[], float]
    ) -> ServerSnapshot:
        """Look at all sessions once; raise Outdated where a new connection would see more."""
        ...

    def reason(self, error: DBAPIError) -> SampleErrorReason:
        """Tell what kind of failure a driver's error is."""
        ...
