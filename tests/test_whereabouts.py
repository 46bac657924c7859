"""Which names of a URL are looked up again, when, and what their answers mean."""

from __future__ import annotations

import socket

import pytest
from sqlalchemy.engine import make_url

from exporter.servers.whereabouts import LOOK_SECONDS, Whereabouts
from waiting import eventually

PEER = "10.0.0.1"


class NameServer:
    """Answers for all names, and remembers which it was asked for. ``addresses`` is None while it is lost."""

    def __init__(self) -> None:
        self.addresses: list[str] | None = [PEER]
        self.asked: list[str] = []

    def look_up(self, name: str, _port: object) -> list[tuple[object, ...]]:
        """Do what `socket.getaddrinfo` does."""
        self.asked.append(name)
        if self.addresses is None:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in self.addresses]


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> NameServer:
    """The name server of this test."""
    found = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", found.look_up)
    return found


def whereabouts(url: str, now: list[float]) -> Whereabouts:
    """Return those of a URL, with a clock that the test sets."""
    return Whereabouts(make_url(url), timeout=60.0, steadily=lambda: now[0])


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("postgresql://a@127.0.0.1/x", []),
        ("postgresql://a@[::1]/x", []),
        ("postgresql://a@/x?host=/run/postgresql", []),
        ("postgresql://a@db/x?hostaddr=10.0.0.1", []),
        ("postgresql://a@db/x", ["db"]),
        ("postgresql://a@/x?host=one:5432&host=two:5433", ["one", "two"]),
        ("postgresql://a@/x?host=one,10.0.0.2&port=1,2", ["one", "10.0.0.2"]),
        ("mysql://a@/x?unix_socket=/run/mysqld.sock", []),
        ("mysql://a@localhost/", ["localhost"]),
    ],
)
def test_only_names_are_looked_up(url: str, names: list[str], name_server: NameServer) -> None:
    """Addresses and paths mean what they meant; of a list with a name in it all are asked for."""
    now = [0.0]
    places = whereabouts(url, now)
    now[0] = LOOK_SECONDS
    assert not places.moved(PEER)
    eventually(lambda: name_server.asked == names)


def test_now_and_then(name_server: NameServer) -> None:
    """However often it is asked, it looks up once in that time; a move is told as soon as it is known."""
    now = [0.0]
    places = whereabouts("mysql://a@db/", now)
    for moment, asked in ((1.0, 0), (LOOK_SECONDS, 1), (LOOK_SECONDS + 1, 1), (2 * LOOK_SECONDS, 2)):
        now[0] = moment
        assert not places.moved(PEER)
        assert len(name_server.asked) == asked
    name_server.addresses = ["10.0.0.2", "10.0.0.3"]
    now[0] = 3 * LOOK_SECONDS
    eventually(lambda: places.moved(PEER))


@pytest.mark.parametrize("addresses", [None, [], ["10.0.0.2", PEER]])
def test_no_news(addresses: list[str] | None, name_server: NameServer) -> None:
    """A name that nobody answers for, or that means our server among others, moves nothing; nor without a peer."""
    now = [0.0]
    places = whereabouts("mysql://a@db/", now)
    name_server.addresses = addresses
    now[0] = LOOK_SECONDS
    assert not places.moved(None)
    assert name_server.asked == []
    assert not places.moved(PEER)
    assert name_server.asked == ["db"]
