"""Garbage in the letterbox: counted, never shown, and harmless to the page and to the letters beside it."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from exporter.collectors import TableCollector
from exporter.contained import contained_errors
from exporter.merge import add_up, add_up_counts
from exporter.metrics.contained import CONTAINED
from exporter.metrics.pool import POOL
from letters import LIVE, NOW, SHOP, box, letter, put, rejected


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="exporter")


def pool(**changes: Any) -> dict[str, Any]:
    content = letter()
    content["pools"] = [{**content["pools"][0], **changes}]
    return content


IDENTITY = dataclasses.asdict(SHOP.identity)


def cut(where: int, filler: bytes) -> bytes:
    good = json.dumps(letter()).encode()
    return good[:where] + filler + good[where + len(filler) :]


def paths(content: Any, before: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    keys: Any = range(len(content)) if isinstance(content, list) else content if isinstance(content, dict) else ()
    for key in keys:
        yield (*before, key)
        yield from paths(content[key], (*before, key))


BAD = {
    "empty": "",
    "truncated": json.dumps(letter())[:-20],
    "a list": "[]",
    "nested deeply": "[" * 100_000,
    "no format": {"pid": 1, "taken": NOW},
    "no pid": {"format": 1, "taken": NOW},
    "pid as text": letter(pid="7"),
    "pools as null": letter(pools=None),
    "taken never": letter(taken=float("nan")),
    "taken at infinity": letter(taken=float("inf")),
    "a wrong state": pool(connections=[{"state": "lost", "seconds": 1.0, "age": 1.0}]),
    "a number as text": pool(idle="1"),
    "a count below 0": pool(checkouts=-1),
    "a count beyond every float": pool(checkouts=10**400),
    "no number": pool(used_longest_seconds=float("nan")),
    "an endless age": pool(used_longest_seconds=float("inf")),
    "a limit that is no number": pool(connections_max=float("nan")),
    "a reason's count below 0": pool(closes={"recycle": -1}),
    "other buckets": pool(use_seconds={"counts": [1, 2], "sum": 1.0}),
    "an endless sum": pool(use_seconds={"counts": [0] * 15, "sum": float("inf")}),
    "a connection from the future": pool(connections=[{"state": "idle", "seconds": -5.0, "age": 1.0}]),
    "an error's count below 0": letter(contained={"ping": -1}),
    "an error's count beyond every float": letter(contained={"ping": 10**400}),
    "half an error": letter(contained={"ping": 0.5}),
    "more places of errors than there are": letter(contained={f"place {n}": 1 for n in range(101)}),
    "half a character": json.dumps(pool(identity={**IDENTITY, "name": "\ud800"})),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_a_bad_letter_is_counted_and_hides_no_other(tmp_path: Path, content: object) -> None:
    """A file that cannot be right is rejected as malformed; the good one beside it is read."""
    put(tmp_path, content, "1.bad.json")
    put(tmp_path, letter())
    mail = box(tmp_path).read()
    assert mail.snapshots == (LIVE,)
    assert mail.rejected == rejected(malformed=1)


HUGE: dict[str, object] = {
    "more pools than anybody has": letter(pools=[{"identity": {**IDENTITY, "name": f"pool {n}"}} for n in range(1001)]),
    "a name that fills the page": pool(identity={**IDENTITY, "name": "x" * 1001}),
    "a reason that fills the page": pool(closes={"x" * 1001: 1}),
    "a place of errors that fills the page": letter(contained={"x" * 1001: 1}),
}


@pytest.mark.parametrize("content", HUGE.values(), ids=HUGE.keys())
def test_what_would_fill_the_page_is_too_big(tmp_path: Path, content: object) -> None:
    """A file within the limit of bytes cannot hold up the page for everybody either."""
    put(tmp_path, content)
    assert box(tmp_path).read().rejected == rejected(too_big=1)


def test_binary_content_is_malformed(tmp_path: Path) -> None:
    """Bytes that are no text do no harm."""
    (tmp_path / "1.bad.json").write_bytes(bytes(range(256)))
    assert box(tmp_path).read().rejected == rejected(malformed=1)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=300) | st.builds(cut, st.integers(0, 600), st.binary(max_size=6)))
def test_no_bytes_break_it(tmp_path: Path, content: bytes) -> None:
    """Whatever bytes lie there, and wherever a good file is cut or bent, reading neither raises nor invents."""
    (tmp_path / "1.json").write_bytes(content)
    mail = box(tmp_path).read()
    assert len(mail.snapshots) + sum(mail.rejected.values()) <= 1


TOKENS: st.SearchStrategy[object] = st.sampled_from(
    [None, True, -1, 2**63, 10**30, 1.5, float("nan"), float("inf"), "", "x", [], {}, [[]]]
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(path=st.sampled_from(sorted(paths(json.loads(json.dumps(letter()))), key=str)), value=TOKENS)
def test_no_value_breaks_the_page(tmp_path: Path, path: tuple[str | int, ...], value: object) -> None:
    """Put a wrong value anywhere into a good snapshot: it is rejected, or it adds up and is shown without an error."""
    content = json.loads(json.dumps(letter()))
    reduce(lambda inner, key: inner[key], path[:-1], content)[path[-1]] = value
    put(tmp_path, content)
    snapshots = box(tmp_path).read().snapshots
    pools = add_up(each for snapshot in snapshots for each in (*snapshot.pools, *snapshot.pools))
    errors = add_up_counts(snapshot.contained for snapshot in snapshots)
    before = contained_errors()
    registry = CollectorRegistry()
    registry.register(TableCollector((POOL, CONTAINED), lambda: ((POOL, pools), (CONTAINED, (errors,)))))
    assert b"sqlalchemy_pool_connections" in generate_latest(registry)
    assert contained_errors() == before
