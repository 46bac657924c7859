"""What somebody may send who means harm, or something that is broken: values, files, requests and rows."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st

from exporter.buckets import SLEEP_BUCKETS
from exporter.records import HeldTransaction, Histogram, ServerSnapshot, Session, SessionGroup, Sleepers, Unclaimed
from exporter.servers import mysql, postgresql
from exporter.servers.instances import Born
from exporter.servers.mysql_rights import Rights
from exporter.servers.mysql_settings import AtLogin
from exporter.servers.mysql_sources import PROCESS_LIST, THREADS, Source
from exporter.servers.postgresql_settings import EXCEPTIONS, SETTINGS
from letters import letter
from overviews import SAMPLE

TEXTS = st.sampled_from(
    [
        "",
        "other",
        "a\0b",
        "\ud800",
        "é" * 300,
        "x" * 5000,
        'q"\\\n}',
        "<script>",
        "1e999",
        "shop",
        "\u202e",
        "../etc",
        "=cmd",
    ]
) | st.text(max_size=12)
NUMBERS = st.sampled_from(
    [
        0,
        1,
        -1,
        2**31,
        2**63,
        2**64 - 1,
        -(2**63),
        10**30,
        10**400,
        10**5000,
        0.5,
        -0.0,
        1e308,
        float("nan"),
        float("inf"),
        float("-inf"),
        Decimal(0),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        Decimal("1e400"),
        True,
    ]
)
ODD: st.SearchStrategy[Any] = (
    st.none()
    | TEXTS
    | NUMBERS
    | st.binary(max_size=8)
    | st.sampled_from([[], {}, (), object, b"\xff\xfe", bytearray(b"x")])
)


def mostly(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw what is usual, or now and then anything."""
    return st.one_of(usual, usual, usual, ODD)


# What can be written down, in JSON or YAML.
JSON_NUMBERS = st.sampled_from([0, -1, 1, 2**63, 10**30, 10**400, 0.5, -0.5, 1e308, float("nan"), float("inf"), True])
PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none() | TEXTS | JSON_NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)

CONFIGURATION: dict[str, Any] = {
    "web": {"listen": "127.0.0.1:10306"},
    "processes": {"directory": "box", "users": ["root", 1000], "per_process": True},
    "leak_after": "60s",
    "servers": {
        "orders": {
            "url": "mysql+pymysql://probe@127.0.0.1:3306/",
            "interval": "15s",
            "timeout": "5s",
            "stale_after": "10m",
            "pools": ["orders*"],
        },
        "books": {
            "url": "postgresql+psycopg://probe@db:5432/books?application_name=x",
            "tls": {"ca": "ca.pem", "cert": "c.pem", "key": "k.pem", "verify": "full"},
        },
    },
}

HASH = "$2y$04$YoQP3jdJODizXkY7mBtE6OpW4UayHPuFtmkG.xw4Kjvr7BqH6FcNW"
"""A cheap hash of a password that nobody here sends."""

WEB: dict[str, Any] = {
    "tls_server_config": {
        "cert_file": "server.pem",
        "key_file": "server.key",
        "client_auth_type": "RequireAndVerifyClientCert",
        "client_ca_file": "ca.pem",
        "client_allowed_sans": ["prometheus.example"],
        "min_version": "TLS12",
        "max_version": "TLS13",
        "cipher_suites": ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
        "curve_preferences": ["CurveP256"],
    },
    "http_server_config": {"http2": False, "headers": {"Strict-Transport-Security": "max-age=1"}},
    "basic_auth_users": {"prometheus": HASH, "ops": HASH},
    "rate_limit": {"interval": "1s", "burst": 5},
}
"""A good web configuration."""


