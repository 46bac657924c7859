"""How the login to a PostgreSQL fails, in which of our words, and how much of the time it takes."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from exporter.demo.databases import free_port
from exporter.sampler import Sampler
from exporter.servers.postgresql import reason
from samplers import sampled, sampling
from sites import Site, frozen, sessions_of
from waiting import eventually

pytestmark = pytest.mark.servers


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """Give a port whose queue is full: the kernel drops whoever knocks, as a host does that is gone without a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        port = listener.getsockname()[1]
        with contextlib.suppress(TimeoutError):
            while True:
                stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=0.2))
        yield port


def test_frozen_for_less_than_two_seconds(any_postgresql: Site) -> None:
    """A server that accepts and stays silent is down within a time that is shorter than any of libpq's."""
    with sampling(any_postgresql.server(timeout=0.5)) as sampler:
        with frozen(any_postgresql.database):
            sampler.sample()
            view = sampler.view()
        assert (view.up, view.reason, view.message) == (False, "timeout", "no answer within 0.5 s")
        assert view.sample_seconds is not None
        assert view.sample_seconds < 2
        eventually(lambda: _is_up(sampler))


def test_silent_host(postgresql_site: Site) -> None:
    """A host that answers nothing at all, not even that nobody listens, is one that took too long."""
    with silent_port() as port:
        server = postgresql_site.server(url=postgresql_site.url("nobody").set(port=port), timeout=0.5)
        with sampling(server) as sampler:
            sampler.sample()
            assert (sampler.view().reason, sampler.view().message) == ("timeout", "no answer within 0.5 s")


def test_next_host(any_postgresql: Site) -> None:
    """Behind a host that is silent, or that refuses, the next one of the URL has its share of the time."""
    account, port = any_postgresql.sampler_account(), any_postgresql.database.url.port
    with silent_port() as silent:
        for deaf in (silent, free_port()):
            there = {"host": "127.0.0.1,127.0.0.1", "port": f"{deaf},{port}"}
            url = any_postgresql.url(account, **there).set(host=None, port=None)
            with sampling(any_postgresql.server(url=url, timeout=4.0)) as sampler:
                sampled(sampler)


def test_refused_by_the_first(postgresql_site: Site) -> None:
    """A host that answers and refuses is the one that is meant: what the next one says does not cover that."""
    there = {"host": "127.0.0.1,127.0.0.1", "port": f"{postgresql_site.database.url.port},{free_port()}"}
    url = postgresql_site.url("nobody_at_all", **there).set(host=None, port=None)
    with sampling(postgresql_site.server(url=url)) as sampler:
        sampler.sample()
        assert sampler.view().reason == "auth"


@pytest.mark.parametrize("host", ["nowhere.invalid", "no..where", "x" * 64])
def test_unknown_host(postgresql_site: Site, host: str) -> None:
    """A host that no name server knows, or that cannot be one, is a failure to connect."""
    server = postgresql_site.server("nobody")
    with sampling(postgresql_site.server(url=server.url.set(host=host))) as sampler:
        sampler.sample()
        assert sampler.view().reason == "connect"
        assert host in sampler.view().message


def test_no_such_role(postgresql_site: Site) -> None:
    """A role that is not there is a login that cannot succeed."""
    with sampling(postgresql_site.server("nobody_at_all")) as sampler:
        sampler.sample()
        assert sampler.view().reason == "auth"


def test_role_has_its_fill(any_postgresql: Site) -> None:
    """A role that has all the connections it may have is a failure to connect, not a refused password."""
    account = any_postgresql.new_account("GRANT pg_monitor TO {}", "ALTER ROLE {} CONNECTION LIMIT 1")
    with any_postgresql.pool(account, 1), sampling(any_postgresql.server(account)) as sampler:
        sampler.sample()
        assert sampler.view().reason == "connect"
        assert "too many connections" in sampler.view().message


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"sslmode": "require"}, "SSL"),
        ({"target_session_attrs": "standby"}, "hot standby"),
    ],
)
def test_not_as_wanted(postgresql_site: Site, query: dict[str, str], words: str) -> None:
    """A server without TLS where the URL wants it, or without the role it wants, is no refused password."""
    url = postgresql_site.url(postgresql_site.sampler_account(), **query)
    with sampling(postgresql_site.server(url=url)) as sampler:
        sampler.sample()
        assert sampler.view().reason == "connect"
        assert words in sampler.view().message


def test_unknown_option(postgresql_site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """An option in the URL that libpq does not have is no server's fault."""
    caplog.set_level(logging.ERROR)
    url = postgresql_site.url(postgresql_site.sampler_account(), no_such_option="1")
    with sampling(postgresql_site.server(url=url)) as sampler:
        sampler.sample()
        assert sampler.view().reason == "other"
        assert "no_such_option" in sampler.view().message


def test_nothing_left_behind(any_postgresql: Site) -> None:
    """After many failures in the middle of a login or after it, no session of ours stays on the server."""
    account = any_postgresql.new_account()
    with sampling(any_postgresql.server(account, timeout=0.3)) as sampler:
        with any_postgresql.pool(any_postgresql.new_account(), 1):
            for _ in range(5):
                sampler.sample()
        for _ in range(2):
            with frozen(any_postgresql.database):
                sampler.sample()
        assert sampler.view().reason == "timeout"
        assert sampler.view().errors["privilege"] == 5
        eventually(lambda: not sessions_of(any_postgresql, account))


def _is_up(sampler: Sampler) -> bool:
    sampler.sample()
    return sampler.view().up


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SET statement_timeout = 20; SELECT pg_sleep(10)", "timeout"),
        ("SELECT * FROM pg_authid", "privilege"),
        ("SELECT nonsense", "query"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", "connect"),
    ],
)
def test_reasons(any_postgresql: Site, statement: str, expected: str) -> None:
    """What the server says by its codes is put into our words."""
    engine = create_engine(any_postgresql.url(any_postgresql.new_account()), poolclass=NullPool)
    with engine.connect() as connection:
        with pytest.raises(DBAPIError) as refused:
            connection.exec_driver_sql(statement)
        assert reason(refused.value) == expected
