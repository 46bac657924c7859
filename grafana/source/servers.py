"""The dashboard of a server: what it says of its sessions, and how well it can be seen."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

import runbooks
import servers_sessions
from faces import ANY_IS_BAD, SHARE, Face, Levels
from frame import SERVERS, Row, made
from panels import UP_OR_DOWN, figures, lines
from queries import Query, match, rate, server, server_share
from tables import Column, Key, grid

SAYS = (
    "Database servers as they see their own sessions: who sleeps and for how long, who holds a transaction open, what"
    " nobody owns, and how near the limit is. Made for sqlalchemy-pool-exporter."
)

ON = "{{server}}"


_GLANCE: tuple[dashboard.Panel, ...] = (
    figures(
        Face(
            2,
            "Servers",
            "Up when the last sample of the server succeeded. Down here means: the sidecar cannot sample it.",
            runbooks.DOWN,
            "none",
        ).sized(4, 4),
        Query(server("up"), ON),
        levels=Levels(red=1, falling=True),
        words=UP_OR_DOWN,
    ),
    figures(
        Face(
            301,
            "Connections open, of the limit",
            "All client connections, of those that the server allows to ordinary users. At the limit it refuses"
            " new ones, to every application.",
            runbooks.LIMIT,
            "percentunit",
            0,
        ).sized(4, 4),
        Query(server_share("server"), ON),
        levels=SHARE,
    ),
    figures(
        Face(
            302,
            "Stale sessions now",
            "Sessions asleep for longer than stale_after: of a pool that keeps more than it uses, or of nobody.",
            runbooks.STALE,
        ).sized(4, 4),
        Query(f"sum by (server) ({server('stale_sessions')})", ON),
        levels=Levels(orange=1),
    ),
    figures(
        Face(
            303,
            "Oldest transaction of a sleeper",
            "Age of the oldest transaction that a sleeping session holds open. It keeps its locks.",
            runbooks.TRANSACTION,
            "s",
        ).sized(4, 4),
        Query(f"max by (server) ({server('transaction_longest_seconds')})", ON),
        levels=Levels(orange=60, red=600),
    ),
    figures(
        Face(
            304,
            "Nobody's sessions now",
            "Sleeping sessions that look like the pools' own, and that no live pool owns: of a killed process, a"
            " disposed pool, a cancelled task.",
            runbooks.UNOWNED,
        ).sized(4, 4),
        Query(f"sum by (server) ({server('unowned_sessions')})", ON),
        levels=Levels(orange=1),
    ),
    figures(
        Face(
            305,
            "Hidden sessions",
            "Sessions that exist but that the sidecar's account has no right to see. Above 0, everything else"
            " about the server is too low.",
            runbooks.HIDDEN,
        ).sized(4, 4),
        Query(f"max by (server) ({server('sessions_hidden')})", ON),
        levels=ANY_IS_BAD,
    ),
)

_LIMITS: tuple[dashboard.Panel, ...] = (
    lines(
        Face(
            35,
            "Connections against the server's limit",
            "All connections to the server, and how many it allows to ordinary users.",
            runbooks.OVERCOMMITTED,
        ),
        Query(server("connections"), ON),
        Query(server("connections_max"), "{{server}} limit"),
    ),
    figures(
        Face(
            39,
            "When the server ends idle sessions",
            "The server's own timeouts, by setting. None shown: it has none, or it is off.",
            runbooks.UNPROTECTED,
            "s",
        ),
        Query(f"max by (server, timeout) ({server('idle_timeout_seconds')})", "{{timeout}} of {{server}}"),
    ),
    lines(
        Face(
            321,
            "Until the server ends a pool's next session",
            "How long the longest sleeping connection of each pool has left before the server's timeout, unless"
            " it is used.",
            runbooks.UNPROTECTED,
            "s",
        ),
        Query(f"min by (pool, server) ({match('expiry_seconds')})", "{{pool}} on {{server}}"),
    ),
    lines(
        Face(
            46,
            "Sessions that ended without a goodbye, and failed logins",
            "What the server counts as aborted, a second: client is a session that ended without being closed,"
            " connect a login that did not succeed. Absent where the server does not count them.",
            runbooks.STALE,
            "ops",
        ),
        Query(f"sum by (server, kind) ({rate(server('aborted_total'))})", "{{server}}: {{kind}}"),
    ),
)

_SAMPLING: tuple[dashboard.Panel, ...] = (
    figures(
        Face(
            3,
            "Age of the last good sample",
            "How old the server's figures are. When it is older than three intervals they are withheld.",
            runbooks.SILENT,
            "s",
        ),
        Query(f"time() - {server('sample_timestamp_seconds')}", ON),
    ),
    lines(
        Face(
            40,
            "How long a sample takes, and how often there is one",
            "Duration of the last sample of each server, and the interval kept now: it is doubled while a sample"
            " takes more than a tenth of it. No scrape waits for a sample.",
            runbooks.SILENT,
            "s",
        ),
        Query(server("sample_seconds"), ON),
        Query(server("sample_interval_seconds"), "{{server}} interval"),
    ),
    lines(
        Face(
            41,
            "Failed samples by reason",
            "Samples that failed, a second: what stands between the sidecar and the server.",
            runbooks.DOWN,
            "ops",
        ),
        Query(f"sum by (server, reason) ({rate(server('sample_errors_total'))})", "{{server}}: {{reason}}"),
    ),
    lines(
        Face(
            47,
            "Sessions that the sampler may not see",
            "Sessions that exist but that the sidecar's account has no right to see. Above 0, everything else"
            " about this server is too low; the sidecar's log says what to grant.",
            runbooks.HIDDEN,
        ),
        Query(f"max by (server) ({server('sessions_hidden')})", ON),
        levels=ANY_IS_BAD,
    ),
    grid(
        Face(
            331,
            "What the servers are",
            "Kind and version of each server, and the table that is asked for its sessions.",
            runbooks.DOWN,
            width=24,
            height=5,
        ),
        (
            Key("server", "Server"),
            Key("dialect", "Dialect"),
            Key("version", "Version"),
            Key("source", "Asked"),
            Key("job", "Job"),
        ),
        (Column("Sidecars", f"sum by (server, dialect, version, source, job) ({server('info')})"),),
        first=(("Server", False),),
    ),
)


def text() -> str:
    """Return the dashboard's file."""
    return made(
        SERVERS,
        SAYS,
        (
            Row(1, "At a glance", (*_GLANCE, *servers_sessions.PICTURES)),
            Row(2001, "Who sleeps, and who holds locks?", servers_sessions.SLEEPERS),
            Row(2002, "Whose are they? Pools, and nobody", servers_sessions.OWNERS),
            Row(2003, "Limits and timeouts", _LIMITS),
            Row(2004, "How the server is sampled", _SAMPLING),
        ),
    )
