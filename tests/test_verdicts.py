"""The verdicts: leak, stale, too small, slow database or something else, and never one for the other."""

from __future__ import annotations

import dataclasses

import pytest

from exporter.conclusions import Holder, Match, Overview, Recent, Unowned, Verdict
from exporter.labels import LEVELS, VERDICTS, UseState
from exporter.ranking import order_pools
from exporter.records import PoolSnapshot, ServerView
from exporter.verdicts import NAMES, name_of, verdicts
from overviews import DOWN, FINDING, FULL, LEAK, LOCK, MATCH, NOW, SAMPLE, SHOP, UP

WELL = dataclasses.replace(SHOP, overdue=0, waiting=0, used_longest_seconds=0.5, pre_ping=False)
DRY = dataclasses.replace(WELL, used=15, idle=0, waiting=4, waiting_longest_seconds=3.0)
QUIET = dataclasses.replace(MATCH, pairs={("idle", "sleeping"): 3, ("used", "active"): 2})
WORKING = dataclasses.replace(LEAK, session="active", session_seconds=8.0, suspect=False)


def overview(
    pool: PoolSnapshot = WELL,
    *,
    match: Match = QUIET,
    holders: tuple[Holder, ...] = (),
    recent: Recent | None = None,
    server: ServerView = UP,
) -> Overview:
    return Overview(
        NOW,
        (pool,),
        (server,),
        (match,),
        processes=FULL.processes,
        holders=holders,
        recent=() if recent is None else (recent,),
    )


def names(seen: Overview) -> list[tuple[str, str]]:
    return [(each.verdict, each.level) for each in verdicts(seen)]


def only(seen: Overview) -> Verdict:
    (verdict,) = verdicts(seen)
    return verdict


def test_health_is_said_too() -> None:
    """Where nothing is wrong one verdict says so, with what there is."""
    verdict = only(overview())
    assert (verdict.verdict, verdict.level) == ("healthy", "good")
    assert verdict.what == "1 pool with 2 connections in use and 3 idle; nobody waits"


def test_a_leak_names_the_line() -> None:
    """Connections out while their sessions sleep are a leak, with the lines that took them, the most first."""
    other = dataclasses.replace(LOCK, suspect=True, site="shop/api.py:7 search", seconds=200.0)
    verdict = only(overview(dataclasses.replace(DRY, overdue=3), holders=(LEAK, LEAK, other)))
    assert (verdict.verdict, verdict.level, verdict.pool) == ("leak", "bad", "shop")
    assert verdict.what == (
        "3 connections have been out for up to 3 min 20 s, and their sessions sleep: nobody works with them; 1 in an "
        "open transaction, locks and all; 4 wait for a connection, up to 3.0 s"
    )
    assert "shop/cart.py:41 checkout (2), shop/api.py:7 search (1)" in verdict.do


def test_a_slow_database_is_no_leak_and_no_small_pool() -> None:
    """A dry pool whose connections wait for the server accuses the server: neither the code nor the pool's size."""
    holders = (WORKING,) * 9 + (dataclasses.replace(WORKING, session_seconds=0.1),) * 6
    verdict = only(overview(dataclasses.replace(DRY, overdue=9), holders=holders))
    assert (verdict.verdict, verdict.level) == ("slow_database", "bad")
    assert "9 of 15 used connections wait for the database, up to 8.0 s: no leak" in verdict.what
    assert "shop/cart.py:41 checkout (9)" in verdict.do


def test_slow_statements_in_a_pool_with_room_hurt_nobody() -> None:
    """While the pool has room, and nothing is overdue, long statements are the application's own affair."""
    assert names(overview(holders=(WORKING, WORKING))) == [("healthy", "good")]
    assert names(overview(dataclasses.replace(WELL, overdue=1), holders=(WORKING,))) == [("slow_database", "warning")]


