"""How a sampler logs in to MySQL or MariaDB through PyMySQL, and what the refusals mean."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import pymysql
from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from exporter.labels import SampleErrorReason
from exporter.servers.family import PROGRAM_NAME, SampleError
from exporter.servers.mysql_driver import Bounded
from exporter.servers.mysql_sisters import announce
from exporter.servers.tls import ANYBODY, tls_context
from exporter.servers.wire import Wire, dial
from exporter.tls import Tls

REASONS: Mapping[int, SampleErrorReason] = {
    **dict.fromkeys((1044, 1045, 1049, 1130, 1251, 1275, 1524, 1698, 1820, 1862, 2059, 2061), "auth"),
    **dict.fromkeys((3118, 3159, 3955, 4151), "auth"),
    **dict.fromkeys((1142, 1143, 1227, 1370), "privilege"),
    **dict.fromkeys((1205, 1969, 3024), "timeout"),
    **dict.fromkeys((1040, 1053, 1129, 1152, 1184, 1203, 1226, 1927, 3032, 3169, 4031), "connect"),
}

# What a server may be set to for all of its clients, and would cut our answers short or make another thing of them.
# Before the first question, SQLAlchemy's too.
UNABRIDGED = "SET SESSION sql_select_limit = 18446744073709551615, sql_big_selects = 1, sql_mode = ''"

_OTHER_PROTOCOL = 2007  # that of clients for a server that they cannot understand


def engine(url: URL, *, timeout: float, wire: Wire, tls: Tls | None = None) -> Engine:
    """Make the engine of one polite connection, which puts its socket into ``wire`` as soon as it has one."""
    # connect_timeout alone does not end the wait for a server that accepts and then stays silent.
    limits = {"connect_timeout": timeout, "read_timeout": timeout, "write_timeout": timeout}
    wanted: dict[str, Any] = {**limits, "program_name": PROGRAM_NAME}
    if tls is not None:
        wanted["ssl"] = tls_context(tls)
    made = create_engine(
        url.set(drivername=f"{url.get_backend_name()}+pymysql"),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        # What the URL asks for goes before what we do.
        connect_args={name: value for name, value in wanted.items() if name not in url.query},
    )

    @event.listens_for(made, "do_connect")
    def connect(_dialect: object, _record: object, _args: object, options: dict[str, Any]) -> object:
        return _connect(options, wire)

    return made


def reason(error: DBAPIError) -> SampleErrorReason:
    """Tell what kind of failure a driver's error is."""
    number = code(error)
    if number in REASONS:
        return REASONS[number]
    # The server's own begin at 1000; those of a client that has lost it are 0 in PyMySQL, else 2000 and above.
    return "connect" if number < 1000 or 2000 <= number < 3000 else "query"


def code(error: DBAPIError) -> int:
    """Return the number of a driver's error; 0 when it has none."""
    arguments = getattr(error.orig, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else 0


def is_mariadb(connection: Connection) -> bool:
    """Tell MariaDB from MySQL."""
    return bool(getattr(connection.dialect, "is_mariadb", False))


def _connect(options: dict[str, Any], wire: Wire) -> object:
    """Connect on a socket of our own making, so that the wire has it before the server has said its first word."""
    connection = _undialled(options)
    path = str(connection.unix_socket or "")
    place = path or f"{connection.host}:{connection.port}"
    try:
        line = dial(path or (connection.host, connection.port), options["connect_timeout"])
    except OSError as error:
        raise pymysql.err.OperationalError(
            2003, f"cannot connect to {place} ({error}); is it up, and may this machine reach it?"
        ) from error
    wire.hold(line.fileno())
    # A server that was frozen finds all that we have given up on when it goes on. It counts logins that break off, and
    # after max_connect_errors of them it lets nobody in from this host, the application neither. It counts no resets.
    wire.end_by(reset=True)
    try:
        connection.connect(line)
    except (AssertionError, AttributeError, LookupError, TypeError, ValueError, struct.error) as error:
        said = (
            f"{place} does not talk like MySQL or MariaDB ({type(error).__name__}: {error}); "
            "does something else listen there?"
        )
        raise pymysql.err.OperationalError(_OTHER_PROTOCOL, said) from error
    wire.end_by(reset=False)
    connection.query(UNABRIDGED)
    announce(connection)
    return connection


def _undialled(options: dict[str, Any]) -> Any:
    """Make a connection that has not been dialled yet."""
    # PyMySQL would write a password in latin1; servers are told theirs in UTF-8.
    options = {**options, "password": str(options.get("password") or "").encode()}
    if any(name.startswith(("ssl", "read_default")) for name in options):
        return _made(options)
    # Nobody asked for TLS: PyMySQL then takes it where it is offered, and trusts whoever answers. So do we, but without
    # reading this machine's list of authorities for each connection, which takes 20 ms.
    connection = _made({**options, "ssl_disabled": True})
    connection.ssl, connection.ctx = True, tls_context(ANYBODY)
    return connection


def _made(options: dict[str, Any]) -> Any:
    try:
        # A server may ask whoever allows it for any file.
        return Bounded(**{**options, "local_infile": False}, defer_connect=True)
    except (
        ArithmeticError,
        AttributeError,
        ImportError,
        LookupError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        said = (
            f"PyMySQL does not take the options of the url ({type(error).__name__}: {error}); mend those behind the ?"
        )
        raise SampleError("other", said) from error
