"""The order in which pools, servers and matches are shown: the worst first. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from exporter.conclusions import Match, Verdict
from exporter.records import PoolSnapshot, ServerView


def order_pools(pools: Iterable[PoolSnapshot], found: Sequence[Verdict]) -> list[PoolSnapshot]:
    """Return the pools with the worst verdict first; of the others, those that are used most."""
    return sorted(pools, key=lambda pool: (place(found, pool=pool.identity.name), -pool.used, pool.identity.name))


def order_servers(views: Iterable[ServerView], found: Sequence[Verdict]) -> list[ServerView]:
    """Return the servers with the worst verdict first."""
    return sorted(views, key=lambda view: (place(found, server=view.name), view.name))


def order_matches(matches: Iterable[Match], found: Sequence[Verdict]) -> list[Match]:
    """Return the matches of the pools with the worst verdict first."""
    return sorted(matches, key=lambda match: (place(found, pool=match.pool), match.pool, match.server))


def place(found: Sequence[Verdict], *, pool: str = "", server: str = "") -> int:
    """Return where the worst verdict on a pool, or on a server, stands among all; their number where there is none."""
    of_it = (number for number, each in enumerate(found) if (each.pool, each.server) == (pool, server))
    return next(of_it, len(found))