def test_a_dry_pool_whose_connections_come_back_is_too_small() -> None:
    """Waits without a leak and without slow statements mean that there are too few connections."""
    quick = tuple(dataclasses.replace(WORKING, session_seconds=0.1) for _ in range(15))
    verdict = only(overview(DRY, holders=quick, recent=Recent("shop", 120.0, timeouts=7, stale_errors=0)))
    assert (verdict.verdict, verdict.level) == ("too_small", "bad")
    assert "15 of 15 connections are in use" in verdict.what
    assert "7 waits ended in a timeout in the last 2 min 0 s" in verdict.what


def test_timeouts_of_the_last_minutes_are_remembered() -> None:
    """A pool that has got its breath back is still called too small for a while, but nobody suffers now."""
    recent = Recent("shop", 60.0, timeouts=1, stale_errors=0)
    assert names(overview(recent=recent)) == [("too_small", "warning")]


def test_stale_comes_with_the_cure() -> None:
    """Idle connections that the server has ended are stale; the finding about this pool has the line to change."""
    seen = dataclasses.replace(overview(match=MATCH), findings=(FINDING,))
    verdict = only(seen)
    assert (verdict.verdict, verdict.level) == ("stale", "bad")
    assert verdict.what == "1 idle connection is gone on the server: the next user gets an error"
    assert verdict.do == FINDING.change


def test_stale_behind_a_ping_is_well() -> None:
    """Where a ping stands before the next use, what is gone on the server is no verdict."""
    assert names(overview(dataclasses.replace(WELL, pre_ping=True), match=MATCH)) == [("healthy", "good")]


def test_errors_of_the_last_minutes_are_remembered() -> None:
    """Users who met a dead connection are told of for some minutes after that."""
    verdict = only(overview(recent=Recent("shop", 300.0, timeouts=0, stale_errors=2)))
    assert (verdict.verdict, verdict.level) == ("stale", "warning")
    assert verdict.what == "2 uses met a dead connection in the last 5 min 0 s, and failed"


def test_overdue_without_a_word_of_the_server() -> None:
    """Behind a proxy nobody can tell a leak from work: it is said that they are held, and that no more is known."""
    blind = dataclasses.replace(MATCH, pairs={}, possible=False)
    held = dataclasses.replace(LEAK, session=None, session_seconds=None, suspect=False)
    verdict = only(overview(dataclasses.replace(WELL, overdue=1), match=blind, holders=(held,)))
    assert (verdict.verdict, verdict.level) == ("held_long", "warning")
    assert "no server can say" in verdict.what
    assert "shop/cart.py:41 checkout" in verdict.do


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ({("used", "gone"): 2}, ("ended_in_use", "bad")),
        ({("idle", "active"): 1}, ("came_back_open", "warning")),
        ({("idle", "sleeping_in_transaction"): 1}, ("came_back_open", "warning")),
    ],
)
def test_the_odd_pairs_have_verdicts_of_their_own(
    pairs: dict[tuple[UseState, str], int], expected: tuple[str, str]
) -> None:
    """What was ended in use, and what came back with work or a transaction open, is said."""
    assert names(overview(match=dataclasses.replace(MATCH, pairs=pairs))) == [expected]


def test_a_transaction_that_sleeps_holds_locks() -> None:
    """A session that sleeps in its transaction for ten seconds is spoken of, long before it is overdue; not at once."""
    asleep = dataclasses.replace(LOCK, session_seconds=12.0, seconds=12.5)
    verdict = only(overview(holders=(LOCK, asleep)))
    assert (verdict.verdict, verdict.level) == ("idle_in_transaction", "warning")
    assert verdict.what == "1 transaction open while the session sleeps, up to 12 s, locks and all"
    assert names(overview(holders=(LOCK,))) == [("healthy", "good")]


def test_a_server_that_is_down_is_first() -> None:
    """Where a server cannot be asked, nothing that it would say is known: so that stands before all else."""
    seen = dataclasses.replace(overview(DRY, holders=(LEAK,)), servers=(UP, DOWN))
    assert names(seen) == [("server_down", "bad"), ("leak", "bad")]
    assert "it cannot be asked (auth): Access denied; last seen 4.0 s ago" in verdicts(seen)[0].what


