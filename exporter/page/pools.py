"""The pools, the worst first: what they hold as a bar, who waits, and the oldest checkout."""

from __future__ import annotations

import math
from collections.abc import Sequence

from exporter.conclusions import Overview, Verdict
from exporter.labels import Level
from exporter.page.cells import NONE, Cell, Row, number_cell, section, table
from exporter.ranking import order_pools
from exporter.readable import span
from exporter.records import PoolSnapshot
from exporter.verdicts import NAMES

_HEAD = ("pool", "in use, idle and free", "#waiting", "#oldest checkout", "#overdue", "#checkouts", "verdict")
_USE = "use"


def pools(seen: Overview, found: Sequence[Verdict], *, leak_after: float) -> str:
    """Return the table of the pools."""
    rows = [
        _row(pool, [each for each in found if each.pool == pool.identity.name], leak_after)
        for pool in order_pools(seen.pools, found)
    ]
    return section("pools", "Pools", table("pools", _HEAD, rows, "No pool is published."))


def _row(pool: PoolSnapshot, found: Sequence[Verdict], leak_after: float) -> Row:
    longest, identity = pool.used_longest_seconds, pool.identity
    where = f"{identity.pool_class}, {identity.dialect} {identity.database}".rstrip(" ,")
    cells = (
        Cell(identity.name, where),
        _use(pool),
        _waiting(pool),
        Cell(span(longest) if longest else NONE, number=True, level="warning" if longest > leak_after else None),
        number_cell(pool.overdue, level="warning" if pool.overdue else None),
        number_cell(pool.checkouts),
        _verdict(found),
    )
    return Row((identity.name,), cells)


def _use(pool: PoolSnapshot) -> Cell:
    free = _free(pool)
    said = f"{pool.used} used, {pool.idle} idle"
    if free is not None:
        said += f", {free} free of {pool.connections_max:g}"
    elif pool.connections_max is not None:
        said += ", no limit"
    full = free == 0 and pool.idle == 0
    return Cell(said, level="bad" if full else None, markup=bar(pool.used, pool.idle, free or 0, bad=full))


def _free(pool: PoolSnapshot) -> int | None:
    most = pool.connections_max
    return None if most is None or math.isinf(most) else max(int(most) - pool.used - pool.idle, 0)


def bar(used: int, idle: int, free: int, *, bad: bool = False) -> str:
    """Draw how much of a whole is used and idle. The numbers stand beside it, so nobody needs to see it."""
    whole = used + idle + free
    if not whole:
        return ""
    at, width = 100 * used / whole, 100 * idle / whole
    return (
        f'<svg class="bar{" bad" if bad else ""}" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="used" width="{at:.2f}" height="8"/>'
        f'<rect class="idle" x="{at:.2f}" width="{width:.2f}" height="8"/></svg>'
    )


def _waiting(pool: PoolSnapshot) -> Cell:
    if pool.waiting is None:
        return Cell(NONE, number=True)
    longest = pool.waiting_longest_seconds
    note = f"up to {span(longest)}" if pool.waiting and longest else ""
    return number_cell(pool.waiting, note=note, level="bad" if pool.waiting else None)


def _verdict(found: Sequence[Verdict]) -> Cell:
    wrong: list[tuple[str, Level]] = [(NAMES[each.verdict], each.level) for each in found if each.level != "info"]
    if not wrong:
        return Cell("well")
    names = list(dict.fromkeys(name for name, _ in wrong))
    return Cell(names[0], ", ".join(names[1:]), level=wrong[0][1])
