"""The advice: how pools are set up and what they have done, held against their server's settings. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from exporter.conclusions import Finding
from exporter.findings import figures, settings
from exporter.findings.capacity import capacity_exceeds_server_limit
from exporter.findings.case import Case, Check
from exporter.labels import FINDINGS
from exporter.records import PoolSnapshot, ServerSnapshot

CHECKS: tuple[Check, ...] = (
    settings.recycle_exceeds_server_timeout,
    settings.no_stale_protection,
    settings.reset_on_return_off,
    settings.timeout_exceeds_patience,
    figures.idle_in_transaction_timeout_too_short,
    figures.ping_costs,
    figures.pool_too_small,
    figures.pool_too_large,
)
"""Whatever can be told of one pool alone."""


def findings(
    server: str, *, pools: Mapping[str, Sequence[PoolSnapshot]], sample: ServerSnapshot | None
) -> tuple[Finding, ...]:
    """Return what is wrong with the pools of one server, pool by pool, what will fail first.

    Where something is not known (``sample`` is None when the server is not) there is no finding that needs it.
    """
    cases = [Case(pool, server, reports, sample) for pool, reports in sorted(pools.items())]
    found = [finding for case in cases for check in CHECKS if (finding := check(case)) is not None]
    found += capacity_exceeds_server_limit(cases)
    return tuple(sorted(found, key=lambda each: (each.pool, FINDINGS.index(each.finding))))