def paths(content: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Go through the places of a tree."""
    keys: Any = range(len(content)) if isinstance(content, list) else content if isinstance(content, dict) else ()
    for key in keys:
        yield (*before, key)
        yield from paths(content[key], (*before, key))


@st.composite
def changed(draw: st.DrawFn, tree: Any) -> Any:
    """Draw a tree with up to four of its places changed: another value, none, one more, or another key."""
    tree = json.loads(json.dumps(tree))
    for _ in range(draw(st.integers(1, 4))):
        known = list(paths(tree))
        if not known:
            return tree
        path = draw(st.sampled_from(known))
        inner = tree
        for key in path[:-1]:
            inner = inner[key]
        _change(draw, inner, path[-1])
    return tree


def _change(draw: st.DrawFn, inner: Any, key: Any) -> None:
    how = draw(st.sampled_from(["value", "value", "value", "gone", "more", "key"]))
    if how == "value" or not isinstance(inner, dict):
        inner[key] = draw(PLAIN)
    elif how == "gone":
        del inner[key]
    elif how == "more":
        inner[draw(TEXTS)] = draw(PLAIN)
    else:
        inner[draw(TEXTS)] = inner.pop(key)


@st.composite
def _letters(draw: st.DrawFn) -> bytes:
    """Draw a published file: a good one that was changed, written twice over, cut, nested or spoilt."""
    base = letter() if draw(st.booleans()) else _ENDED
    text = json.dumps(draw(changed(base)))
    how = draw(st.sampled_from(["whole", "whole", "whole", "twice", "cut", "deep", "spoilt"]))
    if how == "twice":  # every key of the first object stands there twice, with other values
        text = text.rstrip("}") + "," + json.dumps(draw(changed(base)))[1:]
    elif how == "cut":
        text = text[: draw(st.integers(0, len(text)))]
    elif how == "deep":
        text = draw(st.sampled_from(['{"a":', "["])) * draw(st.integers(1, 3000)) + text
    elif how == "spoilt":
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(TEXTS) + text[at:]
    return text.encode("utf-8", "surrogatepass")


_ENDED = {
    "format": 1,
    "pools": [{**letter()["pools"][0], "connections": []}],
    "contained": {"ping": 1},
    "ids": {"7.0011223344556677": 1.0},
    "seen": {"shop": 1.0},
    "doubtful": {"8.0011223344556677": 1.0},
}
LETTERS = _letters()

_LINES = st.sampled_from(
    [
        b"GET",
        b"POST",
        b"HEAD",
        b"get",
        b"\0",
        b" ",
        b"/",
        b"/metrics",
        b"/metrics?name[]=%ff&name[]=up",
        b"/api/v1/holders",
        b"/api/v1/holders?pool=%00&server=%ed%a0%80",
        b"//",
        b"/..%2f..",
        b"*",
        b"http://h/metrics",
        b" HTTP/1.1",
        b" HTTP/1.0",
        b" HTTP/9.9",
        b" HTTP/2.0",
        b"\r\n",
        b"\n",
        b"\r\n\r\n",
        b"Host: x",
        b"Host: \xff",
        b"Accept: a/openmetrics-text;version=x",
        b"Accept: application/openmetrics-text; version=never; q=",
        b"Accept-Encoding: gzip;q=x,*;q=",
        b"Content-Length: -1",
        b"Content-Length: 99999999999999999999",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: chunked, identity",
        b"Connection: close",
        b"Upgrade: websocket",
        b"Expect: 100-continue",
        b"A: " + b"b" * 70000,
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n",
    ]
)
REQUESTS = st.lists(_LINES | st.binary(max_size=6), max_size=12).map(b"".join)

_CREDENTIALS = st.sampled_from(
    [
        b"",
        b"prometheus",
        b"prometheus:",
        b":",
        b"::::",
        b"prometheus:wrong",
        b"nobody:wrong",
        b"prometheus:\0",
        b"prometheus:" + b"x" * 100,
        "prometheus:\u00fc".encode(),
        b"prometheus:\xff\xfe",
        b"\xff:\xff",
    ]
) | st.binary(max_size=40)
_AUTHORIZATION = st.one_of(
    _CREDENTIALS.map(lambda said: b"Basic " + base64.b64encode(said)),
    _CREDENTIALS.map(lambda said: b"basic  " + base64.b64encode(said) + b" "),
    _CREDENTIALS.map(lambda said: b"Basic " + base64.b64encode(said)[:-1]),
    _CREDENTIALS.map(lambda said: b"Basic " + said.translate(None, b"\0\r\n")),
    st.sampled_from(
        [
            b"",
            b"Basic",
            b"Basic ",
            b"Basic =",
            b"Basic ====",
            b"Bearer x",
            b"Digest username=x",
            b"\xfc",
            b"Basic \xfc\xfc",
        ]
        + [b"Basic " + b"A" * length for length in (99, 9_000, 15_000, 70_000)]
    ),
).map(lambda said: b"Authorization: " + said)
_ASKED = st.sampled_from(
    [b"/", b"/metrics", b"/api/v1/pools", b"/-/reload", b"/nothing", b"//-/ready", b"/-/ready/../"]
)
LOGINS = st.builds(
    lambda method, path, headers, rest: b"\r\n".join(
        [method + b" " + path + b" HTTP/1.1", b"Host: x", *headers, b"", rest]
    ),
    st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"BREW"]),
    _ASKED,
    st.lists(
        _AUTHORIZATION | st.sampled_from([b"Connection: close", b"X: y", b"Transfer-Encoding: chunked"]), max_size=4
    )
    | st.integers(98, 120).map(lambda number: [b"Authorization: Basic Og=="] * number),
    REQUESTS,
)
"""Requests that bring a login of some kind, none of them good, and whatever follows on the same connection."""

_COUNTS = mostly(st.just((0,) * (len(SLEEP_BUCKETS) + 1)) | st.lists(NUMBERS, max_size=3).map(tuple))
_SECONDS = mostly(st.floats(0, 1e6))
_NAMES = mostly(TEXTS)
SNAPSHOTS = st.builds(
    dataclasses.replace,
    st.just(SAMPLE),
    dialect=_NAMES,
    version=_NAMES,
    source=_NAMES,
    connections=mostly(st.integers(0, 9)),
    connections_max=mostly(st.integers(0, 9)),
    hidden=mostly(st.none() | st.integers(0, 9)),
    groups=mostly(
        st.lists(
            st.builds(SessionGroup, _NAMES, _NAMES, _NAMES, mostly(st.just("sleeping")), mostly(st.integers(0, 9))),
            max_size=3,
        ).map(tuple)
    ),
    sleepers=mostly(
        st.lists(
            st.builds(Sleepers, _NAMES, _NAMES, mostly(st.builds(Histogram, _COUNTS, _SECONDS)), _SECONDS, _SECONDS),
            max_size=3,
        ).map(tuple)
    ),
    transactions=mostly(st.lists(st.builds(HeldTransaction, _NAMES, _NAMES, _SECONDS), max_size=3).map(tuple)),
    unclaimed=mostly(st.lists(st.builds(Unclaimed, _NAMES, _NAMES, _NAMES, _NAMES, _COUNTS), max_size=3).map(tuple)),
    sessions=mostly(
        st.dictionaries(
            st.integers(1, 9) | TEXTS | st.none() | st.floats(),
            mostly(
                st.builds(
                    Session, mostly(st.just("active")), _SECONDS, mostly(st.tuples(_NAMES, _NAMES)), _NAMES, _NAMES
                )
            ),
            max_size=3,
        )
    ),
    idle_timeouts=mostly(st.dictionaries(TEXTS, _SECONDS, max_size=3)),
    aborted=mostly(st.dictionaries(TEXTS, _SECONDS, max_size=3)),
)


class Answers:
    """Answers statements with rows, as a connection of SQLAlchemy does; no server gives all of these."""

    def __init__(self, answer: Callable[[str], list[Any]], info: dict[str, Any]) -> None:
        self._answer = answer
        self.info = info
        self.dialect = SimpleNamespace(is_mariadb=True)
        self.engine = SimpleNamespace(url=SimpleNamespace(query={}))

    def exec_driver_sql(self, statement: str) -> _Result:
        """Answer."""
        return _Result(self._answer(statement))

    def execute(self, statement: object, _values: object = None) -> _Result:
        """Answer."""
        return _Result(self._answer(str(statement)))


class _Result(list[Any]):
    def all(self) -> list[Any]:
        return list(self)

    def one(self) -> Any:
        return self[0]

    def scalars(self) -> list[Any]:
        return [row[0] for row in self]


_INSTANCE = Born("one", 0.0, "", None)
_IDS = st.integers(0, 2**64 - 1)


def mysql_answering(
    groups: list[Any], named: list[Any], *, source: Source = PROCESS_LIST
) -> Callable[[], ServerSnapshot]:
    """Return what samples a MariaDB that answers with these rows of sessions and of clients."""

    def answer(statement: str) -> list[Any]:
        if "GROUP BY whose, doing" in statement:
            return groups
        if "GROUP BY whose" in statement:
            return named
        if "innodb_trx" in statement:
            return []
        if "STATUS" in statement:
            return [("Uptime", "99"), ("Aborted_clients", "1"), ("Aborted_connects", "1"), ("Threads_connected", "9")]
        return [("10.11", "", 151, 0, *[28800] * 5, 7)]

    rights = Rights(
        source, sighted=True, transactions=True, schema=False, crowded=False, sisters=False, account="a", grants=()
    )
    info = {"rights": rights, "at login": AtLogin("", {}), "instance": _INSTANCE}
    connection: Any = Answers(answer, info)
    return lambda: mysql.sample(connection, asked=frozenset({7}), stale_after=600.0, clock=lambda: 1.0)


@st.composite
def mysql_rows(draw: st.DrawFn) -> Callable[[], ServerSnapshot]:
    """Draw the rows of sessions of a MariaDB, and return what samples them."""
    numbers = draw(st.lists(mostly(_IDS), max_size=4))
    groups = [
        tuple(draw(each) for each in (
            st.just(number), mostly(st.integers(-3, 12)), mostly(_IDS), mostly(st.integers(0, 99)), _SECONDS,
            mostly(st.integers(0, 99)), _SECONDS,
        ))
        for number in numbers
    ]  # fmt: skip
    named = [(number, *(draw(_NAMES) for _ in range(3))) for number in numbers]
    return mysql_answering(groups, named, source=draw(st.sampled_from([THREADS, PROCESS_LIST])))


_POSTGRESQL = {
    "id": st.none() | st.integers(1, 9),
    "who": _NAMES,
    "whence": _NAMES,
    "client": _NAMES,
    "place": _NAMES,
    "state": mostly(st.sampled_from(["active", "idle", "idle in transaction"])),
    "ours": st.booleans(),
    "hidden": st.booleans(),
    "newer": mostly(st.integers(0, 12)),
    "number": mostly(st.integers(0, 99)),
    "seconds": _SECONDS,
    "longest": _SECONDS,
    "transaction": _SECONDS,
    "age": _SECONDS,
    "started": _SECONDS,
}


@st.composite
def postgresql_rows(draw: st.DrawFn) -> Callable[[], ServerSnapshot]:
    """Draw the rows of sessions of a PostgreSQL, and return what samples them."""
    rows = [SimpleNamespace(**row) for row in draw(st.lists(st.fixed_dictionaries(_POSTGRESQL), max_size=4))]
    settings = [
        SimpleNamespace(name="server_version", reset_val="15.1"),
        SimpleNamespace(name="max_connections", reset_val="100"),
    ]

    def answer(statement: str) -> list[Any]:
        return settings if statement == SETTINGS else [] if statement == EXCEPTIONS else rows

    info = {"covered": {}, "account": "probe", "instance": _INSTANCE, "counts_ends": False}
    connection: Any = Answers(answer, info)
    return lambda: postgresql.sample(connection, asked=frozenset({7}), stale_after=600.0, clock=lambda: 1.0)
