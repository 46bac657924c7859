"""The options in the query of a server's URL, held against what its driver takes."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Collection

from sqlalchemy.engine import URL

_OF_SQLALCHEMY = frozenset({"plugin"})
_TLS_OF_SQLALCHEMY = frozenset({"ssl_ca", "ssl_key", "ssl_cert", "ssl_capath", "ssl_cipher", "ssl_check_hostname"})
# What PyMySQL takes from programs only: these are no texts.
_OBJECTS = frozenset(
    {"self", "cursorclass", "conv", "defer_connect", "ssl", "auth_plugin_map", "server_public_key", "kwargs"}
)
_SECRETS = frozenset({"password", "passwd"})


def check(url: URL) -> None:
    """Raise ValueError when an option is one that the driver does not know, or cannot use as it is.

    The URL has a driver of ours. Without its driver nothing is checked.
    """
    try:
        known = _of_pymysql() if url.drivername.endswith("+pymysql") else _of_libpq()
    except ImportError:
        return
    for key in url.query:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "remove it"
            # What may be a secret, as all that follows a question mark in a password, is not repeated.
            raise ValueError(f"{_named(key)} in the url's query is no option of the driver; {hint}")
        if url.drivername.endswith("+pymysql") and key not in _OF_SQLALCHEMY and not _is_usable(url, key):
            raise ValueError(f"{key} in the url's query has a value that the driver cannot use; write another")


def _named(key: str) -> str:
    return key if key.isidentifier() and len(key) <= 30 else "something"


def _of_pymysql() -> Collection[str]:
    driver = importlib.import_module("pymysql")
    taken = inspect.signature(driver.connections.Connection.__init__).parameters.keys()
    return (taken - _OBJECTS - _SECRETS) | _TLS_OF_SQLALCHEMY | _OF_SQLALCHEMY


def _of_libpq() -> Collection[str]:
    pq = importlib.import_module("psycopg.pq")
    taken = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    return (taken - _SECRETS) | _OF_SQLALCHEMY


def _is_usable(url: URL, key: str) -> bool:
    """Tell whether PyMySQL takes an option as it is; nothing is dialled. Files of TLS and of options are not read."""
    if key.startswith(("ssl", "read_default")):
        return True
    try:
        alone = URL.create(url.drivername, host="localhost", query={key: url.query[key]})
        _, options = url.get_dialect()().create_connect_args(alone)
        importlib.import_module("pymysql").connect(**options, ssl_disabled=True, defer_connect=True)
    except Exception:  # whatever it is, it would be the same when it is connected
        return False
    return True
