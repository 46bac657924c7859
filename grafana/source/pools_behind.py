"""Rows of the pools' dashboard: what is behind the figures."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

import runbooks
from faces import ANY_IS_BAD, Face, Levels
from panels import figures, heat, lines
from queries import Query, buckets, exporter, match, pool, rate
from tables import Column, Key, grid

YES_OR_NO = {"0": ("off", "text"), "1": ("on", "green")}
GOOD_OR_BAD = {"0": ("faulty: the one before is in force", "red"), "1": ("good", "green")}

CHURN: tuple[dashboard.Panel, ...] = (
    lines(
        Face(
            13,
            "Churn: opened, and closed by reason",
            "Connections opened and closed, a second. Many closed for overflow: the size is too small for the"
            " traffic. Many recycled: pool_recycle is short. Many invalidated: see the causes.",
            runbooks.EXHAUSTION,
            "ops",
        ),
        Query(f"sum ({rate(pool('connects_total'))})", "opened"),
        Query(f"sum by (reason) ({rate(pool('closes_total'))})", "closed: {{reason}}"),
    ),
    heat(
        Face(
            27,
            "Age of connections when they were closed",
            "Where the cloud lies at pool_recycle, it does its work.",
            runbooks.UNPROTECTED,
        ),
        buckets("lifetime_seconds"),
    ),
    lines(
        Face(
            31,
            "Open beyond the pool",
            "Connections that the pool does not count: detached from it, or left in a pool that was disposed of.",
            runbooks.UNOWNED,
        ),
        Query(f"sum by (pool) ({pool('detached')})", "{{pool}} detached"),
        Query(f"sum by (pool) ({pool('orphaned')})", "{{pool}} orphaned"),
    ),
    lines(
        Face(
            32,
            "Detached and disposed",
            "Connections detached, and pools disposed of, a second.",
            runbooks.UNOWNED,
            "ops",
        ),
        Query(f"sum by (pool) ({rate(pool('detaches_total'))})", "{{pool}} detached"),
        Query(f"sum by (pool) ({rate(pool('disposals_total'))})", "{{pool}} disposed"),
    ),
)
"""How connections come and go."""

SETTINGS: tuple[dashboard.Panel, ...] = (
    lines(
        Face(
            104,
            "Pools that are set up to fail",
            "One line for each finding while it stands; docs/findings.md says of each why it hurts and what to change.",
            runbooks.FINDINGS,
            decimals=0,
        ),
        Query(f"max by (pool, server, finding) ({match('finding')})", "{{pool}} on {{server}}: {{finding}}"),
        stacked=True,
    ),
    grid(
        Face(
            251,
            "Settings",
            "As the pools are configured; the sizes are sums over all processes. pool_recycle should be below the"
            " server's timeout, which the servers' dashboard shows; empty means off, or that the class has none.",
            runbooks.FINDINGS,
        ),
        (Key("pool", "Pool"), Key("job", "Job")),
        (
            Column("pool_size", f"sum by (job, pool) ({pool('size')})"),
            Column("Limit", f"sum by (job, pool) ({pool('connections_max')})"),
            Column("pool_timeout", f"max by (job, pool) ({pool('timeout_seconds')})", "s"),
            Column("pool_recycle", f"max by (job, pool) ({pool('recycle_seconds')})", "s"),
            Column("pool_pre_ping", f"min by (job, pool) ({pool('pre_ping')})", words=YES_OR_NO),
        ),
        first=(("Pool", False),),
    ),
)
"""How the pools are set up, and what of it will fail."""

SOURCES: tuple[dashboard.Panel, ...] = (
    lines(
        Face(
            49,
            "Processes behind a pool",
            "Processes that live and report each pool. Silent: it lives, but its last report is old, as of one"
            " that is stopped or hangs.",
            runbooks.REPORTS,
        ),
        Query(f"sum by (pool, state) ({pool('processes')})", "{{pool}} {{state}}"),
    ),
    lines(
        Face(
            50,
            "Oldest report that counts",
            "Age of the oldest report behind the numbers of each pool. Every process reports once a second.",
            runbooks.REPORTS,
            "s",
        ),
        Query(f"max by (pool) ({pool('report_age_seconds')})", "{{pool}}"),
        levels=Levels(orange=5, red=30),
    ),
    lines(
        Face(
            53,
            "Whether a match is possible",
            "0 where the ids of a pool's connections are no sessions of the server, as behind a proxy that pools"
            " by itself. Then nothing is said of leak suspects, stale connections and unowned sessions.",
            runbooks.OVERDUE,
            "bool_yes_no",
        ),
        Query(f"min by (pool, server) ({match('match_possible')})", "{{pool}} on {{server}}"),
    ),
    lines(
        Face(
            102,
            "Where the exporter disagrees with itself",
            "Connections that the events put elsewhere than the pool does, or that the match could not place;"
            " anything but 0 for long is a fault of the exporter, to be reported.",
            runbooks.DRIFT,
        ),
        Query(f"sum by (pool, between) ({exporter('drift', pool=True)})", "{{pool}} {{between}}"),
        levels=ANY_IS_BAD,
    ),
    lines(
        Face(
            43,
            "Errors that the exporter kept to itself",
            "By place, a second. None is expected; the log of the process has the first of each place. Please"
            " report it.",
            runbooks.ERRORS,
            "ops",
        ),
        Query(f"sum by (where) ({rate(exporter('contained_errors_total'))})", "{{where}}"),
    ),
    lines(
        Face(
            44,
            "Published files that were not read",
            "Files in the directory of the processes that were ignored, by reason, a second.",
            runbooks.REJECTED,
            "ops",
        ),
        Query(f"sum by (reason) ({rate(exporter('snapshots_rejected_total'))})", "{{reason}}"),
    ),
    figures(
        Face(
            261,
            "The sidecar's configuration, as last read",
            "Whether the file was good when it was read last. A faulty one changes nothing: the one before stays"
            " in force, and the log lists the faults.",
            runbooks.RELOAD,
            height=4,
        ),
        Query(exporter("config_last_reload_successful"), "{{job}} {{instance}}"),
        levels=Levels(red=1, falling=True),
        words=GOOD_OR_BAD,
    ),
    figures(
        Face(
            262,
            "Since the configuration was read",
            "How long ago the configuration was last read and good.",
            runbooks.RELOAD,
            "s",
            height=4,
        ),
        Query(f"time() - {exporter('config_last_reload_timestamp_seconds')}", "{{job}} {{instance}}"),
    ),
)
"""Whether the figures can be trusted."""
