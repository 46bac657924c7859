"""What a PostgreSQL allows: how many connections, and for how long a session of which account may idle."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.engine import Connection

from exporter.servers.instances import Born, born
from exporter.servers.sense import few

TIMEOUTS = ("idle_session_timeout", "idle_in_transaction_session_timeout")
RESERVES = ("superuser_reserved_connections", "reserved_connections")

# Settings that this server does not know are left out everywhere here, and so need no version to be asked for.
LIMITS = """
SELECT set_config(name, setting_wanted, false)
FROM unnest(CAST(:names AS text[]), CAST(:settings AS text[])) AS wanted (name_wanted, setting_wanted)
JOIN pg_settings ON name = name_wanted"""

# Before the session's own limits are set: afterwards they are all of the source "session".
SOURCES = "SELECT name, source FROM pg_settings WHERE name = ANY(:names)"
OUR_OWN: Mapping[str, str] = {
    "database": "name another database in the URL",
    "user": "run ALTER ROLE for this account with RESET {}",
    "database user": "run ALTER ROLE for this account IN DATABASE, with RESET {}",
    "client": "leave {} out of the URL's options and of PGOPTIONS",
}
"""The sources of a value that our login got and others need not get, and what to do so that it gets theirs."""

# What a new session like ours would get, whatever this one has been set to.
SETTINGS = "SELECT name, reset_val FROM pg_settings WHERE name = ANY(:names)"

# What new sessions of some get instead, by ALTER ROLE and ALTER DATABASE: an empty name is everyone, or everywhere.
EXCEPTIONS = """
SELECT COALESCE(pg_get_userbyid(NULLIF(setrole, 0)), ''), COALESCE(datname, ''), setting
FROM pg_db_role_setting LEFT JOIN pg_database ON pg_database.oid = setdatabase, unnest(setconfig) AS setting
WHERE split_part(setting, '=', 1) = ANY(:names)"""

# A replica has the identifier of its primary. Who may not read settings does not see the folder.
INSTANCE = """
SELECT concat_ws(' ', host(inet_server_addr()), current_setting('port'),
        (SELECT setting FROM pg_settings WHERE name = 'data_directory')),
    date_part('epoch', clock_timestamp() - pg_postmaster_start_time()), CAST(current_setting('port') AS int),
    COALESCE(has_function_privilege(to_regprocedure('pg_control_system()'), 'EXECUTE'), false)"""
IDENTIFIER = "SELECT system_identifier FROM pg_control_system()"

Account = tuple[str, str]
"""User and database: what a session's settings depend on."""

_DURATION = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(us|ms|s|min|h|d)?\s*")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class Settings:
    """What a server allows. ``timeouts`` (seconds, 0 is off) are everyone's, ``exceptions`` those of some accounts.

    ``covered`` are the timeouts of which everyone's cannot be told, since our account has its own, with its source.
    """

    version: str
    connections_max: int
    timeouts: Mapping[str, float]
    exceptions: Mapping[Account, Mapping[str, float]]
    covered: Mapping[str, str]

    def idle_timeouts(self, account: Account) -> dict[str, float]:
        """Return what new sessions of an account get, in seconds; without the timeouts that are off or unknown."""
        found = {**self.timeouts, **self._own(account)}
        return {name: seconds for name, seconds in found.items() if seconds > 0}

    def unknown(self, accounts: Iterable[Account]) -> str | None:
        """Return which timeout of one of the accounts cannot be told, and what to do about it; None when all can."""
        lacking = {name for account in accounts for name in self.covered.keys() - self._own(account).keys()}
        for name in sorted(lacking):
            todo = OUR_OWN[self.covered[name]].format(name)
            return f"cannot tell which {name} others get, for this account has its own; {todo}"
        return None

    def _own(self, account: Account) -> dict[str, float]:
        user, database = account
        found: dict[str, float] = {}
        # As the server looks: the narrower a setting is meant, the stronger it is; the user goes before the database.
        for meant in (("", ""), ("", database), (user, ""), (user, database)):
            found.update(self.exceptions.get(meant, {}))
        return found


def limit(connection: Connection, limits: Mapping[str, str]) -> None:
    """Set a new session's own limits, and note for `settings` which of the timeouts are not everyone's."""
    sources = few(connection.execute(text(SOURCES), {"names": list(TIMEOUTS)}))
    connection.info["covered"] = {name: source for name, source in sources if source in OUR_OWN}
    connection.execute(text(LIMITS), {"names": list(limits), "settings": list(limits.values())})


def instance(connection: Connection) -> Born:
    """Ask a new connection which server it has reached, and since when that runs."""
    where, uptime, port, may = connection.exec_driver_sql(INSTANCE).one()
    identifier = connection.exec_driver_sql(IDENTIFIER).scalar_one() if may else ""
    return born(f"{identifier} {where}", uptime, port=port)


def settings(connection: Connection) -> Settings:
    """Read what the server allows now: a reload may have changed it."""
    names = ["server_version", "max_connections", *RESERVES, *TIMEOUTS]
    rows = few(connection.execute(text(SETTINGS), {"names": names}))
    found: dict[str, str] = {row.name: row.reset_val for row in rows}
    exceptions: dict[Account, dict[str, float]] = {}
    for user, database, setting in few(connection.execute(text(EXCEPTIONS), {"names": list(TIMEOUTS)})):
        name, _, value = setting.partition("=")
        exceptions.setdefault((user, database), {})[name] = _seconds(value)
    return Settings(
        version=found["server_version"],
        connections_max=int(found["max_connections"]) - sum(int(found.get(name, 0)) for name in RESERVES),
        timeouts={
            name: _seconds(found[name]) for name in TIMEOUTS if name in found and name not in connection.info["covered"]
        },
        exceptions=exceptions,
        covered=connection.info["covered"],
    )


def shortest(timeouts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the shortest of each timeout that somebody has."""
    found: dict[str, float] = {}
    for some in timeouts:
        for name, seconds in some.items():
            found[name] = min(seconds, found.get(name, seconds))
    return found


def _seconds(setting: str) -> float:
    """Return the seconds of a duration as the server writes it, or a user has; plain numbers are milliseconds."""
    match = _DURATION.fullmatch(setting)
    return float(match[1]) * _SECONDS[match[2] or "ms"] if match else 0.0
