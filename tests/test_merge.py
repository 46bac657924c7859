"""Adding up pools of one name: sums, largest ages, and None only where nobody has a number."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.buckets import USE_BUCKETS
from exporter.merge import add_up
from exporter.records import Histogram, PooledConnection, PoolIdentity, PoolSnapshot

CELLS = len(USE_BUCKETS) + 1


def pool(name: str = "shop", host: str = "db", **numbers: Any) -> PoolSnapshot:
    identity = PoolIdentity(name, "QueuePool", "postgresql", "psycopg", host=host, port=5432, database="shop")
    return dataclasses.replace(PoolSnapshot(identity), **numbers)


def test_numbers_are_summed_and_ages_are_the_largest() -> None:
    """Gauges and counters of one name are summed; the longest use is the longest of any."""
    first = pool(idle=3, used=1, size=5, overflow=0, connections_max=15.0, used_longest_seconds=9.0, checkouts=7)
    second = pool(idle=1, used=6, size=5, overflow=2, connections_max=15.0, used_longest_seconds=4.0, checkouts=20)
    (total,) = add_up([first, second])
    assert (total.idle, total.used, total.size, total.overflow, total.connections_max) == (4, 7, 10, 2, 30.0)
    assert (total.used_longest_seconds, total.checkouts) == (9.0, 27)


def test_a_pool_that_one_process_does_not_ping_is_none_that_pings() -> None:
    """Whoever takes a connection of the process without a ping meets the dead ones."""
    with_ping, without = (pool(pre_ping=ping) for ping in (True, False))
    assert add_up([with_ping, without])[0].pre_ping is False
    assert add_up([with_ping, with_ping])[0].pre_ping is True


def test_an_unlimited_pool_makes_the_sum_unlimited() -> None:
    """Infinity and a limit are infinity."""
    (total,) = add_up([pool(connections_max=float("inf")), pool(connections_max=15.0)])
    assert total.connections_max == float("inf")


def test_none_stays_only_where_nobody_has_a_number() -> None:
    """A number that one pool lacks is the others' sum; one that all lack stays absent, never 0."""
    (total,) = add_up([pool(size=None, overflow=None), pool(size=5, overflow=None), pool(size=0, overflow=None)])
    assert (total.size, total.overflow, total.connections_max) == (5, None, None)


def test_counts_by_label_and_histograms_are_added_cell_by_cell() -> None:
    """Every reason and every bucket keeps its own count."""
    first = pool(closes={"recycle": 2, "other": 1}, use_seconds=Histogram(counts=(1,) * CELLS, sum=2.5))
    second = pool(closes={"recycle": 3, "detached": 1}, use_seconds=Histogram(counts=tuple(range(CELLS)), sum=0.5))
    (total,) = add_up([first, second])
    assert total.closes == {"recycle": 5, "other": 1, "detached": 1}
    assert total.use_seconds == Histogram(counts=tuple(range(1, CELLS + 1)), sum=3.0)


def test_connections_stand_side_by_side() -> None:
    """No connection is lost, and none is counted twice."""
    one, two = PooledConnection("idle", 1.0, 2.0, 11), PooledConnection("used", 1.0, 2.0, 12)
    (total,) = add_up([pool(connections=(one,)), pool(connections=(two,))])
    assert total.connections == (one, two)


def test_names_are_kept_apart_and_ordered() -> None:
    """Pools of other names are not touched; a pool alone is handed back as it is."""
    shop, stock = pool("shop", idle=1), pool("stock", idle=2)
    assert add_up([stock, shop]) == (shop, stock)
    assert add_up([stock])[0] is stock
    assert add_up([]) == ()


def test_the_same_identity_is_shown_whatever_the_order() -> None:
    """Pools of one name that connect elsewhere show one of the identities, always the same."""
    here, there = pool(host="a"), pool(host="b")
    assert add_up([here, there])[0].identity == add_up([there, here])[0].identity == here.identity


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 99), st.none() | st.integers(0, 99))))
def test_nothing_is_lost_or_invented(rows: list[tuple[str, int, int | None]]) -> None:
    """Sums over the result are sums over what went in, in whatever groups it is added up."""
    pools = [pool(name, used=used, size=size) for name, used, size in rows]
    at_once = add_up(pools)
    half = len(pools) // 2
    assert add_up([*add_up(pools[:half]), *add_up(pools[half:])]) == at_once
    assert sum(each.used for each in at_once) == sum(used for _, used, _ in rows)
    assert sum(each.size or 0 for each in at_once) == sum(size or 0 for _, _, size in rows)
