"""How a PostgreSQL is dialled, within a time that is not libpq's, and what its refusals mean."""

from __future__ import annotations

import math
import os
import re
import select
import socket
import time
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import pq
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_attempts, make_conninfo
from psycopg.errors import finish_pgconn
from sqlalchemy.exc import DBAPIError

from exporter.labels import SampleErrorReason
from exporter.servers.wire import Wire

REASONS: Mapping[str, SampleErrorReason] = {
    **dict.fromkeys(("28000", "28P01", "3D000"), "auth"),
    "42501": "privilege",
    **dict.fromkeys(("57014", "55P03", "25P04"), "timeout"),
    **dict.fromkeys(("53300", "57P01", "57P02", "57P03", "57P04", "57P05"), "connect"),
    **dict.fromkeys(("08000", "08001", "08003", "08004", "08006", "08P01"), "connect"),
}

# Before the first question, SQLAlchemy's too. The first keeps out functions that others have made, which would run with
# our rights. With the server's own of the others, a transaction may be refused (serializable, on a standby), or have to
# wait until those of the applications end (deferrable).
OURSELVES = b"""
SET search_path = pg_catalog;
SET default_transaction_isolation = 'read committed';
SET default_transaction_deferrable = off"""

# libpq keeps the code of a refused login to itself, so these words of the server have to do, in the order of looking.
REFUSALS: tuple[tuple[str, SampleErrorReason], ...] = (
    ("expected authentication request", "connect"),  # it is no PostgreSQL
    ("invalid authentication request", "connect"),
    ("closed the connection", "connect"),
    ("too many", "connect"),
    ("connection slots", "connect"),
    ("starting up", "connect"),
    ("shutting down", "connect"),
    ("read-only", "connect"),  # the URL wants a server with other target_session_attrs
    ("hot standby", "connect"),
    ("pg_hba.conf", "auth"),
    ("authentication", "auth"),
    ("requires a valid client certificate", "auth"),
    # After the client certificates that a server refuses: these are the server's own, or files that are not there.
    ("certificate", "connect"),
    ("SSL", "connect"),
    ("does not exist", "auth"),
    ("not permitted to log in", "auth"),
    ("permission denied for database", "auth"),
)

NO_RIGHT_TO_THE_DATABASE = "42501"

_PEEKED = 8192  # bytes; a refusal is a few hundred
_HEAD = 5  # bytes
_CODE = re.compile(rb"(?:[^C\0][^\0]*\0)*C([0-9A-Z]{5})\0")


class _RefusedError(psycopg.OperationalError):
    """A login that failed, with the server's code where that could be seen."""

    login_code: str | None = None


class _Lenient(Loader):
    """Reads text that may be in any encoding: names are in that of the database that they were made in."""

    def load(self, data: Buffer) -> str:
        """Return the text, with a number for each byte that is of another encoding than the connection's."""
        known = "ascii" if self.connection is None else self.connection.info.encoding
        # A database without an encoding says that it is ASCII, and keeps whatever it is given.
        return bytes(data).decode("utf-8" if known == "ascii" else known, "backslashreplace")


_AWAITED: Mapping[int, int] = {pq.PollingStatus.READING: select.POLLIN, pq.PollingStatus.WRITING: select.POLLOUT}


def dial(options: Mapping[str, Any], *, timeout: float, wire: Wire) -> psycopg.Connection[Any]:
    """Connect with ``options`` of libpq; raise OperationalError when that fails, also because ``wire`` was cut.

    libpq alone would wait for two seconds at the least, and psycopg has no socket to show before it is done. Names are
    looked up each time: after a failover they may mean another host.
    """
    # What SQLAlchemy would tell psycopg of JSON and the like is of no use for what we ask.
    wanted = {name: value for name, value in options.items() if name != "context"}
    deadline = time.monotonic() + timeout
    try:
        attempts = conninfo_attempts(wanted)
    except UnicodeError as error:
        raise psycopg.OperationalError(
            f"{wanted.get('host')!r} cannot be the name of a host; write another into the url"
        ) from error
    for left in range(len(attempts), 1, -1):
        # Each has its share of the time: behind the first may be a host that is gone without a word.
        share = (deadline - time.monotonic()) / left
        try:
            return _login(attempts[-left], wire, deadline=time.monotonic() + share)
        except psycopg.OperationalError as error:
            if _meaning(error) != "connect":
                raise
    return _login(attempts[-1], wire, deadline=math.inf)


def reason(error: DBAPIError) -> SampleErrorReason:
    """Tell what kind of failure a driver's error is."""
    return _meaning(error.orig)


def _meaning(error: BaseException | None) -> SampleErrorReason:
    code = getattr(error, "sqlstate", None)
    if code is not None:
        return REASONS.get(code, "query")
    if isinstance(error, psycopg.ProgrammingError):
        return "other"  # an option in the URL that libpq does not have
    said = str(error)
    for words, meaning in REFUSALS:
        if words in said:
            return meaning
    # A server that speaks another language, but the same codes.
    code = getattr(error, "login_code", None)
    if code is not None:
        return "auth" if code == NO_RIGHT_TO_THE_DATABASE or REASONS.get(code) == "auth" else "connect"
    # Under TLS they are hidden. One that had a password from us and ends the login has mostly refused it.
    return "auth" if getattr(getattr(error, "pgconn", None), "used_password", False) else "connect"


def _login(options: Mapping[str, Any], wire: Wire, *, deadline: float) -> psycopg.Connection[Any]:
    """Connect to one address. The wire ends what ``deadline`` (of the monotonic clock) does not."""
    line = pq.PGconn.connect_start(make_conninfo("", **options).encode())
    code: str | None = None
    while line.status != pq.ConnStatus.BAD and (awaited := _AWAITED.get(line.connect_poll())):
        # Another socket for a second try without TLS.
        wire.hold(line.socket)
        if not _ready(line.socket, awaited, deadline):
            finish_pgconn(line)
            raise psycopg.OperationalError(f"no answer from {options.get('hostaddr') or options.get('host')} in time")
        code = _refusal(line.socket) or code
    if line.status == pq.ConnStatus.OK and line.exec_(OURSELVES).status == pq.ExecStatus.COMMAND_OK:
        return _made(line)
    refused = _RefusedError(pq.error_message(line, "utf-8"), pgconn=finish_pgconn(line))
    refused.login_code = code
    raise refused


def _made(line: pq.abc.PGconn) -> psycopg.Connection[Any]:
    line.nonblocking = 1
    made: psycopg.Connection[Any] = psycopg.Connection(line)
    for kind in ("name", "text"):
        made.adapters.register_loader(kind, _Lenient)
    return made


def _refusal(fileno: int) -> str | None:
    """Return the code of a refusal that libpq is about to read; None where there is none, and under TLS."""
    try:
        with socket.socket(fileno=os.dup(fileno)) as line:
            said = line.recv(_PEEKED, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return None
    # Each message is a letter, its length without the letter, and the rest.
    while len(said) > _HEAD and said[:1] != b"E":
        said = said[1 + max(int.from_bytes(said[1:_HEAD], "big"), _HEAD - 1) :]
    found = _CODE.match(said[_HEAD:])
    return None if found is None else found[1].decode()


def _ready(fileno: int, awaited: int, deadline: float) -> bool:
    """Wait until a socket can be read or written or has ended; tell whether that was before ``deadline``."""
    waiting = select.poll()
    waiting.register(fileno, awaited)
    left = deadline - time.monotonic()
    return bool(waiting.poll(None if math.isinf(left) else max(left, 0) * 1000))
