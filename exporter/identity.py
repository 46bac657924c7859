"""What a pool is called, and what it connects to."""

from __future__ import annotations

from sqlalchemy.engine import URL, Engine
from sqlalchemy.pool import Pool

from exporter.records import PoolIdentity

_DEFAULT_PORTS = {"mysql": 3306, "mariadb": 3306, "postgresql": 5432}


def identify(target: Engine | Pool, *, name: str | None) -> PoolIdentity:
    """Tell what a pool is. Holds no user, no password and no query string."""
    pool_class = type(target.pool if isinstance(target, Engine) else target).__name__
    if not isinstance(target, Engine):
        dialect = target._dialect
        family, driver = getattr(dialect, "name", ""), getattr(dialect, "driver", "")
        return PoolIdentity(name or f"{family or 'pool'}:{pool_class}", pool_class, family, driver)
    url = target.url
    family, driver = url.get_backend_name(), target.dialect.driver
    host, port, database = _host(url), url.port or _DEFAULT_PORTS.get(family), _database(url, family)
    # The socket's path stays out of the name: it would say more of the machine than of the pool.
    called = _host(url.difference_update_query(["unix_socket"])) if url.host else host
    address = f"{called}:{port}" if port else called
    return PoolIdentity(
        name or f"{family}://{address}/{database}", pool_class, family, driver, host=host, port=port, database=database
    )


def _host(url: URL) -> str:
    # A socket's path is no host that a server of the network could be taken for.
    # MySQL's drivers are given a host beside the socket, and use the socket.
    asked = url.query.get("unix_socket") or url.host or url.query.get("host") or ""
    host = asked if isinstance(asked, str) else asked[0]
    return host or ("localhost" if url.get_backend_name() in _DEFAULT_PORTS else "")


def _database(url: URL, family: str) -> str:
    database = url.database or ""
    if family != "sqlite":
        return database
    # A path says too much on a page that others read, and differs between hosts: the file's name is enough.
    return database.rpartition("/")[2] or ":memory:"
