"""Rows of the pools' dashboard: connections that are lost, to code that forgot them or to a server that ended them."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

import runbooks
from faces import ANY_IS_BAD, Face
from panels import bars, heat, lines
from queries import Query, buckets, match, pool, quantile, rate

LEAKS: tuple[dashboard.Panel, ...] = (
    lines(
        Face(
            55,
            "Leak suspects over time",
            "Connections used for longer than leak_after whose sessions have slept for as long: forgotten, most"
            " likely. The sidecar's page and /api/v1/holders name the code that took them.",
            runbooks.LEAK,
        ),
        Query(f"sum by (pool, server) ({match('leak_suspects')})", "{{pool}} on {{server}}"),
        levels=ANY_IS_BAD,
    ),
    bars(
        Face(
            211,
            "Leak suspects by call site",
            "Overdue checkouts of the pools that have leak suspects, by the place in the application's code that"
            " took them, most first: the line to read tonight. Empty while no pool has a suspect.",
            runbooks.LEAK,
        ),
        Query(
            f"sort_desc(sum by (pool, site) ({pool('overdue_by_site')}) > 0"
            f" and on (pool) sum by (pool) ({match('leak_suspects')}) > 0)",
            "{{pool}}: {{site}}",
        ),
        levels=ANY_IS_BAD,
    ),
    lines(
        Face(
            21,
            "Overdue now, by call site",
            "Checkouts out for longer than leak_after, by the place in the application's code that took them."
            " Suspects or not: a slow statement's stands here, too.",
            runbooks.OVERDUE,
        ),
        Query(f"sum by (pool, site) ({pool('overdue_by_site')})", "{{pool}}: {{site}}"),
        stacked=True,
    ),
    lines(
        Face(
            10,
            "Overdue checkouts",
            "Connections out for longer than leak_after, and how many connections in use sleep on the server."
            " Both above 0 for minutes: a leak. Overdue without sleeping: the database is slow.",
            runbooks.OVERDUE,
        ),
        Query(f"sum by (pool) ({pool('overdue')})", "{{pool}} overdue"),
        Query(
            f"sum by (pool) ({match('matched_connections', state='used', session='~sleeping.*')})",
            "{{pool}} used × sleeping",
        ),
    ),
    lines(
        Face(
            9,
            "Oldest checkout",
            "Age of the oldest connection still out, the longest of all instances. A line that only rises is one"
            " connection that never comes back.",
            runbooks.OVERDUE,
            "s",
        ),
        Query(f"max by (pool) ({pool('used_longest_seconds')})", "{{pool}}"),
    ),
    lines(
        Face(
            22,
            "Became overdue, and was forgotten",
            "Checkouts that became overdue, each once, and connections that nobody gave back and the garbage"
            " collector took, a second.",
            runbooks.FORGOTTEN,
            "ops",
        ),
        Query(f"sum by (pool) ({rate(pool('overdue_checkouts_total'))})", "{{pool}} overdue"),
        Query(f"sum by (pool) ({rate(pool('garbage_collected_total'))})", "{{pool}} garbage collected"),
    ),
    heat(
        Face(
            11,
            "How long connections were out",
            "Uses by their length, from checkout to return. A use that has not ended is not in here: see the"
            " oldest checkout.",
            runbooks.OVERDUE,
            width=24,
        ),
        buckets("use_seconds"),
    ),
)
"""What tells a leak, and whose it is."""

STALE: tuple[dashboard.Panel, ...] = (
    lines(
        Face(
            56,
            "Stale connections over time",
            "Idle in the pool and ended by the server. With pool_pre_ping the next user waits a little longer;"
            " without it, that user gets an error.",
            runbooks.STALE,
        ),
        Query(f"sum by (pool, server) ({match('stale_connections')})", "{{pool}} on {{server}}"),
        levels=ANY_IS_BAD,
    ),
    lines(
        Face(
            24,
            "Dead connections met, by ping or by use",
            "By code, a second. use: a user saw the error. ping: pool_pre_ping found it first, and nobody noticed.",
            runbooks.STALE_ERRORS,
            "ops",
        ),
        Query(f"sum by (pool, found, code) ({rate(pool('stale_total'))})", "{{pool}} {{found}} {{code}}"),
    ),
    lines(
        Face(
            51,
            "Until the server closes the next one",
            "How long the pool's longest sleeping connection has left before the server's timeout, unless it is"
            " used. What often comes near 0 wants a pool_recycle below the timeout.",
            runbooks.UNPROTECTED,
            "s",
        ),
        Query(f"min by (pool, server) ({match('expiry_seconds')})", "{{pool}} on {{server}}"),
    ),
    lines(
        Face(
            14,
            "Invalidations by cause",
            "Connections declared unusable, a second. ping: found dead by pool_pre_ping, nobody noticed."
            " disconnect: somebody got an error.",
            runbooks.STALE_ERRORS,
            "ops",
        ),
        Query(f"sum by (cause) ({rate(pool('invalidations_total'))})", "{{cause}}"),
    ),
    heat(
        Face(
            25,
            "How long connections had lain idle when taken",
            "Idle times at checkout. Where they come near the server's timeout, the next one may be dead.",
            runbooks.UNPROTECTED,
        ),
        buckets("idle_seconds"),
    ),
    lines(
        Face(
            221,
            "What a ping costs",
            "Half of the pings of pool_pre_ping take less than the lower line, 99 in 100 less than the upper one."
            " Nearly every checkout pays for one. Empty without pool_pre_ping.",
            runbooks.UNPROTECTED,
            "s",
        ),
        Query(quantile(0.5, "ping_seconds"), "{{pool}} median"),
        Query(quantile(0.99, "ping_seconds"), "{{pool}} 99 in 100"),
    ),
    heat(
        Face(26, "What pings cost", "Round trips of pool_pre_ping, by their length.", runbooks.UNPROTECTED),
        buckets("ping_seconds"),
    ),
    lines(
        Face(
            222,
            "Pings, and what they found",
            "Pings of pool_pre_ping, and dead connections that they found, a second. So many round trips are paid"
            " for so many errors that no user saw.",
            runbooks.UNPROTECTED,
            "ops",
        ),
        Query(f"sum by (pool) ({rate(pool('ping_seconds_count'))})", "{{pool}} pings"),
        Query(f"sum by (pool) ({rate(pool('stale_total', found='ping'))})", "{{pool}} found dead"),
    ),
)
"""What tells stale connections, who met them, and what the cure costs."""
