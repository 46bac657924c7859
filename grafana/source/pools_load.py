"""Rows of the pools' dashboard: more asked for than there is, because of the traffic or because of the database."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

import runbooks
from faces import ANY_IS_BAD, Face
from panels import heat, lines
from queries import Query, buckets, match, overdue_at_work, pool, quantile, rate

WAITING: tuple[dashboard.Panel, ...] = (
    lines(
        Face(
            16,
            "Waiting, and timed out",
            "Threads or tasks that wait for a connection at this moment, and those whose wait ended in the pool's"
            " timeout, a second. Waiting with few connections in use by the application's own work: a leak has"
            " eaten the pool.",
            runbooks.TIMEOUTS,
        ),
        Query(f"sum by (pool) ({pool('waiting')})", "{{pool}} waiting"),
        Query(f"sum by (pool) ({rate(pool('timeouts_total'))})", "{{pool}} timed out a second"),
        levels=ANY_IS_BAD,
    ),
    lines(
        Face(
            17,
            "Longest wait now",
            "How long the thread or task that has waited longest has waited so far; the dashed line is"
            " pool_timeout, where it fails.",
            runbooks.WAITING,
            "s",
        ),
        Query(f"max by (pool) ({pool('waiting_longest_seconds')})", "{{pool}}"),
        Query(
            f"min by (pool) ({pool('timeout_seconds')}) and on (pool) sum by (pool) ({pool('waiting')}) > 0",
            "{{pool}} limit",
        ),
    ),
    heat(
        Face(
            18,
            "How long checkouts waited",
            "Waits for the pool to give a connection, by their length. Making and pinging one is not in here.",
            runbooks.WAITING,
        ),
        buckets("wait_seconds"),
    ),
    lines(
        Face(
            19,
            "Average number of waiters",
            "Seconds waited, a second: how many wait on average. Above 1, somebody always does.",
            runbooks.WAITING,
        ),
        Query(f"sum by (pool) ({rate(pool('wait_seconds_sum'))})", "{{pool}}"),
        levels=ANY_IS_BAD,
    ),
    lines(
        Face(12, "Checkouts", "Connections handed to the application, a second.", runbooks.EXHAUSTION, "ops"),
        Query(f"sum by (pool) ({rate(pool('checkouts_total'))})", "{{pool}}"),
    ),
    lines(
        Face(
            231,
            "What the traffic needs, against the size",
            "Seconds in which connections were out, a second: so many are needed on average, counted when they"
            " come back. Near pool_size the peaks live on overflow, which opens a connection and closes it again;"
            " near the limit they wait.",
            runbooks.EXHAUSTION,
        ),
        Query(f"sum by (pool) ({rate(pool('use_seconds_sum'))})", "{{pool}} needed"),
        Query(f"sum by (pool) ({pool('overflow')})", "{{pool}} beyond the size"),
        Query(f"sum by (pool) ({pool('size')})", "{{pool}} size"),
    ),
)
"""What tells a pool that is too small for its traffic."""

SLOW: tuple[dashboard.Panel, ...] = (
    lines(
        Face(
            241,
            "Overdue, and the server still at work",
            "Checkouts out for longer than leak_after whose sessions are active, about so many, and all"
            " that are active. The first above 0 for minutes: the statements are slow; neither the pool nor its"
            " size is the cause.",
            runbooks.SLOW,
        ),
        Query(overdue_at_work(), "{{pool}} overdue and active"),
        Query(f"sum by (pool) ({match('matched_connections', state='used', session='active')})", "{{pool}} active"),
    ),
    lines(
        Face(
            242,
            "How long connections are out",
            "From checkout to return: half take less than the lower line, 95 in 100 less than the upper one. Both"
            " rise with a slow database; a leak's do not come back, and are not in here.",
            runbooks.SLOW,
            "s",
        ),
        Query(quantile(0.5, "use_seconds"), "{{pool}} median"),
        Query(quantile(0.95, "use_seconds"), "{{pool}} 95 in 100"),
    ),
    heat(
        Face(29, "What a new connection costs", "Time to make a connection to the server.", runbooks.CONNECTING),
        buckets("connect_seconds"),
    ),
    lines(
        Face(30, "Failed connects", "Connections that could not be opened, a second.", runbooks.CONNECTING, "ops"),
        Query(f"sum by (pool) ({rate(pool('connect_errors_total'))})", "{{pool}}"),
    ),
)
"""What tells that the database is slow, and the pool only shows it."""