def test_one_sample_that_fails_is_no_alarm() -> None:
    """While what the server said before still stands, a failed sample is a warning, below what hurts."""
    shaky = dataclasses.replace(UP, up=False, reason="timeout", message="no answer within 5 s")
    seen = overview(DRY, holders=(LEAK,), server=shaky)
    assert names(seen) == [("leak", "bad"), ("server_down", "warning")]


@pytest.mark.parametrize(("connections", "expected"), [(134, "healthy"), (135, "server_full"), (150, "server_full")])
def test_a_server_that_is_nearly_full(connections: int, expected: str) -> None:
    """From nine tenths of its connections on a server is called full: a warning, and bad when none is left."""
    sample = dataclasses.replace(SAMPLE, connections=connections)
    verdict = only(overview(server=dataclasses.replace(UP, snapshot=sample)))
    assert verdict.verdict == expected
    assert (verdict.level == "bad") is (connections == 150)


def test_sessions_that_nobody_owns() -> None:
    """They are counted by server, and a client without any is none."""
    loose = (Unowned("orders", "shop", "shop", "a", 2), Unowned("orders", "shop", "shop", "b", 3))
    (verdict,) = verdicts(dataclasses.replace(overview(), unowned=loose))
    assert (verdict.verdict, verdict.server, verdict.what[:19]) == ("unowned", "orders", "5 sleeping sessions")
    assert names(dataclasses.replace(overview(), unowned=(dataclasses.replace(loose[0], count=0),)))[0][0] == "healthy"


def test_settings_are_a_warning_or_information() -> None:
    """A setting that will fail keeps all from being called well; one that only costs does not."""
    costs = dataclasses.replace(FINDING, finding="ping_costs", severity="info")
    assert names(dataclasses.replace(overview(), findings=(FINDING,))) == [("settings", "warning")]
    assert names(dataclasses.replace(overview(), findings=(costs,))) == [("healthy", "good"), ("settings", "info")]


def test_what_is_not_seen_is_not_called_well() -> None:
    """Without a process that publishes there is nothing to be well; a silent one, or no server, is mentioned."""
    assert names(Overview(NOW, (), (UP,), ())) == [("unseen", "warning")]
    silent = dataclasses.replace(FULL.processes[0], state="silent")
    seen = dataclasses.replace(overview(), processes=(silent, silent), servers=())
    assert [each.what for each in verdicts(seen)[1:]] == [
        "no server is set up, so pools are held against none",
        "2 processes are alive, but silent: what they last reported still counts",
    ]
    fresh = dataclasses.replace(UP, up=False, snapshot=None, sampled_at=None, message="not sampled yet")
    assert names(overview(server=fresh)) == [("healthy", "good"), ("unseen", "info")]


def test_the_worst_is_first_and_its_pool_too() -> None:
    """Verdicts are sorted by how bad they are, and pools by their verdicts; then by how much of them is used."""
    busy = dataclasses.replace(WELL, identity=dataclasses.replace(SHOP.identity, name="busy"), used=9)
    seen = dataclasses.replace(overview(match=MATCH), pools=(busy, WELL), holders=(LEAK,))
    found = verdicts(seen)
    assert [each.verdict for each in found] == ["leak", "stale"]
    assert [pool.identity.name for pool in order_pools(seen.pools, found)] == ["shop", "busy"]
    assert [pool.identity.name for pool in order_pools(seen.pools, ())] == ["busy", "shop"]


def test_every_verdict_has_a_name_for_people() -> None:
    """No verdict is shown by a label; one that this version does not know keeps the name that it has."""
    assert tuple(NAMES) == VERDICTS
    assert (name_of("leak"), name_of("of tomorrow")) == ("Leak", "of tomorrow")
    assert LEVELS == ("bad", "warning", "info", "good")
