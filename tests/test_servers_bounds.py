"""The bound on how much of a server is shown one by one."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from exporter.buckets import SLEEP_BUCKETS
from exporter.folding import OTHER
from exporter.labels import SESSION_STATES
from exporter.records import HeldTransaction, Histogram, ServerSnapshot, Session, SessionGroup, Sleepers
from exporter.servers.bounds import bounded
from samplers import sampled, sampling
from sites import Site


def snapshot(users: int) -> ServerSnapshot:
    """Return one of a server whose n-th user has n sessions asleep, from two clients, for n seconds."""
    names = [(f"user{number:03}", number) for number in range(1, users + 1)]
    groups = [
        SessionGroup(name, "shop", client, state, number if state == "sleeping" else 0)
        for name, number in names
        for client in ("here", "there")
        for state in SESSION_STATES
    ]
    empty = (0,) * len(SLEEP_BUCKETS)
    asleep = [
        Sleepers(name, "shop", Histogram((2 * number, *empty), 2.0 * number**2), float(number), number)
        for name, number in names
    ]
    return ServerSnapshot(
        dialect="postgresql",
        version="1",
        source="pg_stat_activity",
        began=0.0,
        ended=0.0,
        groups=tuple(groups),
        sleepers=tuple(asleep),
        connections=users,
        connections_max=None,
        transactions=tuple(HeldTransaction(name, "shop", float(number)) for name, number in names),
    )


def test_few_are_left_alone() -> None:
    """As many as may be shown are shown as they are."""
    whole = snapshot(5)
    assert bounded(whole, clients=10, accounts=5) is whole


def test_the_smallest_are_added_up() -> None:
    """Those that are too many become one, nothing of them is lost, and the states are all still there."""
    whole = snapshot(8)
    less = bounded(whole, clients=5, accounts=3)
    clients = {(group.user, group.client) for group in less.groups}
    assert clients == {
        (OTHER, OTHER), ("user008", "here"), ("user008", "there"), ("user007", "here"), ("user007", "there"),
    }  # fmt: skip
    assert len(less.groups) == len(clients) * len(SESSION_STATES)
    assert sum(group.count for group in less.groups) == sum(group.count for group in whole.groups)
    rest = Sleepers(OTHER, OTHER, Histogram((42, *(0,) * len(SLEEP_BUCKETS)), 182.0), 6.0, 21)
    assert [some for some in less.sleepers if some.user == OTHER] == [rest]
    assert {some.user for some in less.sleepers} == {OTHER, "user007", "user008"}
    assert less.transactions == tuple(HeldTransaction(*who) for who in (
        (OTHER, OTHER, 6.0), ("user007", "shop", 7.0), ("user008", "shop", 8.0)
    ))  # fmt: skip
    assert less.crowded
    assert bounded(less, clients=5, accounts=3) is less


def test_the_pools_own_are_kept() -> None:
    """An account that a pool's session has is shown, however small it is."""
    whole = replace(snapshot(8), sessions={1: Session("sleeping", 1.0, ("user001", "shop"))})
    less = bounded(whole, clients=4, accounts=2)
    assert {group.user for group in less.groups} == {"user001", "user008", OTHER}
    assert {some.user for some in less.sleepers} == {"user001", OTHER}


@pytest.mark.servers
def test_a_crowd_is_said_once(
    postgresql_site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A server with more clients than are shown is said to have them, once, and shows all of its sessions."""
    caplog.set_level(logging.INFO, "exporter.sampler")
    monkeypatch.setitem(bounded.__kwdefaults__ or {}, "clients", 1)
    accounts = [postgresql_site.new_account() for _ in range(2)]
    with (
        postgresql_site.pool(accounts[0], 2),
        postgresql_site.pool(accounts[1], 3),
        sampling(postgresql_site.server()) as sampler,
    ):
        sampled(sampler)
        found = sampled(sampler)
    assert {group.user for group in found.groups} == {OTHER}
    assert sum(group.count for group in found.groups) >= 5
    said = [line for line in caplog.messages if "the smallest are added up as 'other'" in line]
    assert len(said) == 1
