"""One request over HTTP on a connection of its own, so that any worker may take it."""

from __future__ import annotations

from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """What came back; status 0 means that nobody answered, and ``body`` then says why."""

    status: int
    body: str


def ask(url: str, *, method: str = "GET", timeout: float = 5.0) -> Answer:
    """Send one request and read the whole answer. Raises nothing when nobody answers."""
    address = urlsplit(url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=timeout)
    try:
        target = f"{address.path}?{address.query}" if address.query else address.path
        connection.request(method, target, headers={"Connection": "close"})
        response = connection.getresponse()
        return Answer(response.status, response.read().decode())
    except (OSError, HTTPException) as error:
        return Answer(0, f"{type(error).__name__}: {error}")
    finally:
        connection.close()
