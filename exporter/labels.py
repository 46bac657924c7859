"""The words: every label value that is known in advance, and the types of those that the records hold."""

from __future__ import annotations

from typing import Literal

UseState = Literal["idle", "used"]
SessionState = Literal["active", "sleeping", "sleeping_in_transaction", "sleeping_in_failed_transaction", "other"]
ProcessState = Literal["live", "silent"]
SampleErrorReason = Literal["connect", "auth", "privilege", "timeout", "query", "other"]

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
