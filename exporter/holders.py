"""The holders: who has connections in use, in the order in which one wants to see them. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable

from exporter.conclusions import Holder


def longest_first(holders: Iterable[Holder]) -> list[Holder]:
    """Return all holders, those that have held on for longest first."""
    return sorted(holders, key=lambda each: (-each.seconds, each.pool, each.process, each.server_id or 0))


def holds(holder: Holder) -> bool:
    """Tell whether a holder's session sleeps in a transaction, and so keeps what that has locked."""
    return holder.session == "sleeping_in_transaction"
