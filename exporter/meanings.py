"""What each pair of the match means, in the words of whoever looks at the page or at `top`. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.conclusions import Holder, Match, Overview
from exporter.labels import Level, UseState
from exporter.readable import span
from exporter.troubles import troubles

ROWS = (
    ("sleeping", "sleeping"),
    ("sleeping_in_transaction", "sleeping in a transaction"),
    ("active", "active"),
    ("gone", "gone"),
)
"""What a server says of a session, and how people say it."""

_WORDS: Mapping[tuple[UseState, str], tuple[str, Level | None]] = {
    ("idle", "sleeping"): ("health: waits for the next request", None),
    ("used", "sleeping"): ("the code thinks; a leak when it lasts", None),
    ("idle", "sleeping_in_transaction"): ("came back with its transaction open", "warning"),
    ("used", "sleeping_in_transaction"): ("the code thinks, and holds locks; a leak when it lasts", None),
    ("idle", "active"): ("came back with a statement running", "warning"),
    ("used", "active"): ("work: the server runs a statement", None),
    ("idle", "gone"): ("gone on the server; looked at before its next use", "info"),
    ("used", "gone"): ("ended while in use", "bad"),
}


@dataclass(frozen=True)
class Meaning:
    """One cell of the match: how many connections are in it, what that means, and how bad it is."""

    count: int
    words: str
    level: Level | None


def meaning(match: Match, pair: tuple[UseState, str], seen: Overview) -> Meaning:
    """Say what the connections of a pair mean; their level is None when there are none, or when that is well."""
    count = match.pairs.get(pair, 0)
    words, level = _WORDS[pair]
    kept = [each.seconds for each in seen.holders if each.suspect and _is_in(each, match, pair)]
    if pair == ("idle", "gone") and _is_stale(match, seen):
        words, level = "stale: the next user gets an error", "bad"
    elif kept:
        words, level = f"leak: {len(kept)} kept for up to {span(max(kept))}, and nobody works with them", "bad"
    return Meaning(count, words, level if count else None)


def _is_in(holder: Holder, match: Match, pair: tuple[UseState, str]) -> bool:
    return ("used", holder.pool, holder.server, holder.session) == (pair[0], match.pool, match.server, pair[1])


def _is_stale(match: Match, seen: Overview) -> bool:
    """Tell whether a user would get one that is gone: where a ping or a recycle is before that, nobody does."""
    pools = [pool for pool in seen.pools if pool.identity.name == match.pool]
    found = (trouble for pool in pools for trouble in troubles(pool, match.server, matches=seen.matches))
    return any(trouble.trouble == "stale_connections" for trouble in found)
