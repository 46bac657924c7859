"""How much of a server is shown one by one: a page is no place for ten thousand clients, each with a dozen series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from exporter.folding import OTHER
from exporter.records import HeldTransaction, Histogram, ServerSnapshot, SessionGroup, Sleepers, Unclaimed

CLIENTS = 1000
"""Of how many clients (user, database and client) a server's sessions are told apart."""

ACCOUNTS = 250
"""Of how many accounts (user and database) the sleep and the transactions of a server's sessions are told apart."""

CROWDED = f"has more than {CLIENTS} clients or {ACCOUNTS} accounts; the smallest are added up as '{OTHER}' from now on"

_Key = TypeVar("_Key", bound=Hashable)


def bounded(snapshot: ServerSnapshot, *, clients: int = CLIENTS, accounts: int = ACCOUNTS) -> ServerSnapshot:
    """Return the snapshot with its smallest clients and accounts added up, so that no more are left than that."""
    owned = {session.account for session in snapshot.sessions.values()}
    sessions: Counter[tuple[str, str, str]] = Counter()
    for group in snapshot.groups:
        sessions[group.user, group.database, group.client] += group.count
    asleep = Counter({(some.user, some.database): 0 for some in snapshot.transactions})
    asleep.update({(some.user, some.database): sum(some.sleep_seconds.counts) for some in snapshot.sleepers})
    few_clients = _smallest(sessions, [client for client in sessions if client[:2] in owned], most=clients)
    few_accounts = _smallest(asleep, [account for account in asleep if account in owned], most=accounts)
    if not few_clients and not few_accounts and len(snapshot.unclaimed) <= clients and _differ(snapshot):
        return snapshot
    return replace(
        snapshot,
        crowded=bool(few_clients or few_accounts),
        folded={**snapshot.folded, "client": len(few_clients), "account": len(few_accounts)},
        groups=_groups(snapshot.groups, few_clients),
        sleepers=_sleepers(snapshot.sleepers, few_accounts),
        transactions=_transactions(snapshot.transactions, few_accounts),
        unclaimed=_unclaimed(snapshot, most=clients),
    )


def _smallest(sizes: Mapping[_Key, int], first: Collection[_Key], *, most: int) -> frozenset[_Key]:
    """Return which are too many. Equals are told apart by their names, so that it is the same ones each time."""
    if len(sizes) <= most:
        return frozenset()
    kept = set(first)
    ranked = sorted(sizes, key=lambda key: (key not in kept, -sizes[key], key))
    return frozenset(ranked[most - 1 :])


def _differ(snapshot: ServerSnapshot) -> bool:
    """Tell whether no two rows have the same names, as those have that begin alike and were cut."""
    groups = {(each.user, each.database, each.client, each.state) for each in snapshot.groups}
    asleep = {(each.user, each.database) for each in snapshot.sleepers}
    held = {(each.user, each.database) for each in snapshot.transactions}
    lengths = (len(snapshot.groups), len(snapshot.sleepers), len(snapshot.transactions))
    return (len(groups), len(asleep), len(held)) == lengths


def _unclaimed(snapshot: ServerSnapshot, *, most: int) -> tuple[Unclaimed, ...]:
    """Keep those that look like sessions of the pools, then those of their accounts, then the largest."""
    homes = {(*(each.account or ()), each.client, each.place) for each in snapshot.sessions.values()}
    accounts = {home[:2] for home in homes}

    def rank(row: Unclaimed) -> tuple[bool, bool, int, tuple[str, ...]]:
        home = (row.user, row.database, row.client, row.place)
        return home not in homes, home[:2] not in accounts, -sum(row.counts), home

    return tuple(sorted(snapshot.unclaimed, key=rank)[:most])


def _groups(groups: Iterable[SessionGroup], few: Collection[tuple[str, str, str]]) -> tuple[SessionGroup, ...]:
    found: dict[tuple[str, ...], SessionGroup] = {}
    for group in groups:
        if (group.user, group.database, group.client) in few:
            group = replace(group, user=OTHER, database=OTHER, client=OTHER)  # noqa: PLW2901
        key = (group.user, group.database, group.client, group.state)
        known = found.get(key)
        found[key] = group if known is None else replace(known, count=known.count + group.count)
    return tuple(found.values())


def _sleepers(sleepers: Iterable[Sleepers], few: Collection[tuple[str, str]]) -> tuple[Sleepers, ...]:
    found: dict[tuple[str, str], Sleepers] = {}
    for some in sleepers:
        key = (OTHER, OTHER) if (some.user, some.database) in few else (some.user, some.database)
        known = found.get(key)
        found[key] = replace(some, user=key[0], database=key[1]) if known is None else _together(known, some)
    return tuple(found.values())


def _together(known: Sleepers, more: Sleepers) -> Sleepers:
    one, two = known.sleep_seconds, more.sleep_seconds
    counts = tuple(a + b for a, b in zip(one.counts, two.counts, strict=True))
    return replace(
        known,
        sleep_seconds=Histogram(counts=counts, sum=one.sum + two.sum),
        longest=max(known.longest, more.longest),
        stale=known.stale + more.stale,
    )


def _transactions(held: Iterable[HeldTransaction], few: Collection[tuple[str, str]]) -> tuple[HeldTransaction, ...]:
    longest: dict[tuple[str, str], float] = {}
    for one in held:
        key = (OTHER, OTHER) if (one.user, one.database) in few else (one.user, one.database)
        longest[key] = max(one.longest, longest.get(key, 0.0))
    return tuple(HeldTransaction(*account, seconds) for account, seconds in longest.items())
