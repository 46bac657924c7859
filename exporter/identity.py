"""What a pool is called, and what it connects to."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import URL, Engine
from sqlalchemy.pool import Pool

from exporter.readable import readable
from exporter.records import PoolIdentity

_DEFAULT_PORTS = {"mysql": 3306, "mariadb": 3306, "postgresql": 5432}
_ELSEWHERE = ("dsn", "conninfo", "service", "read_default_file", "read_default_group", "option_files")
"""Arguments of drivers by which a file, or a text that may hold a password, tells where to connect to."""
_ENVIRONMENT = ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGPORT")
"""What libpq and asyncpg take from the environment, when they are told no host."""


@dataclass(frozen=True)
class _Place:
    """Where a pool connects to: a host and a port for the match, and both in words, for the name."""

    host: str = ""
    port: int | None = None
    words: str = ""


def identify(target: Engine | Pool, *, name: str | None) -> PoolIdentity:
    """Tell what a pool is. Holds no user, no password and no query string.

    What an engine does not tell is left out: with a ``creator`` of its own nobody knows where it connects to, and a
    guess would hold its connections against a server that is not theirs.
    """
    pool = target.pool if isinstance(target, Engine) else target
    pool_class = readable(type(pool).__name__)
    if not isinstance(target, Engine):
        dialect = target._dialect
        family, driver = getattr(dialect, "name", ""), getattr(dialect, "driver", "")
        return PoolIdentity(readable(name or f"{family or 'pool'}:{pool_class}"), pool_class, family, driver)
    url, driver = target.url, target.dialect.driver
    family = url.get_backend_name()
    arguments = _arguments(pool)
    place = _creators(url) if arguments is None else _place(url, arguments, driver=driver)
    database = readable(_database(url, arguments or {}))
    return PoolIdentity(
        readable(name or f"{family}://{place.words}/{database}"),
        pool_class,
        family,
        driver,
        host=readable(place.host),
        port=place.port,
        database=database,
    )


def _arguments(pool: Pool) -> Mapping[str, Any] | None:
    """Return what the driver is called with, ``connect_args`` included; None when a ``creator`` calls it.

    create_engine keeps this in the closure of the creator that it makes, and nowhere else. It holds the password.
    """
    creator: Any = getattr(pool, "_creator", None)
    if getattr(creator, "__module__", "") != "sqlalchemy.engine.create":
        return None
    code = getattr(creator, "__code__", None)
    cells = dict(zip(getattr(code, "co_freevars", ()), getattr(creator, "__closure__", None) or (), strict=False))
    arguments = cells["cparams"].cell_contents if "cparams" in cells else {}
    return arguments if isinstance(arguments, Mapping) else {}


def _creators(url: URL) -> _Place:
    # What the URL says is no place, for nobody reads it, but it may tell two engines apart.
    host = _harmless(url.host or "")
    return _Place(words=f"{host}:{url.port}" if host and url.port else host)


def _place(url: URL, arguments: Mapping[str, Any], *, driver: str) -> _Place:
    family = url.get_backend_name()
    usual = _DEFAULT_PORTS.get(family)
    hosts = _listed(_first(arguments, "unix_socket", "unix_sock", "host", "hostaddr") or url.host)
    if not hosts:
        if usual is None or _told_elsewhere(url, arguments, driver=driver):
            return _Place()
        hosts = ["localhost"]
    usual_port = _environment_port(family, driver) or str(usual or "")
    ports = _listed(arguments.get("port") or url.port) or [""]
    # One port is the port of all, as the driver takes it.
    each = itertools.chain(ports, itertools.repeat(ports[0]))
    pairs = [(_harmless(host), _number(port or usual_port)) for host, port in zip(hosts, each, strict=False)]
    words = ",".join(f"{host}:{port}" if port else host for host, port in pairs)
    if len(pairs) > 1:  # any of them: the driver takes the one that answers
        return _Place(host=",".join(host for host, _ in pairs), words=words)
    return _Place(host=pairs[0][0], port=pairs[0][1], words=words)


def _told_elsewhere(url: URL, arguments: Mapping[str, Any], *, driver: str) -> bool:
    """Tell whether the driver learns its host from something that we do not read."""
    if any(arguments.get(key) for key in _ELSEWHERE) or _holds_more(url.database or ""):
        return True
    return _reads_environment(url.get_backend_name(), driver) and any(map(os.environ.get, _ENVIRONMENT))


def _reads_environment(family: str, driver: str) -> bool:
    return family == "postgresql" and driver != "pg8000"


def _environment_port(family: str, driver: str) -> str:
    return os.environ.get("PGPORT", "") if _reads_environment(family, driver) else ""


def _first(arguments: Mapping[str, Any], *keys: str) -> Any:
    return next((arguments[key] for key in keys if arguments.get(key)), None)


def _listed(value: Any) -> list[str]:
    """Return hosts or ports one by one, which drivers take as a list or with commas between."""
    if not value:
        return []
    return [str(each) for each in value] if isinstance(value, list | tuple) else str(value).split(",")


def _number(port: str) -> int | None:
    return int(port) if port.isdecimal() else None


def _database(url: URL, arguments: Mapping[str, Any]) -> str:
    given = str(_first(arguments, "dbname", "database", "db") or "") if url.get_backend_name() in _DEFAULT_PORTS else ""
    database = given or url.database or ""
    if url.get_backend_name() in _DEFAULT_PORTS or url.host:
        return _harmless(database)
    # A path says too much on a page that others read, and differs between hosts: the file's name is enough.
    path = database.removeprefix("file:").partition("?")[0].replace("\\", "/").rstrip("/")
    return path.rpartition("/")[2] or (":memory:" if url.get_backend_name() == "sqlite" else "")


def _harmless(text: str) -> str:
    """Return a host or a database; nothing when it is a text that holds more, a password perhaps."""
    return "" if _holds_more(text) else text


def _holds_more(text: str) -> bool:
    return any(mark in text for mark in ("://", "=", "@"))
