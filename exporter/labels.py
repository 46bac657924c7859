"""The words: every label value that is known in advance, and the types of those that the records hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

UseState = Literal["idle", "used"]
SessionState = Literal["active", "sleeping", "sleeping_in_transaction", "sleeping_in_failed_transaction", "other"]
ProcessState = Literal["live", "silent"]
SampleErrorReason = Literal["connect", "auth", "privilege", "timeout", "query", "other"]
FindingName = Literal[
    "recycle_exceeds_server_timeout",
    "no_stale_protection",
    "capacity_exceeds_server_limit",
    "reset_on_return_off",
    "idle_in_transaction_timeout_too_short",
    "ping_costs",
    "timeout_exceeds_patience",
    "pool_too_small",
    "pool_too_large",
]
Severity = Literal["warning", "info"]
Between = Literal["events_pool", "pool_server"]
TroubleName = Literal["stale_connections", "ended_in_use", "stale_errors", "overdue_checkouts", "timeouts"]
VerdictName = Literal[
    "server_down",
    "leak",
    "stale",
    "ended_in_use",
    "slow_database",
    "too_small",
    "server_full",
    "came_back_open",
    "idle_in_transaction",
    "held_long",
    "unowned",
    "settings",
    "unseen",
    "healthy",
]
Level = Literal["bad", "warning", "info", "good"]

CLOSE_REASONS = (
    "recycle",
    "overflow",
    "invalidated",
    "pool_invalidated",
    "soft_invalidated",
    "detached",
    "disposed",
    "garbage_collected",
    "other",
)
"""Why a pool closed a connection; the values of the label ``reason``."""

INVALIDATION_CAUSES = ("ping", "disconnect", "cancelled", "error", "application", "soft")
"""Why a connection was invalidated; the values of the label ``cause``."""

STALE_CODES = (
    # MySQL and MariaDB: gone away, lost during query, lost with the system's word, ended for inactivity, killed
    "2006", "2013", "2055", "4031", "1927",
    # PostgreSQL: admin or crash shutdown, cannot connect now, database dropped, idle session, idle in transaction
    "57P01", "57P02", "57P03", "57P04", "57P05", "25P03",
    # PostgreSQL: connection exception, does not exist, failure
    "08000", "08003", "08006",
    "other",
)  # fmt: skip
"""The values of the label ``code``, the last for whatever cannot be told: psycopg2, for one, never says why."""

SESSION_STATES: tuple[SessionState, ...] = (
    "active",
    "sleeping",
    "sleeping_in_transaction",
    "sleeping_in_failed_transaction",
    "other",
)
"""What a server says of a session, in the words of this project."""

SAMPLE_ERRORS = ("connect", "auth", "privilege", "timeout", "query", "other")
"""Why a sample failed; the values of the label ``reason``."""

PROCESS_STATES: tuple[ProcessState, ...] = ("live", "silent")
"""How a process that lives reports: lately, or not for a while; the values of the label ``state``."""

REJECT_REASONS = ("unreadable", "not_regular", "foreign", "too_big", "malformed", "unknown_format")
"""Why a file in the letterbox is not read; the values of the label ``reason``."""

REJECTED: Mapping[str, str] = {
    "unreadable": "unreadable; make it readable to this process",
    "not_regular": "no regular file; remove it, for a process writes none of its kind",
    "foreign": "another user's; name its user in processes.users if it is yours",
    "too_big": "too big; give the engines of one kind one name=, or remove it if no process of yours wrote it",
    "malformed": "malformed; remove it if no process of yours wrote it, else report it",
    "unknown_format": "of an unknown format; use one version of the exporter in sidecar and applications",
}
"""What a file that is not read is, and what to do about it."""

FINDINGS: tuple[FindingName, ...] = get_args(FindingName)
"""What can be wrong with how a pool is configured; the values of the label ``finding``, what will fail first."""

TROUBLES: tuple[TroubleName, ...] = get_args(TroubleName)
"""What can be wrong with a pool at the moment, the worst first."""

FOLDED = ("client", "account", "pool", "process", "site", "long")
"""What there may be too much of for a page; the values of the label ``kind``, the last for texts that are cut."""

BETWEEN: tuple[Between, ...] = get_args(Between)
"""Which two views of a pool the self-check holds against each other; the values of the label ``between``."""

VERDICTS: tuple[VerdictName, ...] = get_args(VerdictName)
"""What the status page and `top` may conclude; of one level, what is named first is shown first."""

LEVELS: tuple[Level, ...] = get_args(Level)
"""How bad a verdict is, the worst first: somebody suffers; somebody will; good to know; nothing is wrong."""
