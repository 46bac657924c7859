"""Rows of the servers' dashboard: the sessions, by what they do, for how long, and whose they are."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

import runbooks
from faces import Face, Levels
from panels import heat, lines
from queries import Query, match, server
from tables import Column, Key, grid

STATES = {
    "active": "blue",
    "sleeping": "green",
    "sleeping_in_transaction": "orange",
    "sleeping_in_failed_transaction": "dark-orange",
    "other": "text",
}

ACCOUNT = "{{user}} in {{database}} on {{server}}"
CLIENT = "{{user}} in {{database}} from {{client}} on {{server}}"
EACH_CLIENT = "server, user, database, client"

PICTURES: tuple[dashboard.Panel, ...] = (
    lines(
        Face(
            34,
            "Sessions by state",
            "All client sessions on the server, also those of applications that are not instrumented; the"
            " sampler's own is left out.",
            runbooks.LIMIT,
            height=9,
        ),
        Query(f"sum by (state) ({server('sessions')})", "{{state}}"),
        stacked=True,
        colours=STATES,
    ),
    heat(
        Face(
            36,
            "How long the sleeping sessions have slept",
            "Sessions asleep at each sample, by how long they have slept. Where the cloud ends at a sharp edge,"
            " the server ends them: compare with its timeouts.",
            runbooks.STALE,
            height=9,
        ),
        f"sum by (le) ({server('sleep_seconds_bucket')})",
    ),
)
"""The two pictures that explain most of the rest."""

_ASLEEP = server("sessions", state="~sleeping.*")
_INSIDE = server("sessions", state="~sleeping_in_.*")

SLEEPERS: tuple[dashboard.Panel, ...] = (
    grid(
        Face(
            311,
            "Who sleeps",
            "Sleeping sessions by account and client, the most first; those in a transaction hold its locks. A"
            " client is the application's name where it gives one, else its host.",
            runbooks.UNOWNED,
            width=24,
            height=8,
        ),
        (Key("user", "User"), Key("database", "Database"), Key("client", "Client"), Key("server", "Server")),
        (
            Column("Asleep", f"sum by ({EACH_CLIENT}) ({_ASLEEP}) > 0"),
            Column("In a transaction", f"sum by ({EACH_CLIENT}) ({_INSIDE}) > 0", levels=Levels(orange=1)),
            Column("At work", f"sum by ({EACH_CLIENT}) ({server('sessions', state='active')}) > 0"),
            Column("Nobody's", f"sum by ({EACH_CLIENT}) ({server('unowned_sessions')}) > 0", levels=Levels(orange=1)),
        ),
        first=(("Asleep", True),),
        empty="Nobody sleeps",
    ),
    lines(
        Face(
            37,
            "Longest sleep",
            "How long the session that has slept longest has slept, by user and database.",
            runbooks.STALE,
            "s",
        ),
        Query(f"max by (server, user, database) ({server('sleep_longest_seconds')})", ACCOUNT),
    ),
    lines(
        Face(
            38,
            "Stale sessions",
            "Sessions asleep for longer than stale_after, by user and database.",
            runbooks.STALE,
        ),
        Query(f"sum by (server, user, database) ({server('stale_sessions')})", ACCOUNT),
    ),
    lines(
        Face(
            45,
            "Oldest transaction of a sleeping session",
            "Age of the oldest transaction that a session holds open while it sleeps, by user and database. It"
            " keeps its locks, and old rows from being cleaned up.",
            runbooks.TRANSACTION,
            "s",
        ),
        Query(f"max by (server, user, database) ({server('transaction_longest_seconds')})", ACCOUNT),
        levels=Levels(orange=60, red=600),
    ),
    lines(
        Face(
            312,
            "Asleep in a transaction, by client",
            "Sessions that sleep in an open transaction, by who opened them. A moment each is how applications"
            " work; a level that stays is one that forgot to commit.",
            runbooks.TRANSACTION,
        ),
        Query(f"sum by ({EACH_CLIENT}) ({_INSIDE}) > 0", CLIENT),
        stacked=True,
    ),
)
"""Who sleeps, and who does so in a transaction."""

OWNERS: tuple[dashboard.Panel, ...] = (
    lines(
        Face(
            313,
            "Sessions that belong to a pool",
            "Pooled connections that were found on the server, by pool. What the sessions by state have beyond"
            " these belongs to other applications, or to nobody.",
            runbooks.UNOWNED,
        ),
        Query(
            f"sum by (pool, server) ({match('matched_connections', session='~active|sleeping.*')})",
            "{{pool}} on {{server}}",
        ),
        stacked=True,
    ),
    lines(
        Face(
            52,
            "Sessions that nobody owns",
            "Sleeping sessions that look like the pools' own, and that no live pool owns: left by a killed"
            " process, a disposed pool, a cancelled task, or an engine for every request.",
            runbooks.UNOWNED,
        ),
        Query(
            f"sum by (server, user, database, client) ({server('unowned_sessions')})",
            "{{user}} {{database}} {{client}} on {{server}}",
        ),
        levels=Levels(orange=1),
    ),
)
"""Which sessions belong to pools, and which to nobody."""
