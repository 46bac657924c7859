"""What a MySQL or MariaDB server is set to: its limit, and the timeouts that new sessions get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from exporter.servers.family import Outdated
from exporter.servers.mysql_login import is_mariadb
from exporter.servers.mysql_sisters import everyone

TIMEOUTS = ("wait_timeout", "interactive_timeout")
MARIADB_TIMEOUTS = ("idle_transaction_timeout", "idle_write_transaction_timeout", "idle_readonly_transaction_timeout")

_OPTIONS_OF_OUR_OWN = frozenset({"init_command", "client_flag"})


@dataclass(frozen=True)
class AtLogin:
    """What the server does to each new session: ``init_connect``, and the timeouts (seconds) that it leaves behind."""

    init_connect: str
    timeouts: Mapping[str, float]


@dataclass(frozen=True)
class Settings:
    """What the server is set to now; timeouts in seconds, 0 where off. ``samplers`` are the ids of their sessions."""

    version: str
    connections_max: int
    idle_timeouts: Mapping[str, float]
    samplers: frozenset[int]


def at_login(connection: Connection) -> AtLogin:
    """Return what a new session got; to be asked before we set anything for our own."""
    names = _timeouts(connection)
    both = [f"@@{scope}.{name}" for scope in ("GLOBAL", "SESSION") for name in names]
    init_connect, *seconds = connection.exec_driver_sql(f"SELECT @@GLOBAL.init_connect, {', '.join(both)}").one()
    general, ours = seconds[: len(names)], seconds[len(names) :]
    changed = {name: float(value) for name, usual, value in zip(names, general, ours, strict=True) if value != usual}
    # The URL's options may have changed ours, and nobody else's.
    as_others = init_connect and not _OPTIONS_OF_OUR_OWN & connection.engine.url.query.keys()
    return AtLogin(init_connect, changed if as_others else {})


def settings(connection: Connection, *, known: AtLogin, sisters: bool) -> Settings:
    """Read what the server is set to; raise Outdated when new sessions are treated otherwise than ours was.

    ``sisters`` tells whether other samplers can be known. All is one statement: each costs the server something.
    """
    names = ("version", "init_connect", "max_connections", "max_user_connections", *_timeouts(connection))
    # Not those of our own session: ours are set for a sampler, and what is set globally is what new sessions get.
    wanted = [*(f"@@GLOBAL.{name}" for name in names), everyone(known=sisters)]
    version, init_connect, most, most_of_user, *more = connection.exec_driver_sql(f"SELECT {', '.join(wanted)}").one()
    if init_connect != known.init_connect:
        raise Outdated
    seconds, ids = more[: len(names) - 4], more[len(names) - 4 :]
    timeouts = dict(zip(names[4:], map(float, seconds), strict=True)) | dict(known.timeouts)
    return Settings(
        version=version,
        # MySQL keeps one more for its administrator, beyond these. 0 for a user means that there is no such limit, and
        # below 0 MariaDB lets nobody in but its administrators.
        connections_max=min(most, most_of_user) if most_of_user > 0 else most,
        idle_timeouts={name: value for name, value in timeouts.items() if value > 0},
        samplers=frozenset(id_ for id_ in ids if id_ is not None),
    )


def _timeouts(connection: Connection) -> tuple[str, ...]:
    return (*TIMEOUTS, *(MARIADB_TIMEOUTS if is_mariadb(connection) else ()))
