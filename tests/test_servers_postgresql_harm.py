"""What others on a PostgreSQL, and its settings, cannot do to a sampler."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from samplers import failed, sampled, sampling
from scenes import Private
from sites import Launch, Site, sessions_of
from waiting import eventually

pytestmark = pytest.mark.servers

TRAP = """CREATE FUNCTION public.width_bucket(timestamptz, timestamptz[]) RETURNS int LANGUAGE plpgsql
AS $$BEGIN RAISE EXCEPTION 'run as somebody else'; END$$"""

GREETINGS = {
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "zeros": bytes(80),
    "nonsense": b"R" * 100,
}

ENGLISH = ("too many", "slots", "authentication")


def test_functions_of_others(any_postgresql: Site) -> None:
    """A function that somebody has made, of a name and for arguments that we use, is not run with our rights."""
    within = create_engine(any_postgresql.database.url.set(database="orders"), poolclass=NullPool)
    with within.begin() as connection:
        connection.exec_driver_sql(TRAP)
    try:
        with sampling(any_postgresql.server()) as sampler:
            sampled(sampler)
    finally:
        with within.begin() as connection:
            connection.exec_driver_sql("DROP FUNCTION public.width_bucket(timestamptz, timestamptz[])")


def test_serializable_and_deferrable(any_postgresql: Site) -> None:
    """Where transactions wait by default for those of the applications to end, ours do not."""
    strict = ("default_transaction_isolation = 'serializable'", "default_transaction_deferrable = on")
    looker = any_postgresql.new_account(
        "GRANT pg_monitor TO {}", *(f"ALTER ROLE {{}} SET {setting}" for setting in strict)
    )
    account = any_postgresql.new_account()
    working = create_engine(any_postgresql.url(account), poolclass=NullPool, isolation_level="SERIALIZABLE")
    with working.connect() as connection, sampling(any_postgresql.server(looker, timeout=2.0)) as sampler:
        connection.exec_driver_sql("SELECT count(*) FROM pg_class")
        sampled(sampler)


def test_serializable_standby(servers_folder: Path, start_postgresql: Launch) -> None:
    """A standby, on which no transaction can be serializable, is sampled though that is the default."""
    private = Private("postgresql", start_postgresql, servers_folder / "standby")
    with private.started() as site:
        strict = "ALTER ROLE {} SET default_transaction_isolation = 'serializable'"
        looker = site.new_account("GRANT pg_monitor TO {}", strict)
    (private.folder / "data" / "standby.signal").touch()
    with private.started() as site, sampling(site.server(looker)) as sampler:
        assert site.run("SELECT pg_is_in_recovery()")[0][0]
        sampled(sampler)


def test_a_database_is_dropped(postgresql_site: Site) -> None:
    """The sessions that ended badly in a database stay counted when it is dropped, on a new connection too."""
    account = postgresql_site.new_account()
    postgresql_site.run(f"CREATE DATABASE {account}")
    looker = postgresql_site.sampler_account()
    doomed = create_engine(postgresql_site.url(account, database=account), poolclass=NullPool)
    with sampling(postgresql_site.server(looker)) as sampler:
        before = sampled(sampler).aborted["client"]
        connection = doomed.connect()
        postgresql_site.kill(sessions_of(postgresql_site, account)[0])
        eventually(lambda: sampled(sampler).aborted["client"] == before + 1)
        connection.invalidate()
        connection.close()
        postgresql_site.run(f"DROP DATABASE {account}")
        assert sampled(sampler).aborted["client"] == before + 1
        postgresql_site.kill(sessions_of(postgresql_site, looker)[0])
        # That end of the sampler's own session is one more, or not yet.
        assert sampled(sampler).aborted["client"] >= before + 1


@pytest.fixture(scope="module")
def foreign_site(servers_folder: Path, start_postgresql: Launch) -> Iterator[Site]:
    """A PostgreSQL that speaks German, to everybody and from the first word."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("LANGUAGE", "de")
        private = Private("postgresql", start_postgresql, servers_folder / "foreign")
        # Which locale does not matter to gettext, as long as it is none that it knows as nobody's.
        yield stack.enter_context(private.started(settings={"lc_messages": "C.UTF-8", "max_connections": "8"}))


@pytest.mark.parametrize(
    ("refusal", "reason"), [("password", "auth"), ("role", "connect"), ("slots", "connect"), ("database", "auth")]
)
def test_refused_in_another_language(foreign_site: Site, refusal: str, reason: str) -> None:
    """A server that says no in another language says by its code what it means."""
    limit = ("ALTER ROLE {} CONNECTION LIMIT 0",) if refusal == "role" else ()
    looker = foreign_site.new_account(*limit)
    url = foreign_site.url(looker, **({"dbname": "nowhere"} if refusal == "database" else {}))
    if refusal == "password":
        url = url.set(password="wrong-s3cret")
    full = foreign_site.pool(foreign_site.new_account(), 5) if refusal == "slots" else contextlib.nullcontext()
    with full, sampling(foreign_site.server(url=url)) as sampler:
        view = failed(sampler)
    if any(words in view.message for words in ENGLISH):
        pytest.skip("this machine's PostgreSQL comes without its translations")
    assert view.reason == reason


@pytest.mark.parametrize("sslmode", ["disable", "prefer"])
@pytest.mark.parametrize("greeting", GREETINGS.values(), ids=list(GREETINGS))
def test_no_postgresql_at_all(postgresql_site: Site, greeting: bytes, sslmode: str) -> None:
    """Somebody else's port is a failure to connect, and no refused password."""
    with greeted(greeting) as port:
        url = postgresql_site.url("nobody", sslmode=sslmode).set(port=port)
        with sampling(postgresql_site.server("nobody", url=url)) as sampler:
            assert failed(sampler).reason == "connect"


@contextlib.contextmanager
def greeted(greeting: bytes) -> Iterator[int]:
    """Give a port where everybody is greeted, heard once, and left."""

    def greet() -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = listener.accept()
                with caller:
                    caller.sendall(greeting)
                    caller.recv(1000)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=greet)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
