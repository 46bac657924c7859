"""The JSON: what is known now, as documents for programs. Pure functions; what is not known is null, never 0."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from exporter.conclusions import Drift, Finding, Holder, Match, Overview, Recent
from exporter.holders import holds, longest_first
from exporter.labels import BETWEEN, PROCESS_STATES, SESSION_STATES, UseState
from exporter.match import MATCHED_SESSIONS, USE_STATES
from exporter.meanings import Meaning, meaning
from exporter.processes import process_names, reporters
from exporter.records import PoolSnapshot, ServerSnapshot, ServerView
from exporter.verdicts import verdicts
from exporter.version import VERSION

MOST_HOLDERS = 1000
"""Connections in use that one document lists; how many more there are is said."""

Document = dict[str, Any]

_COUNTS = (
    "checkouts", "checkins", "connects", "connect_errors", "timeouts", "overdue_checkouts", "garbage_collected",
    "detaches", "disposals",
)  # fmt: skip
_FINDING = ("server", "finding", "severity", "pool_says", "held_against", "why", "change")


def pools(seen: Overview) -> Document:
    """Return each pool: what it is and holds, who reports it, what its servers say, and what is wrong with it."""
    states = {each.pool: each.by_state for each in reporters(seen.processes, seen.pools)}
    return {
        "now": seen.now,
        "version": VERSION,
        "verdicts": [asdict(each) for each in verdicts(seen)],
        "pools": [_pool(pool, seen, states[pool.identity.name]) for pool in seen.pools],
        "servers": [_server(view, seen.now) for view in seen.servers],
        "unowned": [asdict(each) for each in seen.unowned],
    }


def holders(
    seen: Overview, *, pool: Collection[str] = (), server: Collection[str] = (), most: int = MOST_HOLDERS
) -> Document:
    """Return the connections in use now, those held for longest first, and how many are left out beyond ``most``.

    ``pool`` and ``server`` are the names asked for, all where there are none; "" is the server of those without one.
    """
    found = [
        each
        for each in longest_first(seen.holders)
        if (not pool or each.pool in pool) and (not server or (each.server or "") in server)
    ]
    names = process_names(seen.processes)
    return {
        "now": seen.now,
        "holders": [_holder(each, names) for each in found[:most]],
        "left_out": max(len(found) - most, 0),
    }


def _pool(pool: PoolSnapshot, seen: Overview, states: Mapping[str, int]) -> Document:
    name = pool.identity.name
    return {
        **_identity(pool),
        **_state(pool),
        "counts": {each: getattr(pool, each) for each in _COUNTS},
        "settings": _settings(pool),
        "processes": {state: states.get(state, 0) for state in PROCESS_STATES},
        "matches": [_match(each, seen) for each in seen.matches if each.pool == name],
        "findings": [_finding(each) for each in seen.findings if each.pool == name],
        "drift": _drift(each for each in seen.drifts if each.pool == name),
        "recent": next((_recent(each) for each in seen.recent if each.pool == name), None),
    }


def _server(view: ServerView, now: float) -> Document:
    sampled = view.sampled_at
    return {
        "name": view.name,
        "up": view.up,
        "reason": view.reason,
        "message": view.message or None,
        "sampled_at": sampled,
        "sampled_seconds_ago": None if sampled is None else max(now - sampled, 0.0),
        "interval_seconds": view.interval,
        "sample": None if view.snapshot is None else _sample(view.snapshot),
    }


def _sample(sample: ServerSnapshot) -> Document:
    counts = dict.fromkeys(SESSION_STATES, 0)
    for group in sample.groups:
        counts[group.state] += group.count
    return {
        "dialect": sample.dialect,
        "version": sample.version,
        "connections": sample.connections,
        "connections_max": sample.connections_max,
        "sessions": dict(counts),
        "stale_sessions": sum(row.stale for row in sample.sleepers),
        "sleep_longest_seconds": max((row.longest for row in sample.sleepers), default=None),
        "idle_timeouts": dict(sample.idle_timeouts),
    }


def _identity(pool: PoolSnapshot) -> Document:
    identity = pool.identity
    return {
        "name": identity.name,
        "class": identity.pool_class,
        "dialect": identity.dialect or None,
        "driver": identity.driver or None,
        "host": identity.host or None,
        "port": identity.port,
        "database": identity.database or None,
    }


def _state(pool: PoolSnapshot) -> Document:
    most = pool.connections_max
    return {
        "idle": pool.idle,
        "used": pool.used,
        "size": pool.size,
        "overflow": pool.overflow,
        "max": _number(most),
        "unlimited": None if most is None else math.isinf(most),
        "waiting": pool.waiting,
        "waiting_longest_seconds": pool.waiting_longest_seconds,
        "used_longest_seconds": pool.used_longest_seconds or None,
        "overdue": pool.overdue,
        "overdue_by_site": dict(pool.overdue_by_site),
        "detached": pool.detached,
        "orphaned": pool.orphaned,
    }


def _settings(pool: PoolSnapshot) -> Document:
    return {
        "recycle_seconds": pool.recycle_seconds,
        "timeout_seconds": pool.timeout_seconds,
        "pre_ping": None if pool.pre_ping is None else bool(pool.pre_ping),
        "reset_on_return": None if pool.reset_on_return is None else bool(pool.reset_on_return),
    }


def _match(match: Match, seen: Overview) -> Document:
    pairs = {
        state: {session: match.pairs.get((state, session), 0) for session in MATCHED_SESSIONS} for state in USE_STATES
    }
    return {
        "server": match.server,
        "possible": match.possible,
        "pairs": pairs if match.possible else None,
        "leak_suspects": match.leak_suspects if match.possible else None,
        "stale": match.stale if match.possible else None,
        "expiry_seconds": _number(match.expiry),
        "cells": [_cell(pair, meaning(match, pair, seen)) for pair, count in match.pairs.items() if count],
    }


def _cell(pair: tuple[UseState, str], said: Meaning) -> Document:
    return {
        "pool_says": pair[0],
        "server_says": pair[1],
        "count": said.count,
        "meaning": said.words,
        "level": said.level,
    }


def _finding(finding: Finding) -> Document:
    return {name: getattr(finding, name) for name in _FINDING}


def _drift(drifts: Iterable[Drift]) -> Document:
    known: dict[str, int] = {drift.between: drift.count for drift in drifts}
    return {between: known.get(between) for between in BETWEEN}


def _holder(holder: Holder, names: Mapping[str, str]) -> Document:
    return {
        "pool": holder.pool,
        "server": holder.server,
        "process": names.get(holder.process, str(holder.pid)),
        "pid": holder.pid,
        "site": holder.site,
        "holder": holder.holder,
        "seconds": holder.seconds,
        "session": holder.session,
        "session_seconds": holder.session_seconds,
        "server_id": holder.server_id,
        "suspect": holder.suspect,
        "holds_transaction": holds(holder),
    }


def _recent(recent: Recent) -> Document:
    return {"seconds": recent.seconds, "timeouts": recent.timeouts, "stale_errors": recent.stale_errors}


def _number(value: float | None) -> float | None:
    """Return a number that JSON can say."""
    return value if value is not None and math.isfinite(value) else None
