"""The scenarios of the lab, by name. Plain data: to list them takes no server and no library."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from exporter.demo.scenarios import busy, healthy, idle, kinds, servers
from exporter.demo.scenarios.scenario import Scenario

__all__ = ["SCENARIOS", "Scenario"]

_IN_ORDER = (
    healthy.HEALTHY,
    busy.LEAK,
    idle.STALE,
    idle.STALE_PRE_PING,
    idle.STALE_RECYCLE,
    idle.RECYCLE_TOO_LONG,
    busy.EXHAUSTION,
    busy.SLOW_DATABASE,
    busy.IDLE_IN_TRANSACTION,
    servers.KILLED_WORKER,
    healthy.COMMIT_KEEPS_SESSION,
    healthy.LAZY,
    kinds.NULL_POOL,
    kinds.STATIC_POOL,
    servers.SERVER_DOWN,
    servers.NEAR_MAX_CONNECTIONS,
)

SCENARIOS: Mapping[str, Scenario] = MappingProxyType({each.name: each for each in _IN_ORDER})
