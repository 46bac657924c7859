"""Checks of how a pool is set up, held against how its server is."""

from __future__ import annotations

from exporter.conclusions import Finding
from exporter.findings.case import IDLE_TIMEOUTS, Case, Timeout, half, keeps, plain

PATIENCE = 30.0
"""Seconds after which the usual client, proxy or worker has given up; SQLAlchemy's own default is as long."""


def recycle_exceeds_server_timeout(case: Case) -> Finding | None:
    """Find a pool_recycle that comes too late, with no ping to make up for it."""
    timeout = case.shortest(IDLE_TIMEOUTS)
    unpinged = (each.recycle_seconds for each in case.reports if keeps(each) and each.pre_ping is False)
    recycle = max((each for each in unpinged if each is not None), default=None)
    if timeout is None or recycle is None or recycle < timeout.seconds:
        return None
    return Finding(
        case.pool,
        case.server,
        "recycle_exceeds_server_timeout",
        pool_says=f"pool_recycle={plain(recycle)}, pool_pre_ping=False",
        held_against=str(timeout),
        why=f"{_ends(timeout)} before the pool would replace it: the next user gets an error",
        change=_protect(timeout),
    )


def no_stale_protection(case: Case) -> Finding | None:
    """Find a pool that neither pings nor recycles, on a server that ends sleeping sessions."""
    timeout = case.shortest(IDLE_TIMEOUTS)
    bare = any(keeps(each) and each.pre_ping is False and each.recycle_seconds is None for each in case.reports)
    if timeout is None or not bare:
        return None
    return Finding(
        case.pool,
        case.server,
        "no_stale_protection",
        pool_says="pool_recycle=-1, pool_pre_ping=False",
        held_against=str(timeout),
        why=f"{_ends(timeout)}, and the pool hands it out all the same: that user gets an error",
        change=_protect(timeout),
    )


def reset_on_return_off(case: Case) -> Finding | None:
    """Find a pool that takes connections back with their transaction open."""
    if not any(keeps(each) and each.reset_on_return is False for each in case.reports):
        return None
    return Finding(
        case.pool,
        case.server,
        "reset_on_return_off",
        pool_says="pool_reset_on_return=None",
        held_against="transactions stay open until they are ended",
        why="what a user of the pool leaves open goes to the next one, and its locks are held meanwhile",
        change='create_engine(..., pool_reset_on_return="rollback")',
    )


def timeout_exceeds_patience(case: Case) -> Finding | None:
    """Find a pool that lets its users wait for longer than anybody waits for them."""
    # One without a limit never lets anybody wait.
    bounded = (each for each in case.reports if each.connections_max not in (None, float("inf")))
    timeout = max((each.timeout_seconds for each in bounded if each.timeout_seconds is not None), default=0.0)
    if timeout <= PATIENCE:
        return None
    return Finding(
        case.pool,
        case.server,
        "timeout_exceeds_patience",
        severity="info",
        pool_says=f"pool_timeout={plain(timeout)}",
        held_against=f"the usual client waits {plain(PATIENCE)} s",
        why="whoever waits so long works for a client that has left, and those who are still there wait behind it",
        change="create_engine(..., pool_timeout=10)",
    )


def _ends(timeout: Timeout) -> str:
    return f"the server ends a connection that sleeps for {plain(timeout.seconds)} s"


def _protect(timeout: Timeout) -> str:
    recycle = half(timeout)
    return f"create_engine(..., {'pool_pre_ping=True' if recycle is None else f'pool_recycle={recycle}'})"
